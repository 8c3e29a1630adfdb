//! The source: what of it decides, and copies of it that may be broken.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use upgrade_mutants::{digest, hash};

/// What decides whether a mutant is killed: the rules with their unit tests, the simulator, what both are built with, and
/// how mutants are made and tried.
const DECIDING: [&str; 7] =
    ["agent/core", "sim", "Cargo.toml", "Cargo.lock", "Makefile", "mutants/src", ".cargo/mutants.toml"];
/// What outcomes are about.
#[derive(Debug)]
pub(crate) struct Source {
    /// Of all that decides.
    pub(crate) hash: String,
    /// Of each file that decides, cut short.
    files: BTreeMap<String, String>,
}

impl Source {
    /// That of the checkout in this folder, which has these files.
    pub(crate) fn read(root: &Path, files: &[PathBuf]) -> Result<Self> {
        let deciding = files.iter().filter(|file| DECIDING.iter().any(|part| file.starts_with(part)));
        let short = |file: &PathBuf| {
            let text = fs::read(root.join(file)).with_context(|| file.display().to_string())?;
            let hash = digest([text.as_slice()]).chars().take(8).collect();
            Ok((file.to_string_lossy().into_owned(), hash))
        };
        Ok(Self { hash: hash(root, files, &DECIDING)?, files: deciding.map(short).collect::<Result<_>>()? })
    }

    /// The hash of the file that the mutant with this identity is in; `-` for one that is not there.
    pub(crate) fn of_mutant(&self, id: &str) -> &str {
        let hash = id.split_once(": ").and_then(|(file, _)| self.files.get(file));
        hash.map_or("-", String::as_str)
    }
}

#[cfg(test)]
impl Source {
    /// One of which only the hash matters.
    pub(crate) fn called(hash: &str) -> Self {
        Self { hash: hash.to_owned(), files: BTreeMap::new() }
    }

    /// The same with a file.
    pub(crate) fn with_file(mut self, file: &str, hash: &str) -> Self {
        self.files.insert(file.to_owned(), hash.to_owned());
        self
    }
}

/// What cargo builds in a copy, which is kept from run to run.
const BUILT: &str = "target";

/// Makes the copy hold these files and no others. What is the same is not touched, so that cargo builds only what
/// differs; a mutant that an interrupted run left behind differs.
pub(crate) fn mirror(root: &Path, files: &[PathBuf], copy: &Path) -> Result<()> {
    fs::create_dir_all(copy)?;
    let wanted: BTreeSet<PathBuf> = files.iter().cloned().collect();
    remove_others(copy, Path::new(""), &wanted)?;
    for file in files {
        let (from, to) = (root.join(file), copy.join(file));
        if fs::read(&to).ok() == Some(fs::read(&from)?) {
            continue;
        }
        to.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::copy(&from, &to).with_context(|| format!("copy {}", file.display()))?;
    }
    Ok(())
}

fn remove_others(copy: &Path, folder: &Path, wanted: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(copy.join(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if path == Path::new(BUILT) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            remove_others(copy, &path, wanted)?;
        } else if !wanted.contains(&path) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn an_edit_shows_in_the_hash_of_its_file_and_of_all() {
        let root = tempfile::tempdir().unwrap();
        let (one, other) = ("agent/core/src/a.rs", "agent/core/src/b.rs");
        write(root.path(), one, "1");
        write(root.path(), other, "1");
        let read = || Source::read(root.path(), &[one, other].map(PathBuf::from)).unwrap();
        let of = |source: &Source, file| source.of_mutant(&format!("{file}: delete ! in f")).to_owned();
        let before = read();
        write(root.path(), one, "2");
        let after = read();
        assert_ne!(before.hash, after.hash);
        assert_ne!(of(&before, one), of(&after, one));
        assert_eq!(of(&before, other), of(&after, other));
        assert_eq!(of(&after, "agent/core/src/gone.rs"), "-");
    }

    #[test]
    fn a_copy_is_made_whole_again_and_keeps_what_was_built() {
        let (root, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(root.path(), "src/a.rs", "whole");
        write(copy.path(), "src/a.rs", "mutated");
        write(copy.path(), "src/gone.rs", "old");
        write(copy.path(), "target/debug/a", "built");
        mirror(root.path(), &[PathBuf::from("src/a.rs")], copy.path()).unwrap();
        assert_eq!(fs::read_to_string(copy.path().join("src/a.rs")).unwrap(), "whole");
        assert!(!copy.path().join("src/gone.rs").exists());
        assert!(copy.path().join("target/debug/a").exists());
    }
}
