//! Whether anything is left to do.

use upgrade_core::api::Phase;
use upgrade_core::api::annotations::{CURRENT, TARGET};
use upgrade_core::observed::ToolState;

use super::World;

/// Within this time a degraded node has answered what people ask.
const ANSWERED: u64 = 1_000_000;

impl World {
    /// Whether a node was given a target that it has not told to have reached.
    pub(crate) fn has_unmet_target(&self, node: &str) -> bool {
        let target = self.annotation(node, TARGET);
        target.is_some() && self.annotation(node, CURRENT) != target
    }

    /// Whether a node's agent is there to do anything.
    pub(crate) fn has_agent(&self, node: &str) -> bool {
        self.machines.get(node).is_some_and(|machine| !machine.purged)
    }

    /// Whether nothing is left to do: cheap, and asked often.
    pub(super) fn is_settled(&self) -> bool {
        let busy = |lease: &super::api::Lease| lease.state.holder.is_some() && lease.state.degraded.is_none();
        if self.api.stored.leases.values().any(busy) {
            return false;
        }
        self.machines.iter().all(|(name, machine)| {
            let idle = machine.host.units.values().all(|unit| unit.state != ToolState::Running);
            let at_rest = !self.has_unmet_target(name) && self.is_in_phase(name, Phase::Idle);
            let degraded = self.is_in_phase(name, Phase::Degraded) && self.now > machine.asked_at + ANSWERED;
            let stopped = self.is_in_phase(name, Phase::Refused) || degraded;
            idle && (machine.purged || (machine.life.is_some() && (at_rest || stopped)))
        })
    }
}
