//! The node's base image: a small Debian with systemd, containerd and what the Kubernetes packages depend on.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::write;
use crate::cache::{Cache, Key};
use crate::process::{run, run_command};
use crate::versions;

/// Packages beyond `apt` itself. The second half are dependencies of kubelet: nodes have no Debian mirror.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,apt,ca-certificates,procps,curl,jq,less,\
    containerd,runc,busybox-static,containernetworking-plugins,kmod,nftables,init-system-helpers,\
    iproute2,iputils-ping,iptables,mount,util-linux,socat,ethtool,ebtables,conntrack";

/// Units that make no sense in a container, or would reach for the network.
const MASKED: [&str; 15] = [
    "getty.target",
    "console-getty.service",
    "getty@tty1.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "dev-hugepages.mount",
    "systemd-networkd.service",
    "systemd-networkd.socket",
    "systemd-timesyncd.service",
    "modprobe@.service",
];

/// Environment variable that overrides the mirror, for hosts whose apt does not use a Debian one.
const MIRROR: &str = "NODE_UPGRADE_AGENT_LAB_MIRROR";

const CONTAINERD: &str = include_str!("../../node/containerd.toml");
const RUNC: &str = include_str!("../../node/runc-without-limits");
const SYSCTL: &str = include_str!("../../node/lab-sysctl");
const SYSCTL_UNIT: &str = include_str!("../../node/lab-sysctl.service");

/// Builds the image; its file system is the directory `root` in it.
///
/// # Errors
/// If no mirror is known or mmdebstrap fails.
pub(super) fn build(cache: &Cache) -> Result<PathBuf> {
    let mut key = Key::new("1").with(versions::DEBIAN_SUITE).with(PACKAGES).with(MASKED.join(","));
    for file in [CONTAINERD, RUNC, SYSCTL, SYSCTL_UNIT] {
        key = key.with(file);
    }
    cache.artefact("node-image", key, |out| {
        let root = out.join("root");
        bootstrap(&root)?;
        configure(&root)
    })
}

fn bootstrap(root: &Path) -> Result<()> {
    let mirror = mirror()?;
    let include = format!("--include={PACKAGES}");
    run(
        "mmdebstrap",
        &[
            "--variant=apt",
            &include,
            "--aptopt=Apt::Install-Recommends \"false\"",
            versions::DEBIAN_SUITE,
            &root.display().to_string(),
            &mirror,
        ],
    )?;
    Ok(())
}

/// The Debian mirror this host's own apt uses: whatever reaches Debian here, reaches it for the image as well.
fn mirror() -> Result<String> {
    if let Ok(mirror) = std::env::var(MIRROR) {
        return Ok(mirror);
    }
    let filter = ["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian"];
    let targets = run("apt-get", &filter)?;
    targets.lines().next().map(str::to_owned).with_context(|| {
        format!("this host's apt knows no Debian mirror: run `apt-get update`, or set {MIRROR} to one")
    })
}

fn configure(root: &Path) -> Result<()> {
    let containerd =
        CONTAINERD.replace("@PAUSE_IMAGE@", &versions::image("pause", versions::PAUSE_IMAGE_TAG));
    write(root, "etc/containerd/config.toml", &containerd, 0o644)?;
    write(root, "usr/local/bin/runc-without-limits", RUNC, 0o755)?;
    write(root, "usr/local/sbin/lab-sysctl", SYSCTL, 0o755)?;
    write(root, "etc/systemd/system/lab-sysctl.service", SYSCTL_UNIT, 0o644)?;
    // A test that stops a node should not wait for a stuck service longer than for the rest of the test.
    write(root, "etc/systemd/system.conf.d/lab.conf", "[Manager]\nDefaultTimeoutStopSec=5s\n", 0o644)?;
    // Journals must survive a power cut to be evidence.
    write(
        root,
        "etc/systemd/journald.conf.d/lab.conf",
        "[Journal]\nStorage=persistent\nSystemMaxUse=64M\nSyncIntervalSec=1s\nRateLimitBurst=0\n",
        0o644,
    )?;
    let units = root.join("etc/systemd/system");
    let wanted = units.join("multi-user.target.wants");
    fs::create_dir_all(&wanted).context("cannot create the units' directory")?;
    symlink("/etc/systemd/system/lab-sysctl.service", wanted.join("lab-sysctl.service"))
        .context("cannot enable lab-sysctl.service")?;
    for unit in MASKED {
        let path = units.join(unit);
        remove_if_there(&path)?;
        symlink("/dev/null", &path).with_context(|| format!("cannot mask {unit}"))?;
    }
    forget_identity(root)
}

/// Removes what must differ between nodes, and the mirror, which nodes must not use.
fn forget_identity(root: &Path) -> Result<()> {
    for file in ["etc/hostname", "etc/resolv.conf", "var/lib/dbus/machine-id", "etc/apt/sources.list"] {
        remove_if_there(&root.join(file))?;
    }
    write(root, "etc/machine-id", "", 0o444)?;
    let sources = root.join("etc/apt/sources.list.d");
    for entry in fs::read_dir(&sources).context("the image has no apt sources directory")? {
        remove_if_there(&entry?.path())?;
    }
    let lists = root.join("var/lib/apt/lists");
    run_command(std::process::Command::new("find").arg(&lists).args(["-type", "f", "-delete"]))?;
    Ok(())
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
