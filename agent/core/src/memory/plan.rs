//! What an upgrade installs: resolved once, before anything is touched.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::api::{KubeadmCommand, PackageVersion, Version};

/// What a plan installs, and with which command of kubeadm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What is installed now: the way back.
    pub from: Packages,
    /// What shall be installed.
    pub to: Packages,
    /// Decided once and journaled: after a crash the cluster would give the wrong answer (design rule 3).
    pub command: KubeadmCommand,
    /// The target's version.
    pub target: Version,
    /// Whether the present packages were fetched too, so that backing out can put kubeadm back.
    pub can_restore_packages: bool,
    /// DaemonSets whose pods here were Ready, as `namespace/name`: they must be Ready again.
    pub daemon_sets: BTreeSet<String>,
    /// CSI drivers registered here: they must register again.
    pub csi_drivers: BTreeSet<String>,
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
