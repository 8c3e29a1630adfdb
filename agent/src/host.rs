//! This machine: its packages, its tools, kubelet's unit, and copies of what a failed upgrade may have to put back.
//!
//! In reading order:
//!
//! - [`Settings`]: where things are; [`Host::look`]: what is seen.
//! - `units`: tools as transient systemd units that outlive the agent; `tools`: their command lines.
//! - `systemd`: the D-Bus side of it; `restart`: kubelet.
//! - `preflight`: what can be known before anything is touched, with `resolve`, `kubelet_flags`, `kubeadm`, `space`.
//! - `apt`, `dpkg`: package managers; `backup`: copies; `etcd_copies`: kubeadm's; `kubelet_files`: what kubelet's own files tell.
//! - `process`: children; `fault`: errors.

mod apt;
mod backup;
mod dpkg;
mod etcd_copies;
mod fault;
mod kubeadm;
mod kubelet_files;
mod kubelet_flags;
mod preflight;
mod process;
mod resolve;
mod restart;
mod space;
mod systemd;
mod tools;
mod units;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use upgrade_core::act::{ActResult, Fault};
use upgrade_core::api::{TurnId, Version};
use upgrade_core::observed::{HostSeen, Observation, ToolState, UnitSeen};

use self::fault::{Doing, Failed};
use self::systemd::Systemd;
use crate::chain::chain;
use crate::clock::Clock;
use crate::static_pods;

/// The packages whose versions the agent looks at.
const PACKAGES: [&str; 3] = ["kubeadm", "kubelet", "kubectl"];
/// The unit of the kubelet package.
const KUBELET: &str = upgrade_core::judge::checks::host::KUBELET_UNIT;

/// Where kubelet finds its static pods on a node that kubeadm made.
pub const MANIFESTS: &str = "/etc/kubernetes/manifests";

/// Where things are on this host.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The root of the host's files: `/`, except in tests.
    pub root: PathBuf,
    /// Where the agent keeps copies, private apt directories and tools' output. Only root may write to it; apt's
    /// unprivileged user must be able to pass through it.
    pub state: PathBuf,
    /// apt source files that carry the Kubernetes packages; those that do not exist are passed over.
    pub sources: Vec<PathBuf>,
    /// A kubeadm `UpgradeConfiguration` file, handed to kubeadm as `--config`.
    pub kubeadm_config: Option<PathBuf>,
    /// kubelet's own credential, which names the API server that it talks to.
    pub kubeconfig: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            root: PathBuf::from("/"),
            state: PathBuf::from("/var/lib/node-upgrade-agent"),
            sources: vec![
                PathBuf::from("/etc/apt/sources.list.d/kubernetes.list"),
                PathBuf::from("/etc/apt/sources.list.d/kubernetes.sources"),
            ],
            kubeadm_config: None,
            kubeconfig: PathBuf::from("/etc/kubernetes/kubelet.conf"),
        }
    }
}

impl Settings {
    /// A file of the host.
    fn on_host(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn manifests(&self) -> PathBuf {
        self.on_host(MANIFESTS)
    }

    fn kubelet_dir(&self) -> PathBuf {
        self.on_host("/var/lib/kubelet")
    }

    fn backups(&self) -> PathBuf {
        self.state.join("backup")
    }

    fn logs(&self) -> PathBuf {
        self.state.join("log")
    }

    fn apt(&self) -> PathBuf {
        self.state.join("apt")
    }

    fn archives(&self) -> PathBuf {
        self.apt().join("archives")
    }

    fn unpacked(&self) -> PathBuf {
        self.state.join("unpacked")
    }

    /// The file a unit's output is appended to.
    fn log(&self, unit: &str) -> PathBuf {
        self.logs().join(format!("{unit}.log"))
    }
}

/// This machine. Cheap to clone; all clones share one connection to the system bus.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    clock: Clock,
    systemd: Systemd,
}

