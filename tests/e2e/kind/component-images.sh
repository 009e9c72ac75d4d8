#!/usr/bin/env bash
# component-images.sh KUBERNETES TOOLS ROOTFS OUT: the images of a control plane under the names that
# kubeadm and containerd ask for, made of the programs in the two folders, as one archive.
set -euo pipefail
kubernetes=$1
tools=$2
rootfs=$3
out=$4
version=$("$kubernetes/kubelet" --version | cut -d' ' -f2)
names=$("$kubernetes/kubeadm" config images list --kubernetes-version "$version" 2>/dev/null)
work=$(mktemp -d "$(dirname "$out")/images-XXXXXX")
trap 'rm -rf "$work"' EXIT
made=()

# image NAME FOLDER [ENTRYPOINT]
image() {
    local entry=()
    [ -z "${3:-}" ] || entry=(--change "ENTRYPOINT [\"$3\"]")
    tar -C "$2" --owner=0 --group=0 --numeric-owner -c . | docker import \
        --change 'ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' "${entry[@]}" - "$1" >/dev/null
    made+=("$1")
}

# program NAME FILE PLACE: an image of one static program.
program() {
    local folder
    folder=$(mktemp -d -p "$work")
    install -D -m755 "$2" "$folder$3"
    mkdir -p "$folder"/{tmp,etc}
    chmod 1777 "$folder/tmp"
    echo 'root:x:0:0:root:/:/sbin/nologin' >"$folder/etc/passwd"
    image "$1" "$folder" "$3"
}

# name_of COMPONENT: what kubeadm calls its image.
name_of() { grep -m 1 "/$1:" <<<"$names"; }

for component in kube-apiserver kube-controller-manager kube-scheduler etcd; do
    program "$(name_of "$component")" "$kubernetes/$component" "/usr/local/bin/$component"
done
program "$(name_of coredns)" "$tools/coredns" /coredns
# The one of kubeadm and the one of kind's containerd.
for pause in $({ name_of pause; echo registry.k8s.io/pause:3.10; } | sort -u); do
    program "$pause" "$tools/pause" /pause
done

# take FOLDER FILE…: files of the Debian, and the libraries that they load, under the same paths.
take() {
    local folder=$1 file library
    shift
    for file; do
        for library in "$file" $(chroot "$rootfs" ldd "$file" | grep -o '/[^ ]*'); do
            [ -e "$folder$library" ] || install -D -m755 "$(realpath -e "$rootfs$library")" "$folder$library"
        done
    done
}

# kube-proxy calls iptables, nft and conntrack.
proxy=$work/proxy
mkdir -p "$proxy"/{usr/local/bin,usr/sbin,tmp,etc,run}
install -m755 "$kubernetes/kube-proxy" "$proxy/usr/local/bin/"
take "$proxy" /usr/sbin/xtables-nft-multi /usr/sbin/nft /usr/sbin/conntrack \
    $(cd "$rootfs" && printf '/%s ' usr/lib/*/xtables/*.so)
for name in {ip,ip6}tables{,-save,-restore}; do
    ln -s xtables-nft-multi "$proxy/usr/sbin/$name"
done
image "$(name_of kube-proxy)" "$proxy"

docker save -o "$out" "${made[@]}"
docker rmi "${made[@]}" >/dev/null
