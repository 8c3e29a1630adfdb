//! The fleet's policy: ConfigMap `policy`, read and watched.

use std::sync::atomic::Ordering;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use tokio::time::timeout;
use upgrade_core::api::Policy;
use upgrade_core::api::policy::CONFIG_MAP;
use upgrade_core::observed::{Observation, PolicySeen};
use upgrade_core::time::Mono;

use super::client::{Pause, WATCH_LIFE, watch};
use super::error::Error;
use super::{Cluster, lock};

impl Cluster {
    fn policies(&self) -> impl Fn(Client) -> Api<ConfigMap> + use<> {
        let namespace = self.inner.settings.namespace.clone();
        move |client| Api::namespaced(client, &namespace)
    }

    /// Reads the policy, consistently.
    pub(super) async fn policy_seen(&self) -> Result<PolicySeen, Error> {
        let at = self.inner.clock.now().mono;
        let before = lock(&self.inner.policy_mark).before();
        let (policies, namespace) = (self.policies(), &self.inner.settings.namespace);
        let doing = format!("reading ConfigMap {namespace}/{CONFIG_MAP}");
        let read = |client| async move { policies(client).get_opt(CONFIG_MAP).await };
        let map = self.inner.coordination.call(&doing, read).await?;
        if let Some(version) = map.as_ref().and_then(|map| map.metadata.resource_version.as_deref()) {
            let mut mark = lock(&self.inner.policy_mark);
            if !mark.is_restored(before, version) {
                mark.wrote(version);
            }
        }
        Ok(self.understood(at, map))
    }

    /// A policy was seen in an earlier life of this agent.
    pub fn remember_policy(&self) {
        self.inner.policy_seen.store(true, Ordering::Relaxed);
    }

    /// What a policy means; none is one that is not there.
    fn understood(&self, at: Mono, map: Option<ConfigMap>) -> PolicySeen {
        let exists = map.is_some();
        let seen_before = self.inner.policy_seen.fetch_or(exists, Ordering::Relaxed);
        let data = map.map(|map| map.data.unwrap_or_default());
        let policy = Policy::read(data.as_ref(), seen_before);
        PolicySeen { at, policy, exists }
    }

    /// Watches the policy for ever, telling [`Observation::Policy`] at every change.
    pub(super) async fn watch_policy(&self, tell: &impl Fn(Observation)) {
        let mut pause = Pause::default();
        loop {
            if let Ok(error) = timeout(WATCH_LIFE, self.follow_policy(tell, &mut pause)).await {
                tracing::warn!("{}; the watch is begun again", error.chain());
                pause.wait().await;
            }
        }
    }

    /// Until something goes wrong.
    async fn follow_policy(&self, tell: &impl Fn(Observation), pause: &mut Pause) -> Error {
        let doing = format!("watching ConfigMap {}/{CONFIG_MAP}", self.inner.settings.namespace);
        let coordination = &self.inner.coordination;
        let client = match coordination.client().await {
            Ok(client) => client,
            Err(error) => return error,
        };
        let only = watcher::Config::default().fields(&format!("metadata.name={CONFIG_MAP}"));
        let mut events = watch(self.policies()(client), only);
        let tell = |map| tell(Observation::Policy(self.understood(self.inner.clock.now().mono, map)));
        let mark = || *lock(&self.inner.policy_mark);
        let (mut listed, mut found, mut before) = (false, false, mark().before());
        loop {
            let event = match coordination.next(&doing, listed, &mut events).await {
                Ok(event) => event,
                Err(error) => return error,
            };
            let version = |map: &ConfigMap| map.metadata.resource_version.clone().unwrap_or_default();
            match event {
                Event::Init => (listed, found, before) = (false, false, mark().before()),
                Event::InitApply(map) => {
                    found = true;
                    if lock(&self.inner.policy_mark).lists(before, &version(&map)) {
                        tell(Some(map));
                    }
                }
                Event::InitDone => {
                    listed = true;
                    pause.reset();
                    if !found {
                        tell(None);
                    }
                }
                // A watch that lags shows what a read has already shown to be over.
                Event::Apply(map) if mark().outdates(&version(&map)) => {}
                Event::Apply(map) => tell(Some(map)),
                Event::Delete(_) => tell(None),
            }
        }
    }
}
