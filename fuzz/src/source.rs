//! What decides about an outcome, as a hash: minutes that were run count for this source alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::digest;

/// The rules, the daemon's readers and what they stand on, and how inputs are made and judged. The corpus is what comes of it.
const DECIDING: [&str; 8] = [
    "agent/core/src",
    "agent/src/cluster",
    "agent/src/config",
    "agent/src/journal",
    "agent/src/durable.rs",
    "agent/src/show.rs",
    "fuzz/src",
    "Cargo.lock",
];
/// These are no folders' names only: the module's own file stands beside its folder.
const FILES: [&str; 2] = ["agent/src/config.rs", "agent/src/journal.rs"];

/// The hash of the files that decide, as they stand, committed or not.
pub(crate) fn hash(root: &Path) -> Result<String> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"]);
    let output = git.args(DECIDING).args(FILES).output().context("git ls-files")?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let listed = String::from_utf8(output.stdout).context("git ls-files")?;
    // What was removed and not committed is still listed.
    let files: BTreeSet<PathBuf> =
        listed.split_terminator('\0').map(PathBuf::from).filter(|file| root.join(file).is_file()).collect();
    let mut parts = Vec::new();
    for file in files {
        parts.push(file.to_string_lossy().into_owned().into_bytes());
        parts.push(fs::read(root.join(&file)).with_context(|| file.display().to_string())?);
    }
    Ok(digest(parts.iter().map(Vec::as_slice)))
}
