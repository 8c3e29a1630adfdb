//! Degraded in turn B, of a worker and of a control-plane node.

use upgrade_core::api::{Reason, TurnKind};
use upgrade_core::memory::Step;

use super::words::{
    AS_ILL, CAME_SO, FROM, MINUTE, NEXT, PASSED, STAYS, TARGET, again, and, asked, before, by_hand, crashes,
    done, in_turn, next, not, refused, scheduler, sick, state, target, tool,
};
use super::{Cell, Runs, Stand, State};
use crate::fault::{FOR_EVER, Fault, Identity};
use crate::schedule::{Planned, Point, Schedule, When};

/// There is nothing for people to install.
const IS_ILL: Cell = not("all is installed; \"mended\" is what is left to do");

pub(super) fn rows() -> Vec<State> {
    [installing(), verifying(), unread(), going_back(), replanned(), control_plane()].concat()
}

fn degraded(step: Step, reason: Reason) -> Stand {
    Stand::Degraded { kind: TurnKind::Kubelet, step, back: false, reason }
}

/// It has to serve first, as any other.
fn unverified() -> Cell {
    Cell::Comes(degraded(Step::Verifying, Reason::NotVerified), 8)
}

fn install_fails() -> Schedule {
    and(in_turn(), [tool("w1", "install-kubelet", 0, 3)])
}

fn cut() -> Fault {
    Fault::PowerCut { node: "w1".to_owned(), boot: 20_000 }
}

fn installing() -> Vec<State> {
    let at = |nth, fault| Planned {
        when: When::act("w1", "install-kubelet", nth, Point::Done),
        faults: vec![(0, fault)],
    };
    let boots = and(in_turn(), [at(0, cut()), at(1, cut()), at(2, cut())]);
    let lost = Fault::JournalLost { node: "w1".to_owned() };
    let cells = || [done(4), PASSED, next(6), STAYS, PASSED, done(4), STAYS, STAYS];
    vec![
        state(
            "apt fails to install kubelet",
            "w1",
            install_fails(),
            degraded(Step::Installing, Reason::ToolFailed),
            cells(),
        ),
        state(
            "the host boots again and again while kubelet is installed",
            "w1",
            boots,
            degraded(Step::Installing, Reason::ToolFailed),
            cells(),
        ),
        state(
            "the journal is lost between kubelet's package and its restart",
            "w1",
            and(in_turn(), [at(0, lost)]),
            degraded(Step::Installing, Reason::JournalLost),
            cells(),
        ),
    ]
}

fn verifying() -> Vec<State> {
    let while_sick = Planned::act("w1", "restart-kubelet", Point::Answered, sick("w1", FOR_EVER));
    let boots = while_sick.and(10_000, cut()).and(MINUTE, cut()).and(2 * MINUTE, cut());
    let loops = before("w1", "install-kubelet", 0, crashes("w1", TARGET, FOR_EVER));
    let daemons = |lasts| Fault::DaemonPodsSick { node: "w1".to_owned(), lasts };
    vec![
        state(
            "the new kubelet does not run",
            "w1",
            and(in_turn(), [loops]),
            degraded(Step::Verifying, Reason::NotVerified),
            [done(4), again(8), next(6), STAYS, done(4), IS_ILL, STAYS, STAYS],
        )
        .mend(vec![crashes("w1", TARGET, 1)]),
        state(
            "a DaemonSet's pod is not Ready again",
            "w1",
            and(in_turn(), [before("w1", "restart-kubelet", 0, daemons(FOR_EVER))]),
            degraded(Step::Verifying, Reason::NotVerified),
            [done(4), again(8), AS_ILL, STAYS, done(4), IS_ILL, STAYS, STAYS],
        )
        .mend(vec![daemons(1)]),
        state(
            "the host boots again and again while it is verified",
            "w1",
            and(in_turn(), [boots]),
            degraded(Step::Verifying, Reason::ToolFailed),
            [done(4), unverified(), AS_ILL, STAYS, done(4), IS_ILL, STAYS, STAYS],
        )
        .mend(vec![sick("w1", 1)]),
    ]
}

