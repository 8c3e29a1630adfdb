//! One cgroup per node: the handle by which a whole machine can be killed at one instant.
//!
//! Works on a plain cgroup v2 host and on hybrid ones, where v2 is mounted beside the v1 hierarchy of systemd.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::nspawn;
use crate::process::command;
use crate::wait::wait_until;

const ROOT: &str = "/sys/fs/cgroup";

/// Moves itself into the cgroups given first, then becomes the rest of the command line.
/// A shell does it because doing so between fork and exec needs unsafe code.
const ENTER: &str =
    "while [ \"$1\" != -- ]; do echo $$ >\"$1/cgroup.procs\" || exit 1; shift; done; shift; exec \"$@\"";

/// A cgroup of the lab, in each hierarchy that systemd-nspawn uses.
#[derive(Debug, Clone)]
pub(crate) struct Cgroup {
    name: String,
    directories: Vec<PathBuf>,
}

impl Cgroup {
    /// The handle of the cgroup `name`, whether it exists or not.
    ///
    /// # Errors
    /// If this host has no cgroup v2.
    pub(crate) fn named(name: &str) -> Result<Self> {
        let directories = hierarchies()?.iter().map(|root| root.join(name)).collect();
        Ok(Self { name: name.to_owned(), directories })
    }

    /// Creates the cgroup.
    ///
    /// # Errors
    /// If the kernel refuses, usually for lack of root.
    pub(crate) fn create(name: &str) -> Result<Self> {
        let cgroup = Self::named(name)?;
        for directory in &cgroup.directories {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot create the cgroup {}; run as root", directory.display()))?;
        }
        Ok(cgroup)
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its directory in each hierarchy.
    pub(crate) fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    /// A command that runs inside this cgroup, with the environment of systemd-nspawn.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, program: &str, arguments: &[S]) -> Command {
        let mut shell = command("sh", &["-c", ENTER, "enter"]);
        shell.args(&self.directories).arg("--").arg(program).args(arguments).envs(nspawn::ENVIRONMENT);
        shell
    }

    /// Kills every process in it, at once, and returns when none is left.
    ///
    /// # Errors
    /// If the kernel lacks `cgroup.kill` (before 5.14), or a process cannot die.
    pub(crate) fn kill(&self) -> Result<()> {
        let Some(unified) = self.directories.first().filter(|directory| directory.exists()) else {
            return Ok(());
        };
        fs::write(unified.join("cgroup.kill"), "1").with_context(|| {
            format!("cannot kill the cgroup {}; Linux 5.14 or newer is needed", self.name)
        })?;
        wait_until(&format!("the end of all processes in {}", self.name), Duration::from_secs(20), || {
            let events = fs::read_to_string(unified.join("cgroup.events"))?;
            Ok(events.contains("populated 0"))
        })
    }

    /// Kills what is in it and removes it.
    ///
    /// # Errors
    /// If it cannot be emptied or removed.
    pub(crate) fn remove(&self) -> Result<()> {
        self.kill()?;
        for directory in self.directories.iter().filter(|directory| directory.exists()) {
            remove_tree(directory)
                .with_context(|| format!("cannot remove the cgroup {}", directory.display()))?;
        }
        Ok(())
    }

    /// Names of all cgroups that begin with `prefix`.
    ///
    /// # Errors
    /// If the hierarchy cannot be read.
    pub(crate) fn names(prefix: &str) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for root in hierarchies()? {
            for entry in fs::read_dir(&root).context("cannot list cgroups")? {
                let name = entry?.file_name().to_string_lossy().into_owned();
                if name.starts_with(prefix) && !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        Ok(names)
    }
}

/// Roots of the hierarchies to use, cgroup v2 first.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let root = Path::new(ROOT);
    if root.join("cgroup.procs").exists() && root.join("cgroup.controllers").exists() {
        return Ok(vec![root.to_owned()]);
    }
    if root.join("unified/cgroup.controllers").exists() {
        let systemd = root.join("systemd");
        let roots = [root.join("unified"), systemd];
        return Ok(roots.into_iter().filter(|root| root.exists()).collect());
    }
    bail!("no cgroup v2 hierarchy at {ROOT} or {ROOT}/unified; the lab needs one")
}

/// Removes a cgroup and the ones below it, deepest first: their files cannot and need not be removed.
fn remove_tree(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(directory).or_else(|_| {
        // The kernel finishes a killed cgroup an instant after it reports it empty.
        std::thread::sleep(Duration::from_millis(100));
        fs::remove_dir(directory)
    })?;
    Ok(())
}
