//! The simulator's runs: every cut of an upgrade, and random schedules of faults and of other people's acts.
//!
//! A failure prints its setup and its schedule, made small. `SIM_SEED=7 cargo test -p upgrade-sim --test simulation`
//! replays one random schedule with its whole history; `SIM_SEEDS=10000` tries so many, and every cut
//! instead of a sample.

use std::collections::BTreeMap;

use upgrade_core::oracle::{End, What};
use upgrade_core::version::Version;
use upgrade_sim::world::{
    Fault, Planned, Schedule, Setup, Verdict, When, World, every_cut, judge, random_schedule, random_setup,
    second_cut, shrink,
};

/// One control-plane node and one worker, a patch ahead.
fn small() -> Setup {
    Setup {
        control_planes: 1,
        workers: 1,
        from: Version::new(1, 36, 2),
        target: Version::new(1, 36, 3),
        package_restarts: false,
        seed: 1,
    }
}

/// All of these in a long run, every so many-th in a short one.
fn sampled<T>(all: Vec<T>, one_in: usize) -> impl Iterator<Item = T> {
    let one_in = if number("SIM_SEEDS").is_some() { 1 } else { one_in };
    all.into_iter().step_by(one_in)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// The kind of a run in which a node came to an allowed end that it had no reason for.
const NOT_DONE: &str = "NotDone";

/// Rules that this edition of the core is known to break, with the defect: not judged here until that is mended.
const KNOWN: [(&str, &str); 5] = [
    ("ClaimsWithoutProgress", "who is barred claims all the same, every fifteen seconds"),
    ("LeaseIdentity", "a Node made anew is worked on under the Lease of the one before"),
    ("PackageBack", "a retreat after a lost journal leaves kubeadm new"),
    ("Paused", "a policy read with an old preflight lets a waiting node begin"),
    ("VerifiedBeforeService", "no new soak after a power cut or a lost journal"),
];

fn is_known(kind: &str) -> bool {
    KNOWN.iter().any(|(known, _)| *known == kind)
}

/// Failures by kind: how many, and the first of each.
#[derive(Default)]
struct Failures(BTreeMap<String, (usize, String, Setup, Schedule)>);

impl Failures {
    fn add(&mut self, kind: String, label: &str, setup: &Setup, schedule: &Schedule) {
        let first = || (0, label.to_owned(), setup.clone(), schedule.clone());
        self.0.entry(kind).or_insert_with(first).0 += 1;
    }

    /// Judges one run; `done` if nothing in it may keep a node from its target.
    fn judge(&mut self, label: &str, setup: &Setup, schedule: &Schedule, done: bool) {
        let verdict = judge(setup, schedule);
        let kinds = verdict.kinds();
        for kind in kinds.iter().filter(|kind| !is_known(kind)).cloned() {
            self.add(kind, label, setup, schedule);
        }
        let right = kinds.iter().all(|kind| is_known(kind));
        if done && right && !all_done(&verdict) {
            self.add(NOT_DONE.to_owned(), label, setup, schedule);
        }
    }

    /// Fails with everything needed to see why.
    fn none(self) {
        let mut told = Vec::new();
        for (kind, (count, label, setup, schedule)) in self.0 {
            let small = if kind == NOT_DONE { schedule } else { shrink(&setup, &schedule, &kind) };
            let world = World::run(&setup, &small);
            let (history, verdict) = (history(&world), world.verdict());
            told.push(format!(
                "\n=== {kind}: {count} times, first by {label}\n{setup:?}\nsmallest: {small:#?}\n{history}\n{verdict}"
            ));
        }
        let told = told.concat();
        assert!(told.is_empty(), "{told}");
    }
}

fn all_done(verdict: &Verdict) -> bool {
    verdict.ends.iter().all(|(_, end)| *end == End::Done)
}

fn history(world: &World) -> String {
    world.history.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
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
    // Its preflight is made before, at 35 s, and its turn comes after, at 44 s.
    let cordons = |node: &str| Planned::at(43_000, Fault::PersonCordons { node: node.to_owned() });
    let world = World::run(&Setup { workers: 2, ..small() }, &vec![cordons("cp1"), cordons("w2")]);
    let claims = world.history.iter().filter(|event| event.node == "w1");
    let claims = claims.filter(|event| matches!(event.what, What::LeaseTaken { .. })).count();
    assert!(claims <= 1, "{claims} claims\n{}", history(&world));
    assert!(world.verdict().is_right(), "{}", world.verdict());
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
    let next = Version { patch: setup.target.patch + 1, ..setup.target };
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
                5 => Fault::ByHand { node: node.clone(), version: setup.target },
                6 => Fault::ByHand { node: node.clone(), version: next },
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
    let one = |when, fault| vec![Planned { when, faults: vec![(0, fault)] }];
    let (cp1, w1) = (|| "cp1".to_owned(), || "w1".to_owned());
    let two = Setup { workers: 2, ..small() };
    let next = Version::new(1, 36, 4);
    let power_cut = Fault::PowerCut { node: cp1(), boot: 60_000 };
    vec![
        ("a verb found before another node applied", Setup { control_planes: 2, ..small() }, Schedule::new()),
        ("back into service on a Ready from before the boot", small(), one(When::At(41_748), power_cut)),
        (
            "a second node cordoned because the first one's Lease was freed by hand",
            two.clone(),
            one(When::At(59_000), Fault::LeaseFreed { node: w1() }),
        ),
        (
            "a second control-plane node cordoned for the same reason",
            Setup { control_planes: 2, ..small() },
            one(When::At(7_000), Fault::LeaseFreed { node: cp1() }),
        ),
        (
            "a newer version installed by hand during the drain was downgraded",
            small(),
            one(When::At(5_751), Fault::ByHand { node: cp1(), version: next }),
        ),
        (
            "the journal lost before the cordon: degraded in service",
            small(),
            one(When::At(5_240), Fault::JournalLost { node: cp1() }),
        ),
        (
            "the journal lost while kubelet is installed: degraded and returning in turns",
            Setup { package_restarts: true, ..small() },
            one(When::At(54_200), Fault::JournalLost { node: w1() }),
        ),
    ]
}

/// The same, where several things had to come together.
fn wrong_together() -> Vec<(&'static str, Setup, Schedule)> {
    let (cp1, w1) = (|| "cp1".to_owned(), || "w1".to_owned());
    let below = Fault::Target { node: cp1(), target: Some(small().from) };
    vec![
        (
            "a degraded Lease without its mark, because the target had changed",
            Setup { package_restarts: true, ..small() },
            vec![
                Planned::at(8_000, Fault::KubeletSick { node: cp1(), lasts: 388_000 }),
                Planned::at(15_090, below),
            ],
        ),
        (
            "kubeadm run once more on a worker that had lost its Lease in the meantime",
            small(),
            vec![
                Planned::at(2_634, Fault::Kill { node: cp1(), restart: 2_858 }),
                Planned::at(49_000, Fault::Partition { node: w1(), lasts: 27_379 }),
                Planned::at(55_000, Fault::LeaseFreed { node: w1() }),
            ],
        ),
        (
            "somebody's cordon taken back, made after ours was lifted",
            small(),
            vec![
                Planned::at(9_000, Fault::PersonUncordons { node: cp1() }),
                Planned::at(12_000, Fault::PersonCordons { node: cp1() }),
            ],
        ),
    ]
}

#[test]
fn schedules_that_once_broke_a_rule_keep_it() {
    let mut wrong = Vec::new();
    for (what, setup, schedule) in once_wrong().into_iter().chain(wrong_together()) {
        let verdict = judge(&setup, &schedule);
        if !verdict.is_right() {
            wrong.push(format!("{what}\n{setup:?}\n{schedule:?}\n{verdict}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn random_schedules_keep_every_rule_and_come_to_an_end() {
    if let Some(seed) = number("SIM_SEED") {
        let (setup, schedule) = (random_setup(seed), random_schedule(&random_setup(seed), seed));
        let world = World::run(&setup, &schedule);
        panic!("{setup:?}\n{schedule:#?}\n{}\n{}", history(&world), world.verdict());
    }
    let mut failures = Failures::default();
    for seed in 0..number("SIM_SEEDS").unwrap_or(150) {
        let setup = random_setup(seed);
        let schedule = random_schedule(&setup, seed);
        failures.judge(&format!("SIM_SEED={seed}"), &setup, &schedule, false);
    }
    failures.none();
}
