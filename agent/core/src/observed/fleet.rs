//! The fleet, and the control plane on this host.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::annotations::{API_SERVER, CURRENT, FOUND_CORDONED, IGNORE, IN_HAND, PHASE, TARGET, is_on};
use crate::api::{ApiServerNote, Holder, InHand, LeaseName, Policy, Version};
use crate::time::Mono;

/// The control plane on this host, asked directly.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LocalControlPlane {
    /// When it was asked.
    pub at: Mono,
    /// Whether this host's API server answers `/readyz` with ok.
    pub api_server_ready: bool,
    /// What it answers to `/version`.
    pub version: Option<Version>,
    /// The mirror pod's `kubernetes.io/config.hash`, read before it was asked.
    pub hash: Option<String>,
    /// etcd, where it is stacked; none for an external one.
    pub etcd: Option<EtcdSeen>,
}

/// etcd as its own members describe it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EtcdSeen {
    /// Whether the member on this host answers as healthy.
    pub healthy: bool,
    /// The names of the voting members. kubeadm names a member after its node.
    pub members: BTreeSet<String>,
    /// How many learners there are.
    pub learners: usize,
    /// Active alarms.
    pub alarms: usize,
    /// The names of those, learners among them, that do not answer as healthy.
    pub unhealthy: BTreeSet<String>,
}

/// A Lease of ours in the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetLease {
    /// Which.
    pub name: LeaseName,
    /// holderIdentity, if one is set.
    pub holder: Option<String>,
    /// The mark of a degraded holder.
    pub mark: Option<LeaseMark>,
    /// The version for which `kubeadm upgrade apply` has ended well, where that is noted.
    pub applied: Option<Version>,
}

/// The mark on the Lease of a degraded holder: it halts claims to the target it failed at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseMark {
    /// That target; none where an older agent wrote the mark.
    pub target: Option<Version>,
    /// Why.
    pub why: String,
}

impl LeaseMark {
    /// Reads the text of the mark, `TARGET: WHY`.
    pub fn read(text: &str) -> Self {
        let parts = text.split_once(": ").and_then(|(target, why)| Some((target.parse().ok()?, why)));
        match parts {
            Some((target, why)) => Self { target: Some(target), why: why.to_owned() },
            None => Self { target: None, why: text.to_owned() },
        }
    }

    /// The text of the mark.
    pub fn text(&self) -> String {
        match self.target {
            Some(target) => format!("{target}: {}", self.why),
            None => self.why.clone(),
        }
    }
}

impl FleetLease {
    /// Whether this Lease is held by somebody who is not `me`.
    pub fn held_by_other_than(&self, me: &Holder) -> bool {
        self.holder.as_ref().is_some_and(|holder| *holder != me.to_string())
    }
}

impl FleetLease {
    /// Whether another node than that of `me` holds it, or one of the same name in another life. What an earlier turn of this one
    /// holds is claimed over.
    pub fn held_by_another_node(&self, me: &Holder) -> bool {
        let Some(text) = &self.holder else { return false };
        let holder = Holder::parse(text);
        holder.is_none_or(|holder| !holder.is_of_same_node(me))
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
    /// Whether a taint of somebody's keeps pods away that do not tolerate it.
    pub tainted: bool,
    /// Whether it carries the control-plane role label.
    pub control_plane: bool,
    /// Whether people asked for it to count nowhere.
    pub ignored: bool,
    /// Whether its agent reports its target refused.
    pub refused: bool,
    /// Whether the note of its agent's cordon stands.
    pub cordon_note: bool,
    /// Which turn is at work there, where a mark says so.
    pub in_hand: Option<InHand>,
    /// What is noted of its API server.
    pub api_server: Option<ApiServerNote>,
    /// Its target, where one is given and can be read.
    pub target: Option<Version>,
    /// The version its agent last verified.
    pub current: Option<Version>,
    /// The version its kubelet reports.
    pub kubelet: Option<Version>,
}

impl FleetNode {
    /// This Node with what these annotations say.
    #[must_use]
    pub fn with_annotations(self, annotations: &BTreeMap<String, String>) -> Self {
        let version = |key: &str| annotations.get(key).and_then(|text| text.trim().parse().ok());
        Self {
            ignored: is_on(annotations, IGNORE),
            refused: annotations.get(PHASE).is_some_and(|phase| phase == crate::api::Phase::Refused.word()),
            cordon_note: annotations.contains_key(FOUND_CORDONED),
            in_hand: annotations.get(IN_HAND).map(|text| InHand::read(text)),
            api_server: annotations.get(API_SERVER).and_then(|text| ApiServerNote::read(text)),
            target: version(TARGET),
            current: version(CURRENT),
            ..self
        }
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
    /// Its `kubernetes.io/config.hash`.
    pub hash: Option<String>,
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
    /// The policy.
    pub policy: PolicySeen,
}

impl FleetSeen {
    /// A static pod of a control-plane node.
    pub fn pod(&self, node: &str, component: &str) -> Option<&ControlPlanePod> {
        self.pods.iter().find(|pod| pod.node == node && pod.component == component)
    }

    /// What the API server of a node runs: what its agent noted, as long as the pod is the one that was asked; without a note,
    /// what its image says. A note of another pod says nothing.
    pub fn api_server(&self, node: &str) -> Option<Version> {
        let pod = self.pod(node, "kube-apiserver")?;
        let noted = self.nodes.iter().find(|seen| seen.name == node)?.api_server.as_ref();
        match noted {
            Some(noted) if Some(&noted.hash) == pod.hash.as_ref() => Some(noted.version),
            Some(_) => None,
            None => pod.version,
        }
    }
}

/// The policy as it was read or watched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PolicySeen {
    /// When; 0 where it was not seen yet.
    pub at: Mono,
    /// What it says.
    pub policy: Policy,
    /// Whether there is one.
    pub exists: bool,
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
