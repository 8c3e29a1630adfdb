//! This host: its packages, its units, the tools that run on it.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::{PackageVersion, TurnId};
use crate::time::{Mono, Unix};

/// State of one package in dpkg's database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageSeen {
    /// The version dpkg names.
    pub version: PackageVersion,
    /// Whether it is fully installed and configured.
    pub configured: bool,
    /// Whether it is held.
    pub held: bool,
}

/// A systemd unit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnitSeen {
    /// Whether its state is `active`.
    pub active: bool,
    /// systemd's invocation ID: a new one with every start.
    pub invocation: String,
    /// When it last became active.
    pub since: Unix,
}

/// How the transient unit of a tool stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolState {
    /// Still running.
    Running,
    /// Ended with this exit status; a signal counts as 128 and its number.
    Ended(i32),
}

/// This host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostSeen {
    /// When it was looked at.
    pub at: Mono,
    /// The packages kubeadm, kubelet, kubectl by name, where installed.
    pub packages: BTreeMap<String, PackageSeen>,
    /// Whether dpkg was interrupted and needs `dpkg --configure -a`.
    pub dpkg_interrupted: bool,
    /// kubelet's unit.
    pub kubelet: UnitSeen,
    /// Whether this host carries a static kube-apiserver (or a copy says it did).
    pub control_plane: bool,
    /// Static pod manifests that stand in the backup of the present turn and not in their place.
    pub missing_manifests: BTreeSet<String>,
    /// The turn whose backup of manifests and kubelet configuration is complete.
    pub backup: Option<TurnId>,
    /// Whether kubelet's configuration differs from that backup.
    pub kubelet_config_changed: bool,
    /// Our transient units by name, running or ended and not yet tidied up.
    pub tools: BTreeMap<String, ToolState>,
    /// The last lines each tool that failed has written.
    pub last_words: BTreeMap<String, String>,
}

impl HostSeen {
    /// The installed version of a package.
    pub fn version(&self, package: &str) -> Option<&PackageVersion> {
        self.packages.get(package).map(|seen| &seen.version)
    }
}
