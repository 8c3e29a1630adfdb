//! Waiting before a claim, and at rest between the turns: in service, nothing held, and it goes by itself when it may.

use upgrade_core::api::{Reason, Version};

use super::control_plane::half;
use super::words::{
    AT_REST, HOLDS_NONE, HOLDS_UP, IDLE, MINUTE, STAYS, TARGET, and, asked, cluster, done, in_turn, next,
    not, refused, retry, sick, state, target, tool,
};
use super::{Cell, Runs, Stand, State};
use crate::fault::{FOR_EVER, Fault};
use crate::schedule::{Planned, Point, When};
use crate::setup::{Endpoint, Setup};

pub(super) fn rows() -> Vec<State> {
    [paused(), by_itself(), for_a_worker(), for_a_control_plane(), for_others(), at_rest()].concat()
}

fn waits(reason: Reason) -> Stand {
    Stand::Waits(reason, Runs::Old)
}

fn then(reason: Reason) -> Cell {
    Cell::Comes(waits(reason), 6)
}

fn pause(lasts: u64) -> Fault {
    Fault::Paused { lasts }
}

fn paused() -> Vec<State> {
    let at_release =
        Planned { when: When::act("cp1", "release", 1, Point::Answered), faults: vec![(0, pause(FOR_EVER))] };
    let cells = |idle| [done(4), STAYS, STAYS, idle, done(4), done(6), HOLDS_NONE, STAYS];
    vec![
        state(
            "control plane: the fleet is paused",
            "cp1",
            vec![Planned::at(1_000, pause(FOR_EVER)), asked(["cp1"])],
            waits(Reason::Paused),
            cells(IDLE),
        )
        .mend(vec![pause(1)]),
        state(
            "the fleet is paused when the control plane is done",
            "w1",
            vec![asked(["cp1", "w1"]), at_release],
            waits(Reason::Paused),
            cells(IDLE),
        )
        .mend(vec![pause(1)]),
        state(
            "control plane at rest: the fleet is paused",
            "cp1",
            vec![asked(["cp1"]), Planned::act("cp1", "kubeadm-upgrade", Point::Done, pause(FOR_EVER))],
            Stand::Waits(Reason::Paused, Runs::Half),
            cells(AT_REST),
        )
        .mend(vec![pause(1)]),
    ]
}

fn by_itself() -> Vec<State> {
    let down = |lasts| Fault::RepositoryDown { node: "cp1".to_owned(), lasts };
    let blocks = |lasts| Fault::BudgetBlocks { lasts };
    let ask_later = || Planned::at(2 * MINUTE, target("cp1", TARGET));
    let ill = not("a kubelet that is ill stays so");
    let given_up = refused(Reason::DrainGivenUp, Runs::Old, 30);
    let soon = not("it goes on by itself, soon");
    vec![
        state(
            "no repository answers",
            "cp1",
            vec![Planned::at(1_000, down(FOR_EVER)), asked(["cp1"])],
            waits(Reason::Retrying),
            [done(6), STAYS, STAYS, IDLE, done(6), done(4), HOLDS_NONE, STAYS],
        )
        .mend(vec![down(1)]),
        state(
            "its kubelet is not Ready",
            "cp1",
            vec![Planned::at(1_000, sick("cp1", FOR_EVER)), ask_later()],
            waits(Reason::PreflightPending),
            [done(6), STAYS, STAYS, IDLE, done(6), ill, HOLDS_NONE, STAYS],
        )
        .mend(vec![sick("cp1", 1)]),
        state(
            "a drain was given up",
            "w1",
            and(in_turn(), [Planned::act("w1", "claim", Point::Answered, blocks(FOR_EVER))]),
            waits(Reason::BackingOff),
            [done(4), given_up, HOLDS_UP, IDLE, done(4), done(4), HOLDS_NONE, soon],
        )
        .mend(vec![blocks(1)]),
    ]
}

fn for_a_worker() -> Vec<State> {
    let w1 = || "w1".to_owned();
    let cut = Fault::PowerCut { node: w1(), boot: FOR_EVER };
    let dead = Planned::act("w1", "drain", Point::Done, cut);
    let freed_and_ignored = vec![Fault::LeaseFreed { node: w1() }, Fault::Ignore { node: w1(), on: true }];
    let newer = not("the control plane goes first, and waits for that slot");
    let budget = then(Reason::BudgetExhausted);
    vec![
        state(
            "another worker is degraded at its target",
            "w2",
            and(in_turn(), [tool("w1", "install-kubelet", 0, 3)]),
            waits(Reason::Halted),
            [done(6), STAYS, next(8), IDLE, done(6), done(6), STAYS, then(Reason::WaitingForTurn)],
        )
        .of("w1")
        .mend(vec![retry("w1")]),
        state(
            "a dead machine holds the slot",
            "w2",
            and(in_turn(), [dead]),
            waits(Reason::WaitingForTurn),
            [done(6), STAYS, newer, IDLE, done(6), done(6), budget, STAYS],
        )
        .of("w1")
        .mend(freed_and_ignored),
    ]
}

fn for_a_control_plane() -> Vec<State> {
    let other = Planned::act("cp1", "claim", Point::Answered, target("cp2", TARGET));
    vec![
        state(
            "another control-plane node is degraded at its target",
            "cp2",
            and(half(), [other]),
            waits(Reason::Halted),
            [done(9), STAYS, next(10), IDLE, done(9), done(6), STAYS, STAYS],
        )
        .of("cp1")
        .mend(vec![retry("cp1")])
        .with(Setup { control_planes: 2, endpoint: Endpoint::Shared, ..cluster() }),
    ]
}

fn for_others() -> Vec<State> {
    let down = Planned::at(1_000, sick("w2", FOR_EVER));
    let both = Planned::at(2 * MINUTE, target("cp1", TARGET)).and(0, target("w1", TARGET));
    let newer = not("the control plane goes first: see \"control plane at rest: a worker is down\"");
    let by_hand = not("by hand the control plane goes first, too");
    vec![
        state(
            "the control plane is a minor behind its target",
            "w1",
            vec![asked(["w1"])],
            waits(Reason::WaitingForTurn),
            [done(6), STAYS, next(6), IDLE, done(6), by_hand, HOLDS_NONE, STAYS],
        )
        .of("cp1")
        .mend(vec![target("cp1", TARGET)])
        .with(Setup { from: Version::new(1, 35, 4), endpoint: Endpoint::Shared, ..cluster() }),
        state(
            "the control plane waits for another worker that is down",
            "w1",
            vec![down, both],
            waits(Reason::WaitingForTurn),
            [done(9), STAYS, newer, IDLE, done(9), done(6), HOLDS_NONE, done(9)],
        )
        .of("w2")
        .mend(vec![sick("w2", 1)]),
    ]
}

fn at_rest() -> Vec<State> {
    let down = Planned::at(1_000, sick("w1", FOR_EVER));
    let newer = not("turn A of the newer one begins, and then it is here again");
    vec![
        state(
            "control plane at rest: a worker is down",
            "cp1",
            vec![down, Planned::at(2 * MINUTE, target("cp1", TARGET))],
            Stand::Waits(Reason::BudgetExhausted, Runs::Half),
            [done(6), STAYS, newer, AT_REST, done(6), done(6), HOLDS_NONE, done(6)],
        )
        .of("w1")
        .mend(vec![sick("w1", 1)]),
    ]
}
