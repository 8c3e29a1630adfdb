//! What the agent can do to the world. Acts are data: a driver carries them out, the simulator interprets them.
//! Each is fenced and safe to repeat.

use std::collections::BTreeSet;

use crate::api::{ApiServerNote, Holder, InHand, KubeadmCommand, LeaseName, TurnId, TurnKind, Version};
use crate::drain::DrainOptions;
use crate::memory::Packages;
use crate::observed::{Copy, LeaseMark, Observation};
use crate::time::Mono;

/// One thing to do. Equal acts are the same act: while one runs, deciding for it again changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Look at this host: packages, units, backups. Ends with [`Observation::Host`].
    LookAtHost {
        /// The turn whose backup matters, if any.
        turn: Option<TurnId>,
    },
    /// Read the own Node directly. Ends with [`Observation::Node`].
    LookAtNode,
    /// List the pods and CSI drivers of this node. Ends with [`Observation::Pods`].
    LookAtPods,
    /// Ask this host's API server and etcd directly. Ends with [`Observation::Local`].
    LookAtControlPlane,
    /// Read the whole fleet consistently. Ends with [`Observation::Fleet`].
    LookAtFleet,
    /// Everything of design section 5. Ends with [`Observation::Preflight`], or a transient fault if it could not be made.
    Preflight {
        /// For this version.
        target: Version,
        /// And this turn.
        kind: TurnKind,
    },
    /// Create or take the Lease by compare-and-swap; a Lease already ours is renewed. Ends with [`Observation::Lease`].
    Claim {
        /// Which.
        lease: LeaseName,
        /// As whom.
        holder: Holder,
    },
    /// Prove by compare-and-swap that the Lease is ours, and write the degraded mark; a Lease that is absent, free or
    /// another's is only told of. Ends with [`Observation::Lease`].
    Renew {
        /// Which.
        lease: LeaseName,
        /// As whom.
        holder: Holder,
        /// The mark that halts other claims; none clears it.
        mark: Option<LeaseMark>,
        /// The note that `kubeadm upgrade apply` has ended well for this version; none leaves what stands there.
        applied: Option<Version>,
    },
    /// Prove the Lease as [`Act::Renew`] does, then read the fleet consistently, and on a control plane ask it directly. Ends with
    /// [`Observation::Lease`], and the rest where the Lease is ours.
    Prove {
        /// Which.
        lease: LeaseName,
        /// As whom.
        holder: Holder,
        /// The mark that halts other claims; none clears it.
        mark: Option<LeaseMark>,
        /// Whether this host carries a control plane.
        control_plane: bool,
    },
    /// Clear the holder if it is us, for this turn or an earlier one; others' Leases and free ones are left alone. Ends with
    /// [`Observation::Lease`].
    Release {
        /// Which.
        lease: LeaseName,
        /// As whom.
        holder: Holder,
    },
    /// Cordon, and note in the same fenced patch whether it was cordoned and which turn is at work. Like all writes to the Node
    /// decided by [`crate::judge::node_patch::patch`]. Ends with [`Observation::Node`].
    Cordon {
        /// The mark.
        mark: InHand,
    },
    /// Take our cordon back. Ends with [`Observation::Node`].
    Uncordon,
    /// Drop our note of the cordon and leave the rest. Ends with [`Observation::Node`].
    ForgetCordon,
    /// Mark which turn is at work. Ends with [`Observation::Node`].
    Mark {
        /// The mark.
        mark: InHand,
    },
    /// Take the mark away, and say what is in service and proven. Ends with [`Observation::Node`].
    Unmark {
        /// The version, where there is one to say.
        current: Option<Version>,
    },
    /// Evict what the rules say until nothing is left, telling [`Observation::Drain`]; ends when drained or given up.
    Drain {
        /// The rules of this drain.
        options: DrainOptions,
        /// When its time is over.
        until: Mono,
    },
    /// Start this tool in its transient unit, or adopt it if it runs, and await its end. Ends with [`Observation::Host`].
    Run {
        /// The unit's name: a second start of the same name fails.
        unit: String,
        /// What to run.
        tool: Tool,
    },
    /// Await the end of a unit of ours that runs. Ends with [`Observation::Host`].
    Await {
        /// The unit's name.
        unit: String,
    },
    /// Copy static pod manifests and kubelet's configuration aside; a finished copy of this name is kept. Ends with
    /// [`Observation::Host`].
    BackUp {
        /// Names the copy.
        copy: Copy,
    },
    /// Put static pod manifests that are missing back, each from the newest copy that has it. Ends with [`Observation::Host`].
    RestoreManifests {
        /// Whose copies.
        turn: TurnId,
    },
    /// Put the static pod manifests that carry the Kubernetes version back from the first copy, and never etcd's. Ends with
    /// [`Observation::Host`].
    RollBackManifests {
        /// Whose copies.
        turn: TurnId,
    },
    /// Put kubelet's configuration back from the first copy. Ends with [`Observation::Host`].
    RestoreKubeletConfig {
        /// Whose copies.
        turn: TurnId,
    },
    /// daemon-reload, then restart kubelet. Ends with [`Observation::Host`].
    RestartKubelet,
    /// Stop our ended units and drop the copy of this turn. Ends with [`Observation::Host`].
    CleanUp,
    /// Write the annotation `current`. Ends with [`Observation::Node`].
    PublishCurrent {
        /// The verified version.
        current: Version,
    },
    /// Put back kubeadm's annotation with the container runtime's socket. Ends with [`Observation::Node`].
    NoteCriSocket {
        /// The socket.
        socket: String,
    },
    /// Write the annotation `api-server`. Ends with [`Observation::Node`].
    PublishApiServer {
        /// What it runs.
        note: ApiServerNote,
    },
}

