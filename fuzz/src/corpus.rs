//! The inputs that are kept: those people wrote, and for each outcome that was found the smallest input that has it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::targets::{Target, judged};
use upgrade_mutants::digest;

/// No kept input is longer.
pub(crate) const LONGEST: usize = 4096;
/// So many are kept for each target beside those that people wrote.
const MOST: usize = 50;
/// Names of those that were found begin with this.
const FOUND: &str = "found-";
/// The file that says what each input comes to.
const OUTCOMES: &str = "outcomes.txt";

/// The corpus of one target.
#[derive(Debug)]
pub(crate) struct Corpus {
    folder: PathBuf,
    inputs: BTreeMap<String, (Vec<u8>, String)>,
    seen: BTreeSet<String>,
}

/// Where the corpus of a target is.
pub(crate) fn folder(root: &Path, target: &Target) -> PathBuf {
    root.join("fuzz/corpus").join(target.name)
}

impl Corpus {
    /// Reads and judges the inputs of a target; beside it what fails, as file and reason.
    pub(crate) fn open(root: &Path, target: &Target) -> Result<(Self, Vec<(String, String)>)> {
        let folder = folder(root, target);
        let mut corpus = Self { folder, inputs: BTreeMap::new(), seen: BTreeSet::new() };
        let mut failed = Vec::new();
        for entry in fs::read_dir(&corpus.folder).with_context(|| corpus.folder.display().to_string())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == OUTCOMES {
                continue;
            }
            let bytes = fs::read(entry.path())?;
            match judged(target, &bytes) {
                Ok(outcome) => {
                    corpus.seen.insert(outcome.clone());
                    corpus.inputs.insert(name, (bytes, outcome));
                }
                Err(why) => failed.push((name, why)),
            }
        }
        Ok((corpus, failed))
    }

    /// How many outcomes were seen, kept or not.
    pub(crate) fn outcomes(&self) -> usize {
        self.seen.len()
    }

    /// The inputs, in the order of their names.
    pub(crate) fn inputs(&self) -> Vec<&[u8]> {
        self.inputs.values().map(|(bytes, _)| bytes.as_slice()).collect()
    }

    /// Whether this outcome was seen before; from now on it was.
    pub(crate) fn is_new(&mut self, outcome: &str) -> bool {
        self.seen.insert(outcome.to_owned())
    }

    /// Whether an input of this length would take the place of the one that is kept for this outcome.
    pub(crate) fn wants(&self, outcome: &str, length: usize) -> bool {
        let kept = self.inputs.get(&name(outcome)).map(|(bytes, _)| bytes.len());
        kept.is_some_and(|kept| length < kept)
    }

    /// Keeps an input that is the first or the smallest of its outcome, if there is room.
    pub(crate) fn keep(&mut self, bytes: Vec<u8>, outcome: &str) {
        let found = self.inputs.keys().filter(|name| name.starts_with(FOUND)).count();
        let name = name(outcome);
        if bytes.len() <= LONGEST && (found < MOST || self.inputs.contains_key(&name)) {
            self.inputs.insert(name, (bytes, outcome.to_owned()));
        }
    }

    /// Writes what was found, and what each input comes to.
    pub(crate) fn write(&self) -> Result<()> {
        for (name, (bytes, _)) in self.inputs.iter().filter(|(name, _)| name.starts_with(FOUND)) {
            let file = self.folder.join(name);
            if fs::read(&file).ok().as_ref() != Some(bytes) {
                fs::write(&file, bytes).with_context(|| file.display().to_string())?;
            }
        }
        fs::write(self.folder.join(OUTCOMES), self.listed()).context(OUTCOMES)
    }

    /// One line for each input: its file, and what it comes to.
    fn listed(&self) -> String {
        let line = |text: String, (name, (_, outcome)): (&String, &(Vec<u8>, String))| {
            text + name.as_str()
                + "	"
                + outcome.as_str()
                + "
"
        };
        self.inputs.iter().fold(String::new(), line)
    }
}

fn name(outcome: &str) -> String {
    digest([outcome.as_bytes()]).chars().take(10).fold(FOUND.to_owned(), |name, c| name + &c.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::TARGETS;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    #[test]
    fn every_kept_input_comes_to_what_is_listed_for_it() {
        for target in &TARGETS {
            let (corpus, failed) = Corpus::open(&root(), target).unwrap();
            assert_eq!(failed, [], "{}", target.name);
            let listed = fs::read_to_string(corpus.folder.join(OUTCOMES)).unwrap();
            let now = corpus.listed();
            let differs = now.lines().filter(|line| !listed.lines().any(|other| other == *line));
            let differs: Vec<_> = differs.collect();
            assert!(
                now == listed,
                "{}: not what is listed, which `make fuzz MINUTES=0` writes anew: {differs:#?}",
                target.name
            );
        }
    }

    #[test]
    fn the_corpus_is_small() {
        for target in &TARGETS {
            let (corpus, _) = Corpus::open(&root(), target).unwrap();
            assert!((10..=120).contains(&corpus.inputs.len()), "{}: {}", target.name, corpus.inputs.len());
            for (name, (bytes, _)) in &corpus.inputs {
                assert!(bytes.len() <= LONGEST, "{}/{name}", target.name);
            }
        }
    }

    #[test]
    fn the_smallest_input_of_an_outcome_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut corpus =
            Corpus { folder: folder.path().to_owned(), inputs: BTreeMap::new(), seen: BTreeSet::new() };
        assert!(corpus.is_new("read") && !corpus.is_new("read"));
        corpus.keep(b"long".to_vec(), "read");
        assert!(corpus.wants("read", 3) && !corpus.wants("read", 4) && !corpus.wants("other", 1));
        corpus.keep(b"sh".to_vec(), "read");
        corpus.keep(vec![0; LONGEST + 1], "too long");
        assert_eq!(corpus.inputs(), [b"sh"]);
        corpus.write().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
