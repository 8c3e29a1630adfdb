//! The options of systemd-nspawn that every container of the lab shares.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Result;

use crate::instance::remove_file;

/// Arguments that run a container at `root` without this host's service manager knowing.
///
/// What is opened up is what a kubelet, containerd and runc need inside: networking, their own kernel keys, device
/// filters, and the kernel log, which kubelet insists on reading.
pub(crate) fn isolation(machine: &str, root: &Path) -> Vec<String> {
    let mut arguments: Vec<String> = [
        "--quiet",
        "--register=no",
        "--keep-unit",
        "--link-journal=no",
        "--console=pipe",
        "--resolv-conf=off",
        "--timezone=off",
        "--capability=CAP_NET_ADMIN,CAP_SYSLOG",
        "--system-call-filter=@keyring bpf",
        "--bind=/dev/kmsg",
    ]
    .map(String::from)
    .into();
    arguments.push(format!("--machine={machine}"));
    arguments.push(format!("--directory={}", root.display()));
    arguments
}

/// Environment of systemd-nspawn: the guest sees plain cgroup v2, and may write its own network settings.
pub(crate) const ENVIRONMENT: [(&str, &str); 2] =
    [("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1"), ("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "network")];

/// Removes the lock on the disk at `root` that a killed systemd-nspawn leaves; it is named by the root's inode.
///
/// # Errors
/// If it is there and cannot be removed.
pub(crate) fn remove_lock(root: &Path) -> Result<()> {
    let Ok(metadata) = fs::metadata(root) else { return Ok(()) };
    let name = format!("inode-{}:{}", metadata.dev(), metadata.ino());
    remove_file(&Path::new("/run/systemd/nspawn/locks").join(name))
}
