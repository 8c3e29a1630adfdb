//! The prepared node: Kubernetes packages installed and images imported once, so that a cluster boots in seconds.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::packages::{KEYRING, PackageRepository};
use super::write;
use crate::cache::{Cache, Key, build_cgroup};
use crate::cgroup::Cgroup;
use crate::mounts;
use crate::nspawn;
use crate::process::run_command;
use crate::versions;

const SCRIPT: &str = include_str!("../../node/prepare.sh");

/// Builds the layer (`layer`) over the base image and containerd's directory (`containerd`).
///
/// # Errors
/// If the packages do not install or an image does not import.
pub(super) fn build(
    cache: &Cache,
    base: &Path,
    images: &Path,
    packages: &PackageRepository,
) -> Result<PathBuf> {
    let key = Key::new("1")
        .with_artefact(base)
        .with_artefact(images)
        .with_artefact(packages.tree().parent().unwrap_or(base))
        .with(SCRIPT)
        .with(versions::KUBERNETES_OLD);
    cache.artefact("prepared-node", key, |out| {
        let root = out.join("root");
        let work = out.join("work");
        mounts::overlay(&[&base.join("root")], &out.join("layer"), &work, &root)?;
        let key = fs::read(packages.public_key()).context("the package repository has no key")?;
        write(&root, KEYRING, key, 0o644)?;
        let prepared = prepare(out, &root, images, packages);
        mounts::unmount_below(out)?;
        prepared?;
        fs::remove_dir_all(&work).context("cannot remove the overlay's work directory")?;
        fs::remove_dir(&root).context("cannot remove the mount point")
    })
}

/// Runs the script in the image: apt and containerd must run where their files belong.
fn prepare(out: &Path, root: &Path, images: &Path, packages: &PackageRepository) -> Result<()> {
    let containerd = out.join("containerd");
    fs::create_dir(&containerd).context("cannot create containerd's directory")?;
    let cgroup = Cgroup::create(&build_cgroup(out))?;
    let mut arguments = nspawn::isolation("lab-prepare", root);
    arguments.extend([
        "--as-pid2".into(),
        "--private-network".into(),
        format!("--bind={}:/var/lib/containerd", containerd.display()),
        format!("--bind-ro={}:/run/lab/images", images.display()),
        format!("--bind-ro={}:/run/lab/repository", packages.tree().display()),
        "--".into(),
        "/bin/sh".into(),
        "-c".into(),
        SCRIPT.into(),
        "prepare".into(),
        versions::package_version(versions::KUBERNETES_OLD),
        PackageRepository::path(),
    ]);
    let result = run_command(&mut cgroup.command("systemd-nspawn", &arguments));
    cgroup.remove()?;
    result.context("preparing the node failed").map(drop)
}
