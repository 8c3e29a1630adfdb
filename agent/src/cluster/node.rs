//! The own Node: watched, read, cordoned, annotated; always as kubelet's own identity.

use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::Notify;
use upgrade_core::act::{ActResult, Fault};
use upgrade_core::api::{Version, annotations};
use upgrade_core::judge::cordon::{self, CordonPatch, TRIES};
use upgrade_core::judge::mark;
use upgrade_core::observed::{NodeSeen, Observation};

use super::Cluster;
use super::client::{Pause, WATCH_LIFE, watch};
use super::convert::node_seen;
use super::error::{Error, ended};

/// [`mark::Mark`], shared by the watch, reads and writes.
#[derive(Debug, Default)]
pub(super) struct Mark {
    newest: Mutex<mark::Mark>,
    /// A direct read found the API server restored: the watch must begin anew.
    restored: Notify,
}

impl Mark {
    fn newest(&self) -> MutexGuard<'_, mark::Mark> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wrote(&self, version: &str) {
        self.newest().wrote(version);
    }
}

fn nodes(client: Client) -> Api<Node> {
    Api::all(client)
}

impl Cluster {
    /// Lists and watches the own Node for ever, telling [`Observation::Node`] at every change.
    pub async fn watch_node(&self, tell: impl Fn(Observation)) {
        let mut pause = Pause::default();
        loop {
            tokio::select! {
                error = self.follow_node(&tell, &mut pause) => {
                    tracing::warn!(node = self.node_name(), "{}; the watch is begun again", error.chain());
                    pause.wait().await;
                }
                () = tokio::time::sleep(WATCH_LIFE) => {}
                () = self.inner.mark.restored.notified() => {
                    tracing::warn!(node = self.node_name(), "the API server shows an older state than before");
                }
            }
        }
    }

    /// Until something goes wrong.
    async fn follow_node(&self, tell: &impl Fn(Observation), pause: &mut Pause) -> Error {
        let doing = format!("watching Node {}", self.node_name());
        let kubelet = &self.inner.kubelet;
        let client = match kubelet.client().await {
            Ok(client) => client,
            Err(error) => return error,
        };
        let only = watcher::Config::default().fields(&format!("metadata.name={}", self.node_name()));
        let mut events = watch(nodes(client), only);
        let (mut listed, mut found, mut before) = (false, false, self.inner.mark.newest().before());
        loop {
            let event = match kubelet.next(&doing, listed, &mut events).await {
                Ok(event) => event,
                Err(error) => return error,
            };
            match event {
                Event::Init => (listed, found, before) = (false, false, self.inner.mark.newest().before()),
                Event::InitApply(node) => {
                    found = true;
                    let node = node_seen(node);
                    if self.inner.mark.newest().lists(before, &node.resource_version) {
                        tell(Observation::Node(Some(node)));
                    }
                }
                Event::InitDone => {
                    listed = true;
                    pause.reset();
                    if !found {
                        tell(Observation::Node(None));
                    }
                }
                Event::Apply(node) => {
                    let node = node_seen(node);
                    if !self.inner.mark.newest().outdates(&node.resource_version) {
                        tell(Observation::Node(Some(node)));
                    }
                }
                Event::Delete(_) => tell(Observation::Node(None)),
            }
        }
    }

    /// The own Node, read consistently; none if it does not exist.
    pub async fn read_node(&self) -> Result<Option<NodeSeen>, Fault> {
        Ok(self.get_node().await?.map(node_seen))
    }

    pub(super) async fn get_node(&self) -> Result<Option<Node>, Error> {
        let before = self.inner.mark.newest().before();
        let doing = format!("reading Node {}", self.node_name());
        let name = self.node_name().to_owned();
        let node = self
            .inner
            .kubelet
            .call(&doing, |client| async move { nodes(client).get_opt(&name).await })
            .await?;
        let version = node.as_ref().and_then(|node| node.metadata.resource_version.as_deref());
        if version.is_some_and(|version| self.inner.mark.newest().is_restored(before, version)) {
            self.inner.mark.restored.notify_one();
        }
        Ok(node)
    }

    /// Makes the own Node unschedulable and notes in the same patch whether it was so: [`cordon::cordon`].
    pub async fn cordon(&self) -> ActResult {
        ended(self.mark_schedulable("cordoning", cordon::cordon).await)
    }

    /// Takes our cordon back, and nobody else's: [`cordon::uncordon`].
    pub async fn uncordon(&self) -> ActResult {
        ended(self.mark_schedulable("uncordoning", cordon::uncordon).await)
    }

    /// Drops our note of the cordon and leaves the cordon itself as it stands: [`cordon::forget_cordon`].
    pub async fn forget_cordon(&self) -> ActResult {
        ended(self.mark_schedulable("dropping the cordon's note of", cordon::forget_cordon).await)
    }

    async fn mark_schedulable(
        &self,
        verb: &str,
        decide: impl Fn(&NodeSeen) -> Option<CordonPatch>,
    ) -> Result<Vec<Observation>, Error> {
        let doing = format!("{verb} Node {}", self.node_name());
        for _ in 0..TRIES {
            let node = self.get_node().await?.map(node_seen).ok_or_else(|| self.no_node())?;
            let Some(patch) = decide(&node) else {
                return Ok(vec![Observation::Node(Some(node))]);
            };
            match self.patch_node(&doing, &fenced(&node, patch)).await {
                Ok(after) if after.unschedulable == patch.unschedulable => {
                    return Ok(vec![Observation::Node(Some(after))]);
                }
                Ok(_) => {
                    let why = "the API server took the patch, but its answer does not show it".to_owned();
                    return Err(Error::Unexpected { doing, why });
                }
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Contended { doing, tries: TRIES })
    }

    /// Writes the annotation `current`.
    pub async fn publish_current(&self, current: Version) -> ActResult {
        let doing = format!("annotating Node {} with current {current}", self.node_name());
        let patch = json!({"metadata": {"annotations": {annotations::CURRENT: current.to_string()}}});
        ended(self.patch_node(&doing, &patch).await.map(|node| vec![Observation::Node(Some(node))]))
    }

    /// One merge patch of the own Node, and the Node it made.
    pub(super) async fn patch_node(&self, doing: &str, patch: &Value) -> Result<NodeSeen, Error> {
        let (name, patch) = (self.node_name().to_owned(), Patch::Merge(patch.clone()));
        let node =
            self.inner
                .kubelet
                .call(doing, |client| async move {
                    nodes(client).patch(&name, &PatchParams::default(), &patch).await
                })
                .await?;
        let node = node_seen(node);
        self.inner.mark.wrote(&node.resource_version);
        Ok(node)
    }

    pub(super) fn no_node(&self) -> Error {
        Error::NoNode { node: self.node_name().to_owned() }
    }
}

/// The patch with the fence: it fails if the Node is no longer the one it was decided from.
fn fenced(node: &NodeSeen, patch: CordonPatch) -> Value {
    json!({
        "metadata": {
            "uid": node.uid,
            "resourceVersion": node.resource_version,
            "annotations": {annotations::FOUND_CORDONED: patch.found_cordoned.map(|theirs| theirs.to_string())},
        },
        "spec": {"unschedulable": patch.unschedulable.then_some(true)},
    })
}
