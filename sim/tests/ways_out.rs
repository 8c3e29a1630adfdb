//! The table of states and ways out: every cell comes out as the design wants it, and every state that the code can tell has its row.
//!
//! `CELL='apt fails' cargo test -p upgrade-sim --test ways_out` plays the rows whose name has these words and says how each way
//! goes; with `WAY='new target'` it prints that history.

use std::collections::BTreeSet;
use std::io::{self, Write};

use upgrade_core::api::{Reason, TurnKind};
use upgrade_sim::ways_out::{
    Cell, Class, Judged, STEPS, Stand, State, Way, judge, print, rows_of_reason, rows_of_step, table,
};

/// The rows that are asked for; all where none are.
fn rows() -> Vec<State> {
    let wanted = std::env::var("CELL").unwrap_or_default();
    table().into_iter().filter(|state| state.name.contains(&wanted)).collect()
}

#[test]
fn every_way_out_of_every_state_comes_to_what_the_design_wants() {
    let rows = rows();
    let wanted = std::env::var("WAY").ok();
    let ways: Vec<Way> = Way::ALL
        .into_iter()
        .filter(|way| wanted.as_ref().is_none_or(|wanted| way.word().contains(wanted)))
        .collect();
    let cells: Vec<(&State, Way)> =
        rows.iter().flat_map(|state| ways.iter().map(move |way| (state, *way))).collect();
    if wanted.is_some() {
        for (state, way) in &cells {
            print(state, *way);
        }
    }
    let half = cells.len().div_ceil(2);
    let judged: Vec<Judged> = std::thread::scope(|scope| {
        let threads: Vec<_> = cells
            .chunks(half.max(1))
            .map(|cells| {
                scope.spawn(|| cells.iter().map(|(state, way)| judge(state, *way)).collect::<Vec<_>>())
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let count = |is: fn(&Judged) -> bool| judged.iter().filter(|judged| is(judged)).count();
    let wrong: Vec<String> = cells
        .iter()
        .zip(&judged)
        .filter_map(|((state, way), judged)| match judged {
            Judged::Wrong(why) => Some(format!("{} ({}), {}: {why}", state.name, state.node, way.word())),
            Judged::Right | Judged::CannotBe => None,
        })
        .collect();
    // Past the capture of tests that pass: the build says how many there are.
    let _ = writeln!(
        io::stderr(),
        "ways out: {} cells come out right, {} cannot be",
        count(|judged| *judged == Judged::Right),
        count(|judged| *judged == Judged::CannotBe),
    );
    assert!(wrong.is_empty(), "{} cells:\n{}", wrong.len(), wrong.join("\n"));
}

/// The class and the reason of a row.
const fn told(stand: Stand) -> Option<(Class, Reason)> {
    match stand {
        Stand::Degraded { reason, .. } => Some((Class::Degraded, reason)),
        Stand::Refused(reason, _) => Some((Class::Refused, reason)),
        Stand::Waits(reason, _) => Some((Class::Waits, reason)),
        Stand::Done(_) | Stand::Idle(_) => None,
    }
}

#[test]
fn every_reason_that_is_told_for_longer_than_a_moment_has_its_rows() {
    let rows: BTreeSet<(Class, Reason)> = table().iter().filter_map(|state| told(state.is)).collect();
    let classes =
        |reason| rows_of_reason(reason).unwrap_or_default().iter().map(move |class| (*class, reason));
    let wanted: BTreeSet<(Class, Reason)> = Reason::ALL.into_iter().flat_map(classes).collect();
    assert_eq!(rows, wanted);
}

#[test]
fn every_step_in_which_a_turn_can_be_degraded_has_its_row() {
    let kinds = [TurnKind::ControlPlane, TurnKind::Kubelet];
    let all = kinds.into_iter().flat_map(|kind| STEPS.map(|step| (kind, step)));
    let wanted: BTreeSet<_> = all.filter(|(kind, step)| rows_of_step(*kind, *step).is_ok()).collect();
    let stopped = |state: &State| match state.is {
        Stand::Degraded { kind, step, .. } => Some((kind, step)),
        Stand::Done(_) | Stand::Idle(_) | Stand::Refused(..) | Stand::Waits(..) => None,
    };
    assert_eq!(table().iter().filter_map(stopped).collect::<BTreeSet<_>>(), wanted);
}

#[test]
fn every_cell_that_cannot_be_says_why() {
    for state in table() {
        for (cell, way) in state.cells.iter().zip(Way::ALL) {
            assert!(*cell != Cell::CannotBe(""), "{}, {}", state.name, way.word());
        }
    }
}

/// The head of the table and its rows, as the page has to have them.
fn page() -> String {
    let heads: Vec<&str> = Way::ALL.into_iter().map(Way::word).collect();
    let head = format!(
        "| how it came about | state | {} |\n|{}\n",
        heads.join(" | "),
        "---|".repeat(heads.len() + 2)
    );
    let rows: Vec<String> = table().iter().map(State::row).collect();
    format!("{head}{}\n", rows.join("\n"))
}

#[test]
fn the_page_has_the_table_as_the_code_has_it() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/internals/ways-out.md");
    let text = std::fs::read_to_string(path).unwrap();
    let wanted = page();
    assert!(text.ends_with(&wanted), "docs/internals/ways-out.md should end with:\n{wanted}");
}
