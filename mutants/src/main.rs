//! `make mutants`: which mutants of the rules live. Mutants are made and tried by cargo-mutants; this draws a sample,
//! keeps the progress, and holds the survivors against the list of those that are let live.

mod hunt;
mod mutant;
mod progress;
mod source;
mod survivors;
mod tally;
mod tool;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use upgrade_mutants::files;

use self::hunt::{Hunt, judged};
use self::mutant::{Mutant, drawn};
use self::progress::Progress;
use self::source::Source;
use self::survivors::Survivors;
use self::tally::Tally;
use self::tool::{Bench, Tool};

/// Try mutants of the rules, and tell which ones live.
#[derive(Debug, Parser)]
#[command(version)]
struct Mutants {
    /// The program cargo-mutants.
    #[arg(long)]
    tool: PathBuf,
    /// A folder for copies of the source and what is built in them; kept, it saves time.
    #[arg(long)]
    work: PathBuf,
    /// Judge so many, drawn by the seed, instead of all.
    #[arg(long)]
    sample: Option<usize>,
    /// Draws the sample: the same one for the same source, on every machine.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Judge only those whose identity contains this.
    #[arg(long)]
    only: Option<String>,
}

fn main() -> ExitCode {
    match Mutants::parse().run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mutants: {error:#}");
            ExitCode::from(2)
        }
    }
}

impl Mutants {
    /// Whether there is nothing to complain of.
    fn run(&self) -> Result<bool> {
        let root = std::env::current_dir()?;
        let (list, file) = (root.join("mutants/survivors.toml"), root.join("mutants/progress.txt"));
        let files = files(&root)?;
        let mut progress = Progress::open(&file, Source::read(&root, &files)?)?;
        let survivors = Survivors::open(&list)?;
        fs::create_dir_all(&self.work)?;
        let work = self.work.canonicalize()?;
        let program = self.tool.canonicalize().with_context(|| self.tool.display().to_string())?;
        let tool = Tool::new(&program, &work);

        source::mirror(&root, &files, &tool.copy(0))?;
        let all = tool.list(&tool.copy(0))?;
        let order = self.chosen(&all);
        if order.is_empty() {
            bail!("no mutant's identity contains {:?}", self.only.as_deref().unwrap_or_default());
        }
        let want = self.sample.unwrap_or(order.len());
        if !Hunt::is_over(&order, want, &progress) {
            let benches = Self::benches(&tool, &root, &files)?;
            let workers = benches.iter().map(|bench| |mutant: &Mutant| bench.try_out(mutant)).collect();
            Hunt::new(&order, want, &mut progress).run(workers)?;
        }
        let stale = survivors.stale(&all, &progress);
        let judged = judged(&order, want, &progress);
        let tally = Tally::new(&judged, &survivors, self.sample.map(|_| self.seed));
        self.tell(&tally, &stale);
        Ok(tally.survived().is_empty() && (stale.is_empty() || !self.is_full()))
    }

    fn is_full(&self) -> bool {
        self.sample.is_none() && self.only.is_none()
    }

    /// Those to be judged, in their order.
    fn chosen(&self, all: &[Mutant]) -> Vec<Mutant> {
        let only = |mutant: &&Mutant| self.only.as_ref().is_none_or(|only| mutant.id.contains(only));
        let chosen = all.iter().filter(only).cloned().collect();
        if self.sample.is_some() { drawn(chosen, self.seed) } else { chosen }
    }

    /// A copy for each worker, built, and tested as it is.
    fn benches<'a>(tool: &'a Tool, root: &Path, files: &[PathBuf]) -> Result<Vec<Bench<'a>>> {
        let jobs = thread::available_parallelism().map_or(1, usize::from);
        println!("building, and testing the source as it is, for {jobs} at a time");
        let prepare = |worker: usize| {
            source::mirror(root, files, &tool.copy(worker))?;
            tool.prepare(worker)
        };
        let benches: Vec<Bench<'_>> = thread::scope(|scope| {
            let started: Vec<_> = (0..jobs).map(|worker| scope.spawn(move || prepare(worker))).collect();
            let ended =
                started.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a worker panicked"))?);
            ended.collect::<Result<_>>()
        })?;
        let limits = benches.first().context("no worker")?.limits();
        Ok(benches.into_iter().map(|bench| bench.with_limits(limits)).collect())
    }

    fn tell(&self, tally: &Tally<'_>, stale: &[String]) {
        for mutant in tally.survived() {
            println!("survived: {}\n  at {}\n{}", mutant.id, mutant.name, mutant.change());
        }
        let weight = if self.is_full() { "error" } else { "warning" };
        for entry in stale {
            println!("{weight}: mutants/survivors.toml lists what it should not: {entry}");
        }
        println!("{tally}");
    }
}
