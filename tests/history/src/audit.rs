//! The API server's audit log: who wrote what to Nodes, Leases, pods and the two `ConfigMaps` that matter.

mod nodes;
mod pods;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;
use upgrade_core::api::{Holder, LeaseName, TurnId};
use upgrade_core::oracle::{FLEET, What, Who, bars_claims};

use super::{Moment, micros};

const NAMESPACE: &str = "node-upgrade-agent";
/// The verb that deletes all objects of a kind, as whoever deletes a namespace does.
const WHOLE: &str = "deletecollection";
/// What the eviction API answers where a budget refuses.
const TOO_MANY: u16 = 429;
/// The mark on the Lease of a degraded node.
const DEGRADED: &str = "node-upgrade-agent/degraded";

/// One line of the log, <https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/>.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    stage: String,
    verb: String,
    #[serde(rename = "requestURI")]
    uri: String,
    user: User,
    object_ref: Option<Reference>,
    response_status: Option<Status>,
    #[serde(default)]
    request_object: Value,
    #[serde(default)]
    response_object: Value,
    stage_timestamp: String,
}

#[derive(Debug, Deserialize)]
struct User {
    username: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Reference {
    resource: String,
    namespace: String,
    name: String,
    uid: String,
    subresource: String,
}

#[derive(Debug, Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
}

/// A write with its time and what it was about.
#[derive(Debug)]
struct Write {
    /// Microseconds since 1970 by which it was done.
    at: u64,
    /// etcd's revision, where the answer tells it: orders writes better than the clock.
    revision: Option<u64>,
    record: Record,
    object: Reference,
    code: u16,
}

impl Write {
    fn succeeded(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// Whether the server gave up on an answer: the write may have been made all the same.
    fn is_lost(&self) -> bool {
        self.code >= 500
    }

    fn user(&self) -> Who {
        let user = &self.record.user.username;
        let node = user.strip_prefix("system:node:").or_else(|| user.strip_prefix("node-upgrade-agent:"));
        node.map_or(Who::Person, |node| Who::Agent(node.to_owned()))
    }

    fn kind(&self) -> (&str, &str) {
        (&self.object.resource, &self.object.subresource)
    }
}

/// Everything that the log shows, in the order in which it came to pass.
pub(super) fn read(log: &str) -> Result<Vec<Moment>> {
    let mut writes = Vec::new();
    for line in log.lines() {
        // The last line of a log that is being written may be half there; so may one where the power was cut.
        let Ok(record) = serde_json::from_str::<Record>(line) else { continue };
        writes.extend(write(record).with_context(|| format!("audit log: {line}"))?);
    }
    let mut story = Story::default();
    for write in in_order(writes) {
        story.take(&write);
    }
    Ok(story.moments)
}

fn write(mut record: Record) -> Result<Option<Write>> {
    let writes = ["create", "update", "patch", "delete", WHOLE].contains(&record.verb.as_str());
    let Some(object) = record.object_ref.take().filter(|_| writes) else { return Ok(None) };
    if record.stage != "ResponseComplete" || record.uri.contains("dryRun=") {
        return Ok(None);
    }
    let at = micros(&record.stage_timestamp)?;
    let revision = &record.response_object["metadata"]["resourceVersion"];
    let revision = revision.as_str().and_then(|revision| revision.parse().ok());
    let code = record.response_status.as_ref().map_or(0, |status| status.code);
    Ok(Some(Write { at, revision, record, object, code }))
}

/// Orders writes by revision; a write was done at the latest when it, or a later one, was answered.
fn in_order(writes: Vec<Write>) -> Vec<Write> {
    let (mut revised, others): (Vec<_>, Vec<_>) =
        writes.into_iter().partition(|write| write.revision.is_some());
    revised.sort_by_key(|write| (write.revision, write.at));
    let mut latest = u64::MAX;
    for write in revised.iter_mut().rev() {
        latest = latest.min(write.at);
        write.at = latest;
    }
    revised.extend(others);
    revised.sort_by_key(|write| write.at);
    revised
}

/// What is known of the cluster while the log is read.
#[derive(Debug, Default)]
struct Story {
    moments: Vec<Moment>,
    nodes: BTreeMap<String, nodes::State>,
    leases: BTreeMap<String, Held>,
    pods: pods::Pods,
}

/// A Lease as it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Held {
    by: Option<Holder>,
    degraded: bool,
}

