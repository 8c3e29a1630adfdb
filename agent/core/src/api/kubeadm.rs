//! kubeadm's subcommands, which differ from node to node.

use serde::{Deserialize, Serialize};

/// kubeadm's command for this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KubeadmCommand {
    /// `kubeadm upgrade apply`: the first control-plane node, in turn A.
    Apply,
    /// `kubeadm upgrade node` on another control-plane node, in turn A.
    NodeControlPlane,
    /// `kubeadm upgrade node` for the kubelet of a control-plane node, in turn B.
    NodeKubelet,
    /// `kubeadm upgrade node` on a worker.
    NodeWorker,
}

impl KubeadmCommand {
    /// Whether the node carries a control plane.
    pub const fn is_control_plane(self) -> bool {
        !matches!(self, Self::NodeWorker)
    }
}
