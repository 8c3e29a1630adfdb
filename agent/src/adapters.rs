//! Carries acts out: each value of [`Act`] to the adapter that knows how.

use std::path::PathBuf;

use upgrade_core::act::{Act, ActResult, Fault};
use upgrade_core::decide;
use upgrade_core::drain::DrainOptions;
use upgrade_core::observed::Observation;
use upgrade_core::time::Unix;

use crate::clock::Clock;
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
    /// Both clocks.
    pub clock: Clock,
    /// The rules of a drain, which preflight sorts pods by.
    pub drain: DrainOptions,
    /// Where this node's coordination credential is kept; none where somebody else cares for it.
    pub enrols: Option<PathBuf>,
}

impl Adapters {
    /// The real one.
    pub fn new(settings: &Settings) -> Self {
        Self::with_state(settings, settings.state_directory.clone())
    }

    /// The real one, with directories of its own for downloads, so that planning never meets a daemon at work.
    pub fn for_plan(settings: &Settings) -> Self {
        Self::with_state(settings, settings.state_directory.join("plan"))
    }

    fn with_state(settings: &Settings, state: PathBuf) -> Self {
        let clock = Clock::new();
        let cluster = Cluster::new(cluster_settings(settings), clock);
        let host = host::Settings {
            state,
            sources: settings.package_sources.clone(),
            kubeadm_config: settings.kubeadm_config.clone(),
            ..host::Settings::default()
        };
        let host = Host::new(host, clock);
        let ours = settings.coordination.kubeconfig.is_none();
        let enrols = ours.then(|| settings.state_directory.clone());
        Self { cluster, host, clock, drain: settings.drain.clone(), enrols }
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
            Act::LookAtFleet => self.with_policy(cluster.look_at_fleet().await).await,
            Act::Preflight { target } => match preflight::run(self, target).await {
                Ok(findings) => self.with_policy(ActResult::ok(vec![Observation::Preflight(findings)])).await,
                Err(fault) => ActResult::failed(fault),
            },
            Act::AwaitTurn => cluster.await_turn(tell).await,
            Act::Claim { lease, holder } => cluster.claim(lease, &holder).await,
            Act::Renew { lease, holder, degraded } => {
                cluster.renew(lease, &holder, degraded.as_deref()).await
            }
            Act::Release { lease, holder } => cluster.release(lease, &holder).await,
            Act::Cordon => cluster.cordon().await,
            Act::Uncordon => cluster.uncordon().await,
            Act::ForgetCordon => cluster.forget_cordon().await,
            Act::Drain { options, until } => cluster.drain(self.rest_of(&options, until), tell).await,
            Act::Run { unit, tool } => host.run(&unit, &tool).await,
            Act::Await { unit } => host.await_tool(&unit).await,
            Act::BackUp { turn } => host.back_up(&turn).await,
            Act::RestoreManifests { turn } => host.restore_manifests(&turn).await,
            Act::RestoreKubeletConfig { turn } => host.restore_kubelet_config(&turn).await,
            Act::RestartKubelet => host.restart_kubelet().await,
            Act::CleanUp => host.clean_up().await,
            Act::PublishCurrent { current } => cluster.publish_current(current).await,
        }
    }

    /// A drain that is resumed has the rest of its time only.
    fn rest_of(&self, options: &DrainOptions, until: Unix) -> DrainOptions {
        DrainOptions { timeout: until.since(self.clock.now().unix), ..options.clone() }
    }

    /// Adds the fleet's policy: it is read where claims are decided, so that an idle agent need not watch it.
    async fn with_policy(&self, ended: ActResult) -> ActResult {
        match self.cluster.read_policy().await {
            Ok(read) => {
                if let Some(invalid) = read.invalid {
                    tracing::warn!(invalid, "the fleet's policy cannot be read; the last good one stays");
                }
                let mut observations = ended.observations;
                observations.push(Observation::Policy(read.policy));
                ActResult { observations, ..ended }
            }
            Err(Fault { class, message }) => {
                ActResult { fault: ended.fault.or(Some(Fault { class, message })), ..ended }
            }
        }
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
        etcd_pki: PathBuf::from("/etc/kubernetes/pki/etcd"),
        local_etcd: http::Uri::from_static("https://127.0.0.1:2379"),
        local_api_server: http::Uri::from_static("https://127.0.0.1:6443"),
    }
}
