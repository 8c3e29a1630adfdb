//! The oracle: the safety rules of an upgrade, checked over a history of what could be seen from outside.
//!
//! Nothing here knows how the agent decides. A history comes from the simulator, or from a real run: the API
//! server's audit log gives targets, cordons, Leases, evictions and reports; the nodes' journals give tools,
//! packages and restarts. [`examine`] finds what must never happen, [`ends`] says how each node ended.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use crate::api::{PackageVersion, Policy};

mod begin;
mod bounds;
mod causes;
mod control_plane;
mod ends;
mod event;
mod fleet;
mod host;
mod lease;
mod node;
mod record;
mod rule;
mod since;
mod tenure;
mod turn;
mod verified;

pub use causes::{COPIES_LOST, CUT_OFF, MEMORY_LOST};
pub use ends::{End, ends};
pub use event::{ETCD_RESTORED, Event, FLEET, What, Who};
use fleet::Fleet;
use record::Node;
pub use rule::Rule;

/// What the checker must know that a history does not say. Times are milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expectations {
    /// How many nodes may be out of service at once.
    pub slots: usize,
    /// How many nodes degraded at a version halt that version.
    pub halt_after: usize,
    /// Whether nodes are drained before they are changed.
    pub drain: bool,
    /// Whether the history tells all that went wrong from outside ([`What::WentWrong`]). A real cluster's witnesses do not
    /// know of a broken repository or a lost journal, and then the causes of refused and degraded ends are not judged.
    pub tells_causes: bool,
    /// Whether a control plane's upgrade is two turns, its static pods in service and then its kubelet, and `current` is written
    /// before the Lease is given back. Stories that are about something else pass over it.
    pub two_turns: bool,
    /// Time within which an agent cannot be expected to have seen what others did: a watch that lags, and the age of the
    /// consistent read that a cordon rests on.
    pub notice: u64,
    /// Time within which an agent that has a way back cannot be expected to have seen that others took its Lease away: the
    /// heartbeat's minute and an attempt that failed. What has no way back wants a proof just before.
    pub renewal: u64,
    /// How long kubelet must have run without another restart.
    pub soak: u64,
    /// How long a node that does not serve is waited for before it is degraded.
    pub verify: u64,
    /// How long a node may stay cordoned by its agent while nothing goes on: a drain without progress is given up after a
    /// quarter of an hour, verification after ten minutes, and one may follow the other in an outage of some minutes.
    pub cordoned_idle: u64,
    /// How long it may stay cordoned in all, without a person's word: the drain's hour, three tries of each tool, the
    /// verification, and as much again for what goes wrong meanwhile.
    pub cordoned: u64,
    /// Requests to the API server that an agent may send within an hour in which it has nothing to do or cannot go: a look
    /// of a dozen every five minutes, three watches begun again as often, and as many again while the intervals still grow;
    /// or, while nothing answers, six tries a minute: a look, the heartbeat, its status and its watches.
    pub requests_an_hour: u32,
}

impl Default for Expectations {
    fn default() -> Self {
        Self {
            slots: 1,
            halt_after: 1,
            drain: true,
            tells_causes: true,
            two_turns: true,
            notice: 10_000,
            renewal: 75_000,
            soak: 3_000,
            verify: 600_000,
            cordoned_idle: 1_800_000,
            cordoned: 10_800_000,
            requests_an_hour: 360,
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
        match rule.number() {
            0 => write!(f, "the contract ({rule:?})")?,
            number => write!(f, "rule {number} ({rule:?})")?,
        }
        write!(f, " broken by {node} at {at} ms: {message}")?;
        events.iter().try_for_each(|event| write!(f, "\n  {event}"))
    }
}

/// Whether a ConfigMap `policy` bars claims, by the contract: it pauses the fleet, is of a later protocol, or cannot be read;
/// none stands for one that is gone. For whoever tells a history; what the agent makes of a policy is its own rule.
pub fn bars_claims(policy: Option<&BTreeMap<String, String>>) -> bool {
    let pauses = policy.is_some_and(|data| data.get("paused").is_some_and(|paused| paused == "true"));
    pauses || Policy::read(policy, true).forbids_claims().is_some()
}

/// What a history came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Examined {
    /// Every rule that was broken, in the order of the history.
    pub violations: Vec<Violation>,
    /// How often each rule had something to judge; a rule that never had is not there.
    pub premises: BTreeMap<Rule, usize>,
}

impl fmt::Display for Examined {
    /// The violations, then each rule with how often it had something to judge: one that never had was not tested.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.violations.iter().try_for_each(|violation| writeln!(f, "{violation}"))?;
        Rule::ALL.iter().try_for_each(|rule| {
            let arose = self.premises.get(rule).copied().unwrap_or_default();
            writeln!(f, "{arose:>8}  {rule:?}")
        })
    }
}

