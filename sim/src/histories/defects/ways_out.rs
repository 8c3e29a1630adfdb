//! What becomes of a turn that did not come right: marks, `retry`, new targets, lost memory, Nodes that are gone.

use upgrade_core::oracle::{End, What, Who};

use super::{
    ASKED, FROM, HOUR, MINUTE, TARGET, deleted, fails, freed, is_cordon, kubelet_sick, power_cut, retry,
    target, unasked,
};
use crate::fault::{Failure, Fault};
use crate::histories::{History, Standing, Want, run};
use crate::schedule::{Planned, Point, When};
use crate::setup::{Endpoint, Setup};

fn done(node: &'static str) -> Want {
    Want::End(node, End::Done)
}

pub(super) fn freeing_lifts_the_mark() -> History {
    let asked = || Planned::at(ASKED, target("cp1", TARGET)).and(0, target("w1", TARGET));
    // w1 is degraded before w2 is asked for anything.
    let stuck = || {
        let fails = fails("w1", "install-kubelet", 3, Failure::AtOnce);
        Planned::act("w1", "install-kubelet", Point::Before, fails).and(5 * MINUTE, target("w2", TARGET))
    };
    // Freed while degraded, then repaired and asked again.
    let repaired = stuck().and(10 * MINUTE, freed("w1")).and(12 * MINUTE, retry("w1"));
    // The machine is dead: freed, and counted nowhere.
    let dead = stuck()
        .and(10 * MINUTE, power_cut("w1", HOUR))
        .and(12 * MINUTE, Fault::Ignore { node: "w1".to_owned(), on: true })
        .and(13 * MINUTE, freed("w1"));
    History {
        number: "A3",
        sentence: "A Lease that was freed, or is claimed again, carries no mark, and a mark without a holder halts nobody.",
        standing: Standing::Holds,
        runs: vec![
            run(unasked(1, 2), vec![asked(), repaired]).wants(done("w1")).wants(done("w2")),
            run(unasked(1, 2), vec![asked(), dead]).wants(done("w2")),
        ],
    }
}

/// A budget holds the pods of w1, and its kubelet is not Ready for longer than a retreat waits for it.
fn ailing_retreat() -> Planned {
    Planned::act("w1", "cordon", Point::Before, Fault::BudgetBlocks { lasts: 9 * MINUTE })
        .and(0, kubelet_sick("w1", 15 * MINUTE))
}

pub(super) fn retry_goes_on_the_same_way() -> History {
    // Nobody wants the upgrade any more, and the kubelet is not Ready in the retreat.
    let cancelled = ailing_retreat()
        .and(MINUTE, target("w1", None))
        .and(12 * MINUTE, retry("w1"))
        .and(26 * MINUTE, target("w1", TARGET));
    // The drain is given up, and so it is.
    let blocked = ailing_retreat().and(12 * MINUTE, retry("w1")).and(30 * MINUTE, retry("w1"));
    History {
        number: "A4",
        sentence: "`retry` resumes the direction and the step in which a node became degraded.",
        standing: Standing::Holds,
        runs: vec![
            run(Setup::small(), vec![cancelled]).wants(done("w1")),
            run(Setup::small(), vec![blocked]).wants(done("w1")),
        ],
    }
}

pub(super) fn half_a_control_plane_is_not_done() -> History {
    // The API server is new and the rest is not when kubeadm fails for good; then the target is set back.
    let again = When::act("cp1", "kubeadm-upgrade", 1, Point::Before);
    let schedule = vec![
        Planned::act(
            "cp1",
            "kubeadm-upgrade",
            Point::Before,
            fails("cp1", "kubeadm-upgrade", 1, Failure::Killed(4)),
        )
        .and(20 * MINUTE, target("cp1", FROM))
        .and(40 * MINUTE, target("cp1", TARGET))
        .and(41 * MINUTE, retry("cp1")),
        Planned { when: again, faults: vec![(0, fails("cp1", "kubeadm-upgrade", 2, Failure::AtOnce))] },
    ];
    History {
        number: "A5",
        sentence: "A control plane of two versions is not done, whatever its kubelet runs and whatever is asked.",
        standing: Standing::Holds,
        runs: vec![run(Setup::small(), schedule).wants(done("cp1"))],
    }
}

pub(super) fn every_way_out_works() -> History {
    let lost = Planned::act("w1", "drain", Point::Done, Fault::JournalLost { node: "w1".to_owned() })
        .and(10 * MINUTE, retry("w1"));
    // In the retreat the kubelet is not Ready for longer than is waited for; then it is, at the old version.
    let recovers = ailing_retreat().and(MINUTE, target("w1", None));
    let back = |what: &What| matches!(what, What::Uncordoned { by: Who::Agent(_) });
    History {
        number: "A15",
        sentence: "A node leaves each degraded state by each documented way.",
        standing: Standing::Holds,
        runs: vec![
            run(Setup::small(), vec![lost]).wants(done("w1")),
            run(Setup::small(), vec![recovers]).wants(Want::Happens("w1", "goes back into service", back)),
        ],
    }
}

