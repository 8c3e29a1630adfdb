//! Leases freed by hand, targets removed and memory lost, in each step.

use upgrade_core::oracle::What;

use super::{
    ASKS, Failure, Fault, History, MINUTE, Planned, Point, Setup, TARGET, Want, World, asked, asked_later,
    at, begins, by_hand, done, ends_kubeadm, first, freed, in_kubeadm, installs_kubelet, kubeadm_fails,
    memory_lost, minor, pair, removed, retried, runs_kubeadm, three, to,
};
use crate::fault::ByHand;
use crate::histories::{Run, Standing, run};

/// Never two members of etcd are away.
fn one_member_away(world: &World) -> bool {
    let mut away: Vec<&str> = Vec::new();
    world.history.iter().all(|event| {
        if let What::EtcdMember { healthy } = &event.what {
            away.retain(|node| *node != event.node);
            away.extend(Some(event.node.as_str()).filter(|_| !healthy));
        }
        away.len() <= 1
    })
}

pub(super) fn a_freed_lease_lets_nobody_in() -> History {
    let other = || Planned::at(ASKS + 2_000, to("cp2", TARGET));
    // While it pulls images, while etcd restarts, while the API server does, and about its first mark.
    let while_it_applies = [0, 20_000, 60_000].map(|after| in_kubeadm("cp1", after, freed("cp1")));
    let images = Planned::act("cp1", "kubeadm-upgrade", Point::Sent, freed("cp1")).after(1_000);
    let marks =
        [50, 120, 250].map(|after| Planned::act("cp1", "claim", Point::Answered, freed("cp1")).after(after));
    let places = while_it_applies.into_iter().chain([images]).chain(marks);
    let whole = |run: Run| {
        run.wants(Want::Comes("one member of etcd is away at a time", one_member_away))
            .wants(done("cp1"))
            .wants(done("cp2"))
    };
    let mut runs: Vec<Run> = places
        .flat_map(|place| {
            let schedule = vec![asked("cp1"), other(), place];
            [whole(run(three(), schedule.clone())), whole(run(minor(&three()), schedule))]
        })
        .collect();
    // Killed with two of three manifests new: what is past its point of no return claims again.
    let fails = kubeadm_fails("cp1", 1, Failure::Killed(7));
    runs.push(whole(run(three(), vec![asked("cp1"), other(), fails, in_kubeadm("cp1", 0, freed("cp1"))])));
    History {
        number: "E2",
        sentence: "A control-plane node whose Lease is freed by hand finishes, or goes on after a new claim, before \
                   another one begins.",
        standing: Standing::Holds,
        runs,
    }
}

pub(super) fn every_loss_comes_to_an_end_in_every_step() -> History {
    let places = [
        ("claim", 0, Point::Answered),
        ("install-kubeadm", 0, Point::Done),
        ("kubeadm-upgrade", 0, Point::Sent),
        ("kubeadm-upgrade", 0, Point::Done),
        ("kubeadm-upgrade", 0, Point::Answered),
        ("cordon", 0, Point::Done),
        ("drain", 0, Point::Done),
        ("kubeadm-upgrade", 1, Point::Done),
        ("install-kubelet", 0, Point::Done),
        ("install-kubelet", 0, Point::Answered),
        ("uncordon", 0, Point::Done),
        ("release", 0, Point::Done),
    ];
    let losses = [freed("cp1"), removed("cp1"), memory_lost("cp1")];
    let lost = |(act, nth, point)| {
        losses.clone().map(|loss| run(pair(), vec![asked("cp1"), at("cp1", act, nth, point, loss)]))
    };
    // At rest, because a worker that is down bars the kubelet's turn.
    let down = || Planned::at(2_000, super::not_ready("w1", 20 * MINUTE));
    let at_rest =
        losses.clone().map(|loss| run(pair(), vec![down(), asked("cp1"), Planned::at(10 * MINUTE, loss)]));
    History {
        number: "E3",
        sentence: "A Lease that is lost, a target that is removed and a memory that is lost come to an allowed end, at \
                   rest and in every step of both turns.",
        standing: Standing::Holds,
        runs: places.into_iter().flat_map(lost).chain(at_rest).collect(),
    }
}

fn kubeadm_is_awaited(world: &World) -> bool {
    first(world, "cp2", begins)
        .is_none_or(|at| first(world, "cp1", ends_kubeadm).is_some_and(|ended| ended < at))
}

pub(super) fn a_unit_without_memory_is_awaited() -> History {
    let lost = Planned::act("cp1", "kubeadm-upgrade", Point::Sent, memory_lost("cp1"))
        .and(1_000, freed("cp1"))
        .and(1_500, to("cp2", TARGET));
    let run = run(three(), vec![asked("cp1"), lost])
        .wants(Want::Comes("cp2 begins after cp1's kubeadm has ended", kubeadm_is_awaited))
        .wants(done("cp1"))
        .wants(done("cp2"));
    History {
        number: "E25",
        sentence: "A node without memory and Lease whose kubeadm runs on awaits it and finishes, and others wait for it.",
        standing: Standing::Holds,
        runs: vec![run],
    }
}

pub(super) fn a_rolled_back_api_server_is_not_passed() -> History {
    // Of a minor: patches do not count for kubelets.
    let setup = minor(&Setup { control_planes: 2, ..pair() });
    // Its API server is new, the scheduler is still to come; then kubeadm puts all of them back.
    let gone = in_kubeadm("cp2", 24_000, freed("cp2")).and(24_000, removed("cp2"));
    let fails = kubeadm_fails("cp2", 1, Failure::RolledBack("kube-scheduler"));
    let asks = [asked_later("cp2"), asked_later("w1")];
    let schedule = [by_hand("cp1", ByHand::Whole), fails, gone].into_iter().chain(asks).collect();
    let run = run(setup, schedule)
        .wants(Want::AtMost(1, "cp2", "runs kubeadm", runs_kubeadm))
        .wants(Want::AtMost(0, "w1", "begins to install its kubelet", installs_kubelet));
    History {
        number: "E27",
        sentence: "A worker waits for an API server that a run of kubeadm may still roll back, whatever was told of it.",
        standing: Standing::Holds,
        runs: vec![run],
    }
}

pub(super) fn what_is_past_return_finishes() -> History {
    let setup = Setup { workers: 2, slots: 2, ..pair() };
    let begun = || vec![by_hand("cp1", ByHand::Whole), asked_later("w1"), asked_later("w2")];
    let paused = Planned::act("w1", "install-kubelet", Point::Done, freed("w1"))
        .and(500, freed("w2"))
        .and(500, Fault::Paused { lasts: 20 * MINUTE });
    let breaks = |node: &str| {
        let (node, tool, how) = (node.to_owned(), "install-kubelet", Failure::AtOnce);
        Planned::at(1_000, Fault::ToolFails { node, tool, times: 3, how })
    };
    let freed_and_asked = Planned::at(10 * MINUTE, freed("w1"))
        .and(0, freed("w2"))
        .and(MINUTE, retried("w1"))
        .and(MINUTE, retried("w2"));
    let finish = |schedule: Vec<Planned>| {
        let schedule = begun().into_iter().chain(schedule).collect();
        run(setup.clone(), schedule).wants(done("w1")).wants(done("w2"))
    };
    History {
        number: "E29",
        sentence: "Nodes past their points of no return finish without their Leases, whether paused or halted by each \
                   other.",
        standing: Standing::Waits("several slots"),
        runs: vec![finish(vec![paused]), finish(vec![breaks("w1"), breaks("w2"), freed_and_asked])],
    }
}