/// Finds every violation in a history that was watched until its last event.
pub fn check(history: &[Event], expectations: &Expectations) -> Vec<Violation> {
    let until = history.last().map_or(0, |event| event.at);
    examine(history, until, expectations).violations
}

/// Judges a history that was watched until this time, in its milliseconds.
pub fn examine(history: &[Event], until: u64, expectations: &Expectations) -> Examined {
    let premises = RefCell::default();
    let mut fleet = Fleet::new(history);
    let mut bounds = bounds::Bounds::default();
    let mut violations = Vec::new();
    let mut restored = None;
    for (index, event) in history.iter().enumerate() {
        if matches!(event.what, What::WentWrong { what: ETCD_RESTORED }) {
            restored = Some(event.at);
        }
        if restored == Some(event.at) {
            // Nobody did what an older state says: it is only what stands now. What was waited for until then was.
            let nobodys = Judged { fleet: &fleet, event, index, expectations, premises: &premises };
            violations.extend(bounds.overdue(&nobodys));
            drop(bounds.judge(&nobodys));
            fleet.take(index, event);
            bounds.look(&Judged { fleet: &fleet, event, index, expectations, premises: &premises });
            continue;
        }
        let judged = Judged { fleet: &fleet, event, index, expectations, premises: &premises };
        violations.extend(begin::judge(&judged));
        violations.extend(lease::judge(&judged));
        violations.extend(node::judge(&judged));
        violations.extend(verified::judge(&judged));
        violations.extend(turn::judge(&judged));
        violations.extend(host::judge(&judged));
        violations.extend(control_plane::judge(&judged));
        violations.extend(causes::judge(&judged));
        violations.extend(bounds.overdue(&judged));
        violations.extend(bounds.judge(&judged));
        fleet.take(index, event);
        bounds.look(&Judged { fleet: &fleet, event, index, expectations, premises: &premises });
    }
    violations.extend(bounds.end(&fleet, until, expectations));
    Examined { violations, premises: premises.into_inner() }
}

/// An event about to be taken into what is known of the fleet.
struct Judged<'a> {
    fleet: &'a Fleet<'a>,
    event: &'a Event,
    index: usize,
    expectations: &'a Expectations,
    premises: &'a RefCell<BTreeMap<Rule, usize>>,
}

impl<'a> Judged<'a> {
    /// The node it happens to, as it was before.
    fn node(&self) -> &'a Node {
        self.fleet.node(&self.event.node)
    }

    /// A rule has something to judge.
    fn arose(&self, rule: Rule) {
        *self.premises.borrow_mut().entry(rule).or_default() += 1;
    }

    /// A violation by this event, shown by it and these earlier ones.
    fn broken(&self, rule: Rule, message: impl Into<String>, shown_by: &[Option<usize>]) -> Violation {
        let shown_by = shown_by.iter().flatten().copied().chain([self.index]);
        self.fleet.violation(rule, (&self.event.node, self.event.at), message, shown_by)
    }

    /// Milliseconds from the event of this index to this one.
    fn age(&self, index: usize) -> u64 {
        self.event.at.saturating_sub(self.fleet.at(index))
    }

    /// Whether whatever the event of this index changed is too fresh for the agent to have seen it.
    fn unnoticed(&self, index: usize) -> bool {
        self.age(index) <= self.expectations.notice
    }

    /// Whether somebody installed a package on the node a moment ago.
    fn just_installed_by_hand(&self) -> bool {
        self.node().by_hand.is_some_and(|by_hand| self.unnoticed(by_hand))
    }

    /// Whether this tool may take back what the node's turn has begun: which way it goes shows in what it installs.
    fn may_put_back(&self, tool: &str) -> bool {
        tool == "install-kubeadm" && self.node().tenure.as_ref().is_some_and(|t| t.staged.is_some())
    }

    /// Where a tool that might have taken kubeadm's package back installs another: how long it has run, in milliseconds.
    fn goes_forward_since(&self, package: &str) -> Option<u64> {
        let What::PackageInstalled { version, .. } = &self.event.what else { return None };
        let tool = self.node().tool.filter(|tool| package == "kubeadm" && tool.is == "install-kubeadm")?;
        let tenure = self.node().tenure.as_ref()?;
        let first = tenure.staged == Some(tool.by);
        (!first && tenure.from.get(package) != Some(version)).then(|| self.age(tool.by))
    }
}

/// Versions by package name.
type Installed = BTreeMap<String, PackageVersion>;

#[cfg(test)]
mod tests;
