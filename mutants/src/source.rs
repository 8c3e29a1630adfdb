//! The source: what of it decides, and copies of it that may be broken.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// What decides whether a mutant is killed: the rules with their unit tests, the simulator, what both are built with, and
/// how mutants are made and tried.
pub(crate) const DECIDING: [&str; 7] =
    ["agent/core", "sim", "Cargo.toml", "Cargo.lock", "Makefile", "mutants/src", ".cargo/mutants.toml"];
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
