//! What kubelet's own files tell: whether the installed kubeadm has written its configuration, which API server and which container
//! runtime it talks to, and what plugins want to be registered.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kube::config::Kubeconfig;
use serde::Deserialize;

use super::backup::entries;
use super::fault::{Doing, Failed};
use super::{Settings, kubeadm, kubelet_flags};
use crate::chain::chain;
use crate::static_pods;

/// What they tell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct KubeletFiles {
    /// config.yaml was last written before the installed kubeadm was.
    pub(super) config_is_stale: bool,
    /// Its kubeconfig names this host's own API server.
    pub(super) own_server: bool,
    /// kubeadm's instance-config.yaml is there.
    pub(super) instance_config: bool,
    /// The container runtime's socket.
    pub(super) cri_socket: Option<String>,
    /// Names in the directory of plugins that want to be registered.
    pub(super) plugin_sockets: BTreeSet<String>,
}

pub(super) fn look(settings: &Settings) -> Result<KubeletFiles, Failed> {
    let plugins = settings.kubelet_dir().join("plugins_registry");
    Ok(KubeletFiles {
        config_is_stale: config_is_stale(settings)?,
        own_server: own_server(settings),
        instance_config: settings.kubelet_dir().join("instance-config.yaml").is_file(),
        cri_socket: cri_socket(settings)?,
        plugin_sockets: entries(&plugins).doing(|| format!("read {}", plugins.display()))?,
    })
}

/// dpkg gives files the time at which they were built; when a file was installed only its inode tells.
fn config_is_stale(settings: &Settings) -> Result<bool, Failed> {
    let (config, program) = (settings.kubelet_dir().join("config.yaml"), settings.on_host(kubeadm::PROGRAM));
    let look = |path: &Path| metadata(path).doing(|| format!("look at {}", path.display()));
    let (Some(config), Some(program)) = (look(&config)?, look(&program)?) else { return Ok(false) };
    Ok((config.mtime(), config.mtime_nsec()) < (program.ctime(), program.ctime_nsec()))
}

fn metadata(path: &Path) -> io::Result<Option<Metadata>> {
    match path.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// A flag's value, and where there is none that of the configuration file: in this order kubelet looks itself.
fn cri_socket(settings: &Settings) -> Result<Option<String>, Failed> {
    let flags = kubelet_flags::read(settings, None)?;
    let words: Vec<&String> = flags.kubeadm.iter().chain(&flags.extra).collect();
    let mut values = words.iter().enumerate().filter_map(|(at, word)| {
        let rest = word.strip_prefix("--container-runtime-endpoint")?;
        match rest.strip_prefix('=') {
            Some(value) => Some(value.to_owned()),
            None if rest.is_empty() => words.get(at + 1).map(|value| (*value).clone()),
            None => None,
        }
    });
    if let Some(value) = values.next_back() {
        return Ok(Some(value));
    }
    let config = settings.kubelet_dir().join("config.yaml");
    let text = match fs::read_to_string(&config) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).doing(|| format!("read {}", config.display())),
    };
    // A configuration that cannot be read is for kubelet to complain of.
    let known: Endpoint = serde_saphyr::from_str(&text).unwrap_or_default();
    Ok(known.container_runtime_endpoint.filter(|socket| !socket.is_empty()))
}

/// Of kubelet's configuration only this.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Endpoint {
    container_runtime_endpoint: Option<String>,
}

/// Whether kubelet talks to its own API server alone. What cannot be read is no reason to look at nothing else on this host, where a
/// manifest may have to be put back; without an answer all API servers count.
fn own_server(settings: &Settings) -> bool {
    let own = match static_pods::api_server(&settings.manifests()) {
        Ok(Some(own)) => own,
        Ok(None) => return false,
        Err(error) => {
            tracing::debug!("{}", chain(&error));
            return false;
        }
    };
    match Kubeconfig::read_from(settings.on_host(&settings.kubeconfig)) {
        Ok(kubeconfig) => server(&kubeconfig).is_some_and(|server| own.is_at(server)),
        Err(error) => {
            tracing::debug!("{}", chain(&error));
            false
        }
    }
}

/// The server of the present context.
fn server(kubeconfig: &Kubeconfig) -> Option<&str> {
    let present = kubeconfig.current_context.as_ref()?;
    let context = kubeconfig.contexts.iter().find(|named| named.name == *present)?.context.as_ref()?;
    let cluster = kubeconfig.clusters.iter().find(|named| named.name == context.cluster)?;
    cluster.cluster.as_ref()?.server.as_deref()
}

#[cfg(test)]
#[path = "kubelet_files/tests.rs"]
mod tests;
