//! The simulator's runs: every cut of an upgrade, and random schedules of faults and of other people's acts.
//!
//! A failure prints its setup and its schedule, made small. `SIM_SEED=7 cargo test -p upgrade-sim --test simulation random`
//! replays one random schedule with its whole history; `SIM_SEEDS=10000` tries so many, and every cut instead of a
//! sample; `SIM_FROM=10000` begins with another seed than the first.

mod acts;
mod calm;
mod failures;
mod seeds;

use upgrade_core::oracle::What;
use upgrade_sim::cuts::{every_cut, second_cut};
use upgrade_sim::fault::{ByHand, Fault};
use upgrade_sim::schedule::{Planned, Point, Schedule};
use upgrade_sim::setup::Setup;
use upgrade_sim::world::World;

use failures::{Failures, history};

/// One control-plane node and one worker, a patch ahead.
fn small() -> Setup {
    Setup::small()
}

/// All of these in a long run, every so many-th in a short one.
fn sampled<T>(all: Vec<T>, one_in: usize) -> impl Iterator<Item = T> {
    let one_in = if number("SIM_SEEDS").is_some_and(|seeds| seeds >= 10_000) { 1 } else { one_in };
    all.into_iter().step_by(one_in)
}

#[expect(clippy::panic, reason = "a number that is mistyped must not run another one")]
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}: {text:?} is not a number")))
}

#[test]
fn without_faults_every_node_is_done() {
    for (control_planes, workers) in [(1, 1), (1, 3), (2, 2), (3, 1)] {
        let setup = Setup { control_planes, workers, ..small() };
        let mut failures = Failures::default();
        failures.judge("no faults", &setup, &Schedule::new(), true);
        failures.none();
    }
}

#[test]
fn a_worker_whose_pods_could_run_nowhere_waits_without_claiming_again_and_again() {
    // Its preflight is made long before, and its turn comes right after.
    let cordons = |node: &str| {
        Planned::act("cp1", "release", Point::Before, Fault::PersonCordons { node: node.to_owned() })
    };
    let world = World::run(&Setup { workers: 2, ..small() }, &vec![cordons("cp1"), cordons("w2")]);
    let claims = world.history.iter().filter(|event| event.node == "w1");
    let claims = claims.filter(|event| matches!(event.what, What::LeaseTaken { .. })).count();
    assert!(claims <= 1, "{claims} claims\n{}", history(&world));
    let verdict = world.verdict();
    assert!(verdict.kinds().is_empty(), "{verdict}");
}

#[test]
fn an_agent_killed_at_any_point_of_any_step_still_gets_its_node_done() {
    let mut failures = Failures::default();
    for (step, point, schedule) in every_cut(&small()).with("", kill) {
        failures.judge(&format!("kill at {step:?} {point:?}"), &small(), &schedule, true);
    }
    failures.none();
}

#[test]
fn a_power_cut_at_any_point_of_any_step_still_gets_its_node_done() {
    let mut failures = Failures::default();
    let cut = |node: &str| vec![(0, Fault::PowerCut { node: node.to_owned(), boot: 60_000 })];
    for (step, point, schedule) in every_cut(&small()).with("", cut) {
        failures.judge(&format!("power cut at {step:?} {point:?}"), &small(), &schedule, true);
    }
    failures.none();
}

fn kill(node: &str) -> Vec<(u64, Fault)> {
    vec![(0, Fault::Kill { node: node.to_owned(), restart: 3_000 })]
}

#[test]
fn an_agent_killed_twice_still_gets_its_node_done() {
    let (mut failures, setup) = (Failures::default(), small());
    for (number, (step, point, mut schedule)) in (0..).zip(sampled(every_cut(&setup).with("", kill), 3)) {
        schedule.extend(second_cut(number, &step, kill(&step.node)));
        failures.judge(&format!("kill at {step:?} {point:?}, and again"), &setup, &schedule, true);
    }
    failures.none();
}

#[test]
fn a_power_cut_after_a_kill_still_gets_its_node_done() {
    let (mut failures, setup) = (Failures::default(), small());
    for (number, (step, point, mut schedule)) in (0..).zip(sampled(every_cut(&setup).with("", kill), 3)) {
        let cut = vec![(0, Fault::PowerCut { node: step.node.clone(), boot: 60_000 })];
        schedule.extend(second_cut(number, &step, cut));
        failures.judge(&format!("kill at {step:?} {point:?}, then a power cut"), &setup, &schedule, true);
    }
    failures.none();
}

