//! Whose turn it is: pause, checks and skips, claims, and who waits for whom.

use upgrade_core::api::Check;
use upgrade_core::oracle::End;

use super::{ASKED, FROM, HOUR, MINUTE, TARGET, deleted, kubelet_sick, power_cut, target, unasked};
use crate::fault::Fault;
use crate::histories::{History, Standing, Want, run};
use crate::schedule::{Planned, Point};
use crate::setup::Setup;

pub(super) fn pause_is_obeyed() -> History {
    // w1, or cp2, has made its preflight and waits for its turn while cp1 is upgraded; then people pause.
    let paused =
        || vec![Planned::act("cp1", "install-kubelet", Point::Done, Fault::Paused { lasts: 10 * MINUTE })];
    let two = Setup { control_planes: 2, ..Setup::small() };
    History {
        number: "A1",
        sentence: "A node that waits for its turn does not begin while the policy pauses the fleet.",
        standing: Standing::Holds,
        runs: vec![run(Setup::small(), paused()), run(two, paused())],
    }
}

pub(super) fn unpausing_is_noticed() -> History {
    let paused = Planned::at(3_000, Fault::Paused { lasts: 2 * MINUTE });
    let end = Want::End("w1", End::Done);
    History {
        number: "A2",
        sentence: "A node that waits because the fleet is paused goes on by itself when it no longer is.",
        standing: Standing::Holds,
        runs: vec![run(Setup::small(), vec![paused]).wants(end)],
    }
}

fn skip(node: &str, checks: &[Check]) -> Fault {
    Fault::SkipChecks { node: node.to_owned(), checks: checks.to_vec() }
}

/// `a7_every_check_that_may_be_skipped_leaves_a_plan_when_it_is` asks it of each (agent/core/src/judge/preflight.rs).
pub(super) fn skipped_checks_are_skipped() -> History {
    // The target is the patch that repairs the kubelet.
    let loops = Fault::KubeletCrashLoops { node: "w1".to_owned(), version: Some(FROM), lasts: 2 * HOUR };
    let cure = vec![
        Planned::at(ASKED, target("cp1", TARGET)),
        Planned::at(20 * MINUTE, loops)
            .and(2 * MINUTE, skip("w1", &[Check::NodeReady, Check::KubeletUnit]))
            .and(3 * MINUTE, target("w1", TARGET)),
    ];
    // A webhook denies dry runs of evictions for a while.
    let denied = vec![
        Planned::at(3_000, Fault::EvictionsDenied { lasts: MINUTE }),
        Planned::at(3_000, skip("w1", &[Check::Pods])),
    ];
    let done = || Want::End("w1", End::Done);
    History {
        number: "A7",
        sentence: "A check that is skipped leaves a plan, and the upgrade runs.",
        standing: Standing::Holds,
        runs: vec![run(unasked(1, 2), cure).wants(done()), run(Setup::small(), denied).wants(done())],
    }
}

pub(super) fn skips_hold_after_the_claim() -> History {
    let alone = Setup { workers: 0, ..Setup::small() };
    let nowhere = vec![Planned::at(2_000, skip("cp1", &[Check::OtherNodes]))];
    // Members of etcd and control-plane nodes differ in number, and nothing is ill.
    let members = vec![
        Planned::at(3_000, deleted("cp3", 40 * MINUTE)),
        Planned::at(4_000, skip("cp1", &[Check::Etcd])).and(0, skip("cp2", &[Check::Etcd])),
        Planned::at(MINUTE, target("cp1", TARGET)).and(0, target("cp2", TARGET)),
    ];
    let done = |node| Want::End(node, End::Done);
    History {
        number: "A8",
        sentence: "A skip holds wherever the question is asked, after the claim too.",
        standing: Standing::Holds,
        runs: vec![
            run(alone, nowhere).wants(done("cp1")),
            run(unasked(3, 0), members).wants(done("cp1")).wants(done("cp2")),
        ],
    }
}

pub(super) fn orphans_are_given_back() -> History {
    // The claim comes about, its answer is lost, and meanwhile nobody wants the upgrade any more.
    let lost = Fault::LostAnswers { node: "w1".to_owned(), lasts: 5_000 };
    let unanswered = Planned::act("w1", "claim", Point::Sent, lost).and(1_000, target("w1", None));
    // Long after the turn, etcd is put back to when the Lease was held.
    let restored = Planned::act("w1", "claim", Point::Answered, Fault::EtcdBackedUp)
        .and(20 * MINUTE, Fault::EtcdRestored);
    History {
        number: "A9",
        sentence: "A Lease in a node's own name that no turn of it explains is given back.",
        standing: Standing::Holds,
        runs: vec![run(Setup::small(), vec![unanswered]), run(Setup::small(), vec![restored])],
    }
}

pub(super) fn who_cannot_go_does_not_claim() -> History {
    let setup = Setup { workers: 3, ..Setup::small() };
    let down = Planned::at(1_000, kubelet_sick("w1", 2 * HOUR));
    let done = |node| Want::End(node, End::Done);
    History {
        number: "A13",
        sentence: "A node that cannot go does not claim.",
        standing: Standing::Holds,
        runs: vec![run(setup, vec![down]).wants(done("w1")).wants(done("w2")).wants(done("w3"))],
    }
}

pub(super) fn ignore_opens_no_gate() -> History {
    // cp3 dies for good when w1 has made its preflight and waits for it; people set `ignore` on it, and remove it an hour
    // later.
    let ignored = Fault::Ignore { node: "cp3".to_owned(), on: true };
    let schedule = vec![
        Planned::at(ASKED, target("cp1", TARGET)).and(0, target("cp2", TARGET)),
        Planned::at(20 * MINUTE, target("cp3", TARGET)).and(0, target("w1", TARGET)),
        Planned::act("cp3", "preflight", Point::Answered, power_cut("cp3", 4 * HOUR))
            .and(2 * MINUTE, ignored)
            .and(60 * MINUTE, Fault::EtcdMemberRemoved { node: "cp3".to_owned() })
            .and(61 * MINUTE, deleted("cp3", 2 * HOUR)),
    ];
    History {
        number: "A14",
        sentence: "A dead control-plane node opens no gate by `ignore`, and nobody claims until it is removed.",
        standing: Standing::Holds,
        runs: vec![run(unasked(3, 2), schedule).wants(Want::End("w1", End::Done))],
    }
}

pub(super) fn any_order_of_targets() -> History {
    let schedule =
        vec![Planned::at(ASKED, target("w1", TARGET)), Planned::at(5 * MINUTE, target("cp1", TARGET))];
    History {
        number: "A23",
        sentence: "A worker that is annotated before its control plane waits for it, and goes by itself.",
        standing: Standing::Holds,
        runs: vec![run(unasked(1, 1), schedule).wants(Want::End("w1", End::Done))],
    }
}

pub(super) fn what_passes_is_pending() -> History {
    // The mirror of cp1's API server has just been made anew, and has no status yet.
    let schedule = vec![
        Planned::at(ASKED, target("cp1", TARGET)).and(0, target("cp2", TARGET)).and(0, target("cp3", TARGET)),
        Planned::act("cp1", "kubeadm-upgrade", Point::Done, target("w1", TARGET)).after(23_000),
    ];
    History {
        number: "A28",
        sentence: "A preflight within the seconds in which an API server's pod is replaced is pending, not refused.",
        standing: Standing::Holds,
        runs: vec![run(unasked(3, 2), schedule).wants(Want::End("w1", End::Done))],
    }
}
