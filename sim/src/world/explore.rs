//! Where to look for trouble: every cut of an upgrade, and random schedules.

use upgrade_core::version::Version;

use super::{Fault, Planned, Point, Schedule, Setup, Step, When, World};
use crate::rng::Rng;

/// The steps of one fault-free run, to be cut one by one.
pub struct Cuts {
    /// What was carried out without faults.
    pub steps: Vec<Step>,
}

/// Every cut of a fault-free run of this setup: each step of each node, at each point.
pub fn every_cut(setup: &Setup) -> Cuts {
    Cuts { steps: World::run(setup, &Schedule::new()).steps }
}

impl Cuts {
    /// One schedule for each step of the nodes whose name begins so, and each point.
    pub fn with(&self, of: &str, faults: impl Fn(&str) -> Vec<(u64, Fault)>) -> Vec<(Step, Point, Schedule)> {
        let steps = self.steps.iter().filter(|step| step.node.starts_with(of));
        let each = steps.flat_map(|step| Point::ALL.map(|point| (step.clone(), point)));
        each.map(|(step, point)| {
            let when = When::Cut { node: step.node.clone(), step: step.number, point };
            let schedule = vec![Planned { when, faults: faults(&step.node) }];
            (step, point, schedule)
        })
        .collect()
    }
}

/// A second cut of the same node shortly after a first one: the square of all cuts is too large, so one is drawn.
pub fn second_cut(seed: u64, first: &Step, faults: Vec<(u64, Fault)>) -> Option<Planned> {
    let mut rng = Rng::new(seed);
    let step = first.number + 1 + usize::try_from(rng.below(8)).ok()?;
    let point = rng.pick(&Point::ALL).copied()?;
    Some(Planned { when: When::Cut { node: first.node.clone(), step, point }, faults })
}

/// A small cluster to begin with.
pub fn random_setup(seed: u64) -> Setup {
    let mut rng = Rng::new(seed ^ 0x5e7_0b5e);
    let control_planes = 1 + usize::from(rng.once_in(3));
    let workers =
        usize::try_from(1 + rng.below(4 - u64::try_from(control_planes).unwrap_or_default())).unwrap_or(1);
    let minor = control_planes == 1 && rng.once_in(3);
    Setup {
        control_planes,
        workers,
        from: if minor { Version::new(1, 35, 4) } else { Version::new(1, 36, 2) },
        target: Version::new(1, 36, 3),
        package_restarts: rng.once_in(2),
        seed,
    }
}

/// Some faults at random times, for this setup.
pub fn random_schedule(setup: &Setup, seed: u64) -> Schedule {
    let mut rng = Rng::new(seed);
    let planes = (1..=setup.control_planes).map(|number| format!("cp{number}"));
    let nodes: Vec<String> = planes.chain((1..=setup.workers).map(|number| format!("w{number}"))).collect();
    // A fault-free fleet takes about forty seconds for each node.
    let span = 45_000 * u64::try_from(nodes.len()).unwrap_or(1);
    let count = 1 + rng.below(6);
    (0..count)
        .map(|_| {
            let node = rng.pick(&nodes).cloned().unwrap_or_default();
            let at = 2_000 + rng.below(span);
            let faults = random_faults(&mut rng, &node, setup);
            Planned { when: When::At(at), faults }
        })
        .collect()
}

fn random_faults(rng: &mut Rng, node: &str, setup: &Setup) -> Vec<(u64, Fault)> {
    let first = random_fault(rng, node, setup);
    let mut faults = vec![(0, first.clone())];
    // The world changes while an agent is dead, and what was deleted or cancelled is asked for again.
    match first {
        Fault::Kill { restart, .. } if rng.once_in(2) => {
            faults.push((rng.below(restart), random_fault(rng, node, setup)));
        }
        Fault::NodeDeleted { back, .. } => {
            let target = Some(setup.target);
            faults.push((back + 30_000, Fault::Target { node: node.to_owned(), target }));
        }
        Fault::Target { .. } if rng.once_in(2) => {
            let target = Some(setup.target);
            faults.push((rng.below(120_000), Fault::Target { node: node.to_owned(), target }));
        }
        _ => {}
    }
    faults
}

fn random_fault(rng: &mut Rng, node: &str, setup: &Setup) -> Fault {
    let node = node.to_owned();
    let lasts = 1_000 + rng.below(90_000);
    let next = Version { patch: setup.target.patch + 1, ..setup.target };
    match rng.below(20) {
        0..=3 => Fault::Kill { node, restart: 500 + rng.below(20_000) },
        4 | 5 => Fault::PowerCut { node, boot: 15_000 + rng.below(90_000) },
        6 => Fault::WatchLag { node, lag: 200 + rng.below(8_000), lasts },
        7 => Fault::LostAnswers { node, lasts },
        8 => Fault::Outage { lasts },
        9 => Fault::Partition { node, lasts },
        10 => Fault::KubeletSick { node, lasts: lasts * 5 },
        11 => {
            let tools = ["install-kubeadm", "kubeadm-upgrade", "install-kubelet", "repair-dpkg"];
            let tool = rng.pick(&tools).copied().unwrap_or_default();
            Fault::ToolFails {
                node,
                tool,
                times: 1 + u32::try_from(rng.below(4)).unwrap_or(0),
                late: rng.once_in(2),
            }
        }
        12 => Fault::BudgetBlocks { lasts: lasts * 5 },
        13 => Fault::Paused { lasts },
        14 => {
            let targets = [None, Some(setup.from), Some(next)];
            Fault::Target { node, target: rng.pick(&targets).copied().flatten() }
        }
        15 => Fault::PersonCordons { node },
        16 => Fault::PersonUncordons { node },
        17 => Fault::LeaseFreed { node },
        18 => {
            let versions = [setup.target, next];
            Fault::ByHand { node, version: rng.pick(&versions).copied().unwrap_or(next) }
        }
        _ if rng.once_in(3) => Fault::JournalLost { node },
        _ if rng.once_in(2) => Fault::NodeDeleted { node, back: lasts },
        _ => Fault::Retry { node },
    }
}