impl Act {
    /// Whether the act may be stopped half-way. A tool that runs is awaited, never dropped.
    pub const fn can_be_stopped(&self) -> bool {
        matches!(self, Self::Drain { .. } | Self::Preflight { .. })
    }

    /// Whether it lasts as long as a tool on this host does.
    pub const fn runs_a_tool(&self) -> bool {
        matches!(self, Self::Run { .. } | Self::Await { .. })
    }

    /// Whether it changes this host. Where such an act says only that it failed, what was seen of the host before is not known any
    /// more.
    pub const fn changes_host(&self) -> bool {
        matches!(
            self,
            Self::Run { .. }
                | Self::Await { .. }
                | Self::BackUp { .. }
                | Self::RestoreManifests { .. }
                | Self::RollBackManifests { .. }
                | Self::RestoreKubeletConfig { .. }
                | Self::RestartKubelet
                | Self::CleanUp
        )
    }

    /// Whether it is asked of the API server that kubelet's own kubeconfig names.
    pub const fn asks_as_kubelet(&self) -> bool {
        matches!(
            self,
            Self::LookAtNode
                | Self::LookAtPods
                | Self::LookAtFleet
                | Self::Prove { .. }
                | Self::Cordon { .. }
                | Self::Uncordon
                | Self::ForgetCordon
                | Self::Mark { .. }
                | Self::Unmark { .. }
                | Self::Drain { .. }
                | Self::NoteCriSocket { .. }
                | Self::PublishApiServer { .. }
        )
    }

    /// Whether it only finds something out, or proves what is so.
    pub const fn is_look(&self) -> bool {
        matches!(
            self,
            Self::LookAtHost { .. }
                | Self::LookAtNode
                | Self::LookAtPods
                | Self::LookAtControlPlane
                | Self::LookAtFleet
                | Self::Renew { .. }
                | Self::Prove { .. }
        )
    }

