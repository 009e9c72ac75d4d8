#!/usr/bin/env bash
# The whole test suite in the order of its cost. Every step runs even when an earlier one failed; the
# last line counts. Output of each step is kept under target/test-logs.
#
# Wanted from the environment: TIDEGATE_PYTHON, TIDEGATE_SERVICES, TIDEGATE_BIN (the Makefile sets them).
set -uo pipefail
cd "$(dirname "$0")/.." || exit

logs=target/test-logs
rm -rf "$logs"
mkdir -p "$logs"
failed_steps=()
steps=0
# What could not be run here and why, said again at the end.
left_out=()

# step NAME COMMAND…: runs, shows and keeps the output, remembers a failure.
step() {
    local name=$1 started=$SECONDS
    shift
    steps=$((steps + 1))
    echo
    echo "== $name: $*"
    if "$@" 2>&1 | tee "$logs/$name.log"; then
        echo "== $name: passed in $((SECONDS - started)) s"
    else
        echo "== $name: FAILED after $((SECONDS - started)) s"
        failed_steps+=("$name")
    fi
}

with_services() {
    PATH="$TIDEGATE_SERVICES:$PATH" "$@"
}

# The programs of a Kubernetes control plane.
tools=$(scripts/cluster-tools.sh)
case $? in
    0) export TIDEGATE_CLUSTER_TOOLS=$tools ;;
    3)
        tools=
        left_out+=("tests on a Kubernetes control plane and of the charts: Go 1.24 or newer is missing")
        ;;
    *)
        tools=
        failed_steps+=(cluster-tools)
        ;;
esac

# Stand-ins for the object stores of clouds.
without=()
has() { [ -x "$TIDEGATE_SERVICES/$1" ] || command -v "$1" >/dev/null; }
has azurite-blob || { without+=(--skip azure); left_out+=("the tests of abfss://: azurite is missing, see make setup"); }
has fake-gcs-server || { without+=(--skip google); left_out+=("the tests of gs://: fake-gcs-server is missing, see make setup"); }
# A disk that fills is a small file system of its own.
[ "$(id -u)" = 0 ] || { without+=(--skip crash_a_full_disk); left_out+=("the test of a full disk: mounting a small file system needs root"); }

step fmt cargo fmt --all --check
# Without the services: the promise is that these tests need nothing.
step unit env -u TIDEGATE_SERVICES -u TIDEGATE_PYTHON cargo test --release --locked --workspace --no-fail-fast
# The programs under test, with the features that the tests were compiled with.
step build cargo build --release --locked --workspace --bins
step generated "$(dirname "$TIDEGATE_BIN")/xtask" check
step service with_services cargo test --release --locked --workspace --no-fail-fast \
    -- --ignored --skip cluster_ --skip cluster:: "${without[@]}"
# Those on a control plane mostly wait for others, so more of them go side by side than there are cores.
[ -z "$tools" ] || RUST_TEST_THREADS=6 step cluster with_services cargo test --release --locked \
    --workspace --no-fail-fast -- --ignored cluster_ cluster::
step interop "$TIDEGATE_PYTHON" tests/interop.py
step charts scripts/charts.sh
if [ -z "${TIDEGATE_CLUSTER_TOOLS:-}" ]; then
    left_out+=("the end-to-end test in kind: Go is missing")
elif ! engine=$(scripts/engine.sh host 2>&1); then
    left_out+=("the end-to-end test in kind: $engine")
else
    step e2e scripts/e2e.sh
fi
step clippy cargo clippy --release --locked --workspace --all-targets -- -D warnings

# cargo's closing lines: `test result: ok. 12 passed; 0 failed; 3 ignored; …`; the scripts of interop
# and charts write the same words. Ignored ones of `unit` are the ones that `service` and `cluster` run, so
# they are not counted.
count() {
    cat "$logs"/{unit,service,cluster,interop,charts,e2e}.log 2>/dev/null \
        | sed -nE "s/^test result: .* ([0-9]+) $1.*/\1/p" | awk '{ sum += $1 } END { print sum + 0 }'
}

# Who only sees the last lines of all this, as of a machine elsewhere, sees why.
for name in "${failed_steps[@]}"; do
    [ ! -s "$logs/$name.log" ] || { echo; echo "== the end of $name:"; tail -n 60 "$logs/$name.log"; }
done

echo
for what in "${left_out[@]}"; do echo "left out: $what"; done
echo "$(count passed) passed, $(count failed) failed, ${#failed_steps[@]} of $steps steps failed${failed_steps:+: ${failed_steps[*]}}"
[ ${#failed_steps[@]} -eq 0 ]
