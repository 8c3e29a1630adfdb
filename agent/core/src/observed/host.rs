//! This host: its packages, its units, the tools that run on it.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::{PackageVersion, TurnId, Version};
use crate::time::Mono;

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
    pub since: Mono,
}

/// How the transient unit of a tool stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolState {
    /// Still running.
    Running,
    /// Ended with this exit status; a signal counts as 128 and its number.
    Ended(i32),
}

/// A copy of what kubeadm changes, made before one of its runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// The turn it was made in.
    pub turn: TurnId,
    /// The serial of the run it was made for.
    pub run: u32,
}

/// This host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
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
    /// The version in the image of each static pod's manifest, where it names one.
    pub manifests: BTreeMap<String, Version>,
    /// Static pod manifests that stand in a copy of ours and not in their place.
    pub missing_manifests: BTreeSet<String>,
    /// Static pods that carry the Kubernetes version whose manifest is another one than in the first copy of the present turn.
    pub changed_manifests: BTreeSet<String>,
    /// Our finished copies of manifests and kubelet's configuration, oldest first.
    pub copies: Vec<Copy>,
    /// Whether kubelet's configuration differs from the first copy of the present turn.
    pub kubelet_config_changed: bool,
    /// Whether kubelet's configuration is older than the kubeadm that is installed: that one has not written it.
    pub kubelet_config_stale: bool,
    /// Whether kubeadm's instance-config.yaml is there, which names the container runtime's socket.
    pub instance_config: bool,
    /// The container runtime's socket, as kubelet is told of it.
    pub cri_socket: Option<String>,
    /// Whether kubelet's kubeconfig names the API server of this node itself.
    pub own_server: bool,
    /// Files in kubelet's directory of plugins that want to be registered.
    pub plugin_sockets: BTreeSet<String>,
    /// Our transient units by name, running or ended and not yet tidied up.
    pub tools: BTreeMap<String, ToolState>,
    /// The last lines each tool that failed has written.
    pub last_words: BTreeMap<String, String>,
}

impl HostSeen {
    /// Whether a tool of ours runs.
    pub fn runs_a_tool(&self) -> bool {
        self.tools.values().any(|state| *state == ToolState::Running)
    }

    /// The installed version of a package.
    pub fn version(&self, package: &str) -> Option<&PackageVersion> {
        self.packages.get(package).map(|seen| &seen.version)
    }
}