    /// A fixed word, for logs.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::LookAtHost { .. } => "look-at-host",
            Self::LookAtNode => "look-at-node",
            Self::LookAtPods => "look-at-pods",
            Self::LookAtControlPlane => "look-at-control-plane",
            Self::LookAtFleet => "look-at-fleet",
            Self::Preflight { .. } => "preflight",
            Self::Claim { .. } => "claim",
            Self::Renew { .. } => "renew",
            Self::Prove { .. } => "prove",
            Self::Release { .. } => "release",
            Self::Cordon { .. } => "cordon",
            Self::Uncordon => "uncordon",
            Self::ForgetCordon => "forget-cordon",
            Self::Mark { .. } => "mark",
            Self::Unmark { .. } => "unmark",
            Self::Drain { .. } => "drain",
            Self::Run { .. } => "run",
            Self::Await { .. } => "await",
            Self::BackUp { .. } => "back-up",
            Self::RestoreManifests { .. } => "restore-manifests",
            Self::RollBackManifests { .. } => "roll-back-manifests",
            Self::RestoreKubeletConfig { .. } => "restore-kubelet-config",
            Self::RestartKubelet => "restart-kubelet",
            Self::CleanUp => "clean-up",
            Self::PublishCurrent { .. } => "publish-current",
            Self::NoteCriSocket { .. } => "note-cri-socket",
            Self::PublishApiServer { .. } => "publish-api-server",
        }
    }
}

/// A host tool, run as a transient systemd unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tool {
    /// `apt-get install kubeadm=…` from the private archive.
    InstallKubeadm {
        /// The package versions; only kubeadm's is installed.
        packages: Packages,
        /// Whether it takes our own upgrade back: only then may the version go down (rule 5).
        back: bool,
    },
    /// `apt-get install kubelet=… kubectl=…` from the private archive.
    InstallKubelet {
        /// The package versions; kubelet's and kubectl's are installed.
        packages: Packages,
    },
    /// `kubeadm upgrade`.
    Kubeadm {
        /// How.
        command: KubeadmCommand,
        /// To which version.
        target: Version,
    },
    /// `dpkg --configure -a`.
    RepairDpkg,
    /// `apt-mark hold`.
    Hold {
        /// These packages.
        packages: BTreeSet<String>,
    },
}

impl Tool {
    /// Every word.
    pub const WORDS: [&str; 5] =
        ["install-kubeadm", "install-kubelet", "kubeadm-upgrade", "repair-dpkg", "hold"];

    /// A fixed word; part of the unit's name.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::InstallKubeadm { .. } => "install-kubeadm",
            Self::InstallKubelet { .. } => "install-kubelet",
            Self::Kubeadm { .. } => "kubeadm-upgrade",
            Self::RepairDpkg => "repair-dpkg",
            Self::Hold { .. } => "hold",
        }
    }

    /// The name of the transient unit for one run of this tool in one turn.
    pub fn unit(&self, turn: &TurnId, serial: u32) -> String {
        format!("{UNIT_PREFIX}{}-{serial}-{}.service", turn.0, self.word())
    }
}

/// What the name of each of our transient units begins with.
pub const UNIT_PREFIX: &str = "node-upgrade-agent-tool-";

/// How an act ended: what was seen on the way, and whether it did what it says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ActResult {
    /// Taken in before anything is decided.
    pub observations: Vec<Observation>,
    /// Why it did not come to its end.
    pub fault: Option<Fault>,
}

impl ActResult {
    /// It did what it says.
    pub fn ok(observations: Vec<Observation>) -> Self {
        Self { observations, fault: None }
    }

    /// It did not.
    pub fn failed(fault: Fault) -> Self {
        Self { observations: Vec::new(), fault: Some(fault) }
    }
}

/// Why an act did not come to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What follows from it.
    pub class: FaultClass,
    /// What was attempted, on what, and the whole chain of causes.
    pub message: String,
}

/// What follows from a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultClass {
    /// Tried again after a pause that grows: the API server is away, dpkg's lock is held, a lost race.
    Transient,
    /// It was stopped because something else was wanted.
    Stopped,
}
