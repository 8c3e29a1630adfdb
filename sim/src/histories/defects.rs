//! A1 to A28: what the core was known to do wrong, each with what is right.

use upgrade_core::oracle::End;

use super::{History, Standing, Want, run};
use crate::fault::Fault;
use crate::schedule::{Planned, Point};
use crate::setup::Setup;

pub(super) fn all() -> Vec<History> {
    vec![pause_is_obeyed(), unpausing_is_noticed()]
}

fn pause_is_obeyed() -> History {
    // w1 has made its preflight and waits for its turn while cp1 is upgraded; then people pause.
    let paused = Planned::act("cp1", "install-kubelet", Point::Done, Fault::Paused { lasts: 600_000 });
    History {
        number: "A1",
        sentence: "A node that waits for its turn does not begin while the policy pauses the fleet.",
        standing: Standing::Red(&["Paused"]),
        runs: vec![run(Setup::small(), vec![paused])],
    }
}

fn unpausing_is_noticed() -> History {
    let paused = Planned::at(3_000, Fault::Paused { lasts: 120_000 });
    let end = Want::End("w1", End::Done);
    History {
        number: "A2",
        sentence: "A node that waits because the fleet is paused goes on by itself when it no longer is.",
        standing: Standing::Red(&["w1 ends Done"]),
        runs: vec![run(Setup::small(), vec![paused]).wants(end)],
    }
}
