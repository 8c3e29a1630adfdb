//! Whether a run was right: the oracle's rules, and an allowed end for every node.

use std::collections::BTreeSet;
use std::fmt;

use upgrade_core::job::LeaseName;
use upgrade_core::oracle::{End, Expectations, Violation, ends, examine};
use upgrade_core::report::Phase;
use upgrade_core::request::{CURRENT, TARGET};
use upgrade_core::seen::{Ready, ToolState};

use super::{Schedule, Setup, World};

/// What was wrong with a run.
pub struct Verdict {
    /// The rules that were broken.
    pub violations: Vec<Violation>,
    /// Nodes that did not come to an allowed end, and why.
    pub unfinished: Vec<String>,
    /// How every node ended.
    pub ends: Vec<(String, End)>,
}

impl Verdict {
    /// Whether nothing was wrong.
    pub fn is_right(&self) -> bool {
        self.violations.is_empty() && self.unfinished.is_empty()
    }

    /// What went wrong, without its details: two runs that go wrong alike have a kind in common.
    pub fn kinds(&self) -> BTreeSet<String> {
        let rules = self.violations.iter().map(|violation| format!("{:?}", violation.rule));
        rules.chain(self.unfinished.first().map(|_| UNFINISHED.to_owned())).collect()
    }
}

/// The kind of a run in which a node came to no end.
const UNFINISHED: &str = "Unfinished";

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.violations.iter().try_for_each(|violation| writeln!(f, "{violation}"))?;
        self.unfinished.iter().try_for_each(|why| writeln!(f, "unfinished: {why}"))?;
        self.ends.iter().try_for_each(|(node, end)| writeln!(f, "{node} ended: {end:?}"))
    }
}

/// Runs a setup under a schedule and judges what came of it.
pub fn judge(setup: &Setup, schedule: &Schedule) -> Verdict {
    World::run(setup, schedule).verdict()
}

impl World {
    /// What is wrong with this run, now that it is over.
    pub fn verdict(&self) -> Verdict {
        let expectations = Expectations { soak: 10_000, verify: 300_000, ..Expectations::default() };
        let violations = examine(&self.history, self.now, &expectations).violations;
        let ends: Vec<(String, End)> = ends(&self.history).into_iter().collect();
        let unfinished = ends.iter().filter_map(|(node, end)| self.unfinished(node, end, &ends)).collect();
        Verdict { violations, unfinished, ends }
    }

    fn unfinished(&self, node: &str, end: &End, ends: &[(String, End)]) -> Option<String> {
        match end {
            End::Done | End::Refused | End::Degraded => None,
            End::Unfinished(why) => Some(format!("{node}: {why}")),
            End::BackedOut | End::RolledBack | End::Untouched => {
                let unmet = self.unmet(node) && !self.may_wait(node, ends);
                unmet.then(|| format!("{node} still waits for its turn, and nothing stands in its way"))
            }
        }
    }

    fn unmet(&self, node: &str) -> bool {
        let seen = self.api.nodes.get(node);
        seen.is_some_and(|seen| {
            seen.annotations.get(TARGET).is_some_and(|target| seen.annotations.get(CURRENT) != Some(target))
        })
    }

    /// What lets a node wait for ever: somebody degraded, down or before it, or a Lease of a Node that is gone.
    fn may_wait(&self, node: &str, ends: &[(String, End)]) -> bool {
        let others = || ends.iter().filter(|(name, _)| name != node);
        let degraded = others().any(|(_, end)| *end == End::Degraded);
        let control_plane = |name: &String| self.api.nodes.get(name).is_some_and(|seen| seen.control_plane);
        // Workers wait for the control plane, which is judged by itself.
        let first = |name: &String| control_plane(name) && (self.unmet(name) || self.is_behind(name, node));
        let behind = others().any(|(name, _)| first(name)) && !control_plane(&node.to_owned());
        let down = self.api.nodes.values().any(|seen| seen.name != node && seen.ready != Ready::True);
        let nowhere =
            !self.api.nodes.values().any(|n| n.name != node && n.ready == Ready::True && !n.unschedulable);
        let orphaned = self.api.leases.values().filter_map(|lease| lease.holder.as_deref()).any(|holder| {
            let uids: Vec<&String> = self.api.nodes.values().map(|seen| &seen.uid).collect();
            upgrade_core::job::Holder::parse(holder).is_some_and(|holder| !uids.contains(&&holder.uid))
        });
        degraded || behind || down || nowhere || orphaned || self.api.policy.paused
    }

    /// Whether the API server of one node is older than what another is asked to run.
    fn is_behind(&self, control_plane: &str, node: &str) -> bool {
        let runs =
            self.machines.get(control_plane).and_then(|m| m.host.manifests.get("kube-apiserver").copied());
        let target = self.api.nodes.get(node).and_then(|seen| seen.annotations.get(TARGET)?.parse().ok());
        runs < target
    }

    /// Whether nothing is left to do: cheap, and asked often.
    pub(super) fn is_settled(&self) -> bool {
        let busy = |name: &LeaseName| {
            self.api.leases.get(name).is_some_and(|lease| lease.holder.is_some() && lease.degraded.is_none())
        };
        if self.api.leases.keys().any(busy) {
            return false;
        }
        self.machines.iter().all(|(name, machine)| {
            let idle = machine.host.units.values().all(|unit| unit.state != ToolState::Running);
            let at_rest = !self.unmet(name) && self.is_in_phase(name, Phase::Idle);
            let stopped = self.is_in_phase(name, Phase::Refused) || self.is_in_phase(name, Phase::Degraded);
            idle && machine.life.is_some() && (at_rest || stopped)
        })
    }
}
