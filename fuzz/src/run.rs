//! The run: each target gets its minutes, one at a time, as many targets at once as there are processors.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::corpus::Corpus;
use crate::failure::Failures;
use crate::mutate::Mutator;
use crate::progress::Progress;
use crate::shrink::shrunk;
use crate::source;
use crate::targets::{Target, judged};

/// What a run is counted in.
const MINUTE: Duration = Duration::from_mins(1);
/// So many smaller inputs are tried of one that is kept.
const TRIES: usize = 300;

/// What the workers share.
struct Shared<'a> {
    work: &'a Path,
    seed: u64,
    minutes: u32,
    waiting: Mutex<VecDeque<Campaign>>,
    progress: Mutex<Progress>,
    failures: Mutex<Failures>,
}

/// One target's run.
struct Campaign {
    target: &'static Target,
    corpus: Corpus,
    /// What inputs are made of: the corpus, and what was new since the run began.
    pool: Vec<Vec<u8>>,
}

/// Gives each target what it has not had of its minutes; whether nothing failed.
pub(crate) fn run(
    root: &Path,
    work: &Path,
    chosen: Vec<&'static Target>,
    minutes: u32,
    seed: u64,
) -> Result<bool> {
    let progress = Progress::open(&root.join("fuzz/progress.txt"), &source::hash(root)?)?;
    let mut failures = Failures::default();
    let mut waiting = VecDeque::new();
    for target in chosen {
        let (corpus, failed) = Corpus::open(root, target)?;
        for (name, why) in failed {
            let input = std::fs::read(crate::corpus::folder(root, target).join(&name))?;
            failures.tell(target, &input, &why, &name, work)?;
        }
        corpus.write()?;
        let pool = corpus.inputs().into_iter().map(<[u8]>::to_vec).collect();
        waiting.push_back(Campaign { target, corpus, pool });
    }
    let shared = Shared {
        work,
        seed,
        minutes,
        waiting: Mutex::new(waiting),
        progress: Mutex::new(progress),
        failures: Mutex::new(failures),
    };
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(|| shared.work())).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| anyhow!("a worker panicked"))?)
    })?;
    let failed = lock(&shared.failures).len();
    println!("fuzz: {failed} ways to fail (seed {seed})");
    Ok(failed == 0)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared<'_> {
    /// Takes the target that has waited longest, gives it a minute, and puts it back.
    fn work(&self) -> Result<()> {
        loop {
            let Some(mut campaign) = lock(&self.waiting).pop_front() else { return Ok(()) };
            let had = lock(&self.progress).of(campaign.target.name);
            if had.minutes >= self.minutes {
                println!(
                    "{}: {} min, {} inputs, {} outcomes",
                    campaign.target.name,
                    had.minutes,
                    had.inputs,
                    campaign.corpus.outcomes()
                );
                continue;
            }
            let inputs = self.minute(&mut campaign, had.minutes)?;
            campaign.corpus.write()?;
            let now = crate::progress::Had {
                minutes: had.minutes + 1,
                inputs: had.inputs + inputs,
                outcomes: had.outcomes.max(campaign.corpus.outcomes()),
            };
            lock(&self.progress).set(campaign.target.name, now)?;
            lock(&self.waiting).push_back(campaign);
        }
    }

    /// One minute, drawn by the seed and its number: the same corpus and the same seed give the same inputs. How many were judged.
    fn minute(&self, campaign: &mut Campaign, number: u32) -> Result<u64> {
        let Campaign { target, corpus, pool } = campaign;
        let mut mutator = Mutator::new(target, self.seed.wrapping_mul(1_000_003).wrapping_add(number.into()));
        let began = Instant::now();
        let mut inputs = 0;
        while began.elapsed() < MINUTE {
            let input = mutator.next(pool);
            inputs += 1;
            let outcome = match judged(target, &input) {
                Ok(outcome) => outcome,
                Err(why) => {
                    let from = format!("seed {}, minute {number}, input {inputs}", self.seed);
                    lock(&self.failures).tell(target, &input, &why, &from, self.work)?;
                    continue;
                }
            };
            if corpus.is_new(&outcome) || corpus.wants(&outcome, input.len()) {
                let same = |bytes: &[u8]| judged(target, bytes).as_ref() == Ok(&outcome);
                let small = shrunk(target.form, &input, TRIES, same);
                pool.push(small.clone());
                corpus.keep(small, &outcome);
            }
        }
        Ok(inputs)
    }
}
