//! cargo-mutants, which lists mutants, makes one of them in a copy of the source, builds it and runs tests.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Deserialize;

use crate::mutant::{Mutant, read_list};
use crate::progress::Outcome;

/// The package that is mutated.
const RULES: &str = "upgrade-core";
/// A build that takes longer than this many seconds has come to a halt.
const BUILD_TIMEOUT: u64 = 900;
/// Tests may take this long, and [`PATIENCE`] times what they take on the source as it is: the machine may be busy.
const GRACE: Duration = Duration::from_mins(1);
const PATIENCE: u32 = 5;
/// Where the simulator's test writes, or reads, what the rules as they are show.
const RECORD: &str = "MUTANTS_RECORD";
const BASELINE: &str = "MUTANTS_BASELINE";

const STAGES: usize = 3;

/// Tests that kill, the quick ones first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Units,
    Properties,
    Seeds,
}

/// Where the unit tests are that try hundreds of inputs each: nine tenths of the time of all.
const PROPERTIES: [&str; 2] = ["arbitrary::", "properties::"];

impl Stage {
    const ALL: [Self; STAGES] = [Self::Units, Self::Properties, Self::Seeds];

    /// The package whose tests they are.
    const fn package(self) -> &'static str {
        match self {
            Self::Units | Self::Properties => RULES,
            Self::Seeds => "upgrade-sim",
        }
    }

    /// What cargo builds.
    const fn target(self) -> &'static str {
        match self {
            Self::Units | Self::Properties => "--lib",
            Self::Seeds => "--test=mutants",
        }
    }

    /// What is passed to the tests for a mutant.
    const fn tests(self) -> &'static [&'static str] {
        match self {
            Self::Units => &["--skip", PROPERTIES[0], "--skip", PROPERTIES[1]],
            Self::Properties => &PROPERTIES,
            Self::Seeds => &["--ignored", "--exact", "no_run_shows_what_the_record_does_not"],
        }
    }

    /// What is passed to them for the source as it is.
    const fn baseline(self) -> &'static [&'static str] {
        match self {
            Self::Units | Self::Properties => self.tests(),
            Self::Seeds => &["--ignored", "--exact", "record_what_the_rules_show"],
        }
    }

    /// What became of a mutant in this stage; nothing yet if it lives.
    fn outcome(self, summary: &str) -> Result<Option<Outcome>> {
        Ok(match (summary, self) {
            ("MissedMutant", _) => None,
            ("Unviable", _) => Some(Outcome::Unviable),
            ("CaughtMutant", Self::Units) => Some(Outcome::KilledByUnits),
            ("CaughtMutant", Self::Properties) => Some(Outcome::KilledByProperties),
            ("CaughtMutant", Self::Seeds) => Some(Outcome::KilledBySeeds),
            ("Timeout", Self::Units) => Some(Outcome::HungInUnits),
            ("Timeout", Self::Properties) => Some(Outcome::HungInProperties),
            ("Timeout", Self::Seeds) => Some(Outcome::HungInSeeds),
            _ => bail!("cargo-mutants says {summary}"),
        })
    }
}

/// cargo-mutants at its version, and where it works.
#[derive(Debug)]
pub(crate) struct Tool {
    program: PathBuf,
    work: PathBuf,
}

/// A copy of the source, and how long tests may take there.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    tool: &'a Tool,
    copy: PathBuf,
    limits: [Duration; STAGES],
}

impl Tool {
    /// The program `cargo-mutants`, and a folder for its copies of the source.
    pub(crate) fn new(program: &Path, work: &Path) -> Self {
        Self { program: program.to_owned(), work: work.to_owned() }
    }

    /// Where the copy of a worker is.
    pub(crate) fn copy(&self, worker: usize) -> PathBuf {
        self.work.join(format!("copy-{worker}"))
    }

    /// All mutants of the source in this folder, by the globs of its `.cargo/mutants.toml`.
    pub(crate) fn list(&self, folder: &Path) -> Result<Vec<Mutant>> {
        let mut list = self.cargo_mutants(folder);
        let output = list.args(["--list", "--json"]).output().context("cargo-mutants")?;
        ensure!(output.status.success(), "cargo-mutants: {}", String::from_utf8_lossy(&output.stderr));
        read_list(&String::from_utf8_lossy(&output.stdout))
    }

    /// Has the source as it is tested in a worker's copy: units must pass, what seeds show is recorded. The first
    /// worker records, for all; the others build.
    pub(crate) fn prepare(&self, worker: usize) -> Result<Bench<'_>> {
        let copy = self.copy(worker);
        let mut limits = [GRACE; STAGES];
        for (stage, limit) in Stage::ALL.into_iter().zip(&mut limits) {
            self.cargo_test(stage, &copy, &["--no-run"], &[])?;
            let begin = Instant::now();
            if worker == 0 {
                self.cargo_test(stage, &copy, &[], stage.baseline())?;
            }
            *limit += begin.elapsed() * PATIENCE;
        }
        Ok(Bench { tool: self, copy, limits })
    }

    fn cargo_test(&self, stage: Stage, copy: &Path, options: &[&str], tests: &[&str]) -> Result<()> {
        let mut cargo = Self::in_copy("cargo", copy);
        cargo.args(["test", "--quiet", "--package", stage.package(), stage.target()]).args(options);
        let output = cargo.arg("--").args(tests).env(RECORD, self.record()).output().context("cargo")?;
        let text = || [output.stdout.as_slice(), &output.stderr].concat();
        ensure!(
            output.status.success(),
            "the source as it is does not pass {stage:?}:\n{}",
            String::from_utf8_lossy(&text())
        );
        Ok(())
    }

    fn record(&self) -> PathBuf {
        self.work.join("record.txt")
    }

    fn cargo_mutants(&self, folder: &Path) -> Command {
        let mut command = Self::in_copy(&self.program, folder);
        command.args(["mutants", "--colors=never", "--annotations=none", "--package", RULES]);
        command
    }

    /// A command in a copy, whose results depend on nothing outside it and on no chance.
    fn in_copy(program: impl AsRef<OsStr>, copy: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(copy).stdin(Stdio::null());
        // Each copy has its own folder to build in.
        command.env_remove("CARGO_TARGET_DIR");
        command.env("PROPTEST_RNG_SEED", "1").env("PROPTEST_MAX_SHRINK_ITERS", "0");
        command.env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1").env_remove("PROPTEST_CASES");
        command
    }
}

