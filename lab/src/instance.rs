//! One running cluster's claim on this machine: its index, its record, and the removal of all it made.
//!
//! Every kernel object of a cluster carries its index in its name. So whoever finds a record whose owner died can
//! remove everything without knowing how far the owner got.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::cache::Cache;
use crate::cgroup::Cgroup;
use crate::mounts;
use crate::network::{CLUSTERS, NODES, Network};
use crate::nspawn;

/// Where clusters of all users and checkouts are known. Gone after a reboot, as are the clusters.
const CLAIMS: &str = "/run/node-upgrade-agent-lab";

/// What is known of a cluster to those who did not start it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Name by which `lab` finds it.
    pub(crate) name: String,
    pub(crate) index: u8,
    /// Directory of the nodes' disks and the admin's kubeconfig.
    pub(crate) state: PathBuf,
    /// Whether it outlives the process that started it.
    pub(crate) kept: bool,
    /// Names of the nodes; the number of a node is its place here, from 1.
    pub(crate) nodes: Vec<String>,
    /// How many of them, the first ones, are control-plane nodes.
    pub(crate) control_planes: usize,
}

/// What a new cluster is to be.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) name: String,
    pub(crate) nodes: Vec<String>,
    pub(crate) control_planes: usize,
}

/// Names become those of files, cgroups and machines.
const LONGEST_NAME: usize = 40;

fn is_name(name: &str) -> bool {
    let is_known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty() && name.len() <= LONGEST_NAME && !name.starts_with('-') && name.chars().all(is_known)
}

/// A claimed index. The lock is held as long as the owner lives, however it dies.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) record: Record,
    owned: Option<File>,
}

impl Instance {
    /// Removes what dead owners left, then claims a free index for a new cluster.
    ///
    /// # Errors
    /// If a cluster of that name runs, no index is free, or the claims cannot be written.
    pub(crate) fn claim(cache: &Cache, claim: Claim) -> Result<Self> {
        let Claim { name, nodes, control_planes } = claim;
        if !is_name(&name) {
            bail!(
                "{name:?} is no name for a cluster: use up to {LONGEST_NAME} small letters, digits and hyphens"
            );
        }
        if nodes.len() > usize::from(NODES) {
            bail!("a cluster can have {NODES} nodes at most, not {}", nodes.len());
        }
        let _turn = lock_claims()?;
        remove_orphans()?;
        let records = records()?;
        if records.iter().any(|record| record.name == name) {
            bail!(
                "a cluster named {name} is running; end it with `lab down --name {name}` or use another name"
            );
        }
        for index in 0..CLUSTERS {
            if records.iter().any(|record| record.index == index) || !Network::new(index).is_free()? {
                continue;
            }
            let lock = File::create(path(index, "lock")).context("cannot create a cluster's lock")?;
            if lock.try_lock().is_err() {
                continue;
            }
            let state = cache.instances().join(index.to_string());
            let record = Record { name, index, state, kept: false, nodes, control_planes };
            // Written before anything is made: what is not recorded is not found again.
            write_record(&record)?;
            fs::create_dir_all(&record.state)
                .with_context(|| format!("cannot create {}", record.state.display()))?;
            return Ok(Self { record, owned: Some(lock) });
        }
        bail!("all {CLUSTERS} places for clusters are taken; `lab status` lists them")
    }

    /// A cluster somebody else started.
    ///
    /// # Errors
    /// If there is none of that name.
    pub(crate) fn open(name: &str) -> Result<Self> {
        let records = records()?;
        let names: Vec<&str> = records.iter().map(|record| record.name.as_str()).collect();
        let Some(record) = records.iter().find(|record| record.name == name) else {
            bail!("no cluster named {name} is running; running: {names:?}; `lab up` starts one");
        };
        Ok(Self { record: record.clone(), owned: None })
    }

    /// Whether this process started the cluster and answers for its end.
    pub(crate) fn is_owned(&self) -> bool {
        self.owned.is_some()
    }

    /// Lets the cluster outlive this process.
    ///
    /// # Errors
    /// If the record cannot be written.
    pub(crate) fn keep(&mut self) -> Result<()> {
        self.record.kept = true;
        write_record(&self.record)?;
        self.owned = None;
        Ok(())
    }

