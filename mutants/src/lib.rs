//! What long runs share that keep their progress: the source that their outcomes are about.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

/// The files of a checkout as they stand, committed or not, without what git ignores; relative to it, in order.
///
/// # Errors
/// git cannot be asked.
pub fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let output = git.output().context("git ls-files")?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let listed = String::from_utf8(output.stdout).context("git ls-files")?;
    // What was removed and not committed is still listed.
    let present = listed.split_terminator('\0').map(PathBuf::from).filter(|file| root.join(file).is_file());
    Ok(present.collect::<BTreeSet<_>>().into_iter().collect())
}

/// The hash of those files that are one of `deciding` or below it: an outcome is worth something for this source alone.
///
/// # Errors
/// One of them cannot be read.
pub fn hash(root: &Path, files: &[PathBuf], deciding: &[&str]) -> Result<String> {
    let deciding = files.iter().filter(|file| deciding.iter().any(|part| file.starts_with(part)));
    let mut parts = Vec::new();
    for file in deciding {
        parts.push(file.to_string_lossy().into_owned().into_bytes());
        parts.push(fs::read(root.join(file)).with_context(|| file.display().to_string())?);
    }
    Ok(digest(parts.iter().map(Vec::as_slice)))
}

/// The hash of some parts, in hexadecimal. Each part's length goes before it: no two lists of parts are alike.
pub fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_string());
        hash.update(":");
        hash.update(part);
    }
    hash.finalize().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_part_ends_makes_a_difference() {
        let of = |parts: &[&str]| digest(parts.iter().map(|part| part.as_bytes()));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
    }

    #[test]
    fn the_hash_is_of_what_decides_and_of_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let files = ["a/core/a.rs", "lab/b.rs", "sim.rs"];
        for file in files {
            write(file, "fn f() {}");
        }
        let hash = || hash(root.path(), &files.map(PathBuf::from), &["a/core", "sim.rs"]).unwrap();
        let before = hash();
        write("lab/b.rs", "fn g() {}");
        assert_eq!(before, hash());
        write("sim.rs", "fn g() {}");
        assert_ne!(before, hash());
    }
}
