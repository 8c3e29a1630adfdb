//! Refused: in service, nothing held, until people change something.

use upgrade_core::api::{Reason, Version};

use super::words::{
    ASKS, AT_REST, FROM, HOLDS_NONE, HOLDS_UP, IDLE, MINUTE, NEXT, NO_WAY, PASSED, STAYS, TARGET, again, and,
    asked, by_hand, cluster, done, in_turn, next, not, state, target, tool,
};
use super::{Cell, Runs, Stand, State};
use crate::fault::{FOR_EVER, Fault};
use crate::schedule::{Planned, Point};
use crate::setup::{Endpoint, Setup};

const OLDER: Version = Version { patch: FROM.patch - 1, ..FROM };

pub(super) fn rows() -> Vec<State> {
    [targets(), preflight(), workers(), control_planes(), drains()].concat()
}

fn refused(reason: Reason) -> Stand {
    Stand::Refused(reason, Runs::Old)
}

/// A tool has failed as often as it may.
fn failed(rests: Cell) -> [Cell; 8] {
    [done(4), PASSED, next(6), rests, PASSED, done(8), HOLDS_NONE, STAYS]
}

fn targets() -> Vec<State> {
    let garbled = Planned::at(ASKS, Fault::TargetGarbled { node: "w1".to_owned() });
    let ahead = Planned::at(2_000, by_hand("cp2", NEXT));
    let which = not("nobody can say to which version");
    let back = not("it would be a downgrade");
    vec![
        state(
            "its target cannot be read",
            "w1",
            vec![garbled],
            refused(Reason::InvalidTarget),
            [NO_WAY, STAYS, next(6), IDLE, NO_WAY, which, HOLDS_NONE, STAYS],
        ),
        state(
            "its target is older than what it runs",
            "w1",
            vec![Planned::at(ASKS, target("w1", OLDER))],
            refused(Reason::PreflightFailed),
            [NO_WAY, again(2), next(6), IDLE, NO_WAY, back, HOLDS_NONE, STAYS],
        ),
        state(
            "its target is older than kubeadm-config",
            "cp1",
            vec![ahead, Planned::at(3 * MINUTE, target("cp1", TARGET))],
            refused(Reason::PreflightFailed),
            [NO_WAY, again(2), next(4), IDLE, NO_WAY, done(8), HOLDS_NONE, STAYS],
        )
        .with(Setup { control_planes: 2, ..cluster() }),
    ]
}

fn preflight() -> Vec<State> {
    let withdrawn = Planned::at(1_000, Fault::VersionWithdrawn { version: TARGET });
    let offered = || not("the simulator offers no version anew");
    let dead = || "cp3".to_owned();
    let cut = Planned::at(2_000, Fault::PowerCut { node: dead(), boot: FOR_EVER });
    let removed =
        vec![Fault::EtcdMemberRemoved { node: dead() }, Fault::NodeDeleted { node: dead(), back: FOR_EVER }];
    vec![
        state(
            "no repository has its target",
            "cp1",
            vec![withdrawn, asked(["cp1"])],
            refused(Reason::PreflightFailed),
            [offered(), again(2), next(4), IDLE, offered(), done(8), HOLDS_NONE, STAYS],
        ),
        state(
            "another control-plane node is dead",
            "cp1",
            vec![cut, Planned::at(2 * MINUTE, target("cp1", TARGET))],
            refused(Reason::ControlPlaneDown),
            [done(6), STAYS, STAYS, IDLE, done(6), done(6), HOLDS_NONE, STAYS],
        )
        .of("cp3")
        .mend(removed)
        .with(Setup { control_planes: 3, endpoint: Endpoint::Shared, ..cluster() }),
    ]
}

fn workers() -> Vec<State> {
    let fails = |word| and(in_turn(), [tool("w1", word, 0, 3)]);
    vec![
        state(
            "apt fails to install kubeadm",
            "w1",
            fails("install-kubeadm"),
            refused(Reason::ToolFailed),
            failed(IDLE),
        ),
        state("kubeadm fails", "w1", fails("kubeadm-upgrade"), refused(Reason::ToolFailed), failed(IDLE)),
    ]
}

fn control_planes() -> Vec<State> {
    let fails = |word, nth, times| vec![asked(["cp1"]), tool("cp1", word, nth, times)];
    vec![
        state(
            "control plane: apt fails to install kubeadm",
            "cp1",
            fails("install-kubeadm", 0, 3),
            refused(Reason::ToolFailed),
            failed(IDLE),
        ),
        state(
            "control plane: kubeadm fails and all is as before",
            "cp1",
            fails("kubeadm-upgrade", 0, 1),
            refused(Reason::ToolFailed),
            failed(IDLE),
        ),
        state(
            "control plane at rest: kubeadm fails in turn B",
            "cp1",
            fails("kubeadm-upgrade", 1, 3),
            Stand::Refused(Reason::ToolFailed, Runs::Half),
            failed(AT_REST),
        ),
    ]
}

fn drains() -> Vec<State> {
    let blocks = |lasts| Fault::BudgetBlocks { lasts };
    let given_up = |runs| Stand::Refused(Reason::DrainGivenUp, runs);
    let worker = Planned::act("w1", "claim", Point::Answered, blocks(FOR_EVER));
    let control_plane = Planned::act("cp1", "kubeadm-upgrade", Point::Answered, blocks(FOR_EVER));
    let cells = |idle| [done(4), again(30), HOLDS_UP, idle, STAYS, done(8), HOLDS_NONE, STAYS];
    vec![
        state("three drains are given up", "w1", and(in_turn(), [worker]), given_up(Runs::Old), cells(IDLE))
            .mend(vec![blocks(1)]),
        state(
            "control plane at rest: three drains are given up",
            "cp1",
            vec![asked(["cp1"]), control_plane],
            given_up(Runs::Half),
            cells(AT_REST),
        )
        .mend(vec![blocks(1)]),
    ]
}
