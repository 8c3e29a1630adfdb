//! Whether a run was right: the oracle's rules, and an allowed end for every node.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use upgrade_core::oracle::{End, Examined, Expectations, Rule, Violation, ends, examine};

use crate::schedule::Schedule;
use crate::setup::Setup;
use crate::world::{BUSY, World};

/// What was wrong with a run.
pub struct Verdict {
    /// The rules that were broken.
    pub violations: Vec<Violation>,
    /// Nodes that did not come to an allowed end, and why.
    pub unfinished: Vec<String>,
    /// How every node ended.
    pub ends: Vec<(String, End)>,
    /// How often each rule had something to judge.
    pub premises: BTreeMap<Rule, usize>,
}

impl Verdict {
    /// What went wrong, without its details: two runs that go wrong alike have a kind in common.
    pub fn kinds(&self) -> BTreeSet<String> {
        let rules = self.violations.iter().map(|violation| format!("{:?}", violation.rule));
        rules.chain(self.unfinished.first().map(|_| UNFINISHED.to_owned())).collect()
    }

    /// How a node ended.
    pub fn end(&self, node: &str) -> Option<&End> {
        self.ends.iter().find(|(name, _)| name == node).map(|(_, end)| end)
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

/// What the oracle must know of the simulator's own settings.
fn expectations(setup: &Setup) -> Expectations {
    let settings = World::settings("");
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Expectations {
        slots: setup.slots,
        drain: !setup.undrained,
        soak: millis(settings.soak),
        verify: millis(settings.verify_timeout),
        ..Expectations::default()
    }
}

/// Runs a setup under a schedule and judges what came of it.
pub fn judge(setup: &Setup, schedule: &Schedule) -> Verdict {
    World::run(setup, schedule).verdict()
}

impl World {
    /// What is wrong with this run, now that it is over.
    pub fn verdict(&self) -> Verdict {
        let Examined { violations, premises } =
            examine(&self.history, self.until(), &expectations(self.setup()));
        let ends: Vec<(String, End)> = ends(&self.history).into_iter().collect();
        let busy = (self.steps.len() > BUSY).then(|| format!("{BUSY} steps: somebody turns in a circle"));
        let waiting = ends.iter().filter_map(|(node, end)| self.unfinished(node, end, &ends));
        let unfinished = busy.into_iter().chain(waiting).collect();
        Verdict { violations, unfinished, ends, premises }
    }

    fn unfinished(&self, node: &str, end: &End, ends: &[(String, End)]) -> Option<String> {
        match end {
            _ if !self.has_agent(node) => None,
            End::Done | End::Refused | End::Degraded => None,
            End::Unfinished(_) if self.cannot_say(node) || self.waits_for_members(node) => None,
            End::Unfinished(_) if self.waits_for_a_degraded_holder(node, ends) => None,
            End::Unfinished(why) => Some(format!("{node}: {why}")),
            End::BackedOut | End::RolledBack | End::Untouched => {
                let unmet = self.has_unmet_target(node) && !self.may_wait(node, ends);
                unmet.then(|| format!("{node} still waits for its turn, and nothing stands in its way"))
            }
        }
    }
}
