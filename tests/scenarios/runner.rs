//! Runs scenarios one after the other on one cluster and says how they ended.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use crate::fleet::Fleet;

/// A rule and how it is tried.
pub(crate) struct Scenario {
    /// A sentence.
    name: &'static str,
    play: fn(&Fleet) -> Result<()>,
    slow: bool,
}

impl Scenario {
    pub(crate) const fn new(name: &'static str, play: fn(&Fleet) -> Result<()>) -> Self {
        Self { name, play, slow: false }
    }

    /// One that `--ignored` leaves out.
    pub(crate) const fn slow(name: &'static str, play: fn(&Fleet) -> Result<()>) -> Self {
        Self { slow: true, ..Self::new(name, play) }
    }
}

/// What is asked for on the command line, in libtest's words; its other options are passed over.
#[derive(Default)]
struct Wanted {
    /// Scenarios are run by name, ...
    words: Vec<String>,
    /// ... or those that are not slow, ...
    most: bool,
    /// ... or all; if nothing is asked for, none.
    all: bool,
    list: bool,
}

impl Wanted {
    fn read() -> Self {
        let mut wanted = Self::default();
        for argument in std::env::args().skip(1) {
            match argument.as_str() {
                "--ignored" => wanted.most = true,
                "--include-ignored" => wanted.all = true,
                "--list" => wanted.list = true,
                option if option.starts_with('-') => {}
                word => wanted.words.push(word.to_owned()),
            }
        }
        wanted
    }

    fn has(&self, scenario: &Scenario) -> bool {
        let named = self.words.iter().any(|word| scenario.name.contains(word.as_str()));
        named || (self.words.is_empty() && (self.list || self.all || (self.most && !scenario.slow)))
    }
}

/// Runs what is wanted of `scenarios`.
pub(crate) fn run(scenarios: &[Scenario]) -> ExitCode {
    let wanted = Wanted::read();
    let chosen: Vec<_> = scenarios.iter().filter(|scenario| wanted.has(scenario)).collect();
    if wanted.list {
        for scenario in chosen {
            println!("{}: test", scenario.name);
        }
        return ExitCode::SUCCESS;
    }
    if chosen.is_empty() {
        println!(
            "{} scenarios ignored: they boot a cluster and take minutes; see tests/scenarios/main.rs",
            scenarios.len()
        );
        return ExitCode::SUCCESS;
    }
    let missing = missing();
    if !missing.is_empty() {
        return left_out(&missing, &chosen);
    }
    let start = Instant::now();
    let failed = play_all(&chosen);
    let (total, seconds) = (chosen.len(), start.elapsed().as_secs_f64());
    println!();
    for what in &failed {
        println!("scenario failed: {what}");
    }
    println!("{} of {total} scenarios passed in {seconds:.0} s", total - failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The first line of a text, at a length that a log's reader sees whole.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(400).collect()
}

/// What this machine lacks for nodes to run on it.
fn missing() -> Vec<String> {
    let mut missing = lab::tools::missing(lab::tools::CLUSTER);
    missing.extend(lab::tools::missing(lab::tools::GO));
    // The owner of our own entry is who we are.
    let root = fs::metadata("/proc/self").is_ok_and(|ourselves| ourselves.uid() == 0);
    if !root {
        missing.push("root: nodes are machines with mounts and networks of their own".to_owned());
    }
    missing
}

/// Where a pipeline counts on the scenarios, leaving them out in silence would be worse than failing.
fn left_out(missing: &[String], chosen: &[&Scenario]) -> ExitCode {
    println!("These scenarios are left out:");
    for scenario in chosen {
        println!("  {}", scenario.name);
    }
    println!("because this machine lacks:");
    for what in missing {
        println!("  {what}");
    }
    let required = std::env::var("CI").is_ok_and(|value| value == "true");
    if required { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Plays them and returns what was wrong with those that failed, a line each: a pipeline shows the end of its log alone.
fn play_all(chosen: &[&Scenario]) -> Vec<String> {
    let fleet = match Fleet::boot() {
        Ok(fleet) => fleet,
        Err(error) => {
            println!("no cluster: {error:#}");
            return chosen.iter().map(|scenario| format!("{}: no cluster: {error}", scenario.name)).collect();
        }
    };
    let mut failed = Vec::new();
    for (number, scenario) in chosen.iter().enumerate() {
        println!("test {} ...", scenario.name);
        let start = Instant::now();
        fleet.begin();
        let outcome = (scenario.play)(&fleet);
        let seconds = start.elapsed().as_secs_f64();
        match &outcome {
            Ok(()) => println!("test {} ... ok ({seconds:.1} s)", scenario.name),
            Err(error) => {
                println!("test {} ... FAILED ({seconds:.1} s)\n{error:#}\n", scenario.name);
                failed.push(format!("{}: {}", scenario.name, first_line(&format!("{error:#}"))));
                fleet.show_evidence();
            }
        }
        if let Err(error) = fleet.tidy() {
            println!("cannot tidy up after it: {error:#}");
            let rest = chosen.iter().skip(number + 1);
            failed.extend(rest.map(|scenario| format!("{}: not played: {error}", scenario.name)));
            return failed;
        }
    }
    failed
}