#[test]
fn the_world_changed_while_the_agent_was_dead_breaks_no_rule() {
    let (mut failures, setup) = (Failures::default(), small());
    let next = setup.next();
    let cuts = every_cut(&setup);
    for change in 0..10 {
        let changed = |node: &str| {
            let node = node.to_owned();
            let change = match change {
                0 => Fault::PersonUncordons { node: node.clone() },
                1 => Fault::PersonCordons { node: node.clone() },
                2 => Fault::LeaseFreed { node: node.clone() },
                3 => Fault::Target { node: node.clone(), target: None },
                4 => Fault::Target { node: node.clone(), target: Some(next) },
                5 => {
                    Fault::UpgradedByHand { node: node.clone(), version: setup.target, how: ByHand::Packages }
                }
                6 => Fault::UpgradedByHand { node: node.clone(), version: next, how: ByHand::Packages },
                7 => Fault::NodeDeleted { node: node.clone(), back: 10_000 },
                8 => Fault::JournalLost { node: node.clone() },
                _ => Fault::KubeletSick { node: node.clone(), lasts: 400_000 },
            };
            vec![(0, Fault::Kill { node, restart: 3_000 }), (1_000, change)]
        };
        for (step, point, schedule) in sampled(cuts.with("", changed), 11) {
            failures.judge(&format!("change {change} at {step:?} {point:?}"), &setup, &schedule, false);
        }
    }
    failures.none();
}

/// Schedules that once broke a rule, by what was wrong: made small, kept for ever.
fn once_wrong() -> Vec<(&'static str, Setup, Schedule)> {
    let (cp1, w1) = (|| "cp1".to_owned(), || "w1".to_owned());
    let two_workers = Setup { workers: 2, ..small() };
    let two_planes = || Setup { control_planes: 2, ..small() };
    let by_hand = Fault::UpgradedByHand { node: cp1(), version: small().next(), how: ByHand::Packages };
    let one = |node, act, point, fault| vec![Planned::act(node, act, point, fault)];
    vec![
        ("a verb found before another node applied", two_planes(), Schedule::new()),
        (
            "back into service on a Ready from before the boot",
            small(),
            one("cp1", "uncordon", Point::Before, Fault::PowerCut { node: cp1(), boot: 60_000 }),
        ),
        (
            "a second node cordoned because the first one's Lease was freed by hand",
            two_workers,
            one("w1", "install-kubelet", Point::Done, Fault::LeaseFreed { node: w1() }),
        ),
        (
            "a second control-plane node cordoned for the same reason",
            two_planes(),
            one("cp1", "drain", Point::Sent, Fault::LeaseFreed { node: cp1() }),
        ),
        (
            "a newer version installed by hand during the drain was downgraded",
            small(),
            one("cp1", "drain", Point::Done, by_hand),
        ),
        (
            "the journal lost before the cordon: degraded in service",
            small(),
            one("cp1", "claim", Point::Answered, Fault::JournalLost { node: cp1() }),
        ),
        (
            "the journal lost while kubelet is installed: degraded and returning in turns",
            Setup { package_restarts: true, ..small() },
            one("w1", "install-kubelet", Point::Done, Fault::JournalLost { node: w1() }),
        ),
    ]
}

/// The same, where several things had to come together.
fn wrong_together() -> Vec<(&'static str, Setup, Schedule)> {
    let (cp1, w1) = (|| "cp1".to_owned(), || "w1".to_owned());
    let below = Fault::Target { node: cp1(), target: Some(small().from) };
    let sick = Fault::KubeletSick { node: cp1(), lasts: 388_000 };
    let cut_off = Fault::Partition { node: w1(), lasts: 27_379 };
    let uncordons = Fault::PersonUncordons { node: cp1() };
    vec![
        (
            "a degraded Lease without its mark, because the target had changed",
            Setup { package_restarts: true, ..small() },
            vec![Planned::act("cp1", "kubeadm-upgrade", Point::Done, sick).and(7_000, below)],
        ),
        (
            "kubeadm run once more on a worker that had lost its Lease in the meantime",
            small(),
            vec![
                Planned::act("w1", "kubeadm-upgrade", Point::Sent, cut_off)
                    .and(6_000, Fault::LeaseFreed { node: w1() }),
            ],
        ),
        (
            "somebody's cordon taken back, made after ours was lifted",
            small(),
            vec![
                Planned::act("cp1", "install-kubeadm", Point::Done, uncordons)
                    .and(3_000, Fault::PersonCordons { node: cp1() }),
            ],
        ),
    ]
}

#[test]
fn schedules_that_once_broke_a_rule_keep_it() {
    for (what, setup, schedule) in once_wrong().into_iter().chain(wrong_together()) {
        let mut failures = Failures::default();
        failures.judge(what, &setup, &schedule, false);
        failures.none();
        let missed = World::run(&setup, &schedule).unstruck().to_vec();
        assert!(missed.is_empty(), "{what}: nobody came to {missed:?}");
    }
}
