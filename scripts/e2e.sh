#!/usr/bin/env bash
# make e2e: both charts, a broker, a store and a pipeline in a kind cluster, and everything that can
# happen to it.
#
#   e2e.sh           all of it; the cluster is deleted at the end
#   e2e.sh --keep    leaves the cluster, and says how to reach it
#
# Exits with 3 when there is no container engine, or no Go to build the cluster with. Wanted from the
# environment: TIDEGATE_BIN, TIDEGATE_SERVICES, TIDEGATE_PYTHON (the Makefile sets them).
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."
output=$PWD/target/e2e
cluster=tests/e2e/kind/cluster.sh
kept=
[ "${1:-}" != --keep ] || { kept=yes; shift; }

DOCKER_HOST=$(scripts/engine.sh host) || exit 3
TIDEGATE_CLUSTER_TOOLS=$(scripts/cluster-tools.sh)
export DOCKER_HOST DOCKER_BUILDKIT=0 TIDEGATE_CLUSTER_TOOLS KUBECONFIG=$output/kubeconfig
[ "$(df --output=avail target | tail -n 1)" -gt 6000000 ] \
    || echo "e2e: less than 6 GB are free; images may not fit, and the store stops writing at 99 %" >&2
rm -rf "$output"
mkdir -p "$output/context"

say() { echo "e2e: $* (after $SECONDS s)"; }

# build NAME DOCKERFILE CONTEXT [ARGUMENT…]
build() {
    local name=$1 file=$2 context=$3
    shift 3
    docker build --quiet --file "$file" --tag "$name" "$@" "$context" >"$output/build.log" 2>&1 \
        || { cat "$output/build.log" >&2; return 1; }
}

finish() {
    if [ -n "$kept" ]; then
        say "the cluster stays: export DOCKER_HOST=$DOCKER_HOST KUBECONFIG=$KUBECONFIG"
    else
        "$cluster" down || true
    fi
}

say "images"
scripts/image.sh "$TIDEGATE_BIN" tidegate:e2e
# The same program under another name: what an upgrade does to pods does not depend on what is in it.
docker tag tidegate:e2e tidegate:e2e-next
cp -L "$TIDEGATE_SERVICES"/{nats-server,weed} "$output/context/"
build tidegate-e2e/services:test tests/e2e/services.Dockerfile "$output/context"
tests/e2e/postgres-files.sh "$output/postgres"
build tidegate-e2e/postgres:test tests/e2e/postgres.Dockerfile "$output/postgres"
"$TIDEGATE_PYTHON" tests/e2e/flow.py "$output/context/data"
build tidegate-e2e/publisher:test tests/e2e/publisher.Dockerfile "$output/context" --build-arg IMAGE=tidegate:e2e
rm -rf "$output/context" "$output/postgres"

say "a cluster"
trap finish EXIT
"$cluster" up "$KUBECONFIG"
"$cluster" load control-plane tidegate-e2e/services:test tidegate-e2e/postgres:test
"$cluster" load worker tidegate:e2e tidegate:e2e-next tidegate-e2e/publisher:test

say "the scenario"
"$TIDEGATE_PYTHON" tests/e2e/run.py "$@"
