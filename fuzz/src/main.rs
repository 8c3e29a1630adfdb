//! `make fuzz`: what others write or a disk damages, in every shape, read as the agent reads it. Nothing may panic, nothing may be
//! lost, and what is wrong has to be told clearly.

mod corpus;
mod failure;
mod json;
mod mutate;
mod progress;
mod run;
mod seal;
mod shape;
mod shrink;
mod source;
mod targets;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use self::targets::{TARGETS, Target, judged};

/// Read inputs of every shape as the agent reads them.
#[derive(Debug, Parser)]
#[command(version)]
struct Fuzz {
    /// One target instead of all: journals, policies, annotations, leases or configuration.
    #[arg(long)]
    target: Option<String>,
    /// So many minutes each shall have had in all; what the progress counts is not done again.
    #[arg(long, default_value_t = 10)]
    minutes: u32,
    /// Draws the inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A folder for inputs that fail.
    #[arg(long)]
    work: PathBuf,
    /// Judge this one input, and nothing else; wants a target.
    #[arg(long, requires = "target")]
    input: Option<PathBuf>,
}

fn main() -> ExitCode {
    match Fuzz::parse().run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fuzz: {error:#}");
            ExitCode::from(2)
        }
    }
}

impl Fuzz {
    /// Whether nothing failed.
    fn run(&self) -> Result<bool> {
        let chosen = self.chosen()?;
        if let (Some(input), [target]) = (&self.input, chosen.as_slice()) {
            let bytes = std::fs::read(input).with_context(|| input.display().to_string())?;
            let verdict = judged(target, &bytes);
            match &verdict {
                Ok(outcome) => println!("{}: {outcome}", target.name),
                Err(why) => println!("failed: {}: {why}", target.name),
            }
            return Ok(verdict.is_ok());
        }
        run::run(&std::env::current_dir()?, &self.work, chosen, self.minutes, self.seed)
    }

    fn chosen(&self) -> Result<Vec<&'static Target>> {
        let Some(name) = &self.target else { return Ok(TARGETS.iter().collect()) };
        let names = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
        let target = TARGETS.iter().find(|target| target.name == name);
        Ok(vec![target.with_context(|| format!("no target {name:?}; there are {}", names()))?])
    }
}
