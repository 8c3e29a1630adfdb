//! How each mutant fared: text that is committed, so that a long run goes on where another one ended, on any machine.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result};

/// What became of a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A unit test fails.
    KilledByUnits,
    /// A unit test of many inputs fails.
    KilledByProperties,
    /// A seed shows what the rules as they are do not show.
    KilledBySeeds,
    /// The unit tests do not end.
    HungInUnits,
    /// The unit tests of many inputs do not end.
    HungInProperties,
    /// The seeds do not end.
    HungInSeeds,
    /// Nothing saw it.
    Survived,
    /// It does not compile: it says nothing about tests.
    Unviable,
}

impl Outcome {
    const ALL: [Self; 8] = [
        Self::KilledByUnits,
        Self::KilledByProperties,
        Self::KilledBySeeds,
        Self::HungInUnits,
        Self::HungInProperties,
        Self::HungInSeeds,
        Self::Survived,
        Self::Unviable,
    ];

    const fn word(self) -> &'static str {
        match self {
            Self::KilledByUnits => "killed-by-units",
            Self::KilledByProperties => "killed-by-properties",
            Self::KilledBySeeds => "killed-by-seeds",
            Self::HungInUnits => "hung-in-units",
            Self::HungInProperties => "hung-in-properties",
            Self::HungInSeeds => "hung-in-seeds",
            Self::Survived => "survived",
            Self::Unviable => "unviable",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Outcome {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|outcome| outcome.word() == word).ok_or(())
    }
}

const ABOUT: &str = "# How each mutant fared. `make mutants` appends here and goes on from here: commit it.
# Valid for the source with this hash only (rules, simulator, how mutants are made and built).";

/// All outcomes for one source, in memory and in their file.
#[derive(Debug)]
pub(crate) struct Progress {
    file: PathBuf,
    outcomes: BTreeMap<String, Outcome>,
}

impl Progress {
    /// Goes on with the file if it is about this source, or begins it anew. Either way the file is whole afterwards: a
    /// line that was cut off when the last run was ended is dropped.
    pub(crate) fn open(file: &Path, source: &str) -> Result<Self> {
        let text = match fs::read_to_string(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            read => read.with_context(|| file.display().to_string())?,
        };
        let progress = Self { file: file.to_owned(), outcomes: read(&text, source) };
        if let Some(lost) = lost(&text, source) {
            println!("{}: {lost}", file.display());
        }
        let whole = progress.text(source);
        if whole != text {
            fs::write(file, whole).with_context(|| file.display().to_string())?;
        }
        Ok(progress)
    }

    /// What became of this one, if that is known.
    pub(crate) fn of(&self, id: &str) -> Option<Outcome> {
        self.outcomes.get(id).copied()
    }

    /// Keeps what became of one.
    pub(crate) fn add(&mut self, id: &str, outcome: Outcome) -> Result<()> {
        let mut file = OpenOptions::new().append(true).open(&self.file).context("the progress")?;
        file.write_all(line(id, outcome).as_bytes())?;
        self.outcomes.insert(id.to_owned(), outcome);
        Ok(())
    }

    fn text(&self, source: &str) -> String {
        let lines = self.outcomes.iter().map(|(id, outcome)| line(id, *outcome));
        format!("{ABOUT}\nsource {source}\n{}", lines.collect::<String>())
    }
}

fn line(id: &str, outcome: Outcome) -> String {
    format!("{outcome:<20} {id}\n")
}

/// The outcomes in this text if it is about this source, else none.
fn read(text: &str, source: &str) -> BTreeMap<String, Outcome> {
    let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
    let mut lines = whole.lines().filter(|line| !line.starts_with('#'));
    if lines.next() != Some(&format!("source {source}")) {
        return BTreeMap::new();
    }
    let outcome = |line: &str| {
        let (word, id) = line.split_once(' ')?;
        Some((id.trim_start().to_owned(), word.parse().ok()?))
    };
    lines.filter_map(outcome).collect()
}

/// What is lost of a text that is about another source.
fn lost(text: &str, source: &str) -> Option<String> {
    let other =
        text.lines().find_map(|line| line.strip_prefix("source ")).filter(|other| *other != source)?;
    let outcomes = read(text, other).len();
    let short = |hash: &str| hash.chars().take(8).collect::<String>();
    let (other, source) = (short(other), short(source));
    let told = format!(
        "it is about another source ({other}, which is now {source}): its {outcomes} outcomes do not hold and are dropped; \
         git has those that were committed"
    );
    (outcomes > 0).then_some(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "agent/core/src/judge/claim.rs: replace && with || in is_stuck #2";

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("progress.txt");
        (folder, file)
    }

    #[test]
    fn a_run_goes_on_where_the_last_one_ended() {
        let (_folder, file) = folder();
        let mut first = Progress::open(&file, "5eed").unwrap();
        for (number, outcome) in Outcome::ALL.into_iter().enumerate() {
            first.add(&format!("{ID}{number}"), outcome).unwrap();
        }
        let second = Progress::open(&file, "5eed").unwrap();
        assert_eq!(second.outcomes.into_values().collect::<Vec<_>>(), Outcome::ALL);
    }

    #[test]
    fn another_source_begins_anew() {
        let (_folder, file) = folder();
        Progress::open(&file, "old").unwrap().add(ID, Outcome::Survived).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(lost(&text, "old"), None);
        assert!(lost(&text, "new").unwrap().contains("(old, which is now new): its 1 outcomes"));
        assert_eq!(Progress::open(&file, "new").unwrap().of(ID), None);
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{ABOUT}\nsource new\n"));
    }

    #[test]
    fn a_line_cut_off_is_judged_again() {
        let (_folder, file) = folder();
        Progress::open(&file, "5eed").unwrap().add(ID, Outcome::Survived).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{text}killed-by-seeds agent/core/src/judge/cl")).unwrap();
        let resumed = Progress::open(&file, "5eed").unwrap();
        assert_eq!(resumed.of(ID), Some(Outcome::Survived));
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }
}
