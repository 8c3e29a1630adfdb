//! The pods of this node.

use std::collections::{BTreeMap, BTreeSet};

use crate::time::{Mono, Unix};

/// A pod on this node, with what drain rules and verification need.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct PodSeen {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID: a pod of the same name with another UID is another pod.
    pub uid: String,
    /// Labels, for selectors and components.
    pub labels: BTreeMap<String, String>,
    /// The controlling owner, where there is one.
    pub controller: Option<Owner>,
    /// Whether it mirrors a static pod.
    pub mirror: bool,
    /// Whether it has an emptyDir volume.
    pub empty_dir: bool,
    /// Whether its phase is Succeeded or Failed.
    pub finished: bool,
    /// Whether its phase is Pending: no disruption budget protects it yet.
    pub pending: bool,
    /// Whether its priority is that of the system's critical classes.
    pub critical: bool,
    /// Seconds it may take to end.
    pub grace: u64,
    /// What else has to happen before it may vanish once it has ended.
    pub finalizers: Vec<String>,
    /// Whether its Ready condition is True.
    pub ready: bool,
    /// How long after a restart of kubelet its Ready may still be that from before: the time its probes take.
    pub probes_settle: std::time::Duration,
    /// Whether its deletion was asked for, and when its grace period ends.
    pub deletion: Option<Unix>,
    /// Image and readiness of each container, from the container statuses.
    pub containers: Vec<ContainerSeen>,
}

/// The controller in a pod's owner references.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Owner {
    /// `apps/v1`.
    pub api_version: String,
    /// `DaemonSet`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// A container's status.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContainerSeen {
    /// Its name.
    pub name: String,
    /// The image reference the status names.
    pub image: String,
    /// Whether it is ready.
    pub ready: bool,
}

/// The pods of this node on a fresh list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodsSeen {
    /// When they were listed.
    pub at: Mono,
    /// All pods bound to this node.
    pub pods: Vec<PodSeen>,
    /// CSI drivers registered on this node.
    pub csi_drivers: BTreeSet<String>,
}
