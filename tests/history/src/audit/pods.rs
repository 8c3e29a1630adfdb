//! Writes to pods: where they are bound, that they are evicted or may not be, when they are gone, which static pods run.

use std::collections::BTreeMap;

use serde_json::Value;
use upgrade_core::api::{Version, image};
use upgrade_core::judge::control_plane::STATIC_PODS;
use upgrade_core::oracle::What;

use super::{Story, Write};

/// Pods by UID.
#[derive(Debug, Default)]
pub(super) struct Pods {
    known: BTreeMap<String, Pod>,
    /// What runs of a node's static pods, by node and component.
    components: BTreeMap<(String, &'static str), Option<Version>>,
    /// Whether a node's member of etcd runs.
    members: BTreeMap<String, bool>,
}

#[derive(Debug, Default)]
struct Pod {
    /// `namespace/name`.
    name: String,
    /// A DaemonSet's, or a mirror: no drain moves it.
    stays: bool,
    node: Option<String>,
    /// Whether it goes as soon as it is asked to: it has ended, or wants no time for it.
    goes_at_once: bool,
    /// Whether somebody wants to do something before it goes, and says so in its finalizers.
    is_held: bool,
}

impl Pod {
    /// What an answer shows of it.
    fn look(&mut self, object: &Value) {
        let has_ended = matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        let grace = &object["spec"]["terminationGracePeriodSeconds"];
        self.goes_at_once |= has_ended || *grace == 0;
        self.is_held = object["metadata"]["finalizers"].as_array().is_some_and(|held| !held.is_empty());
    }
}

impl Story {
    pub(super) fn take_pod(&mut self, write: &Write) {
        let record = &write.record;
        match (record.verb.as_str(), write.object.subresource.as_str()) {
            ("create", "") => self.pod_created(write),
            ("create", "binding") => {
                let uid = text(&write.object.uid, &record.request_object["metadata"]["uid"]);
                let node = record.request_object["target"]["name"].as_str().unwrap_or_default();
                self.pod_bound(write, &uid, node);
            }
            ("create", "eviction") => self.pod_evicted(write),
            // Asked to go with a grace period, or held by a finalizer, it is still there.
            ("delete" | "patch" | "update", "") => {
                let metadata = &record.response_object["metadata"];
                let uid = text("", &metadata["uid"]);
                if let Some(pod) = self.pods.known.get_mut(&uid) {
                    pod.look(&record.response_object);
                    if metadata["deletionGracePeriodSeconds"] == 0 && !pod.is_held {
                        self.pod_gone(write, &uid);
                    }
                }
            }
            ("patch", "status") => self.pod_status(write),
            _ => {}
        }
    }

    fn pod_gone(&mut self, write: &Write, uid: &str) {
        let gone = self.pods.known.remove(uid).filter(|pod| !pod.stays);
        if let Some(node) = gone.and_then(|pod| pod.node) {
            self.tell(write.at, &node, What::PodGone { pod: uid.to_owned() });
        }
    }

    fn pod_created(&mut self, write: &Write) {
        let object = &write.record.response_object;
        let metadata = &object["metadata"];
        let uid = text("", &metadata["uid"]);
        let owners = metadata["ownerReferences"].as_array();
        // Mirrors of static pods are owned by their Node.
        let stays =
            owners.into_iter().flatten().any(|owner| owner["kind"] == "DaemonSet" || owner["kind"] == "Node");
        let name = format!("{}/{}", text("", &metadata["namespace"]), text("", &metadata["name"]));
        // A busy API server may write down the binding before the creation.
        let bound = self.pods.known.remove(&uid).and_then(|early| early.node);
        if let Some(node) = bound.as_ref().filter(|_| stays) {
            self.tell(write.at, node, What::PodGone { pod: uid.clone() });
        }
        let mut pod = Pod { name, stays, node: bound, ..Pod::default() };
        pod.look(object);
        self.pods.known.insert(uid.clone(), pod);
        if let Some(node) = object["spec"]["nodeName"].as_str().filter(|node| !node.is_empty()) {
            self.pod_bound(write, &uid, node);
        }
    }

    fn pod_bound(&mut self, write: &Write, uid: &str, node: &str) {
        let name = format!("{}/{}", write.object.namespace, write.object.name);
        let pod = self.pods.known.entry(uid.to_owned()).or_insert(Pod { name, ..Pod::default() });
        pod.node = Some(node.to_owned());
        if !pod.stays {
            self.tell(write.at, node, What::PodBound { pod: uid.to_owned() });
        }
    }

    fn pod_evicted(&mut self, write: &Write) {
        let options = &write.record.request_object["deleteOptions"];
        if options["dryRun"].as_array().is_some_and(|stages| !stages.is_empty()) {
            return;
        }
        let name = format!("{}/{}", write.object.namespace, write.object.name);
        let named = options["preconditions"]["uid"].as_str();
        let uid = named.and_then(|uid| self.pods.known.get_key_value(uid));
        let found = uid.or_else(|| self.pods.known.iter().find(|(_, pod)| pod.name == name));
        let Some((uid, node)) = found.and_then(|(uid, pod)| Some((uid.clone(), pod.node.clone()?))) else {
            return;
        };
        self.tell(write.at, &node, What::Evicted { pod: uid.clone(), by: write.user() });
        if self.pods.known.get(&uid).is_some_and(|pod| pod.goes_at_once && !pod.is_held) {
            self.pod_gone(write, &uid);
        }
    }

    /// A budget's answer.
    pub(super) fn eviction_refused(&mut self, write: &Write) {
        let name = format!("{}/{}", write.object.namespace, write.object.name);
        let found = self.pods.known.iter().find(|(_, pod)| pod.name == name);
        if let Some((uid, node)) = found.and_then(|(uid, pod)| Some((uid.clone(), pod.node.clone()?))) {
            self.tell(write.at, &node, What::EvictionRefused { pod: uid });
        }
    }

    /// The image that runs, not the one that is asked for.
    fn pod_status(&mut self, write: &Write) {
        let object = &write.record.response_object;
        let metadata = &object["metadata"];
        if let Some(pod) = metadata["uid"].as_str().and_then(|uid| self.pods.known.get_mut(uid)) {
            pod.look(object);
        }
        let owners = metadata["ownerReferences"].as_array();
        let is_mirror = owners.into_iter().flatten().any(|owner| owner["kind"] == "Node");
        if !is_mirror || metadata["namespace"] != "kube-system" {
            return;
        }
        let name = metadata["name"].as_str().unwrap_or_default();
        // Each of kubeadm's static pods has one container.
        let containers = object["status"]["containerStatuses"].as_array();
        let running =
            containers.into_iter().flatten().find(|container| container["state"].get("running").is_some());
        let of = |component: &str| name.strip_prefix(component).and_then(|rest| rest.strip_prefix('-'));
        if let Some(node) = of("etcd") {
            let healthy = running.is_some();
            if self.pods.members.insert(node.to_owned(), healthy) != Some(healthy) {
                self.tell(write.at, node, What::EtcdMember { healthy });
            }
        }
        for component in STATIC_PODS {
            let Some(node) = of(component) else { continue };
            let version = running.and_then(|container| image::version(container["image"].as_str()?));
            let key = (node.to_owned(), component);
            if self.pods.components.insert(key, version) != Some(version) {
                self.tell(write.at, node, What::StaticPod { component, version });
            }
        }
    }
}

fn text(first: &str, second: &Value) -> String {
    if first.is_empty() { second.as_str().unwrap_or_default().to_owned() } else { first.to_owned() }
}
