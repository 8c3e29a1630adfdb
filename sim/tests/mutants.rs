//! What kills a mutant of the rules that the unit tests let live: 500 seeds. `make mutants` runs this, nothing else
//! does.
//!
//! The simulator may show known defects of the rules as they are. So a mutant is killed only by what the rules as they
//! are do not show for the same seed: they are recorded first, then each mutant is compared with that record. Nothing
//! is shrunk, and the first difference ends the run.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;

use upgrade_core::oracle::End;
use upgrade_sim::random::{random_schedule, random_setup};
use upgrade_sim::schedule::Schedule;
use upgrade_sim::setup::Setup;
use upgrade_sim::verdict::judge;

/// So many random schedules a mutant must survive.
const SEEDS: u64 = 500;
/// So many clusters are upgraded without any fault first: cheap, and every node must get to its target.
const CALM: u64 = 20;
/// The kind of a run without faults in which a node came to an allowed end other than its target.
const NOT_DONE: &str = "NotDone";

/// Every run by its label, in the order in which they are tried: what is quick to fail comes first.
fn runs() -> impl Iterator<Item = (String, Setup, Schedule)> {
    let calm = (0..CALM).map(|seed| (format!("calm-{seed}"), random_setup(seed), Schedule::new()));
    let random = (0..SEEDS).map(|seed| {
        let setup = random_setup(seed);
        let schedule = random_schedule(&setup, seed);
        (format!("seed-{seed}"), setup, schedule)
    });
    calm.chain(random)
}

/// What goes wrong in one run, by its kinds.
fn shown(setup: &Setup, schedule: &Schedule) -> BTreeSet<String> {
    let verdict = judge(setup, schedule);
    let mut kinds = verdict.kinds();
    if schedule.is_empty() && verdict.ends.iter().any(|(_, end)| *end != End::Done) {
        kinds.insert(NOT_DONE.to_owned());
    }
    kinds
}

/// One line for each run: its label, then each kind, after tabs.
#[test]
#[ignore = "for make mutants"]
fn record_what_the_rules_show() {
    let line = |(label, setup, schedule): (String, Setup, Schedule)| {
        [label].into_iter().chain(shown(&setup, &schedule)).collect::<Vec<_>>().join("\t") + "\n"
    };
    let text: String = runs().map(line).collect();
    fs::write(env::var("MUTANTS_RECORD").expect("a file to write"), text).unwrap();
}

#[test]
#[ignore = "for make mutants"]
fn no_run_shows_what_the_record_does_not() {
    let text = fs::read_to_string(env::var("MUTANTS_BASELINE").expect("a file to read")).unwrap();
    let known: BTreeMap<&str, BTreeSet<&str>> = text
        .lines()
        .map(|line| {
            let mut parts = line.split('\t');
            (parts.next().unwrap_or_default(), parts.collect())
        })
        .collect();
    for (label, setup, schedule) in runs() {
        let known = known.get(label.as_str()).unwrap_or_else(|| panic!("{label} is not in the record"));
        let shown = shown(&setup, &schedule);
        let new: Vec<&String> = shown.iter().filter(|kind| !known.contains(kind.as_str())).collect();
        assert!(new.is_empty(), "{label} shows {new:?}");
    }
}
