//! Random schedules, as many seeds as asked for, on all processors.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use upgrade_sim::coverage::{Coverage, places};
use upgrade_sim::random::{aimed_at, random_schedule, random_setup};
use upgrade_sim::world::World;

use crate::failures::{Failures, history};
use crate::number;

/// This many seeds without being asked.
pub(crate) const FEW: u64 = 150;
/// From this many on, every rule must have something to judge.
const MANY: u64 = 1_000;
/// This many runs are aimed at a place that chance left out.
const TRIES: u64 = 60;
/// From this many on, every place must be visited.
const ALL: u64 = 10_000;

#[test]
fn random_schedules_keep_every_rule_and_come_to_an_end() {
    if let Some(seed) = number("SIM_SEED") {
        replay(seed);
    }
    let seeds = number("SIM_SEEDS").unwrap_or(FEW);
    let (failures, mut coverage) = judge_all(seeds);
    tell(&format!("{seeds} seeds, {} of {} places of faults visited", coverage.visited(), places().len()));
    if seeds >= ALL {
        aim_at_the_rest(&mut coverage).none();
        tell(&format!("{} visited with runs aimed at those that chance left out", coverage.visited()));
    }
    if seeds >= MANY {
        failures.premises().lines().for_each(tell);
    }
    failures.none();
    if seeds >= MANY {
        let idle = failures.idle_rules();
        assert!(idle.is_empty(), "these rules had nothing to judge: {idle:?}");
    }
    if seeds >= ALL {
        let (never, stale) = (coverage.never(), coverage.stale());
        assert!(never.is_empty(), "{} places never visited, without a reason: {never:?}", never.len());
        assert!(stale.is_empty(), "these reasons excuse nothing: {stale:?}");
    }
}

/// A line past the capture of tests that pass: the build counts.
pub(crate) fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "simulation: {line}");
}

/// Chance leaves some places out: a few runs for each of them, which count towards no limit.
fn aim_at_the_rest(coverage: &mut Coverage) -> Failures {
    let mut failures = Failures::default();
    for place in coverage.never() {
        for seed in 0..TRIES {
            let (setup, schedule) = aimed_at(place, seed);
            let world = World::run(&setup, &schedule);
            coverage.add(&world);
            failures.take(&world.verdict(), u64::MAX, &format!("{place:?}, {seed}"), &setup, &schedule);
            if world.struck.contains(&place) {
                break;
            }
        }
    }
    failures
}

/// Prints one seed's whole history, and fails.
#[expect(
    clippy::panic,
    reason = "whoever replays a seed wants to see it, and a test that passes shows nothing"
)]
fn replay(seed: u64) {
    let setup = random_setup(seed);
    let schedule = random_schedule(&setup, seed);
    let world = World::run(&setup, &schedule);
    panic!("{setup:?}\n{schedule:#?}\n{}\n{}", history(&world), world.verdict());
}

fn judge_all(seeds: u64) -> (Failures, Coverage) {
    let found = Mutex::new((Failures::default(), Coverage::default()));
    each_seed(seeds, |seed| {
        let setup = random_setup(seed);
        let schedule = random_schedule(&setup, seed);
        let world = World::run(&setup, &schedule);
        let verdict = world.verdict();
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        found.1.add(&world);
        found.0.take(&verdict, seed, &format!("SIM_SEED={seed}"), &setup, &schedule);
        None::<()>
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Does something for so many seeds, on all processors; what came of it, in their order.
pub(crate) fn each_seed<T: Send>(seeds: u64, one: impl Fn(u64) -> Option<T> + Sync) -> Vec<T> {
    let found = Mutex::new(BTreeMap::new());
    let from = number("SIM_FROM").unwrap_or_default();
    let next = AtomicU64::new(from);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + seeds {
                break;
            }
            if let Some(outcome) = one(seed) {
                found.lock().unwrap_or_else(PoisonError::into_inner).insert(seed, outcome);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(work);
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}
