#!/usr/bin/env bash
# kind's node image where no container registry can be reached: a Debian from its package mirror, and
# Kubernetes built from Go modules. Prints the image's name; builds only what is not there.
#
#   node-image.sh KUBERNETES TOOLS    folders with Kubernetes' programs, and with coredns, pause and kind
#
# Wants root on Debian 12 and a container engine (DOCKER_HOST). What `kind build node-image` does with
# images of a registry is done here with images that are put together from the same programs.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
kubernetes=$1
tools=$2
export DOCKER_BUILDKIT=0

version=$("$kubernetes/kubelet" --version | cut -d' ' -f2)
recipe=$(cat "$here"/{node-image,rootfs,component-images,static-cni}.sh "$here"/static-cni.service \
    "$here"/tools/go.sum "$here"/tools/*/main.go | sha256sum | cut -c1-12)
image=tidegate-e2e/node:$version-$recipe
echo "$image"
! docker image inspect "$image" >/dev/null 2>&1 || exit 0

say() { echo "node image: $*" >&2; }

# Its folder is not known before it was downloaded.
kind_source=$(cd "$here/tools" && go mod download sigs.k8s.io/kind && go list -m -f '{{.Dir}}' sigs.k8s.io/kind)
[ -d "$kind_source/images/base/files" ] || { say "kind's source is not where Go says: $kind_source"; exit 1; }
work=$(mktemp -d "${XDG_CACHE_HOME:-$HOME/.cache}/tidegate/node-image-XXXXXX")
builder=tidegate-node-image-$$
base=tidegate-e2e/base:$recipe
trap 'docker rm -f -v "$builder" >/dev/null 2>&1; docker rmi "$base" >/dev/null 2>&1; rm -rf "$work"' EXIT

say "a Debian in $work, once; about two minutes"
"$here/rootfs.sh" "$work/rootfs" "$kind_source" >"$work.log" 2>&1 || { tail -n 20 "$work.log" >&2; exit 1; }
rm -f "$work.log"
tar -C "$work/rootfs" -c . | docker import \
    --change 'ENV container=docker' \
    --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    - "$base" >/dev/null
# The signal at which systemd goes down; neither import nor commit can set it.
printf 'FROM %s\nSTOPSIGNAL SIGRTMIN+3\n' "$base" | docker build --quiet --tag "$base" - >/dev/null 2>&1

say "images of the control plane $version"
"$here/component-images.sh" "$kubernetes" "$tools" "$work/rootfs" "$work/images.tar"

say "a node of both"
node=$work/node
mkdir -p "$node"/{usr/bin,kind/bin,kind/manifests,etc/systemd/system/multi-user.target.wants}
install -m755 "$kubernetes"/{kubeadm,kubelet,kubectl} "$node/usr/bin/"
install -m755 "$here/static-cni.sh" "$node/kind/bin/"
install -m644 "$here/static-cni.service" "$node/etc/systemd/system/"
ln -s /etc/systemd/system/static-cni.service "$node/etc/systemd/system/multi-user.target.wants/"
printf %s "$version" >"$node/kind/version"
# kind applies what stands here. The network is static-cni's, and the tests bring their own volumes.
cat >"$node/kind/manifests/default-cni.yaml" <<'YAML'
apiVersion: v1
kind: ConfigMap
metadata: {name: static-cni, namespace: kube-system}
data: {podSubnet: "{{ .PodSubnet }}"}
YAML
cat >"$node/kind/manifests/default-storage.yaml" <<'YAML'
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: standard}
provisioner: kubernetes.io/no-provisioner
YAML

docker run -d --name "$builder" --privileged --security-opt seccomp=unconfined --entrypoint sleep \
    "$base" infinity >/dev/null
tar -C "$node" --owner=0 --group=0 -c . | docker exec -i "$builder" tar -C / -x --no-overwrite-dir -f -
# One shell holds containerd, so that it can wait until containerd has written everything.
docker exec -i "$builder" bash -c '
    containerd >/dev/null 2>&1 &
    for _ in $(seq 100); do ctr version >/dev/null 2>&1 && break; sleep 0.2; done
    ctr -n k8s.io images import --all-platforms --no-unpack - >/dev/null || exit
    kill %1; wait; rm -rf /run/containerd/*' <"$work/images.tar"
docker commit --change 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]' "$builder" "$image" >/dev/null
say "built $image"
