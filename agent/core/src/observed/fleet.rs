//! The fleet, and the control plane on this host.

use crate::api::{Holder, LeaseName, Version};
use crate::time::Mono;

/// The control plane on this host, asked directly.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LocalControlPlane {
    /// When it was asked.
    pub at: Mono,
    /// Whether this host's API server answers `/readyz` with ok.
    pub api_server_ready: bool,
    /// etcd, where it is stacked; none for an external one.
    pub etcd: Option<EtcdSeen>,
}

/// etcd as its own members describe it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EtcdSeen {
    /// How many voting members there are.
    pub members: usize,
    /// How many of all members answer as healthy.
    pub healthy: usize,
    /// How many learners there are.
    pub learners: usize,
    /// Active alarms.
    pub alarms: usize,
}

/// A Lease of ours in the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetLease {
    /// Which.
    pub name: LeaseName,
    /// holderIdentity, if one is set.
    pub holder: Option<String>,
    /// Why its holder is degraded, if it is.
    pub degraded: Option<String>,
}

impl FleetLease {
    /// Whether this Lease is held by somebody who is not `me`.
    pub fn held_by_other_than(&self, me: &Holder) -> bool {
        self.holder.as_ref().is_some_and(|holder| *holder != me.to_string())
    }
}

/// A Node of the fleet, in a small form.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct FleetNode {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Whether it is Ready.
    pub ready: bool,
    /// Whether it is cordoned.
    pub unschedulable: bool,
    /// Whether it carries the control-plane role label.
    pub control_plane: bool,
    /// Whether people asked for it to count nowhere.
    pub ignored: bool,
    /// Whether its agent reports it degraded.
    pub degraded: bool,
    /// Whether its agent's cordon stands: it is in the middle of an upgrade, with or without its Lease.
    pub mid_upgrade: bool,
    /// Its target, where one is given and can be read.
    pub target: Option<Version>,
    /// The version its agent last verified.
    pub current: Option<Version>,
    /// The version its kubelet reports.
    pub kubelet: Option<Version>,
}

impl FleetNode {
    /// Whether its target is given and not yet reached.
    pub fn has_unmet_target(&self) -> bool {
        self.target.is_some_and(|target| !self.ignored && self.current.is_none_or(|current| current < target))
    }
}

/// A static control-plane pod of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlanePod {
    /// The node it runs on.
    pub node: String,
    /// `kube-apiserver`, `etcd`, ….
    pub component: String,
    /// The version its running image's tag names, where it names one.
    pub version: Option<Version>,
    /// Whether it is Ready.
    pub ready: bool,
}

/// The fleet on one consistent read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FleetSeen {
    /// When the reads began: anything claimed before is in it.
    pub at: Mono,
    /// Every Node.
    pub nodes: Vec<FleetNode>,
    /// Our Leases.
    pub leases: Vec<FleetLease>,
    /// The control plane's static pods.
    pub pods: Vec<ControlPlanePod>,
    /// The version kubeadm-config names: what `kubeadm upgrade apply` last wrote.
    pub kubeadm_config: Option<Version>,
}

/// What a waiting agent sees: Leases, and the Nodes of the control plane.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TurnSeen {
    /// When it was last updated.
    pub at: Mono,
    /// Our Leases.
    pub leases: Vec<FleetLease>,
    /// The control-plane Nodes.
    pub control_planes: Vec<FleetNode>,
}
