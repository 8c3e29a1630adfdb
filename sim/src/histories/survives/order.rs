//! Who goes before whom, and who waits for whom.

use upgrade_core::api::{PackageVersion, Phase, Version};
use upgrade_core::oracle::What;

use super::{
    ASKS, FOR_EVER, Fault, History, MINUTE, NEXT, Planned, Point, Setup, TARGET, Want, World, asked_later,
    begins, by_hand, done, first, in_kubeadm, installs_kubelet, is_cordoned, needs_the_target, not_ready,
    pair, ready_or_not, refused, retried, runs_kubeadm, three, times, to,
};
use crate::fault::ByHand;
use crate::histories::{Run, Standing, run};
use crate::world::PATCH_BETWEEN;

fn addons_are_new(world: &World) -> bool {
    world.addons() == TARGET
}

pub(super) fn a_dead_control_plane_node_is_refused_until_removed() -> History {
    let node = || "cp3".to_owned();
    let dead = || Planned::at(2_000, Fault::PowerCut { node: node(), boot: FOR_EVER });
    let ask =
        || Planned::at(2 * MINUTE, to("cp1", TARGET)).and(0, to("cp2", TARGET)).and(0, to("w1", TARGET));
    let removed = Planned::at(30 * MINUTE, Fault::EtcdMemberRemoved { node: node() })
        .and(0, Fault::NodeDeleted { node: node(), back: FOR_EVER })
        .and(MINUTE, retried("cp1"))
        .and(MINUTE, retried("cp2"));
    let runs = vec![
        run(three(), vec![dead(), ask()]).wants(refused("cp1")).wants(refused("cp2")).wants(Want::Comes(
            "cp1 gives the commands",
            |world| {
                ["etcdctl member remove", "kubectl delete node"]
                    .iter()
                    .all(|said| world.message("cp1").contains(said))
            },
        )),
        run(three(), vec![dead(), ask(), removed])
            .wants(done("cp1"))
            .wants(done("cp2"))
            .wants(done("w1"))
            .wants(Want::Comes("CoreDNS and kube-proxy are the target's", addons_are_new)),
    ];
    History {
        number: "E10",
        sentence: "A control plane with a dead node is refused with the commands that remove it, and goes to its end once \
                   Node and member are gone.",
        standing: Standing::Holds,
        runs,
    }
}

/// By then the control plane that was taken ahead has settled.
const SETTLED: u64 = ASKS + 2 * MINUTE;

/// A worker three minors behind the control plane, which a person has taken ahead.
fn far_behind() -> (Setup, Planned) {
    let (from, target) = (Version::new(1, 33, 4), Version::new(1, 37, 2));
    let version = Version { minor: 36, patch: PATCH_BETWEEN, ..target };
    let ahead = Fault::UpgradedByHand { node: "cp1".to_owned(), version, how: ByHand::Whole };
    (Setup { from, target, ..pair() }, Planned::at(2_000, ahead))
}

fn one_begins_at_once(world: &World) -> bool {
    let began = [first(world, "cp1", begins), first(world, "w1", begins)];
    began.into_iter().flatten().min().is_some_and(|at| at < SETTLED + 3 * MINUTE)
}

pub(super) fn of_two_that_may_go_first_one_goes() -> History {
    let (setup, ahead) = far_behind();
    let ask = Planned::at(SETTLED, to("cp1", setup.target)).and(0, to("w1", setup.target));
    let run = run(setup, vec![ahead, ask])
        .wants(Want::Comes("cp1 or w1 begins at once", one_begins_at_once))
        .wants(done("cp1"))
        .wants(done("w1"));
    History {
        number: "E11",
        sentence: "A worker that has to go first and a control-plane node that claim at the same instant do not wait for \
                   each other: one of them goes at once.",
        standing: Standing::Waits("hops"),
        runs: vec![run],
    }
}

/// The node is cordoned only while all workers are Ready.
fn waits_for_workers(world: &World) -> bool {
    let up = |what: &What| matches!(what, What::Ready { ready: true, .. });
    let down = |what: &What| matches!(what, What::Ready { ready: false, .. });
    times(world, "cp1", is_cordoned).all(|at| {
        let last = |node, is| times(world, node, is).take_while(|event| *event <= at).last();
        ["w1", "w2"].into_iter().all(|node| last(node, up) > last(node, down))
    })
}

