//! Faults placed at acts and observations: where a schedule says so they strike, and it is remembered that they did.

use super::World;
use crate::fault::Fault;
use crate::schedule::{Planned, Point, When};

impl World {
    /// A step has come to a point.
    pub(super) fn strike_at(&mut self, node: &str, step: usize, point: Point) {
        if self.placed.is_empty() {
            return;
        }
        let Some((word, count)) =
            self.machines.get(node).and_then(|machine| machine.steps.get(step)).copied()
        else {
            return;
        };
        let here = |planned: &Planned| match &planned.when {
            When::Step { node: of, step: number, point: at } => of == node && *number == step && *at == point,
            When::Act { node: of, act, nth, point: at } => {
                of == node && *act == word && *nth == count && *at == point
            }
            When::At(_) | When::Seen { .. } => false,
        };
        while let Some(index) = self.placed.iter().position(here) {
            let planned = self.placed.remove(index);
            self.strike_placed(word, point, planned);
        }
    }

    /// Counts an observation that a node's agent did not ask for.
    pub(super) fn observed(&mut self, node: &str, word: &'static str) -> usize {
        let Some(machine) = self.machines.get_mut(node) else { return 0 };
        let count = machine.words.entry(word).or_default();
        *count += 1;
        *count - 1
    }

    /// Before or after an observation is taken in.
    pub(super) fn strike_seen(&mut self, node: &str, word: &'static str, count: usize, point: Point) {
        let here = |planned: &Planned| match &planned.when {
            When::Seen { node: of, fact, nth, point: at } => {
                of == node && *fact == word && *nth == count && *at == point
            }
            When::At(_) | When::Step { .. } | When::Act { .. } => false,
        };
        while let Some(index) = self.placed.iter().position(here) {
            let planned = self.placed.remove(index);
            self.strike_placed(word, point, planned);
        }
    }

    /// What was placed and never struck: nobody came to that act so often.
    pub fn unstruck(&self) -> &[Planned] {
        &self.placed
    }

    fn strike_placed(&mut self, word: &'static str, point: Point, planned: Planned) {
        let (at_once, later): (Vec<_>, Vec<_>) =
            planned.faults.into_iter().partition(|(delay, _)| *delay == 0);
        for (_, fault) in &at_once {
            self.struck.insert((word, fault.word(), point));
            self.strike_now(fault);
        }
        self.plan(self.now, &later);
    }

    fn strike_now(&mut self, fault: &Fault) {
        self.calm_from = self.calm_from.max(self.now + fault.ends_after().unwrap_or_default());
        self.strikes(fault);
    }
}
