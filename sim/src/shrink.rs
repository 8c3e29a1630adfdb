//! Makes a failing schedule small: what is left is what matters.

use crate::schedule::{Planned, Schedule, When};
use crate::setup::Setup;
use crate::verdict::judge;

/// So many runs are spent on one schedule.
const TRIES: usize = 100;

/// The smallest schedule found that still fails in this way: see [`crate::verdict::Verdict::kinds`].
pub fn shrink(setup: &Setup, schedule: &Schedule, kind: &str) -> Schedule {
    let mut tries = 0..TRIES;
    let mut fails =
        |candidate: &Schedule| tries.next().is_some() && judge(setup, candidate).kinds().contains(kind);
    let mut best = schedule.clone();
    while let Some(smaller) = smaller(&best).into_iter().find(|candidate| fails(candidate)) {
        best = smaller;
    }
    best
}

/// Everything one step smaller: without one entry, without one fault, at half the time.
fn smaller(schedule: &Schedule) -> Vec<Schedule> {
    let replaced = |index: usize, planned: Option<Planned>| -> Schedule {
        let mut candidate = schedule.clone();
        candidate.splice(index..=index, planned);
        candidate
    };
    let mut candidates: Vec<Schedule> = (0..schedule.len()).map(|index| replaced(index, None)).collect();
    for (index, planned) in schedule.iter().enumerate() {
        for fault in (0..planned.faults.len()).filter(|_| planned.faults.len() > 1) {
            let mut fewer = planned.clone();
            fewer.faults.remove(fault);
            candidates.push(replaced(index, Some(fewer)));
        }
        if let When::At(at) = planned.when {
            let earlier =
                [at / 2, at.saturating_sub(at % 1_000)].into_iter().filter(|earlier| *earlier != at);
            candidates.extend(
                earlier.map(|at| replaced(index, Some(Planned { when: When::At(at), ..planned.clone() }))),
            );
        }
    }
    candidates
}