    /// Ends the cluster and removes everything it made.
    ///
    /// # Errors
    /// If something could not be removed; the record stays, so that the next start tries again.
    pub(crate) fn remove(&mut self) -> Result<()> {
        let _turn = lock_claims()?;
        remove(&self.record)?;
        self.owned = None;
        Ok(())
    }
}

/// All clusters on this machine.
///
/// # Errors
/// If a record cannot be read.
pub(crate) fn records() -> Result<Vec<Record>> {
    let mut records = Vec::new();
    for index in 0..CLUSTERS {
        let path = path(index, "json");
        match fs::read(&path) {
            Ok(bytes) => records.push(
                serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))?,
            ),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }
    Ok(records)
}

/// Removes the clusters whose owner died, and with `all` also the kept ones; never one that is somebody's.
///
/// # Errors
/// If something could not be removed.
pub(crate) fn reap(all: bool) -> Result<()> {
    let _turn = lock_claims()?;
    remove_orphans()?;
    for record in records()?.iter().filter(|record| all && record.kept) {
        crate::progress(&format!("removing the cluster {}", record.name));
        remove(record)?;
    }
    Ok(())
}

/// Called with the claims locked.
fn remove_orphans() -> Result<()> {
    for record in records()?.iter().filter(|record| !record.kept) {
        let lock = File::create(path(record.index, "lock")).context("cannot open a cluster's lock")?;
        if lock.try_lock().is_ok() {
            crate::progress(&format!("removing what the dead owner of {} left", record.name));
            remove(record)?;
        }
    }
    Ok(())
}

/// Removes all of one cluster: processes first, since they hold the rest. Called with the claims locked.
fn remove(record: &Record) -> Result<()> {
    let prefix = cgroup_name(record.index, "");
    for name in Cgroup::names(&prefix)? {
        Cgroup::named(&name)?.remove()?;
    }
    Network::new(record.index).remove()?;
    for node in &record.nodes {
        nspawn::remove_lock(&record.state.join("nodes").join(node).join("root"))?;
    }
    mounts::unmount_below(&record.state)?;
    remove_directory(&record.state)?;
    for node in &record.nodes {
        // systemd-nspawn leaves an empty directory there for each machine that did not end by itself.
        remove_directory(&Path::new("/run/systemd/nspawn/propagate").join(machine_name(record.index, node)))?;
    }
    for kind in ["json", "lock"] {
        remove_file(&path(record.index, kind))?;
    }
    Ok(())
}

/// Name of a machine's cgroup.
pub(crate) fn cgroup_name(index: u8, node: &str) -> String {
    format!("nua-lab-{index}-{node}")
}

/// Name under which systemd-nspawn knows a node.
pub(crate) fn machine_name(index: u8, node: &str) -> String {
    format!("nua-lab-{index}-{node}")
}

fn path(index: u8, kind: &str) -> PathBuf {
    Path::new(CLAIMS).join(format!("{index}.{kind}"))
}

fn lock_claims() -> Result<File> {
    fs::create_dir_all(CLAIMS).with_context(|| format!("cannot create {CLAIMS}; run the lab as root"))?;
    let path = Path::new(CLAIMS).join("claims.lock");
    let file = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

fn write_record(record: &Record) -> Result<()> {
    let path = path(record.index, "json");
    let new = path.with_extension("json.new");
    let text = serde_json::to_vec_pretty(record).context("cannot write a cluster's record")?;
    fs::write(&new, text).with_context(|| format!("cannot write {}", new.display()))?;
    fs::rename(&new, &path).with_context(|| format!("cannot write {}", path.display()))
}

fn remove_directory(path: &Path) -> Result<()> {
    unless_gone(fs::remove_dir_all(path), path)
}

/// Removes a file that may be gone already.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    unless_gone(fs::remove_file(path), path)
}

/// What somebody else removed is removed.
fn unless_gone(result: std::io::Result<()>, path: &Path) -> Result<()> {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_files_or_machines_is_none() {
        for name in ["lab", "test-123-1", "t1"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "bad name/..", "-lab", "Lab", &"x".repeat(41)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
