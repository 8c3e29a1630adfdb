//! Builds everything a cluster needs, each step cached by the content of its inputs.
//!
//! ```text
//! programs ──┬─► packages ──┐
//! node image ┼─► containers ┴─► prepared node
//! ```

mod containers;
mod image;
mod packages;
mod prepared;
mod programs;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub(crate) use packages::{KEYRING, PackageRepository, index as index_repository};
pub use programs::Programs;

use crate::cache::Cache;
use crate::tools;
use crate::versions;

/// Paths of all that was built.
#[derive(Debug, Clone)]
pub struct Artefacts {
    /// Kubernetes programs of the version clusters start at.
    pub old: Programs,
    /// Kubernetes programs of the version clusters are upgraded to.
    pub new: Programs,
    /// The node's file system, layers topmost first.
    pub(crate) node_layers: Vec<PathBuf>,
    /// What containerd keeps in /var/lib/containerd once all images are imported.
    pub(crate) containerd: PathBuf,
    /// The package repository with its signing key.
    pub(crate) packages: PackageRepository,
}

impl Artefacts {
    /// Builds what is missing and returns where everything is.
    ///
    /// # Errors
    /// If a host tool is missing or a build fails.
    pub fn build(cache: &Cache) -> Result<Self> {
        tools::require(tools::CLUSTER)?;
        let base = image::build(cache)?;
        let new = Programs::build(cache, versions::KUBERNETES_NEW)?;
        let old = Programs::build(cache, versions::KUBERNETES_OLD)?;
        let images = containers::build(cache, &base, &[&old, &new])?;
        let packages = packages::build(cache, &base, &[&old, &new])?;
        let prepared = prepared::build(cache, &base, &images, &packages)?;
        Ok(Self {
            old,
            new,
            node_layers: vec![prepared.join("layer"), base.join("root")],
            containerd: prepared.join("containerd"),
            packages,
        })
    }
}

/// Writes a file below a root, creating its directories.
///
/// # Errors
/// If it cannot be written.
fn write(root: &Path, path: &str, content: impl AsRef<[u8]>, mode: u32) -> Result<()> {
    let path = root.join(path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    }
    fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}
