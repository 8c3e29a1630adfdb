//! Each history comes out as it is said to: those that go wrong today go wrong, and in the way that is known. One that comes
//! out right all at once fails here, so that its mark is taken away together with the fault.

use std::collections::BTreeSet;

use upgrade_core::oracle::What;
use upgrade_sim::histories::{History, Run, Standing, all, failures};
use upgrade_sim::world::World;

/// What is wrong with how a history is said to stand.
fn contradiction(history: &History) -> Option<String> {
    let shown: BTreeSet<String> = history.runs.iter().flat_map(failures).collect();
    let number = history.number;
    match history.standing {
        Standing::Holds if !shown.is_empty() => Some(format!("{number} goes wrong: {shown:?}")),
        Standing::Holds if history.runs.is_empty() => Some(format!("{number} has no run")),
        Standing::Red(_) if shown.is_empty() => {
            Some(format!("{number} comes out right: it is no longer red"))
        }
        Standing::Red(known) => {
            let missing: Vec<_> = known.iter().filter(|kind| !shown.contains(**kind)).collect();
            (!missing.is_empty())
                .then(|| format!("{number} goes wrong, but not by {missing:?}; it shows {shown:?}"))
        }
        Standing::Holds | Standing::Waits(_) | Standing::Shown { .. } => None,
    }
}

/// With `SHOW` set, everything that happened in a run, for people.
fn show(run: &Run) {
    let world = World::run(&run.setup, &run.schedule);
    let told = world.history.iter().filter(|event| !matches!(event.what, What::Requested { .. }));
    told.for_each(|event| println!("{event}"));
    let verdict = world.verdict();
    println!("{verdict}shows {:?}\n", run.failures(&world, &verdict));
}

#[test]
fn every_history_comes_out_as_it_is_said_to() {
    let wanted = std::env::var("HISTORY").ok();
    let histories: Vec<_> = all()
        .into_iter()
        .filter(|history| wanted.as_ref().is_none_or(|number| number == history.number))
        .collect();
    if std::env::var_os("SHOW").is_some() {
        histories.iter().flat_map(|history| &history.runs).for_each(show);
    }
    let wrong: Vec<String> = histories.iter().filter_map(contradiction).collect();
    let count = |is: fn(&Standing) -> bool| histories.iter().filter(|history| is(&history.standing)).count();
    println!(
        "histories: {} hold, {} red as expected, {} wait, {} shown by other tests, {} red among those",
        count(|standing| matches!(standing, Standing::Holds)),
        count(|standing| matches!(standing, Standing::Red(_))),
        count(|standing| matches!(standing, Standing::Waits(_))),
        count(|standing| matches!(standing, Standing::Shown { .. })),
        count(|standing| matches!(standing, Standing::Shown { red: true, .. })),
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_number_stands_once_and_in_its_order() {
    let numbers: Vec<&str> = all().iter().map(|history| history.number).collect();
    let a = (1..=28).map(|number| format!("A{number}"));
    let e = (1..=35).map(|number| format!("E{number}"));
    assert_eq!(numbers, a.chain(e).collect::<Vec<_>>());
}
