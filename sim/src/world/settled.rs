//! Whether anything is left to do, and what may keep a node waiting for ever.

use upgrade_core::job::Holder;
use upgrade_core::oracle::End;
use upgrade_core::report::Phase;
use upgrade_core::request::{CURRENT, IGNORE, TARGET, is_on};
use upgrade_core::seen::{NodeSeen, Ready, ToolState};
use upgrade_core::verify::STATIC_PODS;

use super::World;
use super::host::{API_SERVER, Host};

/// Whether a host's control plane is of two versions: somebody has stopped half-way.
fn is_mixed(host: &Host) -> bool {
    let mut versions = STATIC_PODS.iter().filter_map(|component| host.manifests.get(component));
    let first = versions.next();
    versions.any(|version| Some(version) != first)
}

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

    /// What lets a node wait for ever: somebody degraded, down or before it, itself not Ready, or a Lease of a Node that is
    /// gone or whose agent is.
    pub(crate) fn may_wait(&self, node: &str, ends: &[(String, End)]) -> bool {
        let nodes = || self.api.stored.nodes.values();
        let others = || ends.iter().filter(|(name, _)| name != node);
        // Only what was failed at is halted.
        let same = |name: &String| self.annotation(name, TARGET) == self.annotation(node, TARGET);
        let degraded = others().any(|(name, end)| *end == End::Degraded && same(name));
        let control_plane =
            |name: &str| self.api.stored.nodes.get(name).is_some_and(|seen| seen.control_plane);
        // Workers wait for the control plane, which is judged by itself.
        let first =
            |name: &str| control_plane(name) && (self.has_unmet_target(name) || self.is_behind(name, node));
        let behind = others().any(|(name, _)| first(name)) && !control_plane(node);
        // A dead worker that people ignore keeps nobody.
        let ignored = |seen: &NodeSeen| !seen.control_plane && is_on(&seen.annotations, IGNORE);
        let down = nodes().any(|seen| seen.ready != Ready::True && !ignored(seen));
        let takes_pods =
            |seen: &NodeSeen| seen.name != node && seen.ready == Ready::True && !seen.unschedulable;
        let nowhere = !nodes().any(takes_pods);
        let ailing = self.machines.iter().filter(|(_, machine)| machine.host.control_plane);
        let ailing = ailing.into_iter().any(|(name, _)| !self.api_server_is_ready(name));
        let mixed = self.machines.iter().any(|(name, machine)| name != node && is_mixed(&machine.host));
        let uids: Vec<&String> = nodes().map(|seen| &seen.uid).collect();
        let holders = self.api.stored.leases.values().filter_map(|lease| lease.state.holder.as_deref());
        let orphaned = holders
            .filter_map(Holder::parse)
            .any(|holder| !uids.contains(&&holder.uid) || !self.has_agent(&holder.node));
        let paused = self
            .api
            .stored
            .policy
            .as_ref()
            .is_some_and(|policy| policy.get("paused").is_some_and(|value| value == "true"));
        degraded || behind || down || nowhere || ailing || mixed || orphaned || paused
    }

    /// Whether the API server of one node is older than what another is asked to run.
    fn is_behind(&self, control_plane: &str, node: &str) -> bool {
        let host = self.machines.get(control_plane).map(|machine| &machine.host);
        let runs = host.and_then(|host| host.manifests.get(API_SERVER).copied());
        let target = self.annotation(node, TARGET).and_then(|text| text.parse().ok());
        runs < target
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