fn unread() -> Vec<State> {
    // Long enough for its kubelet to say so.
    let slow = Fault::Kill { node: "w1".to_owned(), restart: MINUTE };
    let refuses =
        Fault::CredentialFails { node: "w1".to_owned(), identity: Identity::Kubelet, lasts: 40 * MINUTE };
    vec![
        state(
            "kubelet is not Ready when it would be uncordoned",
            "w1",
            and(in_turn(), [before("w1", "uncordon", 0, sick("w1", FOR_EVER)).and(0, slow)]),
            degraded(Step::Uncordoning, Reason::NotReady),
            [done(4), unverified(), AS_ILL, STAYS, done(4), IS_ILL, STAYS, STAYS],
        )
        .mend(vec![sick("w1", 1)]),
        state(
            "the API server refuses its kubelet's credential for 40 minutes",
            "w1",
            and(in_turn(), [Planned::act("w1", "install-kubelet", Point::Done, refuses)]),
            degraded(Step::Verifying, Reason::Retrying),
            [done(30), PASSED, next(35), done(30), PASSED, IS_ILL, done(30), done(30)],
        ),
    ]
}

/// Before its point of no return, and its kubelet is not Ready for longer than is waited.
fn going_back() -> Vec<State> {
    let fails = tool("w1", "kubeadm-upgrade", 0, 3);
    let ill = before("w1", "kubeadm-upgrade", 2, crashes("w1", FROM, FOR_EVER));
    let (kind, step) = (TurnKind::Kubelet, Step::Applying);
    let back = Stand::Degraded { kind, step, back: true, reason: Reason::NotReady };
    let refused = || refused(Reason::ToolFailed, Runs::Old, 3);
    vec![
        state(
            "kubeadm fails, and the old kubelet does not run",
            "w1",
            and(in_turn(), [fails, ill]),
            back,
            [refused(), again(8), next(6), STAYS, refused(), done(4), STAYS, STAYS],
        )
        .mend(vec![crashes("w1", FROM, 1)]),
    ]
}

/// Degraded once, given a newer target, and stopped on the way there.
fn replanned() -> Vec<State> {
    let newer = |more: Planned| {
        // Its control plane is there already.
        let ask = Planned::at(30 * MINUTE, by_hand("cp1", NEXT))
            .and(5 * MINUTE, target("w1", NEXT))
            .and(5 * MINUTE, target("w2", NEXT));
        and(install_fails(), [ask, more])
    };
    let by_hand = || not("people take it to the newer target: see \"apt fails to install kubelet\"");
    let cells = || [next(4), PASSED, CAME_SO, STAYS, PASSED, by_hand(), STAYS, STAYS];
    vec![
        state(
            "on the way to a newer target, apt fails to install kubeadm",
            "w1",
            newer(tool("w1", "install-kubeadm", 1, 3)),
            degraded(Step::Staging, Reason::ToolFailed),
            cells(),
        ),
        state(
            "on the way to a newer target, kubeadm fails",
            "w1",
            newer(tool("w1", "kubeadm-upgrade", 1, 3)),
            degraded(Step::Applying, Reason::ToolFailed),
            cells(),
        ),
    ]
}

fn control_plane() -> Vec<State> {
    let asked_and = |more: Planned| vec![asked(["cp1"]), more];
    vec![
        state(
            "control plane: apt fails to install kubelet",
            "cp1",
            asked_and(tool("cp1", "install-kubelet", 0, 3)),
            degraded(Step::Installing, Reason::ToolFailed),
            [done(4), PASSED, next(4), STAYS, PASSED, done(4), STAYS, STAYS],
        ),
        state(
            "control plane: the new kubelet does not run",
            "cp1",
            asked_and(before("cp1", "install-kubelet", 0, crashes("cp1", TARGET, FOR_EVER))),
            degraded(Step::Verifying, Reason::NotVerified),
            [done(4), again(8), next(6), STAYS, done(4), IS_ILL, STAYS, STAYS],
        )
        .mend(vec![crashes("cp1", TARGET, 1)]),
        state(
            "control plane: a static pod does not run after its kubelet's restart",
            "cp1",
            asked_and(Planned::act("cp1", "uncordon", Point::Answered, scheduler(FOR_EVER))),
            degraded(Step::Releasing, Reason::NotVerified),
            [done(4), again(8), AS_ILL, STAYS, done(4), IS_ILL, STAYS, STAYS],
        )
        .mend(vec![scheduler(1)]),
    ]
}
