//! Degraded in turn A: a control plane that kubeadm has changed, in service.

use upgrade_core::api::{Reason, TurnKind};
use upgrade_core::memory::Step;

use super::words::{
    AS_ILL, CAME_SO, MINUTE, NEXT, NO_WAY, PASSED, STAYS, TARGET, again, and, asked, before, by_hand,
    cluster, done, fails, next, not, refused, retry, scheduler, state, target, tool,
};
use super::{Cell, Runs, Stand, State};
use crate::fault::{FOR_EVER, Failure, Fault};
use crate::schedule::{Planned, Point, Schedule, When};
use crate::setup::{Endpoint, Setup};

/// kubeadm has put the API server in by then: its preflight, the manifest out, in, awaited.
const HALF: Failure = Failure::Killed(4);
/// Three times like this it has put all in and uploaded its configuration.
const MORE: Failure = Failure::Killed(7);

/// There is nothing for people to install.
const IS_ILL: Cell = not("kubeadm has done its part; \"mended\" is what is left to do");

pub(super) fn rows() -> Vec<State> {
    [killed(), again_and_again(), unproven(), rolled_back(), passed_by()].concat()
}

fn degraded(step: Step, back: bool, reason: Reason) -> Stand {
    Stand::Degraded { kind: TurnKind::ControlPlane, step, back, reason }
}

fn applying(how: Failure, times: u32) -> Planned {
    before("cp1", "kubeadm-upgrade", 0, fails("cp1", "kubeadm-upgrade", times, how))
}

/// kubeadm is killed half-way, and then fails twice more.
pub(super) fn half() -> Schedule {
    vec![asked(["cp1"]), applying(HALF, 1), tool("cp1", "kubeadm-upgrade", 1, 2)]
}

fn killed() -> Vec<State> {
    let other = Planned::act("cp1", "claim", Point::Answered, target("cp2", TARGET));
    let three = Setup { control_planes: 3, endpoint: Endpoint::Shared, ..cluster() };
    let stopped = degraded(Step::Applying, false, Reason::ToolFailed);
    vec![
        state(
            "kubeadm is killed with half of the static pods new",
            "cp1",
            half(),
            stopped,
            [done(6), PASSED, next(4), STAYS, PASSED, STAYS, STAYS, STAYS],
        ),
        state(
            "the same, and two more control-plane nodes, of which one waits",
            "cp1",
            and(half(), [other]),
            stopped,
            [done(6), PASSED, next(10), STAYS, PASSED, STAYS, STAYS, STAYS],
        )
        .with(three),
        state(
            "kubeadm is killed when it has uploaded its configuration",
            "cp1",
            vec![asked(["cp1"]), applying(MORE, 3)],
            stopped,
            [done(6), PASSED, next(4), STAYS, PASSED, STAYS, STAYS, STAYS],
        ),
    ]
}

fn again_and_again() -> Vec<State> {
    let cut = |nth| Planned {
        when: When::act("cp1", "kubeadm-upgrade", nth, Point::Done),
        faults: vec![(0, Fault::PowerCut { node: "cp1".to_owned(), boot: 20_000 })],
    };
    // First the API server is put in.
    let boots = vec![asked(["cp1"]), cut(0).after(12_000), cut(1), cut(2)];
    let newer = Planned::at(40 * MINUTE, target("cp1", NEXT));
    let by_hand = not("people take it to the newer target: see \"kubeadm is killed\"");
    vec![
        state(
            "the host boots again and again while kubeadm runs",
            "cp1",
            boots,
            degraded(Step::Applying, false, Reason::ToolFailed),
            [done(6), PASSED, next(4), STAYS, PASSED, STAYS, STAYS, STAYS],
        ),
        state(
            "control plane: on the way to a newer target, apt fails to install kubeadm",
            "cp1",
            and(half(), [newer, tool("cp1", "install-kubeadm", 1, 3)]),
            degraded(Step::Staging, false, Reason::ToolFailed),
            [next(4), PASSED, CAME_SO, STAYS, PASSED, by_hand, STAYS, STAYS],
        ),
    ]
}

fn unproven() -> Vec<State> {
    let at = |point, after| Planned::act("cp1", "kubeadm-upgrade", point, scheduler(FOR_EVER)).after(after);
    let cells = |minutes| [done(4), again(minutes), AS_ILL, STAYS, done(4), IS_ILL, STAYS, STAYS];
    vec![
        state(
            "a static pod does not run when kubeadm has ended",
            "cp1",
            vec![asked(["cp1"]), at(Point::Done, 36_000)],
            degraded(Step::Applying, false, Reason::NotVerified),
            cells(30),
        )
        .mend(vec![scheduler(1)]),
        state(
            "a static pod fails while the control plane is proven",
            "cp1",
            vec![asked(["cp1"]), at(Point::Answered, 8_000)],
            degraded(Step::Releasing, false, Reason::NotVerified),
            cells(8),
        )
        .mend(vec![scheduler(1)]),
    ]
}

fn rolled_back() -> Vec<State> {
    let ill = Planned::act("cp1", "kubeadm-upgrade", Point::Answered, scheduler(FOR_EVER));
    let refused = || refused(Reason::ToolFailed, Runs::Old, 3);
    vec![
        state(
            "kubeadm rolls back, and a static pod does not run again",
            "cp1",
            vec![asked(["cp1"]), applying(Failure::RolledBack("kube-scheduler"), 1), ill],
            degraded(Step::Applying, true, Reason::NotVerified),
            [refused(), again(8), AS_ILL, STAYS, refused(), done(4), STAYS, STAYS],
        )
        .mend(vec![scheduler(1)]),
    ]
}

/// Half upgraded, while a person takes the other control-plane node past the target.
fn passed_by() -> Vec<State> {
    let passed = Planned::at(30 * MINUTE, by_hand("cp2", NEXT)).and(10 * MINUTE, retry("cp1"));
    vec![
        state(
            "kubeadm-config has gone past its target",
            "cp1",
            and(half(), [passed]),
            degraded(Step::Applying, false, Reason::PreflightFailed),
            [NO_WAY, again(5), next(6), STAYS, NO_WAY, STAYS, STAYS, STAYS],
        )
        .with(Setup { control_planes: 2, ..cluster() }),
    ]
}
