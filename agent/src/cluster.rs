//! The Kubernetes API: what is observed through it, and what is done to it.
//!
//! - `client`: the two identities, deadlines, rotation of credentials; `error`: what goes wrong, for people.
//! - `node`, `report`, `events`: the own Node. `pods`, `drain`, `evict`: the pods on it.
//! - `leases` ([`lease_object`]), `fleet`, `policy`: what agents share. `csr`: asking for the credential to do so;
//!   `administrator`: approving it.
//! - `control_plane`: this host's API server and etcd, asked directly. `preflight`, `drainable`: what the cluster says
//!   to a plan.
//! - `small_pod`: pods in the form they are read in. `convert`, `known`: Kubernetes objects to what the rules know.
//!
//! Nothing here decides: writes are fenced by resourceVersion or UID, decided by functions of the core from a fresh
//! read, and harmless when repeated. A fault always means "not known to be done", never "known not to be done".

mod administrator;
#[cfg(test)]
mod arbitrary;
mod client;
mod control_plane;
mod convert;
mod csr;
mod drain;
mod drainable;
mod error;
mod events;
mod evict;
mod fleet;
mod known;
mod kubeadm_config;
pub mod lease_object;
mod leases;
mod node;
mod pods;
mod policy;
mod preflight;
mod report;
mod small_pod;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::Client;

use crate::clock::Clock;
use client::Identity;
use control_plane::Local;
use node::Mark;
use report::Condition;

pub use administrator::Administrator;
pub use error::Error;
pub use events::EventKind;
pub use preflight::{ClusterAnswer, Question};

/// The namespace of Leases and policy.
pub const NAMESPACE: &str = "node-upgrade-agent";

/// What this host's agent needs to know to reach its cluster.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name of the own Node.
    pub node: String,
    /// kubelet's own credential: `/etc/kubernetes/kubelet.conf`.
    pub kubeconfig: PathBuf,
    /// The narrow credential agents share Leases and policy with.
    pub coordination: Credential,
    /// Namespace of Leases and policy.
    pub namespace: String,
    /// Where this host's static pod manifests are: `/etc/kubernetes/manifests`.
    pub manifests: PathBuf,
}

/// Where the coordination credential comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A kubeconfig that somebody else cares for.
    Kubeconfig(PathBuf),
    /// Key and certificate in one PEM file that the agent itself keeps; the API server is kubelet's.
    Enrolled(PathBuf),
}

/// The cluster, as one node's agent may touch it. Clones share everything.
#[derive(Debug, Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    clock: Clock,
    /// The kubelet's credential.
    kubelet: Identity,
    /// The coordination credential.
    coordination: Identity,
    local: Local,
    mark: Mark,
    condition: Mutex<Option<Condition>>,
    /// The status that was written last: one that is written again stands there no more, and its condition neither.
    told: Mutex<Option<String>>,
    /// Whether a policy was ever seen, in this life or as the journal has it: one that is gone then bars claims.
    policy_seen: AtomicBool,
    /// What reads have shown of it.
    policy_mark: Mutex<upgrade_core::judge::mark::Mark>,
}

impl Cluster {
    /// Nothing is read and nobody is asked until the first use, so that a daemon starts while the API is away.
    pub fn new(settings: Settings, clock: Clock) -> Self {
        let kubelet = Identity::from_files(settings.kubeconfig.clone());
        let coordination = match settings.coordination.clone() {
            Credential::Kubeconfig(kubeconfig) => Identity::from_files(kubeconfig),
            Credential::Enrolled(pem) => Identity::from_pem(settings.kubeconfig.clone(), pem),
        };
        let local = Local::from_files(settings.kubeconfig.clone());
        Self::build(settings, clock, kubelet, coordination, local)
    }

    /// With clients made elsewhere: `kubelet` acts as the kubelet, also towards this host's API server; `coordination` as the
    /// coordination identity.
    pub fn with_clients(settings: Settings, clock: Clock, kubelet: &Client, coordination: &Client) -> Self {
        let given = |client: &Client| Identity::given(client.clone());
        let local = Local::Given(Arc::new(given(kubelet)));
        Self::build(settings, clock, given(kubelet), given(coordination), local)
    }

    fn build(
        settings: Settings,
        clock: Clock,
        kubelet: Identity,
        coordination: Identity,
        local: Local,
    ) -> Self {
        let inner = Inner {
            settings,
            clock,
            kubelet,
            coordination,
            local,
            mark: Mark::default(),
            condition: Mutex::default(),
            told: Mutex::default(),
            policy_seen: AtomicBool::new(false),
            policy_mark: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Name of the own Node.
    pub fn node_name(&self) -> &str {
        &self.inner.settings.node
    }
}

/// A panic elsewhere does not make a plain value unusable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
