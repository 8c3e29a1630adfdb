//! What is changed on a host, in which way, for how long, and what proves that it is done.

use upgrade_core::oracle::{End, What, Who};

use super::{ASKED, FROM, HOUR, MINUTE, TARGET, fails, freed, is_cordon, target, unasked};
use crate::fault::{ByHand, Failure, Fault, Identity};
use crate::histories::{History, Standing, Want, run};
use crate::schedule::{Planned, Point};
use crate::setup::Setup;

fn done(node: &'static str) -> Want {
    Want::End(node, End::Done)
}

pub(super) fn no_return_without_the_lease() -> History {
    // The agent dies just before a tool is started, and people free its Lease before it lives again.
    let killed = |node: &str, tool| {
        let kill = Fault::Kill { node: node.to_owned(), restart: 2 * MINUTE };
        vec![Planned::act(node, tool, Point::Before, kill).and(5_000, freed(node))]
    };
    History {
        number: "A6",
        sentence: "No step without a way back begins without a fresh proof of the Lease, after a restart neither.",
        standing: Standing::Holds,
        runs: vec![
            run(Setup::small(), killed("cp1", "kubeadm-upgrade")).wants(done("cp1")),
            run(Setup::small(), killed("w1", "install-kubelet")).wants(done("w1")),
        ],
    }
}

pub(super) fn the_verb_follows_the_target() -> History {
    // cp2 comes second, for which `node` is right, and fails; then a newer target is set, for which it comes first.
    let setup = Setup { control_planes: 2, ..Setup::small() };
    let next = setup.next();
    let schedule = vec![
        Planned::act(
            "cp2",
            "kubeadm-upgrade",
            Point::Before,
            fails("cp2", "kubeadm-upgrade", 1, Failure::AtOnce),
        )
        .and(10 * MINUTE, target("cp2", next))
        .and(12 * MINUTE, target("cp1", next))
        .and(13 * MINUTE, target("w1", next)),
    ];
    History {
        number: "A10",
        sentence: "kubeadm's verb follows from what was applied to the cluster, anew in each turn.",
        standing: Standing::Holds,
        runs: vec![run(setup, schedule).wants(done("cp1")).wants(done("cp2")).wants(done("w1"))],
    }
}

pub(super) fn nothing_drained_waits_for_ever() -> History {
    let fails =
        Fault::CredentialFails { node: "w1".to_owned(), identity: Identity::Coordination, lasts: 3 * HOUR };
    let schedule =
        Planned::act("w1", "cordon", Point::Done, fails).and(0, Fault::BudgetBlocks { lasts: 2 * MINUTE });
    History {
        number: "A11",
        sentence: "A node whose coordination credential fails while it is drained goes back into service in time.",
        standing: Standing::Holds,
        runs: vec![run(Setup::small(), vec![schedule]).wants(done("w1"))],
    }
}

pub(super) fn clocks_may_jump() -> History {
    let jumps = |seconds| Fault::ClockJumps { node: "w1".to_owned(), seconds };
    let sick = |lasts| Fault::DaemonPodsSick { node: "w1".to_owned(), lasts };
    // Verification waits for a pod when the clock is set back by a day, or ahead by more than its time-out.
    let verifying = |lasts, seconds| {
        Planned::act("w1", "install-kubelet", Point::Done, sick(lasts)).and(30_000, jumps(seconds))
    };
    // Ahead, and kubelet has not soaked.
    let soaking = Planned::act("w1", "install-kubelet", Point::Answered, jumps(1_200)).after(4_000);
    History {
        number: "A12",
        sentence: "A jump of the wall clock changes no time-out.",
        standing: Standing::Holds,
        runs: vec![
            run(Setup::small(), vec![verifying(2 * HOUR, -86_400)]).wants(done("w1")),
            run(Setup::small(), vec![verifying(2 * MINUTE, 1_200)]).wants(done("w1")),
            run(Setup::small(), vec![soaking]).wants(done("w1")),
        ],
    }
}

pub(super) fn done_is_what_is_observed() -> History {
    let by_hand = Fault::UpgradedByHand { node: "cp1".to_owned(), version: TARGET, how: ByHand::Whole };
    let schedule = vec![Planned::at(MINUTE, by_hand), Planned::at(5 * MINUTE, target("cp1", TARGET))];
    let runs_kubeadm = |what: &What| matches!(what, What::ToolStarted { kubeadm: Some(_), .. });
    History {
        number: "A17",
        sentence: "A control plane that a person has upgraded is not upgraded again.",
        standing: Standing::Holds,
        runs: vec![
            run(unasked(1, 1), schedule)
                .wants(done("cp1"))
                .wants(Want::AtMost(0, "cp1", "is cordoned", is_cordon))
                .wants(Want::AtMost(0, "cp1", "runs kubeadm", runs_kubeadm)),
        ],
    }
}

pub(super) fn min_ready_is_added() -> History {
    // Longer than the simulated time-out of verification.
    let schedule = Planned::at(1_000, Fault::MinReady { seconds: 400 });
    History {
        number: "A20",
        sentence: "`minReadySeconds` is added to the time-out of verification.",
        standing: Standing::Holds,
        runs: vec![run(Setup::small(), vec![schedule]).wants(done("cp1")).wants(done("w1"))],
    }
}

pub(super) fn done_is_all_of_it() -> History {
    // unattended-upgrades has taken the kubelet package along, and nothing else.
    let by_hand = Fault::UpgradedByHand { node: "w1".to_owned(), version: TARGET, how: ByHand::Kubelet };
    let schedule = vec![
        Planned::at(ASKED, target("cp1", TARGET)),
        Planned::at(20 * MINUTE, by_hand).and(5 * MINUTE, target("w1", TARGET)),
    ];
    let kubeadm = |what: &What| matches!(what, What::PackageInstalled { package, by: Who::Agent(_), .. } if package == "kubeadm");
    let files = |what: &What| matches!(what, What::KubeletFiles { version } if *version > FROM);
    History {
        number: "A22",
        sentence: "A worker is done when kubeadm, kubelet and its configuration are the target's, not its kubelet alone.",
        standing: Standing::Holds,
        runs: vec![
            run(unasked(1, 1), schedule)
                .wants(done("w1"))
                .wants(Want::Happens("w1", "gets the kubeadm package", kubeadm))
                .wants(Want::Happens("w1", "gets the configuration", files)),
        ],
    }
}

pub(super) fn what_is_gone_is_not_awaited() -> History {
    let deleted = Planned::act("w1", "drain", Point::Done, Fault::DaemonSetDeleted);
    let gone = Planned::act("w1", "drain", Point::Done, Fault::CsiDriverGone { node: "w1".to_owned() });
    History {
        number: "A24",
        sentence: "What must be Ready again is what still wants to run on the node.",
        standing: Standing::Holds,
        runs: vec![
            run(Setup::small(), vec![deleted]).wants(done("w1")),
            run(Setup::small(), vec![gone]).wants(done("w1")),
        ],
    }
}
