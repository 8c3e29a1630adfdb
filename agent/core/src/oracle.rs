//! The oracle: the safety rules of an upgrade, checked over a history of what could be seen from outside.
//!
//! Nothing here knows how the agent decides. A history comes from the simulator, or from a real run: the API
//! server's audit log gives targets, cordons, Leases, evictions and reports; the nodes' journals give tools,
//! packages and restarts. [`check`] finds what must never happen, [`ends`] says how each node ended.

use std::collections::BTreeMap;
use std::fmt;

use crate::version::PackageVersion;

mod coordination;
mod ends;
mod event;
mod fleet;
mod host;
mod node;

pub use ends::{End, ends};
pub use event::{Event, FLEET, What, Who};
use fleet::Fleet;

/// What the checker must know that a history does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expectations {
    /// How many nodes may be out of service at once.
    pub slots: usize,
    /// Whether nodes are drained before they are changed.
    pub drain: bool,
    /// Milliseconds within which an agent cannot be expected to have seen what others did to its Node.
    pub notice: u64,
    /// Milliseconds within which an agent cannot be expected to have seen that others took its Lease away.
    pub renewal: u64,
}

impl Default for Expectations {
    fn default() -> Self {
        Self { slots: 1, drain: true, notice: 10_000, renewal: 75_000 }
    }
}

/// A safety rule that can be seen to be broken. The numbers are those of the list of safety rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// 1: no more nodes out of service than slots, the down ones counted.
    Budget,
    /// 2: while a control-plane node is worked on, no other node is.
    ControlPlaneAlone,
    /// 2: workers wait for control-plane nodes with an unmet target.
    ControlPlaneFirst,
    /// 2: no kubelet is newer than any API server.
    KubeletNotNewer,
    /// 3: the verb fits the node and does not change before it succeeded.
    Verb,
    /// 4: a control plane goes up by one minor, a worker by at most three.
    Hops,
    /// 5: nothing is installed that is older than what people have, except our own way back.
    NoDowngrade,
    /// 6: a refusal costs no downtime.
    RefusedUntouched,
    /// 7: pods are evicted only from a cordoned node that holds its Lease; the host is changed after the drain.
    Drain,
    /// 8: the Lease is given back after the node is back in service.
    ReleaseLast,
    /// 9: a node goes back into service only when Ready at a version that was chosen.
    ReadyBeforeService,
    /// 9: the host is changed only while the node is out of service.
    ChangedInService,
    /// 10: one tool at a time on one node.
    OneTool,
    /// 11: other people's cordons stay.
    OthersCordons,
    /// 12: a Lease is not taken while somebody holds it.
    LeaseStolen,
    /// 12: nothing disturbing is begun without the Lease.
    LeaseHeld,
    /// 13: an agent changes its own node alone.
    OwnNode,
    /// The contract: `current` is written last, and is true.
    CurrentLast,
}

impl Rule {
    /// The number in the list of safety rules; 0 for what the contract with users says outside that list.
    pub const fn number(self) -> u8 {
        match self {
            Self::Budget => 1,
            Self::ControlPlaneAlone | Self::ControlPlaneFirst | Self::KubeletNotNewer => 2,
            Self::Verb => 3,
            Self::Hops => 4,
            Self::NoDowngrade => 5,
            Self::RefusedUntouched => 6,
            Self::Drain => 7,
            Self::ReleaseLast => 8,
            Self::ReadyBeforeService | Self::ChangedInService => 9,
            Self::OneTool => 10,
            Self::OthersCordons => 11,
            Self::LeaseStolen | Self::LeaseHeld => 12,
            Self::OwnNode => 13,
            Self::CurrentLast => 0,
        }
    }
}

/// A rule that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which rule.
    pub rule: Rule,
    /// By which node.
    pub node: String,
    /// When, in milliseconds of the history.
    pub at: u64,
    /// What happened that must not.
    pub message: String,
    /// The events that show it, in their order.
    pub events: Vec<Event>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, node, at, message, events } = self;
        write!(f, "rule {} ({rule:?}) broken by {node} at {at} ms: {message}", rule.number())?;
        events.iter().try_for_each(|event| write!(f, "\n  {event}"))
    }
}

/// Finds every violation in a history.
pub fn check(history: &[Event], expectations: &Expectations) -> Vec<Violation> {
    let mut fleet = Fleet::new(history);
    let mut violations = Vec::new();
    for (index, event) in history.iter().enumerate() {
        let judged = Judged { fleet: &fleet, event, index, expectations };
        violations.extend(coordination::judge(&judged));
        violations.extend(node::judge(&judged));
        violations.extend(host::judge(&judged));
        fleet.take(index, event);
    }
    violations
}

/// An event about to be taken into what is known of the fleet.
struct Judged<'a> {
    fleet: &'a Fleet<'a>,
    event: &'a Event,
    index: usize,
    expectations: &'a Expectations,
}

impl Judged<'_> {
    /// A violation by this event, shown by it and these earlier ones.
    fn broken(&self, rule: Rule, message: impl Into<String>, shown_by: &[Option<usize>]) -> Violation {
        let mut indices: Vec<usize> = shown_by.iter().flatten().copied().chain([self.index]).collect();
        indices.sort_unstable();
        indices.dedup();
        let events = indices.iter().filter_map(|&index| self.fleet.history.get(index)).cloned().collect();
        let (node, at) = (self.event.node.clone(), self.event.at);
        Violation { rule, node, at, message: message.into(), events }
    }

    /// Milliseconds from the event of this index to this one.
    fn age(&self, index: usize) -> u64 {
        self.fleet.history.get(index).map_or(0, |event| self.event.at.saturating_sub(event.at))
    }

    /// Whether whatever the event of this index changed is too fresh for the agent to have seen it.
    fn unnoticed(&self, index: usize) -> bool {
        self.age(index) <= self.expectations.notice
    }
}

/// Versions by package name.
type Installed = BTreeMap<String, PackageVersion>;

#[cfg(test)]
mod tests;
