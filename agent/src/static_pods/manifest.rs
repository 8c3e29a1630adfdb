//! A static pod manifest, as far as it is read: the flags of its program, and where the files they name stand on the host.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Why a manifest does not tell what is asked of it.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is not there, and something else says that it should be.
    #[error("{} is missing, so nobody can say how this host's control plane is asked", path.display())]
    Absent {
        /// The file.
        path: PathBuf,
    },
    /// The disk, or permissions.
    #[error("read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no pod.
    #[error("{} is no manifest of a pod", path.display())]
    NoPod {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<serde_saphyr::Error>,
    },
    /// It runs another program.
    #[error("{} has no container {container}", path.display())]
    NoContainer {
        /// The file.
        path: PathBuf,
        /// The container that was looked for.
        container: &'static str,
    },
    /// A flag is missing, or says something that cannot be followed.
    #[error("{}, flag --{flag}: {why}", path.display())]
    Flag {
        /// The file.
        path: PathBuf,
        /// The flag.
        flag: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

#[derive(Deserialize)]
struct Pod {
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    containers: Vec<Container>,
    #[serde(default)]
    volumes: Vec<Volume>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    name: String,
    image: String,
    command: Vec<String>,
    args: Vec<String>,
    volume_mounts: Vec<Mount>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Mount {
    name: String,
    #[serde(rename = "mountPath")]
    at: PathBuf,
    sub_path: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Volume {
    name: String,
    host_path: Option<HostPath>,
}

#[derive(Deserialize)]
struct HostPath {
    path: PathBuf,
}

/// Where kubeadm puts the manifest of a component.
pub(super) fn path(manifests: &Path, component: &str) -> PathBuf {
    manifests.join(format!("{component}.yaml"))
}

/// The manifest of one component of the control plane.
pub(super) struct Manifest {
    path: PathBuf,
    container: Container,
    volumes: Vec<Volume>,
}

impl Manifest {
    /// Reads the manifest of this component; none if it is not there.
    pub(super) fn read(manifests: &Path, component: &'static str) -> Result<Option<Self>, ManifestError> {
        let path = path(manifests, component);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ManifestError::Unreadable { path, source }),
        };
        let Pod { spec } = match serde_saphyr::from_str(&text) {
            Ok(pod) => pod,
            Err(source) => return Err(ManifestError::NoPod { path, source: Box::new(source) }),
        };
        match spec.containers.into_iter().find(|container| container.name == component) {
            Some(container) => Ok(Some(Self { path, container, volumes: spec.volumes })),
            None => Err(ManifestError::NoContainer { path, container: component }),
        }
    }

    /// The image its program comes from.
    pub(super) fn image(&self) -> &str {
        &self.container.image
    }

    /// The value of a flag, which these programs take as `--flag=value` and as `--flag value`; the last one counts.
    pub(super) fn flag(&self, name: &str) -> Option<&str> {
        let words: Vec<&str> =
            self.container.command.iter().chain(&self.container.args).map(String::as_str).collect();
        let mut values = words.iter().enumerate().filter_map(|(at, word)| {
            let rest = word.strip_prefix("--")?.strip_prefix(name)?;
            match rest.strip_prefix('=') {
                Some(value) => Some(value),
                None if rest.is_empty() => words.get(at + 1).copied(),
                None => None,
            }
        });
        values.next_back()
    }

    /// Where a file that the container sees at `path` stands on this host.
    pub(super) fn on_host(&self, path: &Path) -> PathBuf {
        let mounts = self.container.volume_mounts.iter().filter(|mount| path.starts_with(&mount.at));
        let Some(mount) = mounts.max_by_key(|mount| mount.at.components().count()) else {
            return path.to_owned();
        };
        let volume = self.volumes.iter().find(|volume| volume.name == mount.name);
        let from = volume.and_then(|volume| volume.host_path.as_ref());
        match (from, path.strip_prefix(&mount.at)) {
            (Some(from), Ok(rest)) => {
                let from =
                    mount.sub_path.as_ref().map_or_else(|| from.path.clone(), |sub| from.path.join(sub));
                // Joining nothing would end the path of a single file with a slash.
                if rest.as_os_str().is_empty() { from } else { from.join(rest) }
            }
            _ => path.to_owned(),
        }
    }

    /// What this flag says cannot be followed.
    pub(super) fn wrong(&self, flag: &'static str, why: String) -> ManifestError {
        ManifestError::Flag { path: self.path.clone(), flag, why }
    }
}
