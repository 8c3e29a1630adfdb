//! The own Node: watched, read, cordoned, annotated; always as kubelet's own identity.

use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::Notify;
use upgrade_core::act::{Act, ActResult, Fault};
use upgrade_core::api::Reason;
use upgrade_core::api::annotations::TARGET;
use upgrade_core::judge::mark;
use upgrade_core::judge::node_patch::{self, NodePatch, TRIES};
use upgrade_core::observed::{NodeSeen, Observation};

use super::Cluster;
use super::client::{Pause, WATCH_LIFE, watch};
use super::convert::node_seen;
use super::error::{Error, ended};
use super::events::EventKind;

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
                        self.inner.mark.newest().found_none(before);
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
        if node.is_none() {
            self.inner.mark.newest().found_none(before);
        }
        let version = node.as_ref().and_then(|node| node.metadata.resource_version.as_deref());
        if version.is_some_and(|version| self.inner.mark.newest().is_restored(before, version)) {
            self.inner.mark.restored.notify_one();
        }
        Ok(node)
    }

    /// Writes to the own Node what this act wants of it: one patch, decided by [`node_patch::patch`] from a fresh read and fenced by
    /// what was read, so that it fails where somebody else has written meanwhile, and is then decided anew.
    pub async fn write_node(&self, act: &Act) -> ActResult {
        ended(self.written(act).await)
    }

    async fn written(&self, act: &Act) -> Result<Vec<Observation>, Error> {
        let doing = format!("{} Node {}", doing(act), self.node_name());
        for _ in 0..TRIES {
            let node = self.get_node().await?.map(node_seen).ok_or_else(|| self.no_node())?;
            let Some(patch) = node_patch::patch(act, &node) else {
                return Ok(vec![Observation::Node(Some(node))]);
            };
            match self.patch_node(&doing, &fenced(&node, &patch)).await {
                Ok(after) if node_patch::patch(act, &after).is_none() => {
                    if node_patch::cordons_again(act, &node) {
                        self.tell_cordoned_again().await;
                    }
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

    /// To whoever uncordoned it: what they did is undone, and how they reach what they wanted.
    async fn tell_cordoned_again(&self) {
        let words = format!(
            "the node was uncordoned in the middle of its upgrade and is cordoned again; to stop the upgrade, remove the annotation \
             {TARGET} from Node {}",
            self.node_name()
        );
        tracing::warn!("{words}");
        self.event(EventKind::Warning, &Reason::CordonedAgain.to_string(), &words).await;
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

/// What an act does to the Node, for errors.
const fn doing(act: &Act) -> &'static str {
    match act {
        Act::Cordon { .. } => "cordoning",
        Act::Uncordon => "uncordoning",
        Act::ForgetCordon => "dropping the cordon's note of",
        Act::Mark { .. } => "writing the mark of a turn on",
        Act::Unmark { .. } => "taking the mark of a turn off",
        _ => "annotating",
    }
}

/// The patch with the fence: it fails if the Node is no longer the one it was decided from.
fn fenced(node: &NodeSeen, patch: &NodePatch) -> Value {
    let metadata =
        json!({"uid": node.uid, "resourceVersion": node.resource_version, "annotations": patch.notes});
    let mut fenced = json!({"metadata": metadata});
    if let Some(unschedulable) = patch.unschedulable {
        fenced["spec"] = json!({"unschedulable": unschedulable.then_some(true)});
    }
    fenced
}