fn applies_meanwhile(world: &World) -> bool {
    first(world, "cp1", runs_kubeadm).is_some_and(|at| at < 5 * MINUTE)
}

/// In the gaps between workers that are down for three minutes in nine, within an hour.
fn is_not_starved(world: &World) -> bool {
    let uncordoned = |what: &What| matches!(what, What::Uncordoned { .. });
    first(world, "cp1", uncordoned).is_some_and(|at| at < 60 * MINUTE)
}

pub(super) fn the_kubelet_waits_for_the_budget() -> History {
    let setup = Setup { workers: 2, ..pair() };
    let waits = |run: Run| {
        run.wants(Want::Comes("cp1 is cordoned only while all workers are Ready", waits_for_workers))
            .wants(Want::Comes("cp1 runs kubeadm meanwhile", applies_meanwhile))
            .wants(done("cp1"))
    };
    let down = Planned::at(2_000, not_ready("w1", 20 * MINUTE));
    let in_turns = (0..12).map(|turn| {
        let node = if turn % 2 == 0 { "w1" } else { "w2" };
        Planned::at(2_000 + turn * 9 * MINUTE, not_ready(node, 3 * MINUTE))
    });
    let come_and_go = in_turns.chain([Planned::at(20_000, to("cp1", TARGET))]).collect();
    let runs = vec![
        waits(run(setup.clone(), vec![down, Planned::at(20_000, to("cp1", TARGET))])),
        waits(run(setup, come_and_go)).wants(Want::Comes("cp1 is not starved", is_not_starved)),
    ];
    History {
        number: "E12",
        sentence: "A control plane is upgraded while a worker is down, its node's kubelet waits for the budget, and \
                   workers that come and go do not starve it.",
        standing: Standing::Holds,
        runs,
    }
}

pub(super) fn targets_apart_do_not_fight() -> History {
    let later = Planned::at(ASKS + 15_000, to("cp1", TARGET));
    let at_once = Planned::at(ASKS, to("cp1", TARGET));
    let newer = || Planned::at(ASKS - 500, to("cp2", NEXT));
    let runs = [later, at_once].map(|ask| {
        run(Setup { control_planes: 2, ..pair() }, vec![newer(), ask])
            .wants(done("cp2"))
            .wants(refused("cp1"))
            .wants(Want::AtMost(0, "cp1", "runs kubeadm", runs_kubeadm))
            .wants(Want::Comes("cp1 names kubeadm-config", |world| {
                world.message("cp1").contains("kubeadm-config")
            }))
    });
    History {
        number: "E15",
        sentence: "A control-plane node whose target is older than what another one has applied is refused, naming \
                   kubeadm-config.",
        standing: Standing::Holds,
        runs: runs.to_vec(),
    }
}

pub(super) fn a_half_upgraded_control_plane_is_waited_for() -> History {
    let half = || by_hand("cp1", ByHand::HalfControlPlane);
    let ask = || Planned::at(2 * MINUTE, to("cp2", TARGET));
    let whole = Fault::UpgradedByHand { node: "cp1".to_owned(), version: TARGET, how: ByHand::Whole };
    let runs = vec![
        run(three(), vec![half(), ask()]).wants(Want::AtMost(0, "cp2", "begins", begins)),
        run(three(), vec![half(), ask(), Planned::at(20 * MINUTE, whole)]).wants(done("cp2")),
    ];
    History {
        number: "E19",
        sentence: "A control-plane node waits for another one whose static pods are of two versions, though all are Ready.",
        standing: Standing::Holds,
        runs,
    }
}

pub(super) fn a_repair_goes_past_the_halt() -> History {
    let setup = Setup { workers: 2, ..Setup::small() };
    let broken = Fault::KubeletCrashLoops { node: "w1".to_owned(), version: Some(TARGET), lasts: FOR_EVER };
    let repair = Planned::at(30 * MINUTE, to("w1", NEXT)).and(0, to("w2", NEXT)).and(0, to("cp1", NEXT));
    let run = run(setup, vec![Planned::at(1_000, broken), repair])
        .wants(done("cp1"))
        .wants(done("w2"))
        .wants(done("w1"));
    History {
        number: "E21",
        sentence: "A version that a worker is degraded at is halted alone: the control plane, the others and that worker \
                   reach the one that repairs it.",
        standing: Standing::Holds,
        runs: vec![run],
    }
}

