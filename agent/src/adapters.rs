//! Carries acts out: each value of [`Act`] to the adapter that knows how.

use std::path::PathBuf;

use upgrade_core::act::{Act, ActResult};
use upgrade_core::decide;
use upgrade_core::drain::DrainOptions;
use upgrade_core::observed::Observation;
use upgrade_core::time::Mono;

use crate::clock::{Clock, NoBootId};
use crate::cluster::{self, Cluster, Credential};
use crate::config::Settings;
use crate::enrol;
use crate::host::{self, Host};
use crate::preflight;

/// Everything an agent can act on. Clones share everything.
#[derive(Clone)]
pub struct Adapters {
    /// The Kubernetes API.
    pub cluster: Cluster,
    /// This machine.
    pub host: Host,
    /// This host's clocks.
    pub clock: Clock,
    /// The rules of a drain, which preflight sorts pods by.
    pub drain: DrainOptions,
    /// Where this node's coordination credential is kept; none where somebody else cares for it.
    pub enrols: Option<PathBuf>,
}

impl Adapters {
    /// The real one.
    ///
    /// # Errors
    /// When this host's clocks cannot be read.
    pub fn new(settings: &Settings) -> Result<Self, NoBootId> {
        Self::with_state(settings, settings.state_directory.clone())
    }

    /// The real one, with directories of its own for downloads, so that planning never meets a daemon at work.
    ///
    /// # Errors
    /// When this host's clocks cannot be read.
    pub fn for_plan(settings: &Settings) -> Result<Self, NoBootId> {
        Self::with_state(settings, settings.state_directory.join("plan"))
    }

    fn with_state(settings: &Settings, state: PathBuf) -> Result<Self, NoBootId> {
        let clock = Clock::host()?;
        let cluster = Cluster::new(cluster_settings(settings), clock);
        let host = host::Settings {
            state,
            kubeconfig: settings.cluster.kubeconfig.clone(),
            sources: settings.package_sources.clone(),
            kubeadm_config: settings.kubeadm_config.clone(),
            ..host::Settings::default()
        };
        let host = Host::new(host, clock);
        let ours = settings.coordination.kubeconfig.is_none();
        let enrols = ours.then(|| settings.state_directory.clone());
        Ok(Self { cluster, host, clock, drain: settings.drain.clone(), enrols })
    }

    /// Carries one act out, telling facts on the way. Dropping the future stops acts that may be stopped.
    pub async fn carry_out(&self, act: Act, tell: impl Fn(Observation) + Send + Sync) -> ActResult {
        let Self { cluster, host, .. } = self;
        match act {
            Act::LookAtHost { turn } => match host.look(turn.as_ref()).await {
                Ok(seen) => ActResult::ok(vec![Observation::Host(seen)]),
                Err(fault) => ActResult::failed(fault),
            },
            Act::LookAtNode => match cluster.read_node().await {
                Ok(node) => ActResult::ok(vec![Observation::Node(node)]),
                Err(fault) => ActResult::failed(fault),
            },
            Act::LookAtPods => cluster.look_at_pods().await,
            Act::LookAtControlPlane => cluster.look_at_control_plane().await,
            Act::LookAtFleet => cluster.look_at_fleet().await,
            Act::Preflight { target, kind } => match preflight::run(self, target, kind).await {
                Ok(findings) => ActResult::ok(vec![Observation::Preflight(findings)]),
                Err(fault) => ActResult::failed(fault),
            },
            Act::Claim { lease, holder } => cluster.claim(lease, &holder).await,
            Act::Renew { lease, holder, mark, applied } => cluster.renew(lease, &holder, mark, applied).await,
            Act::Prove { lease, holder, mark, control_plane } => {
                cluster.prove(lease, &holder, mark, control_plane).await
            }
            Act::Release { lease, holder } => cluster.release(lease, &holder).await,
            Act::Cordon { .. }
            | Act::Uncordon
            | Act::ForgetCordon
            | Act::Mark { .. }
            | Act::Unmark { .. }
            | Act::NoteCriSocket { .. }
            | Act::PublishCurrent { .. }
            | Act::PublishApiServer { .. } => cluster.write_node(&act).await,
            Act::Drain { options, until } => cluster.drain(self.rest_of(&options, until), tell).await,
            Act::Run { unit, tool } => host.run(&unit, &tool).await,
            Act::Await { unit } => host.await_tool(&unit).await,
            Act::BackUp { copy } => host.back_up(&copy).await,
            Act::RestoreManifests { turn } => host.restore_manifests(&turn).await,
            Act::RollBackManifests { turn } => host.roll_back_manifests(&turn).await,
            Act::RestoreKubeletConfig { turn } => host.restore_kubelet_config(&turn).await,
            Act::RestartKubelet => host.restart_kubelet().await,
            Act::CleanUp => host.clean_up().await,
        }
    }

    /// A drain that is resumed has the rest of its time only.
    fn rest_of(&self, options: &DrainOptions, until: Mono) -> DrainOptions {
        DrainOptions { timeout: self.clock.until(until), ..options.clone() }
    }
}

/// The rules' own settings.
pub fn rules(settings: &Settings) -> decide::Settings {
    decide::Settings {
        node: settings.node.clone(),
        drain: settings.drain.clone(),
        soak: settings.verify.soak,
        verify_timeout: settings.verify.timeout,
    }
}

fn cluster_settings(settings: &Settings) -> cluster::Settings {
    cluster::Settings {
        node: settings.node.clone(),
        kubeconfig: settings.cluster.kubeconfig.clone(),
        coordination: match settings.coordination.kubeconfig.clone() {
            Some(kubeconfig) => Credential::Kubeconfig(kubeconfig),
            None => Credential::Enrolled(enrol::credential(&settings.state_directory)),
        },
        namespace: settings.coordination.namespace.clone(),
        manifests: PathBuf::from(host::MANIFESTS),
    }
}