impl Bench<'_> {
    /// How long each stage may take.
    pub(crate) const fn limits(&self) -> [Duration; STAGES] {
        self.limits
    }

    /// The same with these limits: those of the worker that has measured hold for all.
    pub(crate) fn with_limits(self, limits: [Duration; STAGES]) -> Self {
        Self { limits, ..self }
    }

    /// What becomes of this mutant.
    pub(crate) fn try_out(&self, mutant: &Mutant) -> Result<Outcome> {
        for (stage, limit) in Stage::ALL.into_iter().zip(self.limits) {
            let summary = self.run(mutant, stage, limit).with_context(|| mutant.name.clone())?;
            if let Some(outcome) = stage.outcome(&summary)? {
                return Ok(outcome);
            }
        }
        Ok(Outcome::Survived)
    }

    /// cargo-mutants' word for what this stage makes of it.
    fn run(&self, mutant: &Mutant, stage: Stage, limit: Duration) -> Result<String> {
        let out = self.copy.with_extension("out");
        fs::create_dir_all(&out)?;
        let mut command = self.tool.cargo_mutants(&self.copy);
        command.args(["--in-place", "--baseline=skip", "--sharding=round-robin", "--output"]).arg(&out);
        command.arg(format!("--shard={}/{}", mutant.place.0, mutant.place.1));
        command.arg(format!("--timeout={}", limit.as_secs()));
        command.arg(format!("--build-timeout={BUILD_TIMEOUT}"));
        command.arg(format!("--test-package={}", stage.package()));
        command.arg(format!("--cargo-arg={}", stage.target()));
        command.args(["--", "--"]).args(stage.tests()).env(BASELINE, self.tool.record());
        let output = command.output().context("cargo-mutants")?;
        let outcomes = fs::read_to_string(out.join("mutants.out/outcomes.json"));
        // 0 and 2 and 3: all caught, some missed, some timed out.
        match (output.status.code(), outcomes) {
            (Some(0 | 2 | 3), Ok(outcomes)) => summary(&outcomes, &mutant.name),
            _ => Err(anyhow!("cargo-mutants: {}", String::from_utf8_lossy(&output.stderr))),
        }
    }
}

/// What became of this mutant, the only one of a run, from `outcomes.json`.
fn summary(json: &str, name: &str) -> Result<String> {
    #[derive(Deserialize)]
    struct Outcomes {
        outcomes: Vec<Of>,
    }
    #[derive(Deserialize)]
    struct Of {
        summary: String,
        scenario: Scenario,
    }
    #[derive(Deserialize)]
    struct Scenario {
        #[serde(rename = "Mutant")]
        mutant: Named,
    }
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    let read: Outcomes = serde_json::from_str(json).context("outcomes.json")?;
    match <[Of; 1]>::try_from(read.outcomes) {
        Ok([one]) if one.scenario.mutant.name == name => Ok(one.summary),
        Ok([other]) => bail!("{} was tried instead", other.scenario.mutant.name),
        Err(others) => bail!("{} mutants were tried instead of one", others.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcome_of_the_one_that_was_meant_is_read() {
        let one =
            r#"{"summary": "CaughtMutant", "scenario": {"Mutant": {"name": "a"}}, "phase_results": []}"#;
        let summary_of = |outcomes: &str, name| summary(&format!(r#"{{"outcomes": [{outcomes}]}}"#), name);
        assert_eq!(summary_of(one, "a").unwrap(), "CaughtMutant");
        assert!(summary_of(one, "b").is_err());
        assert!(summary_of("", "a").is_err());
        assert!(summary_of(&format!("{one}, {one}"), "a").is_err());
    }

    #[test]
    fn every_word_of_the_tool_has_its_meaning() {
        assert_eq!(Stage::Units.outcome("MissedMutant").unwrap(), None);
        assert_eq!(Stage::Seeds.outcome("CaughtMutant").unwrap(), Some(Outcome::KilledBySeeds));
        assert_eq!(Stage::Properties.outcome("CaughtMutant").unwrap(), Some(Outcome::KilledByProperties));
        assert_eq!(Stage::Seeds.outcome("Timeout").unwrap(), Some(Outcome::HungInSeeds));
        assert_eq!(Stage::Units.outcome("Unviable").unwrap(), Some(Outcome::Unviable));
        assert!(Stage::Units.outcome("Failure").is_err());
    }
}
