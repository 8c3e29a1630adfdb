#!/bin/sh
# The upgrade of one node as administrators script it: what the agent is measured against.
#
# Run on the host, as from an administrator's machine. NODE, TARGET (1.36.3), PACKAGE (1.36.3-1.1), VERB (the words
# after `kubeadm upgrade`), ON (the command that runs another one on a node), KUBECTL and KUBECONFIG are given.
# Each step is told with its time, in seconds of Unix time.
set -eu

step() { echo "step $(date +%s.%N) $1"; }
on_node() { $ON "$NODE" -- env DEBIAN_FRONTEND=noninteractive "$@" >/dev/null; }
install_packages() {
    on_node apt-get install -y -o Dpkg::Options::=--force-confold --allow-change-held-packages "$@"
}

step draining
"$KUBECTL" drain "$NODE" --ignore-daemonsets --delete-emptydir-data >/dev/null
step staging
on_node apt-get update
install_packages "kubeadm=$PACKAGE"
step applying
# shellcheck disable=SC2086 # several words
on_node kubeadm upgrade $VERB --config "$UPGRADE_CONFIG"
step installing
install_packages "kubelet=$PACKAGE" "kubectl=$PACKAGE"
step restarting
on_node systemctl daemon-reload
on_node systemctl restart kubelet
step verifying
"$KUBECTL" wait "node/$NODE" --for=jsonpath='{.status.nodeInfo.kubeletVersion}'="v$TARGET" --timeout=5m >/dev/null
"$KUBECTL" wait "node/$NODE" --for=condition=Ready --timeout=5m >/dev/null
step uncordoning
"$KUBECTL" uncordon "$NODE" >/dev/null
step done
on_node apt-mark hold kubeadm kubelet kubectl