pub(super) fn a_node_may_be_deleted() -> History {
    let gone = vec![
        Planned::at(ASKED, target("cp1", TARGET)).and(0, target("w1", TARGET)),
        Planned::act("w1", "drain", Point::Done, deleted("w1", 4 * HOUR))
            .and(10 * MINUTE, target("w2", TARGET)),
    ];
    let another = vec![Planned::act("w1", "install-kubelet", Point::Done, deleted("w1", MINUTE))];
    // The machine is set up anew: another Node, and no memory of the Lease that stands in its name.
    let purged = Fault::AgentPurged { node: "w1".to_owned(), back: 6 * MINUTE };
    let set_up_anew = vec![
        Planned::at(ASKED, target("cp1", TARGET)).and(0, target("w1", TARGET)),
        Planned::act("w1", "drain", Point::Done, deleted("w1", 5 * MINUTE))
            .and(1_000, purged)
            .and(10 * MINUTE, target("w2", TARGET)),
    ];
    History {
        number: "A16",
        sentence: "A Node that is deleted in mid-turn holds nobody up for ever, nor does the one that comes after it.",
        standing: Standing::Holds,
        runs: vec![
            run(unasked(1, 2), gone)
                .wants(Want::NeverAfter(2 * HOUR, "w2", "begins after two hours", is_cordon))
                .wants(done("w2")),
            run(Setup::small(), another),
            run(unasked(1, 2), set_up_anew).wants(done("w2")),
        ],
    }
}

pub(super) fn manifests_are_put_back() -> History {
    // kubeadm dies with the API server's manifest taken out, while the agent dies and its memory is lost.
    let killed = || {
        vec![
            Planned::act(
                "cp1",
                "kubeadm-upgrade",
                Point::Before,
                fails("cp1", "kubeadm-upgrade", 1, Failure::Killed(2)),
            ),
            Planned::act(
                "cp1",
                "kubeadm-upgrade",
                Point::Done,
                Fault::JournalLost { node: "cp1".to_owned() },
            )
            .after(1_200),
        ]
    };
    let serves = |what: &What| match what {
        What::StaticPod { component: "kube-apiserver", version } => Some(version.is_some()),
        _ => None,
    };
    let three = Setup { control_planes: 3, endpoint: Endpoint::Shared, ..Setup::small() };
    let last = || Want::Last("cp1", "runs its API server", serves);
    History {
        number: "A18",
        sentence: "A manifest that is missing is put back from the node's own copy, in whatever state the node is.",
        standing: Standing::Holds,
        runs: vec![run(three, killed()).wants(last()), run(Setup::small(), killed()).wants(last())],
    }
}

pub(super) fn retry_is_never_swallowed() -> History {
    // Preflight has read that etcd has a member too few; people then remove the dead node and ask again at once.
    let preflight = vec![
        Planned::at(1_000, power_cut("cp3", 2 * HOUR))
            .and(2 * MINUTE, Fault::EtcdMemberRemoved { node: "cp3".to_owned() }),
        Planned::at(5 * MINUTE, target("cp1", TARGET)),
        Planned::act("cp1", "preflight", Point::Sent, deleted("cp3", 3 * HOUR))
            .after(1_000)
            .and(2_000, retry("cp1")),
    ];
    let fails = fails("w1", "install-kubeadm", 3, Failure::AtOnce);
    let retreat = vec![Planned::at(1_000, fails), Planned::act("w1", "uncordon", Point::Before, retry("w1"))];
    History {
        number: "A19",
        sentence: "`retry` during preflight or a retreat acts when that ends.",
        standing: Standing::Holds,
        runs: vec![
            run(unasked(3, 0), preflight).wants(done("cp1")),
            run(Setup::small(), retreat).wants(done("w1")),
        ],
    }
}

/// That a second refusal is dated by itself, `a26_a_second_refusal_is_dated_by_itself` shows (agent/core/src/agent/tests.rs).
pub(super) fn reports_are_dated() -> History {
    // w1 waits in its retreat for some minutes, and nothing changes.
    let schedule = ailing_retreat().and(MINUTE, target("w1", None));
    let reports = |what: &What| matches!(what, What::Reported { .. });
    History {
        number: "A26",
        sentence: "A report is stable while nothing changes, and dated by what it says.",
        standing: Standing::Holds,
        runs: vec![run(Setup::small(), vec![schedule]).wants(Want::AtMost(
            12,
            "w1",
            "changes its report",
            reports,
        ))],
    }
}

/// That a claim compares API servers, `a21_a_claim_for_a_control_plane_compares_api_servers` shows
/// (agent/core/src/judge/claim/tests.rs): no run leads to an API server that is older than at preflight.
pub(super) fn a_new_target_is_judged() -> History {
    // Degraded in verification at its target; then people ask for the version it came from.
    let sick = Fault::DaemonPodsSick { node: "w1".to_owned(), lasts: 30 * MINUTE };
    let schedule = vec![
        Planned::act("w1", "install-kubelet", Point::Done, sick)
            .and(15 * MINUTE, target("w1", FROM))
            .and(40 * MINUTE, target("w1", TARGET)),
    ];
    History {
        number: "A21",
        sentence: "A claim, and a new target of a degraded node, are judged as preflight judges them.",
        standing: Standing::Holds,
        runs: vec![run(Setup::small(), schedule).wants(done("w1"))],
    }
}
