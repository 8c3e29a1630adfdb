//! The source: which files there are, what identifies it, and copies of it that may be broken.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::digest;

/// What decides whether a mutant is killed: the rules with their unit tests, the simulator, what both are built with, and
/// how mutants are made and tried.
const DECIDING: [&str; 7] =
    ["agent/core", "sim", "Cargo.toml", "Cargo.lock", "Makefile", "mutants/src", ".cargo/mutants.toml"];
/// What cargo builds in a copy, which is kept from run to run.
const BUILT: &str = "target";

/// The files of a checkout as they stand, committed or not, without what git ignores; relative to it.
pub(crate) fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let output = git.output().context("git ls-files")?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let listed = String::from_utf8(output.stdout).context("git ls-files")?;
    // What was removed and not committed is still listed.
    let present = listed.split_terminator('\0').map(PathBuf::from).filter(|file| root.join(file).is_file());
    Ok(present.collect::<BTreeSet<_>>().into_iter().collect())
}

/// The hash of all that decides about mutants: an outcome is worth something for this source alone.
pub(crate) fn hash(root: &Path, files: &[PathBuf]) -> Result<String> {
    let deciding = files.iter().filter(|file| DECIDING.iter().any(|part| file.starts_with(part)));
    let mut parts = Vec::new();
    for file in deciding {
        parts.push(file.to_string_lossy().into_owned().into_bytes());
        parts.push(fs::read(root.join(file)).with_context(|| file.display().to_string())?);
    }
    Ok(digest(parts.iter().map(Vec::as_slice)))
}

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
    fn the_hash_is_of_what_decides_and_of_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let files: Vec<PathBuf> = ["agent/core/src/a.rs", "lab/b.rs", "sim/c.rs"].map(PathBuf::from).into();
        for file in &files {
            write(root.path(), &file.to_string_lossy(), "fn f() {}");
        }
        let before = hash(root.path(), &files).unwrap();
        write(root.path(), "lab/b.rs", "fn g() {}");
        assert_eq!(before, hash(root.path(), &files).unwrap());
        write(root.path(), "sim/c.rs", "fn g() {}");
        assert_ne!(before, hash(root.path(), &files).unwrap());
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
