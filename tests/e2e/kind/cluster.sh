#!/usr/bin/env bash
# A kind cluster of three nodes for the end-to-end test.
#
#   cluster.sh up KUBECONFIG      makes it, and writes how to reach it
#   cluster.sh load NODES IMAGE…  gives images to the nodes of a role, `control-plane` or `worker`
#   cluster.sh down               deletes it
#
# KIND_IMAGE names a node image; `published` is the one that kind itself asks a registry for. Without it
# one is built here where that is possible (root on Debian), see node-image.sh. Wanted: Go; DOCKER_HOST;
# TIDEGATE_CLUSTER_TOOLS, the folder that scripts/cluster-tools.sh prints.
set -euo pipefail
shopt -s inherit_errexit
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tidegate
tools=$cache/kind-$(cat "$here"/tools/go.{mod,sum} "$here"/tools/*/main.go | sha256sum | cut -c1-12)
name=tidegate-e2e

# Builds programs of tools/go.mod that are not there yet.
tools() {
    local package
    mkdir -p "$tools"
    for package; do
        [ -x "$tools/$(basename "$package")" ] || (
            cd "$here/tools"
            echo "cluster: building $(basename "$package")" >&2
            CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$tools/" "$package"
        )
    done
}

kind() {
    tools sigs.k8s.io/kind
    "$tools/kind" "$@"
}

can_build() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

debootstrap_package() {
    echo "cluster: installing debootstrap"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends debootstrap >/dev/null
}

node_image() {
    if [ -z "${KIND_IMAGE:-}" ] && can_build; then
        command -v debootstrap >/dev/null || debootstrap_package >&2
        tools ./coredns ./pause
        "$here/node-image.sh" "$("$here/../../../scripts/cluster-tools.sh" all)" "$tools"
    elif [ "${KIND_IMAGE:-published}" != published ]; then
        echo "$KIND_IMAGE"
    fi
}

up() {
    local image
    image=$(node_image)
    kind delete cluster --quiet --name "$name" >/dev/null 2>&1 || true
    kind create cluster --quiet --name "$name" --config "$here/nodes.yaml" --kubeconfig "$1" \
        --wait 120s ${image:+--image "$image"} >&2
    case $image in tidegate-e2e/*) routes "$1" ;; esac
}

# Pods of one node reach those of another: what the published image has a daemon for.
routes() {
    local node range address other
    local format='{range .items[*]}{.metadata.name} {.spec.podCIDR} {.status.addresses[0].address}{"\n"}{end}'
    local kubectl=("$TIDEGATE_CLUSTER_TOOLS/kubectl" --kubeconfig "$1")
    "${kubectl[@]}" wait --for=condition=Ready nodes --all --timeout=120s >/dev/null
    "${kubectl[@]}" get nodes -o jsonpath="$format" | while read -r node range address; do
        for other in $(kind get nodes --name "$name"); do
            [ "$other" = "$node" ] || docker exec "$other" ip route replace "$range" via "$address" </dev/null
        done
    done
}

load() {
    local nodes
    nodes=$(kind get nodes --name "$name" | grep -- "-$1" | paste -sd,)
    kind load docker-image --quiet --name "$name" --nodes "$nodes" "${@:2}"
}

down() { kind delete cluster --quiet --name "$name" >&2; }

case ${1:-} in
    up | load | down) "$@" ;;
    *) sed -n 's/^# *\(cluster.sh .*\)/usage: \1/p' "$0" >&2; exit 64 ;;
esac
