#!/bin/sh
# The upgrade of one node as administrators script it: what the agent is measured against.
#
# ORDER says what comes first. drain-first: the node is out of service before anything of it is changed. documentation:
# as on https://kubernetes.io/docs/tasks/administer-cluster/kubeadm/kubeadm-upgrade/, where it stays in service until
# its kubelet is upgraded.
#
# Run on the host, as from an administrator's machine. NODE, TARGET (1.36.3), PACKAGE (1.36.3-1.1), VERB (the words
# after `kubeadm upgrade`), UPGRADE_CONFIG (its file), ON (the command that runs another one on a node), KUBECTL and
# KUBECONFIG are given. Each step is told with its time, in seconds of Unix time.
set -eu

step() { echo "step $(date +%s.%N) $1"; }
on_node() { $ON "$NODE" -- env DEBIAN_FRONTEND=noninteractive "$@" >/dev/null; }
install_packages() {
    on_node apt-get install -y -o Dpkg::Options::=--force-confold --allow-change-held-packages "$@"
}

drain() {
    step draining
    "$KUBECTL" drain "$NODE" --ignore-daemonsets --delete-emptydir-data >/dev/null
}
upgrade_by_kubeadm() {
    step staging
    on_node apt-get update
    install_packages "kubeadm=$PACKAGE"
    step applying
    # shellcheck disable=SC2086 # several words
    on_node kubeadm upgrade $VERB --config "$UPGRADE_CONFIG"
}
upgrade_kubelet() {
    step installing
    install_packages "kubelet=$PACKAGE" "kubectl=$PACKAGE"
    step restarting
    on_node systemctl daemon-reload
    on_node systemctl restart kubelet
    step verifying
    "$KUBECTL" wait "node/$NODE" --for=jsonpath='{.status.nodeInfo.kubeletVersion}'="v$TARGET" --timeout=5m >/dev/null
    "$KUBECTL" wait "node/$NODE" --for=condition=Ready --timeout=5m >/dev/null
}
uncordon() {
    step uncordoning
    "$KUBECTL" uncordon "$NODE" >/dev/null
}

case $ORDER in
drain-first)
    drain
    upgrade_by_kubeadm
    ;;
documentation)
    upgrade_by_kubeadm
    drain
    ;;
*)
    echo "ORDER is drain-first or documentation, not $ORDER" >&2
    exit 2
    ;;
esac
upgrade_kubelet
uncordon
step done
on_node apt-mark hold kubeadm kubelet kubectl
