//! Overlay mounts: made, found again from the kernel's own list, and undone.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process::run;

/// Mounts an overlay of `layers` (topmost first) at `root`, with changes kept in `upper`.
///
/// # Errors
/// If the kernel refuses, for example because `upper` is on an overlay itself.
pub(crate) fn overlay(layers: &[&Path], upper: &Path, work: &Path, root: &Path) -> Result<()> {
    for directory in [upper, work, root] {
        fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    }
    let lower: Vec<String> = layers.iter().map(|layer| layer.display().to_string()).collect();
    let options =
        format!("lowerdir={},upperdir={},workdir={}", lower.join(":"), upper.display(), work.display());
    let root = root.display().to_string();
    run("mount", &["-t", "overlay", "overlay", "-o", &options, &root])
        .with_context(|| format!("cannot mount a node's root at {root}; run the lab as root"))?;
    Ok(())
}

/// Unmounts everything mounted at or below `directory`, innermost first.
///
/// # Errors
/// If the list of mounts cannot be read or one cannot be detached.
pub(crate) fn unmount_below(directory: &Path) -> Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("cannot read the list of mounts")?;
    let mut points = mount_points(&table, directory);
    points.reverse();
    for point in points {
        // Lazily: a process that is just dying may still hold a file for an instant.
        run("umount", &["--lazy", &point.display().to_string()])?;
    }
    Ok(())
}

/// Mount points at or below `directory`, in the order in which they were mounted.
fn mount_points(mountinfo: &str, directory: &Path) -> Vec<PathBuf> {
    mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(point.replace("\\040", " ")))
        .filter(|point| point.starts_with(directory))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_only_what_is_below_the_directory() {
        let table = "1 0 0:1 / / rw - ext4 a b\n2 1 0:2 / /lab/a rw - overlay o o\n\
                     3 2 0:3 / /lab/a/x\\040y rw - proc p p\n4 1 0:4 / /labour rw - tmpfs t t\n";
        assert_eq!(
            mount_points(table, Path::new("/lab")),
            [PathBuf::from("/lab/a"), PathBuf::from("/lab/a/x y")]
        );
    }
}
