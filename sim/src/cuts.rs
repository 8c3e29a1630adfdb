//! Every cut of an upgrade: each step of a run without faults, at each of its points.

use crate::fault::Fault;
use crate::rng::Rng;
use crate::schedule::{Planned, Point, Schedule, When};
use crate::setup::Setup;
use crate::world::{Step, World};

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
            let when = When::Step { node: step.node.clone(), step: step.number, point };
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
    Some(Planned { when: When::Step { node: first.node.clone(), step, point }, faults })
}
