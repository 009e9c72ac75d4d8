#!/usr/bin/env bash
# The programs of a Kubernetes control plane, built from Go modules and kept outside the checkout.
#
#   scripts/cluster-tools.sh         kube-apiserver kube-controller-manager etcd kubectl helm
#   scripts/cluster-tools.sh all     also kube-scheduler kubelet kubeadm kube-proxy, for a node image
#   scripts/cluster-tools.sh path    builds nothing
#
# Prints the folder; everything else goes to standard error. Versions are those of
# tests/cluster/tools/go.mod; another go.mod or go.sum makes another folder, so nothing ever goes stale.
# Exits with 3 when Go is missing.
set -euo pipefail
cd "$(dirname "$0")/../tests/cluster/tools"

# The version that go.mod pins for a module.
pinned() { awk -v module="$1" '$1 == module && $2 ~ /^v/ {print $2; exit}' go.mod; }

kubernetes=$(pinned k8s.io/kubernetes)
modules_hash=$(cat go.mod go.sum | sha256sum | cut -c1-12)
folder=${XDG_CACHE_HOME:-$HOME/.cache}/tidegate/kubernetes-$kubernetes-$modules_hash
echo "$folder"

commands=(kube-apiserver kube-controller-manager kubectl)
case ${1:-} in
    path) exit ;;
    all) commands+=(kube-scheduler kubelet kubeadm kube-proxy) ;;
esac

missing() {
    for program in etcd helm "${commands[@]}"; do
        [ -x "$folder/$program" ] || echo "$program"
    done
}
[ -n "$(missing)" ] || exit 0

if ! command -v go >/dev/null; then
    echo "cluster-tools: Go is missing (1.24 or newer): no tests on a Kubernetes control plane" >&2
    exit 3
fi
mkdir -p "$folder"
# One build at a time; who waited finds everything there.
exec 9>"$folder/.lock"
flock 9
wanted=$(missing)
[ -n "$wanted" ] || exit 0
echo "cluster-tools: building" $wanted "$kubernetes into $folder; once, up to ten minutes on two cores" >&2

# What the programs say when they are asked for their version.
major=${kubernetes#v}
minor=${major#*.}
stamp="-X helm.sh/helm/v3/internal/version.version=$(pinned helm.sh/helm/v3)"
# Which Kubernetes `helm template` takes for granted.
for package in lint/rules chartutil; do
    stamp+=" -X helm.sh/helm/v3/pkg/$package.k8sVersionMajor=${major%%.*}"
    stamp+=" -X helm.sh/helm/v3/pkg/$package.k8sVersionMinor=${minor%%.*}"
done
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    stamp+=" -X $package.gitVersion=$kubernetes -X $package.gitMajor=${major%%.*}"
    stamp+=" -X $package.gitMinor=${minor%%.*} -X $package.gitCommit=unknown"
    stamp+=" -X $package.gitTreeState=clean -X $package.buildDate=1970-01-01T00:00:00Z"
done

packages=()
for program in $wanted; do
    case $program in
        etcd) packages+=(go.etcd.io/etcd/server/v3) ;;
        helm) packages+=(helm.sh/helm/v3/cmd/helm) ;;
        *) packages+=("k8s.io/kubernetes/cmd/$program") ;;
    esac
done
# Built aside and moved, so that a build that was broken off leaves no half program.
rm -rf "$folder"/.build-*
fresh=$(mktemp -d "$folder/.build-XXXXXX")
trap 'rm -rf "$fresh"' EXIT
CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w $stamp" -o "$fresh/" "${packages[@]}" >&2
# Go names a main package at the root of a module v3 after the folder above.
[ ! -e "$fresh/server" ] || mv "$fresh/server" "$fresh/etcd"
mv "$fresh"/* "$folder/"
