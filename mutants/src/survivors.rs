//! The mutants that are let live, each with its reason.

use std::path::Path;
use std::{fs, io};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::mutant::Mutant;
use crate::progress::{Outcome, Progress};

/// `mutants/survivors.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Survivors {
    #[serde(default)]
    survivor: Vec<Survivor>,
}

/// One that is let live.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Survivor {
    /// Its identity, as it is printed.
    mutant: String,
    /// Why no test can or need see it.
    reason: String,
}

impl Survivors {
    /// Reads the list; none is an empty one.
    pub(crate) fn open(file: &Path) -> Result<Self> {
        match fs::read_to_string(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            text => Self::read(&text?).with_context(|| file.display().to_string()),
        }
    }

    fn read(text: &str) -> Result<Self> {
        let list: Self = toml::from_str(text)?;
        for Survivor { mutant, reason } in &list.survivor {
            ensure!(!reason.trim().is_empty(), "no reason is given for {mutant}");
        }
        Ok(list)
    }

    /// Whether this one is let live.
    pub(crate) fn lists(&self, id: &str) -> bool {
        self.survivor.iter().any(|survivor| survivor.mutant == id)
    }

    /// The entries that are of no use any more, and why.
    pub(crate) fn stale(&self, all: &[Mutant], progress: &Progress) -> Vec<String> {
        let why = |id: &str| {
            if all.iter().all(|mutant| mutant.id != id) {
                return Some("there is no such mutant".to_owned());
            }
            let outcome = progress.of(id).filter(|outcome| *outcome != Outcome::Survived)?;
            Some(format!("it is {outcome} now, so its entry goes"))
        };
        let ids = self.survivor.iter().map(|survivor| &survivor.mutant);
        ids.filter_map(|id| Some(format!("{id}: {}", why(id)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;

    const LIST: &str = "
        [[survivor]]
        mutant = 'a.rs: replace < with <= in f'
        reason = 'both are the same instant'
        [[survivor]]
        mutant = 'a.rs: delete ! in gone'
        reason = 'it was so'
    ";

    #[test]
    fn the_committed_list_can_be_read() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("survivors.toml");
        Survivors::read(&fs::read_to_string(file).unwrap()).unwrap();
    }

    #[test]
    fn one_without_a_reason_is_not_let_live() {
        assert!(Survivors::read("[[survivor]]\nmutant = 'a'\nreason = ' '").is_err());
        assert!(Survivors::read("[[survivor]]\nmutant = 'a'").is_err());
    }

    #[test]
    fn what_is_gone_or_killed_is_stale() {
        let folder = tempfile::tempdir().unwrap();
        let mut progress =
            Progress::open(&folder.path().join("progress.txt"), Source::called("5eed")).unwrap();
        let list = Survivors::read(LIST).unwrap();
        let id = "a.rs: replace < with <= in f".to_owned();
        assert!(list.lists(&id));
        let all = [Mutant::called(&id)];
        assert_eq!(list.stale(&all, &progress), ["a.rs: delete ! in gone: there is no such mutant"]);
        progress.add(&id, Outcome::Survived).unwrap();
        assert_eq!(list.stale(&all, &progress).len(), 1);
        progress.add(&id, Outcome::KilledByUnits).unwrap();
        assert_eq!(
            list.stale(&all, &progress).first().unwrap(),
            &format!("{id}: it is killed-by-units now, so its entry goes")
        );
    }
}
