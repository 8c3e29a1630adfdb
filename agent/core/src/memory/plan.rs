//! What an upgrade installs: resolved once, before anything is touched.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::api::{LeaseName, PackageVersion, Version};

/// What a turn installs, and what it found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Plan {
    /// What was installed when the turn began: the way back. A new target does not move it.
    pub from: Packages,
    /// What shall be installed.
    pub to: Packages,
    /// The target's version.
    pub target: Version,
    /// Whether the present packages were fetched too, so that backing out can put kubeadm back.
    pub can_restore_packages: bool,
    /// DaemonSets whose pods here were Ready, as `namespace/name`: they must be Ready again.
    pub daemon_sets: BTreeSet<String>,
    /// CSI drivers registered here: they must register again.
    pub csi_drivers: BTreeSet<String>,
    /// Whether this host carries a control plane.
    pub control_plane: bool,
    /// The version of its static pods then, where they were at one.
    pub static_pods: Option<Version>,
    /// The version kubeadm-config named then.
    pub kubeadm_config: Option<Version>,
    /// Whether the Node was not Ready: its upgrade may be its repair.
    pub found_down: bool,
    /// Whether its kubelet talks to the API server of its own node alone.
    pub own_server: bool,
}

impl Plan {
    /// The Lease its turn needs.
    pub const fn lease(&self) -> LeaseName {
        lease_of(self.control_plane)
    }
}

/// The Lease that the turns of a node need.
pub const fn lease_of(control_plane: bool) -> LeaseName {
    if control_plane { LeaseName::ControlPlane } else { LeaseName::Slot(0) }
}

/// Exact versions of the packages a plan changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packages {
    /// The kubeadm package.
    pub kubeadm: PackageVersion,
    /// The kubelet package.
    pub kubelet: PackageVersion,
    /// The kubectl package, where it is installed.
    pub kubectl: Option<PackageVersion>,
}
