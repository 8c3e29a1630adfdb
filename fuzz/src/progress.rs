//! How long each target was fuzzed: text that is committed, so that a run goes on where another one ended.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const ABOUT: &str =
    "# How long each target was fuzzed. `make fuzz` writes this and goes on from here: commit it.
# Valid for the source with this hash only (the rules, the daemon's readers, fuzz/src, Cargo.lock).";

/// What one target had so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Had {
    /// Whole minutes.
    pub(crate) minutes: u32,
    /// Inputs judged in them.
    pub(crate) inputs: u64,
    /// Outcomes seen, more than are kept.
    pub(crate) outcomes: usize,
}

/// What all had, in memory and in the file.
#[derive(Debug)]
pub(crate) struct Progress {
    file: PathBuf,
    source: String,
    had: BTreeMap<String, Had>,
}

impl Progress {
    /// Goes on with the file if it is about this source, or begins anew.
    pub(crate) fn open(file: &Path, source: &str) -> Result<Self> {
        let text = match fs::read_to_string(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            read => read.with_context(|| file.display().to_string())?,
        };
        Ok(Self { file: file.to_owned(), source: source.to_owned(), had: read(&text, source) })
    }

    /// What a target had.
    pub(crate) fn of(&self, target: &str) -> Had {
        self.had.get(target).copied().unwrap_or_default()
    }

    /// Keeps what a target has had by now.
    pub(crate) fn set(&mut self, target: &str, had: Had) -> Result<()> {
        self.had.insert(target.to_owned(), had);
        fs::write(&self.file, self.text()).with_context(|| self.file.display().to_string())
    }

    fn text(&self) -> String {
        let line = |(target, had): (&String, &Had)| {
            format!("{target} minutes={} inputs={} outcomes={}\n", had.minutes, had.inputs, had.outcomes)
        };
        format!("{ABOUT}\nsource {}\n{}", self.source, self.had.iter().map(line).collect::<String>())
    }
}

/// What stands in this text if it is about this source, else nothing. A line that cannot be read is one that was cut off.
fn read(text: &str, source: &str) -> BTreeMap<String, Had> {
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    if lines.next() != Some(&format!("source {source}")) {
        return BTreeMap::new();
    }
    let had = |line: &str| {
        let mut words = line.split(' ');
        let target = words.next()?.to_owned();
        let mut number = |key: &str| words.next()?.strip_prefix(key)?.parse::<u64>().ok();
        let (minutes, inputs, outcomes) = (number("minutes=")?, number("inputs=")?, number("outcomes=")?);
        let had = Had { minutes: minutes.try_into().ok()?, inputs, outcomes: outcomes.try_into().ok()? };
        Some((target, had))
    };
    lines.filter_map(had).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_goes_on_where_the_last_one_ended_and_another_source_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("progress.txt");
        let had = Had { minutes: 3, inputs: 7_000_000_000, outcomes: 12 };
        Progress::open(&file, "5eed").unwrap().set("journals", had).unwrap();
        let again = Progress::open(&file, "5eed").unwrap();
        assert_eq!((again.of("journals"), again.of("leases")), (had, Had::default()));
        assert_eq!(Progress::open(&file, "other").unwrap().of("journals"), Had::default());
    }

    #[test]
    fn a_line_cut_off_is_as_good_as_absent() {
        let whole = "source 5eed\njournals minutes=3 inputs=70 outcomes=12\n";
        assert_eq!(read(whole, "5eed").len(), 1);
        assert!(read(&whole[..30], "5eed").is_empty());
    }
}