pub(super) fn two_that_are_down_go_in_turn() -> History {
    let passed_over = Planned::at(2_000, ready_or_not("w1")).and(0, ready_or_not("w2"));
    let down = in_kubeadm("cp1", 0, needs_the_target("w1")).and(0, needs_the_target("w2"));
    let run = run(Setup { workers: 2, ..Setup::small() }, vec![passed_over, down])
        .wants(done("w1"))
        .wants(done("w2"));
    History {
        number: "E22",
        sentence: "Workers that are not Ready and whose target is the cure go one after the other, each in a free slot.",
        standing: Standing::Holds,
        runs: vec![run],
    }
}

pub(super) fn a_lower_slot_that_falls_free_is_no_budget() -> History {
    let setup = Setup { workers: 4, slots: 2, ..pair() };
    let slow = Planned::act("w2", "install-kubelet", Point::Answered, not_ready("w2", 4 * MINUTE));
    let free = Planned::act("w1", "install-kubelet", Point::Done, not_ready("w3", 10 * MINUTE))
        .and(0, to("w4", TARGET));
    let schedule = vec![by_hand("cp1", ByHand::Whole), asked_later("w1"), asked_later("w2"), slow, free];
    let run = run(setup, schedule).wants(done("w1")).wants(done("w2")).wants(done("w4"));
    History {
        number: "E24",
        sentence: "A slot that falls free is no leave to go while another node without a slot is down: never more are out \
                   of service than slots.",
        standing: Standing::Holds,
        runs: vec![run],
    }
}

fn the_cure_is_first(world: &World) -> bool {
    let (cure, other) = (first(world, "w1", installs_kubelet), first(world, "cp1", is_cordoned));
    cure.zip(other).is_some_and(|(cure, other)| cure < other)
}

pub(super) fn the_cure_goes_before_what_waits_for_it() -> History {
    let down = Planned::at(1_000, ready_or_not("w1")).and(1_000, needs_the_target("w1"));
    let ask = Planned::at(2 * MINUTE, to("cp1", TARGET)).and(0, to("w1", TARGET));
    let run = run(pair(), vec![down, ask])
        .wants(Want::Comes("w1 goes before cp1's kubelet", the_cure_is_first))
        .wants(done("cp1"))
        .wants(done("w1"));
    History {
        number: "E28",
        sentence: "A worker that is not Ready and whose target is the cure goes before the control-plane node whose \
                   kubelet waits for the budget it uses up.",
        standing: Standing::Holds,
        runs: vec![run],
    }
}

pub(super) fn a_kubelet_is_not_taken_to_a_hop_that_was_passed() -> History {
    let (from, target) = (Version::new(1, 34, 4), TARGET);
    let down = Planned::at(2_000, not_ready("w1", 60 * MINUTE));
    let ask = Planned::at(20_000, to("cp1", target)).and(0, to("cp2", target)).and(0, to("cp3", target));
    let passed = |what: &What| {
        let minor = |version: &PackageVersion| version.kubernetes().map(|version| version.minor);
        matches!(what, What::PackageInstalled { package, version, .. } if package == "kubelet" && minor(version) == Some(35))
    };
    let never = |node| Want::AtMost(0, node, "is given the kubelet between", passed);
    let run = run(Setup { from, target, ..three() }, vec![down, ask])
        .wants(done("cp1"))
        .wants(done("cp2"))
        .wants(done("cp3"))
        .wants(never("cp1"))
        .wants(never("cp2"));
    History {
        number: "E30",
        sentence: "A kubelet whose turn did not come before the control plane's next hop goes to its target without the \
                   hop between.",
        standing: Standing::Waits("hops"),
        runs: vec![run],
    }
}

pub(super) fn the_only_worker_may_lapse() -> History {
    let refused = |what: &What| matches!(what, What::Reported { phase: Phase::Refused, .. });
    let runs = [15_000, 24_000].map(|asks| {
        let down = Planned::at(12_000, not_ready("w1", MINUTE));
        run(pair(), vec![down, Planned::at(asks, to("cp1", TARGET))])
            .wants(Want::AtMost(0, "cp1", "is refused", refused))
            .wants(done("cp1"))
    });
    History {
        number: "E31",
        sentence: "A control-plane node whose only worker is not Ready for a minute waits for it and is not refused.",
        standing: Standing::Holds,
        runs: runs.to_vec(),
    }
}
