//! What went wrong in many runs, by kind, with the first of each made small.

use std::collections::BTreeMap;
use std::fmt::Write;

use upgrade_core::oracle::{End, Rule};
use upgrade_sim::schedule::Schedule;
use upgrade_sim::setup::Setup;
use upgrade_sim::shrink::shrink;
use upgrade_sim::verdict::Verdict;
use upgrade_sim::world::World;

use crate::known::{KNOWN, Known};
use crate::seeds::MANY;

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

    /// Fails with everything needed to see why, but for what is known of random schedules.
    pub(crate) fn none_but_known(&self) {
        self.none_but(&KNOWN.iter().map(|known| known.kind).collect::<Vec<_>>());
    }

    /// The same, but for what these runs are known to show.
    pub(crate) fn none_but(&self, known: &[&str]) {
        let mut told = String::new();
        for (kind, first) in self.kinds.iter().filter(|(kind, _)| !known.contains(&kind.as_str())) {
            let _ = writeln!(told, "{}", show(kind, first));
        }
        assert!(told.is_empty(), "{told}");
    }

    /// What is known and arose, a line each.
    pub(crate) fn known(&self, seeds: u64) -> Vec<String> {
        let told = |known: &Known| {
            let First { count, label, .. } = self.kinds.get(known.kind)?;
            let most = (seeds >= MANY).then(|| format!(" of at most {}", limit(known, seeds)));
            let most = most.unwrap_or_default();
            Some(format!("known: {}: {count}{most}, first {label} ({})", known.kind, known.why()))
        };
        KNOWN.iter().filter_map(told).collect()
    }

    /// Known kinds that did not arise.
    pub(crate) fn no_longer(&self) -> Vec<&'static str> {
        KNOWN.iter().filter(|known| self.count(known).is_none()).map(|known| known.kind).collect()
    }

    /// Known kinds that arose more often than they did among so many seeds.
    pub(crate) fn more_often(&self, seeds: u64) -> Vec<String> {
        let more = KNOWN.iter().filter_map(|known| Some((known, self.count(known)?)));
        let more = more.filter(|(known, count)| *count > limit(known, seeds));
        more.map(|(known, count)| format!("{} {count} times", known.kind)).collect()
    }

    /// Known kinds that arose more or less often than they did among the first thousand seeds.
    pub(crate) fn other_than_before(&self) -> Vec<String> {
        let differs = |known: &&Known| self.count(known).unwrap_or_default() != known.of_the_first;
        let told = |known: &Known| {
            let count = self.count(known).unwrap_or_default();
            format!("{} {count} instead of {} times", known.kind, known.of_the_first)
        };
        KNOWN.iter().filter(differs).map(told).collect()
    }

    fn count(&self, known: &Known) -> Option<usize> {
        self.kinds.get(known.kind).map(|first| first.count)
    }
}

/// How often a known failure may arise among this many seeds.
fn limit(known: &Known, seeds: u64) -> usize {
    (known.in_a_thousand * usize::try_from(seeds).unwrap_or(usize::MAX)).div_ceil(1_000)
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