impl Host {
    /// Does nothing yet: the bus is connected when first needed and again whenever it went away.
    pub fn new(settings: Settings, clock: Clock) -> Self {
        Self::with_systemd(settings, clock, Systemd::system())
    }

    fn with_systemd(settings: Settings, clock: Clock, systemd: Systemd) -> Self {
        Self { inner: Arc::new(Inner { settings, clock, systemd }) }
    }

    fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    fn systemd(&self) -> &Systemd {
        &self.inner.systemd
    }

    /// Looks at packages, units, kubelet's files and copies. What has changed is told against the first copy of `turn`, or without one
    /// against that of the newest copy's turn.
    ///
    /// # Errors
    /// A transient fault if dpkg's database, a directory or the system bus cannot be read.
    pub async fn look(&self, turn: Option<&TurnId>) -> Result<HostSeen, Fault> {
        Ok(self.see(turn).await?)
    }

    async fn see(&self, turn: Option<&TurnId>) -> Result<HostSeen, Failed> {
        let at = self.inner.clock.now().mono;
        let dpkg = self.blocking(dpkg::read).await?;
        let turn = turn.cloned();
        let copies = self.blocking(move |settings| backup::look(settings, turn.as_ref())).await?;
        let files = self.blocking(kubelet_files::look).await?;
        let manifests = self.blocking(|settings| Ok(manifest_versions(settings))).await?;
        let kubelet = self.systemd().unit(KUBELET).await.doing(|| format!("read the state of {KUBELET}"))?;
        let tools = self.systemd().tools().await.doing(|| "list the units of running tools")?;
        Ok(HostSeen {
            at,
            packages: dpkg.packages,
            dpkg_interrupted: dpkg.interrupted,
            kubelet: UnitSeen {
                active: kubelet.is_active(),
                invocation: kubelet.invocation,
                since: self.inner.clock.at_monotonic(kubelet.active_since),
            },
            control_plane: copies.control_plane,
            manifests,
            missing_manifests: copies.missing_manifests,
            changed_manifests: copies.changed_manifests,
            copies: copies.finished,
            kubelet_config_changed: copies.kubelet_config_changed,
            kubelet_config_stale: files.config_is_stale,
            own_server: files.own_server,
            instance_config: files.instance_config,
            cri_socket: files.cri_socket,
            plugin_sockets: files.plugin_sockets,
            last_words: self.last_words(&tools),
            tools,
        })
    }

    fn last_words(&self, tools: &BTreeMap<String, ToolState>) -> BTreeMap<String, String> {
        let failed =
            tools.iter().filter(|(_, state)| !matches!(state, ToolState::Running | ToolState::Ended(0)));
        failed.map(|(unit, _)| (unit.clone(), self.tail(unit))).collect()
    }

    /// Ends an act: with what is seen now, whether or not the act did what it says.
    async fn end(&self, turn: Option<&TurnId>, done: Result<(), Failed>) -> ActResult {
        let (observations, looked) = match self.see(turn).await {
            Ok(seen) => (vec![Observation::Host(seen)], None),
            Err(failed) => (Vec::new(), Some(failed)),
        };
        let fault = done.err().or(looked).map(Fault::from);
        ActResult { observations, fault }
    }

    /// Runs file work off the event loop.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Settings) -> Result<T, Failed> + Send + 'static,
    ) -> Result<T, Failed> {
        let host = self.clone();
        tokio::task::spawn_blocking(move || work(host.settings())).await.doing(|| "work on files")?
    }
}

/// What cannot be read is no reason to look at nothing else on this host: it names no version.
fn manifest_versions(settings: &Settings) -> BTreeMap<String, Version> {
    static_pods::versions(&settings.manifests()).unwrap_or_else(|error| {
        tracing::debug!("{}", chain(&error));
        BTreeMap::new()
    })
}

#[cfg(test)]
mod tests;
