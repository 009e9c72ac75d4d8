#!/bin/bash
# The pod network of one node without an image of its own: waits until the node has a range of
# addresses, writes the CNI configuration for it, and masquerades what leaves the cluster. Routes between
# nodes are cluster.sh's: a kubelet may read no Node but its own.
set -u
export KUBECONFIG=/etc/kubernetes/kubelet.conf
until range=$(timeout 10 kubectl get node "$(hostname)" -o jsonpath='{.spec.podCIDR}' 2>/dev/null) && [ -n "$range" ]; do
    sleep 0.5
done
cat >/etc/cni/net.d/.10-static.new <<JSON
{"cniVersion": "0.4.0", "name": "static", "plugins": [
  {"type": "ptp", "ipMasq": false, "mtu": 1500, "ipam": {"type": "host-local", "dataDir": "/run/cni-ipam-state",
    "routes": [{"dst": "0.0.0.0/0"}], "ranges": [[{"subnet": "$range"}]]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
mv /etc/cni/net.d/.10-static.new /etc/cni/net.d/10-static.conflist
pods=10.244.0.0/16
iptables -t nat -C POSTROUTING -s "$range" ! -d "$pods" -o eth0 -j MASQUERADE 2>/dev/null \
    || iptables -t nat -A POSTROUTING -s "$range" ! -d "$pods" -o eth0 -j MASQUERADE
