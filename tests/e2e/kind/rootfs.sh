#!/usr/bin/env bash
# rootfs.sh FOLDER KIND: a Debian with systemd, containerd and what a kubelet calls, laid out as kind's
# base image is. KIND is the source of sigs.k8s.io/kind, whose files are used as they are.
set -euo pipefail
rootfs=$1
files=$2/images/base/files
packages=systemd,systemd-sysv,dbus,conntrack,iptables,nftables,iproute2,ethtool,mount,kmod,libseccomp2
packages+=,ca-certificates,jq,procps,containerd,runc,containernetworking-plugins,libnss-myhostname,pigz

# The mirror that this machine uses, whatever form its list has.
mirror=$(awk '/^URIs:/ { print $2; exit }' /etc/apt/sources.list.d/*.sources 2>/dev/null || true)
if [ -z "$mirror" ]; then
    mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null \
        | awk '$1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /^https?:/) { print $i; exit } }')
fi
debootstrap --variant=minbase --include="$packages" bookworm "$rootfs" "${mirror:-http://deb.debian.org/debian}"

install -d "$rootfs"/{kind/bin,kind/manifests,etc/containerd,etc/kubernetes/manifests,opt/cni/bin,etc/cni/net.d}
cp -r "$files"/{etc,kind,usr} "$rootfs/"
chmod 755 "$rootfs"/kind/bin/* "$rootfs"/usr/local/bin/*
# kind looks for them where its own build puts them.
for program in containerd ctr containerd-shim-runc-v2; do
    ln -sf "/usr/bin/$program" "$rootfs/usr/local/bin/$program"
done
for plugin in host-local loopback ptp portmap; do
    ln -sf "/usr/lib/cni/$plugin" "$rootfs/opt/cni/bin/$plugin"
done
# Without CAP_SYS_RESOURCE nothing may ask for a lower score than containerd's own.
sed -i 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/' "$rootfs/etc/containerd/config.toml"

# As in kind's Dockerfile: only what a node needs is started.
chroot "$rootfs" /bin/bash -eu <<'INSIDE'
find /lib/systemd/system/sysinit.target.wants/ -name systemd-tmpfiles-setup.service -delete
rm -f /lib/systemd/system/multi-user.target.wants/* /etc/systemd/system/*.wants/* \
    /lib/systemd/system/local-fs.target.wants/* /lib/systemd/system/sockets.target.wants/*udev* \
    /lib/systemd/system/sockets.target.wants/*initctl* /lib/systemd/system/basic.target.wants/*
echo ReadKMsg=no >>/etc/systemd/journald.conf
ln -sf /usr/lib/systemd/systemd /sbin/init
systemctl enable kubelet.service containerd.service undo-mount-hacks.service
systemctl mask systemd-binfmt.service
ctr oci spec | jq '.hooks.createContainer += [{"path": "/kind/bin/mount-product-files.sh"}] | del(.process.rlimits)' \
    >/etc/containerd/cri-base.json
rm -rf /var/cache/apt/archives/*.deb /var/lib/apt/lists/* /usr/share/doc/* /usr/share/man/* /var/log/*.log
INSIDE
