//! Trying mutants one after the other, by several workers, until as many are judged as are wanted.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow};

use crate::mutant::Mutant;
use crate::progress::{Outcome, Progress};

/// The mutants in their order, and how far their trial has come. Those that do not compile say nothing and do not
/// count: the next one takes their place. So who is judged depends on the order alone, not on who is quicker.
pub(crate) struct Hunt<'a> {
    order: &'a [Mutant],
    want: usize,
    state: Mutex<State<'a>>,
}

struct State<'a> {
    progress: &'a mut Progress,
    next: usize,
    /// Judged, or being tried.
    counted: usize,
    failed: bool,
}

impl<'a> Hunt<'a> {
    /// To judge so many of these, of which some may be known.
    pub(crate) fn new(order: &'a [Mutant], want: usize, progress: &'a mut Progress) -> Self {
        Self { order, want, state: Mutex::new(State { progress, next: 0, counted: 0, failed: false }) }
    }

    /// Whether all that are wanted are known already.
    pub(crate) fn is_over(order: &[Mutant], want: usize, progress: &Progress) -> bool {
        let judged = judged(order, want, progress);
        let known = order.iter().all(|mutant| progress.of(&mutant.id).is_some());
        judged.iter().all(|(_, outcome)| outcome.is_some()) && (judged.len() == want || known)
    }

    /// Has each of these workers try mutants, until enough are judged or a worker fails.
    pub(crate) fn run<W>(&self, workers: Vec<W>) -> Result<()>
    where
        W: Fn(&Mutant) -> Result<Outcome> + Send,
    {
        thread::scope(|scope| {
            let started: Vec<_> =
                workers.into_iter().map(|worker| scope.spawn(move || self.work(&worker))).collect();
            let ended =
                started.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a worker panicked"))?);
            ended.fold(Ok(()), Result::and)
        })
    }

    fn work(&self, try_out: &impl Fn(&Mutant) -> Result<Outcome>) -> Result<()> {
        while let Some(mutant) = self.take() {
            let begin = Instant::now();
            let outcome = try_out(mutant).inspect_err(|_| self.state().failed = true)?;
            let mut state = self.state();
            state.progress.add(&mutant.id, outcome)?;
            if outcome == Outcome::Unviable {
                state.counted -= 1;
            }
            println!("{outcome:<20} {} ({} s)", mutant.id, begin.elapsed().as_secs());
        }
        Ok(())
    }

    fn take(&self) -> Option<&'a Mutant> {
        let mut state = self.state();
        while !state.failed && state.counted < self.want {
            let mutant = self.order.get(state.next)?;
            state.next += 1;
            let known = state.progress.of(&mutant.id);
            state.counted += usize::from(known != Some(Outcome::Unviable));
            if known.is_none() {
                return Some(mutant);
            }
        }
        None
    }

    fn state(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first so many that compile or are not tried yet, with what became of them.
pub(crate) fn judged<'a>(
    order: &'a [Mutant],
    want: usize,
    progress: &Progress,
) -> Vec<(&'a Mutant, Option<Outcome>)> {
    let each = order.iter().map(|mutant| (mutant, progress.of(&mutant.id)));
    each.filter(|(_, outcome)| *outcome != Some(Outcome::Unviable)).take(want).collect()
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;
    use crate::source::Source;

    /// Every third one does not compile.
    fn mutants() -> Vec<Mutant> {
        let kind = |number| if number % 3 == 0 { "broken" } else { "well" };
        let mutant = |number| Mutant::called(&format!("{} {number}", kind(number)));
        (0..12).map(mutant).collect()
    }

    fn outcome(mutant: &Mutant) -> Outcome {
        if mutant.id.starts_with("broken") { Outcome::Unviable } else { Outcome::Survived }
    }

    fn ids(order: &[Mutant], want: usize, progress: &Progress) -> Vec<String> {
        judged(order, want, progress).into_iter().map(|(mutant, _)| mutant.id.clone()).collect()
    }

    #[test]
    fn what_does_not_compile_is_replaced_whoever_is_quicker() {
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let mut progress = Progress::open(&folder.path().join("p"), Source::called("5eed")).unwrap();
            let order = mutants();
            let worker = |mutant: &Mutant| Ok(outcome(mutant));
            Hunt::new(&order, 5, &mut progress).run(vec![worker, worker]).unwrap();
            assert_eq!(ids(&order, 5, &progress), ["well 1", "well 2", "well 4", "well 5", "well 7"]);
            assert!(Hunt::is_over(&order, 5, &progress));
            assert_eq!(progress.of("well 8"), None, "no more than asked for");
        }
    }

    #[test]
    fn all_of_them_are_fewer_than_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let mut progress = Progress::open(&folder.path().join("p"), Source::called("5eed")).unwrap();
        let order = mutants();
        assert!(!Hunt::is_over(&order, usize::MAX, &progress));
        Hunt::new(&order, usize::MAX, &mut progress)
            .run(vec![|mutant: &Mutant| Ok(outcome(mutant))])
            .unwrap();
        assert_eq!(ids(&order, usize::MAX, &progress).len(), 8);
        assert!(Hunt::is_over(&order, usize::MAX, &progress));
    }

    #[test]
    fn a_run_that_failed_is_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let mut progress = Progress::open(&folder.path().join("p"), Source::called("5eed")).unwrap();
        let order = mutants();
        let fails =
            |mutant: &Mutant| if mutant.id == "well 4" { bail!("no space") } else { Ok(outcome(mutant)) };
        assert!(Hunt::new(&order, 5, &mut progress).run(vec![fails]).is_err());
        assert_eq!(progress.of("well 2"), Some(Outcome::Survived));
        let never_again = |mutant: &Mutant| match mutant.id.as_str() {
            "well 1" | "well 2" => bail!("it is known"),
            _ => Ok(outcome(mutant)),
        };
        Hunt::new(&order, 5, &mut progress).run(vec![never_again]).unwrap();
        assert!(Hunt::is_over(&order, 5, &progress));
    }
}
