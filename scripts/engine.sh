#!/usr/bin/env bash
# A container engine for image and end-to-end tests.
#
#   engine.sh host    prints the DOCKER_HOST of an engine that answers; else says why there is none
#   engine.sh up      starts one of our own where none answers (root on Debian), then the same
#   engine.sh down    stops our own and puts the machine back; images stay for the next time
#
# Ours keeps everything under the cache folder and listens on a socket there, so that it is in nobody's
# way. Its containers reach each other and this machine and nothing beyond: a test that needs the
# internet fails here already.
set -euo pipefail
shopt -s inherit_errexit
here=$(cd "$(dirname "$0")" && pwd)
state=${XDG_CACHE_HOME:-$HOME/.cache}/tidegate/engine
socket=unix://$state/docker.sock
# What dockerd and the kubelets in its containers set for the whole machine.
settings=(kernel.panic kernel.panic_on_oops vm.overcommit_memory vm.panic_on_oom net.ipv4.ip_forward)

answers() {
    command -v docker >/dev/null && timeout 10 docker -H "$1" version --format '{{.Server.Version}}' >/dev/null 2>&1
}

host() {
    local given
    for given in "${DOCKER_HOST:-unix:///var/run/docker.sock}" "$socket"; do
        if answers "$given"; then
            echo "$given"
            return
        fi
    done
    echo "no container engine answers" >&2
    return 1
}

up() {
    host 2>/dev/null && return
    [ "$(id -u)" = 0 ] || { echo "no container engine answers, and only root can start one" >&2; return 1; }
    packages
    mkdir -p "$state"
    rm -f "$state/dockerd.pid"
    [ -e "$state/sysctl.before" ] || sysctl "${settings[@]}" | sed 's/ = /=/' >"$state/sysctl.before"
    start_dockerd
    keep_inside
    host
}

packages() {
    local program missing=()
    for program in dockerd iptables ip sysctl; do
        command -v "$program" >/dev/null || missing+=("$program")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || { echo "missing: ${missing[*]}; please install them" >&2; return 1; }
    echo "engine: installing docker.io for ${missing[*]}" >&2
    mkdir -p "$state"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        docker.io iptables iproute2 procps; } >"$state/apt.log" 2>&1 || { tail -n 20 "$state/apt.log" >&2; return 1; }
}

start_dockerd() {
    local runtime=()
    lacks_sys_resource && runtime=(--add-runtime "kept=$here/runc-without-sys-resource" --default-runtime kept)
    setsid dockerd --data-root "$state/data" --exec-root "$state/exec" --pidfile "$state/dockerd.pid" \
        -H "$socket" "${runtime[@]}" >"$state/dockerd.log" 2>&1 </dev/null &
    for _ in $(seq 60); do
        answers "$socket" && return
        sleep 0.5
    done
    tail -n 5 "$state/dockerd.log" >&2
    echo "dockerd did not come up, see $state/dockerd.log" >&2
    return 1
}

# Bit 24 of the bounding set. Inside a sandbox it may be taken away, and then `--privileged` fails.
lacks_sys_resource() {
    local set
    set=$(awk '/^CapBnd/ { print $2 }' /proc/self/status)
    (( (0x$set >> 24 & 1) == 0 ))
}

keep_inside() {
    local device
    device=$(ip route show default | sed -n 's/.* dev \([^ ]*\).*/\1/p' | head -n 1)
    [ -n "$device" ] || return 0
    iptables -C DOCKER-USER -o "$device" -j REJECT 2>/dev/null || iptables -I DOCKER-USER -o "$device" -j REJECT
}

down() {
    local pid
    [ -f "$state/dockerd.pid" ] || return 0
    pid=$(cat "$state/dockerd.pid")
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 60); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.5
    done
    ip link delete docker0 2>/dev/null || true
    iptables-save | grep -vE 'DOCKER|docker0|br-[0-9a-f]{12}' | iptables-restore
    iptables -P FORWARD ACCEPT
    sysctl -q -p "$state/sysctl.before" && rm -f "$state/sysctl.before" "$state/docker.sock"
}

case ${1:-} in
    host | up | down) "$1" ;;
    *) sed -n 's/^#  *\(engine.sh .*\)/usage: \1/p' "$0" >&2; exit 64 ;;
esac
