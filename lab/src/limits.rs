//! Limits of the host's kernel that all nodes share, because they share the kernel.

use std::fs;

use anyhow::{Context, Result};

const INSTANCES: &str = "/proc/sys/fs/inotify/max_user_instances";

/// One node's systemd, containerd, kubelet and control plane take about forty; sixteen clusters of eight nodes are run.
const WANTED: u64 = 8192;

/// Raises how many inotify instances root may have, until the next boot: with Linux's 128, kubelets of a third cluster
/// end with "too many open files", which looks like a kubeadm join that hangs.
///
/// # Errors
/// If the limit can be neither read nor written.
pub(crate) fn raise() -> Result<()> {
    let present = fs::read_to_string(INSTANCES).with_context(|| format!("cannot read {INSTANCES}"))?;
    let present: u64 = present.trim().parse().with_context(|| format!("{INSTANCES} is no number"))?;
    if present >= WANTED {
        return Ok(());
    }
    crate::progress(&format!("raising fs.inotify.max_user_instances from {present} to {WANTED}"));
    fs::write(INSTANCES, WANTED.to_string()).with_context(|| format!("cannot write {INSTANCES}"))
}
