# shellcheck shell=bash
# Sourced by scripts that need a broker: `start_nats FOLDER` starts a nats-server on a free port of
# loopback with its data in FOLDER/nats, sets NATS_URL, and stops it when the script ends.
# Wanted: TIDEGATE_SERVICES, TIDEGATE_PYTHON.

start_nats() {
    local folder=$1 port
    mkdir -p "$folder/nats"
    port=$("$TIDEGATE_PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    "$TIDEGATE_SERVICES/nats-server" --jetstream --store_dir "$folder/nats" \
        --addr 127.0.0.1 --port "$port" >"$folder/nats.log" 2>&1 &
    NATS_PID=$!
    trap 'kill "$NATS_PID" 2>/dev/null; wait "$NATS_PID" 2>/dev/null || true' EXIT
    for _ in $(seq 1 100); do
        if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            # shellcheck disable=SC2034 # for the script that sources this one
            NATS_URL="nats://127.0.0.1:$port"
            return
        fi
        kill -0 "$NATS_PID" 2>/dev/null || break
        sleep 0.1
    done
    cat "$folder/nats.log" >&2
    echo "nats-server did not come up on port $port" >&2
    return 1
}
