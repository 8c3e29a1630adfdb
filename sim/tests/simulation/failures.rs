//! What went wrong in many runs, by kind, with the first of each made small.

use std::collections::BTreeMap;
use std::fmt::Write;

use upgrade_core::oracle::{End, Rule};
use upgrade_sim::schedule::Schedule;
use upgrade_sim::setup::Setup;
use upgrade_sim::shrink::shrink;
use upgrade_sim::verdict::Verdict;
use upgrade_sim::world::World;

/// The kind of a run in which a node came to an allowed end that it had no reason for.
const NOT_DONE: &str = "NotDone";

/// The first run that went wrong in one way, and how many did.
struct First {
    count: usize,
    order: u64,
    label: String,
    setup: Setup,
    schedule: Schedule,
}

/// Failures by kind, and how often each rule had something to judge.
#[derive(Default)]
pub(crate) struct Failures {
    kinds: BTreeMap<String, First>,
    premises: BTreeMap<Rule, usize>,
}

impl Failures {
    fn add(&mut self, kind: String, order: u64, label: &str, setup: &Setup, schedule: &Schedule) {
        let (label, setup, schedule) = (label.to_owned(), setup.clone(), schedule.clone());
        let new = First { count: 1, order, label, setup, schedule };
        self.put(kind, new);
    }

    fn put(&mut self, kind: String, new: First) {
        let Some(first) = self.kinds.get_mut(&kind) else {
            self.kinds.insert(kind, new);
            return;
        };
        let count = first.count + new.count;
        if new.order < first.order {
            *first = new;
        }
        first.count = count;
    }

    /// Judges one run; `done` if nothing in it may keep a node from its target.
    pub(crate) fn judge(&mut self, label: &str, setup: &Setup, schedule: &Schedule, done: bool) {
        let verdict = World::run(setup, schedule).verdict();
        self.take(&verdict, 0, label, setup, schedule);
        if done && !all_done(&verdict) {
            self.add(NOT_DONE.to_owned(), 0, label, setup, schedule);
        }
    }

    /// Takes in what was found of one run of many, which `order` counts.
    pub(crate) fn take(
        &mut self,
        verdict: &Verdict,
        order: u64,
        label: &str,
        setup: &Setup,
        schedule: &Schedule,
    ) {
        for kind in verdict.kinds() {
            self.add(kind, order, label, setup, schedule);
        }
        for (rule, count) in &verdict.premises {
            *self.premises.entry(*rule).or_default() += count;
        }
    }

    /// How often each rule had something to judge.
    pub(crate) fn premises(&self) -> String {
        let mut told = String::from("rules, and how often each had something to judge:\n");
        for rule in Rule::ALL {
            let count = self.premises.get(rule).copied().unwrap_or_default();
            let _ = writeln!(told, "{count:>10}  {} {rule:?}", rule.number());
        }
        told
    }

    /// Rules that never had anything to judge.
    pub(crate) fn idle_rules(&self) -> Vec<Rule> {
        Rule::ALL.iter().copied().filter(|rule| !self.premises.contains_key(rule)).collect()
    }

    /// Fails with everything needed to see why.
    pub(crate) fn none(&self) {
        let mut told = String::new();
        for (kind, first) in &self.kinds {
            let _ = writeln!(told, "{}", show(kind, first));
        }
        assert!(told.is_empty(), "{told}");
    }
}

fn show(kind: &str, first: &First) -> String {
    let First { count, label, setup, schedule, .. } = first;
    let small = if kind == NOT_DONE { schedule.clone() } else { shrink(setup, schedule, kind) };
    let world = World::run(setup, &small);
    let (history, verdict) = (history(&world), world.verdict());
    format!(
        "\n=== {kind}: {count} times, first by {label}\n{setup:?}\nsmallest: {small:#?}\n{history}\n{verdict}"
    )
}

fn all_done(verdict: &Verdict) -> bool {
    verdict.ends.iter().all(|(_, end)| *end == End::Done)
}

/// What happened in a run, a line an event.
pub(crate) fn history(world: &World) -> String {
    world.history.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
