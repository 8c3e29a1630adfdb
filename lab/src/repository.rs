//! The package repository of one cluster: a copy that a test may change and slow down.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::build::{PackageRepository, index_repository};
use crate::http_server;
use crate::process::run;

/// Port of the repository on the host's address in the cluster's network.
const PORT: u16 = 8080;

/// A running cluster's own repository.
#[derive(Debug, Clone)]
pub struct Repository {
    directory: PathBuf,
    host: Ipv4Addr,
}

impl Repository {
    /// The handle of the repository in a cluster's state directory.
    pub(crate) fn of(state: &Path, host: Ipv4Addr) -> Self {
        Self { directory: state.join("repository"), host }
    }

    /// Makes the copy, by hard links: only the index is ever written anew.
    pub(crate) fn create(&self, built: &PackageRepository) -> Result<()> {
        fs::create_dir_all(&self.directory).context("cannot create the cluster's repository")?;
        link(&built.tree(), &self.served())?;
        // The original beside it is what `restore` goes back to.
        link(&built.tree(), &self.directory.join("original"))?;
        fs::copy(built.secret_key(), self.directory.join("secret.gpg"))
            .context("cannot copy the repository's key")?;
        Ok(())
    }

    /// The directory that is served.
    pub(crate) fn served(&self) -> PathBuf {
        self.directory.join("tree")
    }

    /// Where the nodes find the server.
    pub(crate) fn listen(&self) -> SocketAddr {
        SocketAddr::from((self.host, PORT))
    }

    /// The line of sources.list that nodes have.
    pub fn source(&self) -> String {
        format!(
            "deb [signed-by=/{}] http://{}/{}/ /",
            crate::build::KEYRING,
            self.listen(),
            PackageRepository::path()
        )
    }

    /// Withdraws kubelet, kubeadm and kubectl of a Kubernetes version, `1.36.3`, as if it were not published.
    ///
    /// # Errors
    /// If it has no such version, or cannot be indexed.
    pub fn remove_version(&self, version: &str) -> Result<()> {
        let directory = self.served().join(PackageRepository::path());
        let mut removed = false;
        for entry in fs::read_dir(&directory).context("cannot read the cluster's repository")? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().contains(&format!("_{version}-"))) {
                fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
                removed = true;
            }
        }
        if !removed {
            bail!("the repository has no packages of version {version}");
        }
        index_repository(&directory, &self.directory.join("secret.gpg"))
    }

    /// Undoes every [`Repository::remove_version`].
    ///
    /// # Errors
    /// If the files cannot be replaced.
    pub fn restore(&self) -> Result<()> {
        let served = self.served();
        let directory = served.join(PackageRepository::path());
        fs::remove_dir_all(&directory).context("cannot clear the cluster's repository")?;
        link(&self.directory.join("original"), &served)?;
        // Indexed anew, for apt passes over an index that is older than the one it has.
        index_repository(&directory, &self.directory.join("secret.gpg"))
    }

    /// Limits what all nodes together download per second; `None` lifts the limit. Takes effect at once.
    ///
    /// # Errors
    /// If the limit cannot be written.
    pub fn set_rate(&self, bytes_per_second: Option<u64>) -> Result<()> {
        http_server::set_rate(&self.served(), bytes_per_second)
    }
}

/// Copies the content of `from` into `to` by hard links.
fn link(from: &Path, to: &Path) -> Result<()> {
    let from = from.join(".").display().to_string();
    run("cp", &["-al", &from, &to.display().to_string()]).map(drop)
}
