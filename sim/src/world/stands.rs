//! How one node stands: what people can see of it, and what its agent's journal holds.

use upgrade_core::api::annotations::{CURRENT, FOUND_CORDONED, IN_HAND, PHASE, STATUS};
use upgrade_core::api::{Holder, LeaseName, Phase, Reason, Report, Version};
use upgrade_core::judge::control_plane::STATIC_PODS;
use upgrade_core::memory::{Memory, Turn};
use upgrade_core::observed::Ready;

use super::World;
use super::api::Lease;

/// A node at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Stands {
    /// What its agent told last.
    pub phase: Option<Phase>,
    /// The fixed word beside it.
    pub reason: Option<Reason>,
    /// The sentence beside it.
    pub message: String,
    /// The annotation `current`.
    pub current: Option<Version>,
    /// What its kubelet says that it runs, if it is Ready.
    pub kubelet: Option<Version>,
    /// The one version of its static pods that run; none on a worker, or where they differ.
    pub static_pods: Option<Version>,
    /// The installed kubeadm.
    pub kubeadm: Option<Version>,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// Whether its agent's note of its cordon stands there.
    pub cordon_noted: bool,
    /// Whether its agent's mark stands there.
    pub in_hand: bool,
    /// The Lease it holds.
    pub lease: Option<LeaseName>,
    /// Whether that is marked.
    pub marked: bool,
    /// The turn in its journal.
    pub turn: Option<Turn>,
    /// Why it leaves a target alone until people change something.
    pub refused: Option<Reason>,
    /// The whole journal, as it is on the disk.
    pub journal: String,
}

impl World {
    /// How a node stands now.
    pub fn stands(&self, node: &str) -> Stands {
        let Some((machine, seen)) = self.machines.get(node).zip(self.api.stored.nodes.get(node)) else {
            return Stands::default();
        };
        let annotation = |key: &str| seen.annotations.get(key);
        let report: Option<Report> = annotation(STATUS).and_then(|text| serde_json::from_str(text).ok());
        let journal = machine.journal.clone().unwrap_or_default();
        let memory: Memory = serde_json::from_str(&journal).unwrap_or_default();
        let held = self.held_by(node);
        let mut pods = STATIC_PODS.iter().map(|name| machine.host.pods.get(name).copied().flatten());
        let first = pods.next().flatten();
        Stands {
            phase: annotation(PHASE)
                .and_then(|word| Phase::ALL.into_iter().find(|phase| phase.word() == word)),
            reason: report.as_ref().map(|report| report.reason),
            message: report.map(|report| report.message).unwrap_or_default(),
            current: annotation(CURRENT).and_then(|text| text.parse().ok()),
            kubelet: seen.kubelet.filter(|_| seen.ready == Ready::True),
            static_pods: first.filter(|_| pods.all(|other| other == first)),
            kubeadm: machine.host.version("kubeadm"),
            unschedulable: seen.unschedulable,
            cordon_noted: annotation(FOUND_CORDONED).is_some(),
            in_hand: annotation(IN_HAND).is_some(),
            lease: held.map(|(name, _)| name),
            marked: held.is_some_and(|(_, lease)| lease.state.degraded.is_some()),
            turn: memory.turn,
            refused: memory.refused.map(|refusal| refusal.why.reason),
            journal,
        }
    }

    fn held_by(&self, node: &str) -> Option<(LeaseName, &Lease)> {
        let holds = |lease: &Lease| {
            lease.state.holder.as_deref().and_then(Holder::parse).is_some_and(|holder| holder.node == node)
        };
        let mut leases = self.api.stored.leases.iter();
        leases.find(|(_, lease)| holds(lease)).map(|(name, lease)| (*name, lease))
    }
}
