//! How each mutant fared: text that is committed, so that a long run goes on where another one ended, on any machine.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result};

use crate::source::Source;

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

    /// Whether it holds for a source that differs in other files than the mutant's: one that lived may be killed by a new
    /// test, and what did not end may end.
    const fn outlasts_edits_elsewhere(self) -> bool {
        matches!(self, Self::KilledByUnits | Self::KilledByProperties | Self::KilledBySeeds | Self::Unviable)
    }

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
# After the outcome stands the hash of the file that is mutated. Of another source than this one, what was killed or does
# not compile holds as long as that file is the same; the rest is tried again.";

/// All outcomes that hold for one source, in memory and in their file.
#[derive(Debug)]
pub(crate) struct Progress {
    file: PathBuf,
    source: Source,
    outcomes: BTreeMap<String, Outcome>,
}

impl Progress {
    /// Goes on with what holds for this source. The file is whole afterwards: a line that was cut off when the last run
    /// was ended is dropped.
    pub(crate) fn open(file: &Path, source: Source) -> Result<Self> {
        let text = match fs::read_to_string(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            read => read.with_context(|| file.display().to_string())?,
        };
        let (outcomes, dropped) = read(&text, &source);
        if dropped > 0 {
            println!(
                "{}: {dropped} outcomes are of another source and do not hold; git has them",
                file.display()
            );
        }
        let progress = Self { file: file.to_owned(), source, outcomes };
        let whole = progress.text();
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
        file.write_all(line(&self.source, id, outcome).as_bytes())?;
        self.outcomes.insert(id.to_owned(), outcome);
        Ok(())
    }

    fn text(&self) -> String {
        let lines = self.outcomes.iter().map(|(id, outcome)| line(&self.source, id, *outcome));
        format!("{ABOUT}\nsource {}\n{}", self.source.hash, lines.collect::<String>())
    }
}

fn line(source: &Source, id: &str, outcome: Outcome) -> String {
    format!("{outcome:<20} {:<8} {id}\n", source.of_mutant(id))
}

/// The outcomes in this text that hold for this source, and how many do not.
fn read(text: &str, source: &Source) -> (BTreeMap<String, Outcome>, usize) {
    let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
    let mut lines = whole.lines().filter(|line| !line.starts_with('#'));
    let is_this = lines.next() == Some(&format!("source {}", source.hash));
    let (mut held, mut dropped) = (BTreeMap::new(), 0);
    for line in lines {
        let holds = parsed(line).filter(|(outcome, file, id)| {
            *file == source.of_mutant(id) && (is_this || outcome.outlasts_edits_elsewhere())
        });
        match holds {
            Some((outcome, _, id)) => drop(held.insert(id.to_owned(), outcome)),
            None => dropped += 1,
        }
    }
    (held, dropped)
}

/// Outcome, the hash of the mutated file, identity.
fn parsed(line: &str) -> Option<(Outcome, &str, &str)> {
    let (word, rest) = line.split_once(' ')?;
    let (file, id) = rest.trim_start().split_once(' ')?;
    Some((word.parse().ok()?, file, id.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "agent/core/src/judge/claim.rs";
    const ID: &str = "agent/core/src/judge/claim.rs: replace && with || in is_stuck #2";

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("progress.txt");
        (folder, file)
    }

    #[test]
    fn a_run_goes_on_where_the_last_one_ended() {
        let (_folder, file) = folder();
        let mut first = Progress::open(&file, Source::called("5eed")).unwrap();
        for (number, outcome) in Outcome::ALL.into_iter().enumerate() {
            first.add(&format!("{ID}{number}"), outcome).unwrap();
        }
        let second = Progress::open(&file, Source::called("5eed")).unwrap();
        assert_eq!(second.outcomes.into_values().collect::<Vec<_>>(), Outcome::ALL);
    }

    #[test]
    fn an_edit_elsewhere_keeps_what_was_killed_and_has_survivors_tried_again() {
        let (_folder, file) = folder();
        let mut old = Progress::open(&file, Source::called("old").with_file(FILE, "aaaa")).unwrap();
        old.add(ID, Outcome::KilledBySeeds).unwrap();
        old.add(&format!("{ID}1"), Outcome::Survived).unwrap();
        old.add(&format!("{ID}2"), Outcome::HungInUnits).unwrap();
        let new = Progress::open(&file, Source::called("new").with_file(FILE, "aaaa")).unwrap();
        assert_eq!(new.outcomes, BTreeMap::from([(ID.to_owned(), Outcome::KilledBySeeds)]));
    }

    #[test]
    fn an_edit_of_its_file_has_a_mutant_tried_again() {
        let (_folder, file) = folder();
        let old = Source::called("old").with_file(FILE, "aaaa");
        Progress::open(&file, old).unwrap().add(ID, Outcome::KilledByUnits).unwrap();
        let new = Source::called("new").with_file(FILE, "bbbb");
        assert_eq!(Progress::open(&file, new).unwrap().of(ID), None);
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{ABOUT}\nsource new\n"));
    }

    #[test]
    fn a_line_cut_off_is_judged_again() {
        let (_folder, file) = folder();
        Progress::open(&file, Source::called("5eed")).unwrap().add(ID, Outcome::Survived).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{text}killed-by-seeds {FILE}")).unwrap();
        let resumed = Progress::open(&file, Source::called("5eed")).unwrap();
        assert_eq!(resumed.of(ID), Some(Outcome::Survived));
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }
}
