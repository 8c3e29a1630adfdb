//! Local configuration: TOML to validated settings.
//!
//! Every value is checked while it is read, so that an error can name its line. The defaults stand in one place,
//! the `Default`s of `raw`; `config.example.toml` shows them, and a test keeps the two equal.

mod raw;
mod values;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use upgrade_core::api::text;
use upgrade_core::drain::DrainOptions;

use raw::RawConfig;
use values::{Name, Span};

/// Where the configuration is looked for when the command line names no file.
pub const DEFAULT_PATH: &str = "/etc/node-upgrade-agent/config.toml";
/// Where the kernel tells the host name; kubelet takes its Node's name from it.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// What the daemon runs with, each part for the adapter of that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Name of this host's Node.
    pub node: String,
    /// The kubelet's own credential.
    pub cluster: Cluster,
    /// The second, narrow identity, and where the Leases are.
    pub coordination: Coordination,
    /// apt's sources with the Kubernetes packages: one-line or deb822 files, at least one.
    pub package_sources: Vec<PathBuf>,
    /// An `UpgradeConfiguration` file handed to kubeadm as `--config`.
    pub kubeadm_config: Option<PathBuf>,
    /// The rules of a drain.
    pub drain: DrainOptions,
    /// How long verification may take.
    pub verify: Verify,
    /// Where the agent keeps its journal, packages and backups.
    pub state_directory: PathBuf,
    /// The least severity of the agent's own log lines.
    pub log: tracing::Level,
}

/// The kubelet's own credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// A kubeconfig file.
    pub kubeconfig: PathBuf,
}

/// What agents share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coordination {
    /// A kubeconfig file that somebody else cares for; none: the agent enrols itself.
    pub kubeconfig: Option<PathBuf>,
    /// The namespace of Leases and policy.
    pub namespace: String,
}

/// How long verification may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verify {
    /// The node must serve at its target within this time.
    pub timeout: Duration,
    /// So long kubelet must run without another restart. Shorter than the timeout.
    pub soak: Duration,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read, or is not there though the command line names it.
    #[error("read the configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A key is unknown, or its value cannot be used.
    #[error("{}:{line}: {text}: {message}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What stands there.
        text: String,
        /// What is wrong with it.
        message: String,
    },
    /// Values that are good alone do not go together.
    #[error("{}: {message}", path.display())]
    Together {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// No name is configured for the node, and the host's cannot serve as one.
    #[error("{HOST_NAME} gives no name for the Node ({message}): set name in [node] of {}", path.display())]
    NoHostName {
        /// The configuration file.
        path: PathBuf,
        /// Why.
        message: String,
    },
}

impl Settings {
    /// Reads the file the command line names, else the one at [`DEFAULT_PATH`], which may be absent.
    ///
    /// # Errors
    /// Names the file, the line and the key.
    pub fn load(named: Option<&Path>) -> Result<Self, ConfigError> {
        let path = named.unwrap_or(Path::new(DEFAULT_PATH));
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => Vec::new(),
            Err(source) => return Err(ConfigError::Read { path: path.to_owned(), source }),
        };
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            bad_line(path, &String::from_utf8_lossy(&bytes), error.valid_up_to(), "this is no UTF-8 text")
        })?;
        Self::read(path, text, || std::fs::read_to_string(HOST_NAME))
    }

    /// Reads the text of the file at `path`; `host_name` is asked only when the text does not name the node.
    ///
    /// # Errors
    /// Names the file, the line and the key.
    pub fn read(
        path: &Path,
        text: &str,
        host_name: impl FnOnce() -> io::Result<String>,
    ) -> Result<Self, ConfigError> {
        let raw: RawConfig = toml::from_str(text).map_err(|error| bad_value(path, text, &error))?;
        let Span(timeout) = raw.verify.timeout;
        let Span(soak) = raw.verify.soak;
        if soak >= timeout {
            let message = "[verify] soak must be shorter than timeout, or no upgrade could ever be verified";
            return Err(ConfigError::Together { path: path.to_owned(), message: message.to_owned() });
        }
        let node = match raw.node.name {
            Name(name) if name.is_empty() => node_name(path, host_name())?,
            Name(name) => name,
        };
        Ok(Self {
            node,
            cluster: Cluster { kubeconfig: raw.cluster.kubeconfig.0 },
            coordination: Coordination {
                kubeconfig: raw.coordination.kubeconfig.0,
                namespace: raw.coordination.namespace.0,
            },
            package_sources: raw.packages.sources.0,
            kubeadm_config: raw.kubeadm.config.0,
            drain: raw.drain.options(),
            verify: Verify { timeout, soak },
            state_directory: raw.state.directory.0,
            log: raw.log.level.0,
        })
    }
}

/// The host name as kubelet makes a Node's name of it: without white space around it, in lower case.
fn node_name(path: &Path, host_name: io::Result<String>) -> Result<String, ConfigError> {
    let no_name = |message: String| ConfigError::NoHostName { path: path.to_owned(), message };
    let name = host_name.map_err(|error| no_name(error.to_string()))?.trim().to_lowercase();
    if name.is_empty() {
        return Err(no_name("it is empty".to_owned()));
    }
    Name::try_from(name).map(|name| name.0).map_err(no_name)
}

fn bad_value(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    bad_line(path, text, error.span().map_or(0, |span| span.start), error.message())
}

/// Names the line that this byte is in. What stands there may be of any length, and of any bytes.
fn bad_line(path: &Path, text: &str, at: usize, message: &str) -> ConfigError {
    let before = text.get(..at.min(text.len())).unwrap_or_default();
    let line = before.matches('\n').count();
    let stands = text.lines().nth(line).unwrap_or_default().trim();
    ConfigError::Value {
        path: path.to_owned(),
        line: line + 1,
        text: text::shortened(stands, 2 * text::WORD),
        message: text::shortened(message, text::NOTE),
    }
}

#[cfg(test)]
mod tests;