/// A holder that no agent has written.
fn nobody_known(holder: &str) -> Holder {
    Holder { node: holder.to_owned(), uid: String::new(), turn: TurnId(String::new()) }
}

impl Story {
    fn tell(&mut self, at: u64, node: &str, what: What) {
        self.moments.push(Moment { at, node: node.to_owned(), what });
    }

    fn take(&mut self, write: &Write) {
        match write.kind() {
            ("nodes", "" | "status") => self.take_node(write),
            ("leases" | "configmaps", "")
                if write.record.verb == WHOLE && write.object.namespace == NAMESPACE && write.succeeded() =>
            {
                self.take_whole(write);
            }
            ("leases", "") if write.object.namespace == NAMESPACE && write.succeeded() => {
                self.take_lease(write);
            }
            ("pods", _) if write.succeeded() => self.take_pod(write),
            ("pods", "eviction") if write.code == TOO_MANY => self.eviction_refused(write),
            ("configmaps", "") if write.succeeded() => self.take_config_map(write),
            _ => {}
        }
    }

    /// What `kubeadm upgrade apply` writes, and what people decide for the fleet.
    fn take_config_map(&mut self, write: &Write) {
        let object = &write.record.response_object;
        let data = &object["data"];
        let name = object["metadata"]["name"].as_str().unwrap_or(&write.object.name);
        match (write.object.namespace.as_str(), name) {
            ("kube-system", "kubeadm-config") => {
                let mut lines = data["ClusterConfiguration"].as_str().unwrap_or_default().lines();
                let named = lines.find_map(|line| line.strip_prefix("kubernetesVersion:"));
                if let Some(version) = named.and_then(|version| version.trim().parse().ok()) {
                    self.tell(write.at, FLEET, What::KubeadmConfig { version });
                }
            }
            (NAMESPACE, "policy") => {
                let texts = data.as_object().into_iter().flatten();
                let texts = texts.filter_map(|(key, text)| Some((key.clone(), text.as_str()?.to_owned())));
                let bars = write.record.verb == "delete" || bars_claims(Some(&texts.collect()));
                self.tell(write.at, FLEET, What::PolicySet { bars });
            }
            _ => {}
        }
    }

    /// The namespace goes, with everything in it.
    fn take_whole(&mut self, write: &Write) {
        if write.object.resource == "configmaps" {
            return self.tell(write.at, FLEET, What::PolicySet { bars: true });
        }
        for (name, held) in std::mem::take(&mut self.leases) {
            if let Some((lease, held)) = LeaseName::parse(&name).zip(held.by) {
                self.tell(write.at, &held.node, What::LeaseReleased { lease, by: write.user() });
            }
        }
    }

    fn take_lease(&mut self, write: &Write) {
        let object = &write.record.response_object;
        let name = object["metadata"]["name"].as_str().unwrap_or(&write.object.name);
        let Some(lease) = LeaseName::parse(name) else { return };
        let name = name.to_owned();
        let gone = write.record.verb == "delete";
        let by = object["spec"]["holderIdentity"].as_str().filter(|holder| !gone && !holder.is_empty());
        let by = by.map(|holder| Holder::parse(holder).unwrap_or_else(|| nobody_known(holder)));
        let degraded = object["metadata"]["annotations"].get(DEGRADED).is_some() && !gone;
        let is = Held { by, degraded };
        let was = self.leases.insert(name, is.clone()).unwrap_or_default();
        match (&was.by, &is.by) {
            (Some(was), None) => {
                self.tell(write.at, &was.node, What::LeaseReleased { lease, by: write.user() });
            }
            (was, Some(is)) if was.as_ref() != Some(is) && write.user() == Who::Person => {
                self.tell(write.at, FLEET, What::LeaseGiven { lease, holder: is.node.clone() });
            }
            (was, Some(is)) if was.as_ref() != Some(is) => {
                let (uid, turn) = (is.uid.clone(), is.turn.0.clone());
                self.tell(write.at, &is.node, What::LeaseTaken { lease, uid, turn });
            }
            _ => {}
        }
        if let Some(node) = is.by.as_ref().filter(|_| was.degraded != is.degraded) {
            self.tell(write.at, &node.node, What::LeaseMarked { lease, degraded: is.degraded });
        }
    }
}
