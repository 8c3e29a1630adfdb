//! The file as it is written: the keys, which are a contract with administrators, and their defaults.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use upgrade_core::drain::DrainOptions;

use super::values::{
    AbsolutePath, Grace, LabelSelector, Level, Name, Namespace, OptionalPath, Patience, Sources, Span,
};

/// Where install guides put the Kubernetes packages' source: one-line style, and deb822.
const SOURCES: [&str; 2] =
    ["/etc/apt/sources.list.d/kubernetes.list", "/etc/apt/sources.list.d/kubernetes.sources"];

fn path(text: &str) -> AbsolutePath {
    AbsolutePath(PathBuf::from(text))
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct RawConfig {
    pub(super) node: RawNode,
    pub(super) cluster: RawCluster,
    pub(super) coordination: RawCoordination,
    pub(super) packages: RawPackages,
    pub(super) kubeadm: RawKubeadm,
    pub(super) drain: RawDrain,
    pub(super) verify: RawVerify,
    pub(super) state: RawState,
    pub(super) log: RawLog,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct RawNode {
    pub(super) name: Name,
}

impl Default for RawNode {
    fn default() -> Self {
        Self { name: Name(String::new()) }
    }
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct RawCluster {
    pub(super) kubeconfig: AbsolutePath,
}

impl Default for RawCluster {
    fn default() -> Self {
        Self { kubeconfig: path("/etc/kubernetes/kubelet.conf") }
    }
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct RawCoordination {
    pub(super) kubeconfig: OptionalPath,
    pub(super) namespace: Namespace,
}

impl Default for RawCoordination {
    fn default() -> Self {
        Self { kubeconfig: OptionalPath(None), namespace: Namespace("node-upgrade-agent".to_owned()) }
    }
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct RawPackages {
    pub(super) sources: Sources,
}

impl Default for RawPackages {
    fn default() -> Self {
        Self { sources: Sources(SOURCES.map(PathBuf::from).to_vec()) }
    }
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct RawKubeadm {
    pub(super) config: OptionalPath,
}

impl Default for RawKubeadm {
    fn default() -> Self {
        Self { config: OptionalPath(None) }
    }
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
#[allow(clippy::struct_excessive_bools, reason = "each is a key of its own")]
pub(super) struct RawDrain {
    pub(super) enabled: bool,
    pub(super) force: bool,
    pub(super) delete_emptydir_data: bool,
    pub(super) ignore_daemonsets: bool,
    pub(super) pod_selector: LabelSelector,
    pub(super) disable_eviction: bool,
    pub(super) grace_period: Grace,
    pub(super) timeout: Span,
    pub(super) no_progress_timeout: Patience,
    pub(super) skip_wait_for_delete_timeout: Patience,
    pub(super) critical_last: bool,
}

impl Default for RawDrain {
    fn default() -> Self {
        let rules = DrainOptions::default();
        Self {
            enabled: rules.enabled,
            force: rules.force,
            delete_emptydir_data: rules.delete_emptydir_data,
            ignore_daemonsets: rules.ignore_daemonsets,
            pod_selector: LabelSelector(rules.pod_selector),
            disable_eviction: rules.disable_eviction,
            grace_period: Grace(rules.grace_period),
            timeout: Span(rules.timeout),
            no_progress_timeout: Patience(rules.no_progress_timeout),
            skip_wait_for_delete_timeout: Patience(rules.skip_wait_for_delete_timeout),
            critical_last: rules.critical_last,
        }
    }
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct RawVerify {
    pub(super) timeout: Span,
    pub(super) soak: Span,
}

impl Default for RawVerify {
    fn default() -> Self {
        Self { timeout: Span(Duration::from_mins(10)), soak: Span(Duration::from_secs(3)) }
    }
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct RawState {
    pub(super) directory: AbsolutePath,
}

impl Default for RawState {
    fn default() -> Self {
        Self { directory: path("/var/lib/node-upgrade-agent") }
    }
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct RawLog {
    pub(super) level: Level,
}

impl Default for RawLog {
    fn default() -> Self {
        Self { level: Level(tracing::Level::INFO) }
    }
}

impl RawDrain {
    /// The rules of a drain, in the core's words.
    pub(super) fn options(self) -> DrainOptions {
        DrainOptions {
            enabled: self.enabled,
            force: self.force,
            delete_emptydir_data: self.delete_emptydir_data,
            ignore_daemonsets: self.ignore_daemonsets,
            pod_selector: self.pod_selector.0,
            disable_eviction: self.disable_eviction,
            grace_period: self.grace_period.0,
            timeout: self.timeout.0,
            no_progress_timeout: self.no_progress_timeout.0,
            skip_wait_for_delete_timeout: self.skip_wait_for_delete_timeout.0,
            critical_last: self.critical_last,
        }
    }
}
