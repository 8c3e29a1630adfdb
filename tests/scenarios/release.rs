//! The agent of the release before this one, built from the history of this repository.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::fleet::target_directory;
use crate::package::relabelled;

/// The last commit before the core's second edition (ADR 17): its agents know one turn for a control-plane node, no mark
/// `in-hand`, and journals of version 1 alone, as those of a46420d are. Of all commits with such agents it is the one that a fleet
/// would come from.
const COMMIT: &str = "5f59d465ad72";

/// Its Debian package, under a lower version than this one's, as the package of a release before has. Built once, in minutes,
/// and kept by its commit.
pub(crate) fn before() -> Result<PathBuf> {
    let home = target_directory()?.join("releases").join(COMMIT);
    let package = home.join("before.deb");
    if package.is_file() {
        return Ok(package);
    }
    println!("  building the agent of {COMMIT}, which takes some minutes once");
    let (source, target) = (home.join("source"), home.join("target"));
    check_out(&source)?;
    build(&source, &target)?;
    let built = fs::read_dir(target.join("deb")).context("read what was built")?;
    let built = built.flatten().map(|entry| entry.path());
    let built = built.filter(|path| path.extension().is_some_and(|end| end == "deb")).max();
    let built = built.context("no package was built")?;
    let unpacked = home.join("unpacked");
    let labelled = relabelled(&built, &unpacked, &format!("~{COMMIT}"))?;
    for directory in [source, target, unpacked] {
        fs::remove_dir_all(&directory).with_context(|| format!("remove {}", directory.display()))?;
    }
    // Last of all: what is there is whole.
    fs::rename(&labelled, &package).context("keep the package")?;
    Ok(package)
}

/// The commit's files. An archive leaves no trace in the repository where the run is killed, as a work tree would.
fn check_out(source: &Path) -> Result<()> {
    if source.exists() {
        fs::remove_dir_all(source).context("remove what an earlier run left")?;
    }
    fs::create_dir_all(source)?;
    let tar = source.with_extension("tar");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    run(Command::new("git").arg("-C").arg(&repository).args(["archive", "--output"]).arg(&tar).arg(COMMIT))
        .context("this checkout has no whole history: git fetch --unshallow")?;
    run(Command::new("tar").arg("-xf").arg(&tar).arg("-C").arg(source))?;
    fs::remove_file(&tar).context("remove an archive")
}

/// As it was built then.
fn build(source: &Path, target: &Path) -> Result<()> {
    let mut make = Command::new("make");
    // What the make that runs this test was told is none of that one's business.
    for name in ["MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES"] {
        make.env_remove(name);
    }
    run(make.arg("-C").arg(source).arg("deb").env("CARGO_TARGET_DIR", target))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed:\n{told}");
    Ok(())
}
