//! What was observed. Everything here can be seen again, so none of it is stored.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::{Explanation, Holder, JobId, LeaseName, PackageVersion, Policy, Version};
use crate::cordon::found_cordoned;
use crate::drain::Progress;
use crate::preflight::Findings;
use crate::time::{Mono, Unix};

/// The world as this agent last saw it; each part is absent until it was seen in this process's life.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The own Node, from its watch, direct reads and the answers to our writes.
    pub node: Option<NodeSeen>,
    /// When the own Node was last told of.
    pub node_at: Mono,
    /// This host: packages, tools, kubelet's unit.
    pub host: Option<HostSeen>,
    /// The pods of this node.
    pub pods: Option<PodsSeen>,
    /// The Lease this agent's job needs.
    pub lease: Option<LeaseSeen>,
    /// The fleet on a consistent read.
    pub fleet: Option<FleetSeen>,
    /// What a waiting agent's watches say of Leases and control-plane Nodes.
    pub turn: Option<TurnSeen>,
    /// The last preflight.
    pub preflight: Option<Findings>,
    /// The drain under way or ended.
    pub drain: Option<Progress>,
    /// The control plane on this host, asked directly.
    pub local: Option<LocalControlPlane>,
    /// The fleet's policy; defaults until one was seen.
    pub policy: Policy,
    /// Whether there is a credential for what agents share.
    pub access: Access,
    /// The resourceVersion our last cordon made: a lagging watch may still show the Node before it.
    pub cordon_version: Option<String>,
    /// Whether somebody was seen to lift our cordon while its note stood: what stands since then is not ours.
    pub cordon_lifted: bool,
    /// When a Lease was last given back because it was not this node's turn after all.
    pub gave_back: Option<Mono>,
}

/// Something observed; replaces what was known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// The own Node; none when it does not exist.
    Node(Option<NodeSeen>),
    /// This host.
    Host(HostSeen),
    /// The pods of this node.
    Pods(PodsSeen),
    /// The Lease of the present job.
    Lease(LeaseSeen),
    /// The fleet on a consistent read.
    Fleet(FleetSeen),
    /// What the watches of a waiting agent say.
    Turn(TurnSeen),
    /// A preflight ended.
    Preflight(Findings),
    /// A drain moved on.
    Drain(Progress),
    /// The control plane on this host.
    Local(LocalControlPlane),
    /// The fleet's policy.
    Policy(Policy),
    /// The coordination credential.
    Access(Access),
}

impl Fact {
    /// A fixed word, for the simulator's schedules.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Node(_) => "saw-node",
            Self::Host(_) => "saw-host",
            Self::Pods(_) => "saw-pods",
            Self::Lease(_) => "saw-lease",
            Self::Fleet(_) => "saw-fleet",
            Self::Turn(_) => "saw-turn",
            Self::Preflight(_) => "saw-preflight",
            Self::Drain(_) => "saw-drain",
            Self::Local(_) => "saw-control-plane",
            Self::Policy(_) => "saw-policy",
            Self::Access(_) => "saw-access",
        }
    }
}

impl Seen {
    /// Takes a fact in that was told at `at`.
    pub fn take(&mut self, fact: Fact, at: Mono) {
        match fact {
            Fact::Node(node) => {
                let noted = node.as_ref().filter(|node| found_cordoned(node).is_some());
                self.cordon_lifted = noted.is_some_and(|node| self.cordon_lifted || self.is_lifted(node));
                self.node = node;
                self.node_at = at;
            }
            Fact::Host(host) => self.host = Some(host),
            Fact::Pods(pods) => self.pods = Some(pods),
            Fact::Lease(lease) => self.lease = Some(lease),
            Fact::Fleet(fleet) => self.fleet = Some(fleet),
            Fact::Turn(turn) => self.turn = Some(turn),
            Fact::Preflight(findings) => self.preflight = Some(findings),
            Fact::Drain(progress) => self.drain = Some(progress),
            Fact::Local(local) => self.local = Some(local),
            Fact::Policy(policy) => self.policy = policy,
            Fact::Access(access) => self.access = access,
        }
    }

    /// Whether this Node, seen with our note, shows that somebody lifted our cordon.
    fn is_lifted(&self, node: &NodeSeen) -> bool {
        let number = |version: &str| version.parse::<u64>().ok();
        let ours = self.cordon_version.as_deref().and_then(number);
        let before_ours = number(&node.resource_version).zip(ours).is_some_and(|(seen, ours)| seen < ours);
        !node.unschedulable && !before_ours
    }
}

/// Whether this node has a credential for what agents share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// It has, as far as anybody knows.
    Usable {
        /// What people should know of it.
        note: Option<String>,
    },
    /// It has none, or one that is no good; what is waited for.
    Missing(Explanation),
}

impl Default for Access {
    fn default() -> Self {
        Self::Usable { note: None }
    }
}

/// The Ready condition of a Node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ready {
    /// `True`.
    True,
    /// `False`.
    False,
    /// `Unknown`, or no such condition.
    #[default]
    Unknown,
}

/// A Node as its own agent sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeSeen {
    /// The Node's name.
    pub name: String,
    /// Its UID: another one is another Node.
    pub uid: String,
    /// Opaque; the fence of our patches.
    pub resource_version: String,
    /// Annotations with our prefix, and those of other tools that preflight looks at.
    pub annotations: BTreeMap<String, String>,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// The Ready condition.
    pub ready: Ready,
    /// The Ready condition's last heartbeat, written by this host's kubelet with this host's clock.
    pub heartbeat: Unix,
    /// `status.nodeInfo.kubeletVersion`, where it is a release.
    pub kubelet: Option<Version>,
    /// Whether the Node carries the control-plane role label.
    pub control_plane: bool,
}

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
    /// Static pod manifests that stand in the backup of the present job and not in their place.
    pub missing_manifests: BTreeSet<String>,
    /// The job whose backup of manifests and kubelet configuration is complete.
    pub backup: Option<JobId>,
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

/// The Lease of the present job, as of a read or the answer to a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseSeen {
    /// Ours: a compare-and-swap succeeded at this moment.
    Held {
        /// When.
        at: Mono,
        /// For this job: an answer that arrives late says nothing of another one.
        job: JobId,
    },
    /// Free, or absent: nobody holds it.
    Free,
    /// Somebody else's name stands in it.
    Other(String),
}

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
    pub in_hand: bool,
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
