//! The objects of the API server, each change with a resourceVersion of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use upgrade_core::api::annotations::{CRI_SOCKET, CURRENT};
use upgrade_core::api::{Holder, LeaseName, Version};
use upgrade_core::drain::budget::Budget;
use upgrade_core::judge::lease::LeaseState;
use upgrade_core::judge::node_patch::NodePatch;
use upgrade_core::observed::{ContainerSeen, NodeSeen, Owner, PodSeen, Ready};
use upgrade_core::oracle::{What, Who};
use upgrade_core::time::Unix;

use super::mirrors::Mirror;
use super::{EPOCH, Happening, World};
use crate::fault::Identity;
use crate::setup::Setup;

/// The one DaemonSet, as `namespace/name`.
pub(super) const DAEMON_SET: &str = "kube-system/proxy";
/// The one driver of volumes.
pub(super) const CSI_DRIVER: &str = "csi.example";
/// The newest patch of the minors that a setup passes through.
pub(crate) const PATCH_BETWEEN: u32 = 5;
/// A kubelet that could not end a pod tries again so much later.
const ENDS_LATER: u64 = 5_000;
/// A container takes so long to be Ready.
pub(super) const POD_STARTS: u64 = 4_000;

/// A Lease of ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) version: u64,
    pub(super) state: LeaseState,
}

/// A Node object, as far as anybody here asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) resource_version: String,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) unschedulable: bool,
    pub(super) ready: Ready,
    /// The Ready condition's last heartbeat.
    pub(super) heartbeat: Unix,
    /// The version its kubelet reports.
    pub(super) kubelet: Option<Version>,
    pub(super) control_plane: bool,
}

impl Node {
    /// As its own agent reads it.
    pub(super) fn seen(&self) -> NodeSeen {
        let seen = NodeSeen {
            name: self.name.clone(),
            uid: self.uid.clone(),
            resource_version: self.resource_version.clone(),
            unschedulable: self.unschedulable,
            ready: self.ready,
            heartbeat: self.heartbeat,
            kubelet: self.kubelet,
            control_plane: self.control_plane,
            ..NodeSeen::default()
        };
        seen.with_annotations(&self.annotations)
    }
}

/// A pod that a controller keeps, and where it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pod {
    pub(super) node: String,
    pub(super) seen: PodSeen,
}

/// What etcd keeps.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) revision: u64,
    pub(super) nodes: BTreeMap<String, Node>,
    pub(super) leases: BTreeMap<LeaseName, Lease>,
    pub(super) pods: BTreeMap<String, Pod>,
    /// Mirrors of static pods, by node and component.
    pub(super) mirrors: BTreeMap<(String, &'static str), Mirror>,
    /// The ConfigMap `policy`; none where there is none.
    pub(super) policy: Option<BTreeMap<String, String>>,
    pub(super) kubeadm_config: Version,
    /// Of which version `CoreDNS` and kube-proxy are.
    pub(super) addons: Version,
    /// Whether the DaemonSet exists.
    pub(super) daemon_set: bool,
    /// Nodes whose annotation names the container runtime's socket.
    pub(super) sockets: BTreeSet<String>,
}

/// The API as its servers have it together.
#[derive(Debug, Clone)]
pub(super) struct Api {
    pub(super) stored: Stored,
    backup: Option<Box<Stored>>,
    /// Members of etcd, by node.
    pub(super) members: BTreeSet<String>,
    /// Pods that found no node yet.
    pub(super) pending: u64,
    made: u64,
    /// Whether there is a budget over the pods that drains move.
    budget: bool,
    pub(super) down_until: u64,
    pub(super) blocked_until: u64,
    pub(super) denied_until: u64,
    /// When the node controller last heard of each kubelet.
    pub(super) heard: BTreeMap<String, u64>,
    /// Versions that the package repository offers.
    pub(super) offered: BTreeSet<Version>,
}

impl Api {
    pub(super) fn new(setup: &Setup) -> Self {
        let stored = Stored {
            revision: 0,
            nodes: BTreeMap::new(),
            leases: BTreeMap::new(),
            pods: BTreeMap::new(),
            mirrors: BTreeMap::new(),
            policy: Some(BTreeMap::new()),
            kubeadm_config: setup.from,
            addons: setup.from,
            daemon_set: true,
            sockets: BTreeSet::new(),
        };
        Self {
            stored,
            backup: None,
            members: BTreeSet::new(),
            pending: 0,
            made: 0,
            budget: setup.budget,
            down_until: 0,
            blocked_until: 0,
            denied_until: 0,
            heard: BTreeMap::new(),
            offered: offered(setup),
        }
    }

    pub(super) fn add_node(&mut self, name: &str, control_plane: bool, kubelet: Version) {
        let node = Node {
            name: name.to_owned(),
            uid: format!("{name}-uid-0"),
            resource_version: self.next_revision().to_string(),
            ready: Ready::True,
            heartbeat: Unix(EPOCH),
            kubelet: Some(kubelet),
            control_plane,
            ..Node::default()
        };
        let mut node = node;
        node.annotations.insert(CRI_SOCKET.to_owned(), String::new());
        self.stored.nodes.insert(name.to_owned(), node);
        self.stored.sockets.insert(name.to_owned());
        self.heard.insert(name.to_owned(), 0);
        if control_plane {
            self.members.insert(name.to_owned());
        }
    }

    pub(super) fn next_revision(&mut self) -> u64 {
        self.stored.revision += 1;
        self.stored.revision
    }

    pub(super) fn back_up(&mut self) {
        self.backup = Some(Box::new(self.stored.clone()));
    }

    /// Takes what was copied aside, and gives what stood until now.
    pub(super) fn restore(&mut self) -> Option<Stored> {
        let backup = self.backup.as_deref()?.clone();
        Some(std::mem::replace(&mut self.stored, backup))
    }

    /// The disruption budget over the pods that drains move, as its controller last counted; it wants all but one.
    pub(super) fn budget(&self, now: u64) -> Option<Budget> {
        let blocks = self.blocked_until > now;
        if !self.budget && !blocks {
            return None;
        }
        let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        let running = self.stored.pods.len();
        let expected_pods = count(running + usize::try_from(self.pending).unwrap_or_default());
        let healthy = |pod: &&Pod| pod.seen.ready && pod.seen.deletion.is_none();
        let current_healthy = count(self.stored.pods.values().filter(healthy).count());
        let desired_healthy = if blocks { expected_pods } else { expected_pods - 1 };
        Some(Budget {
            namespace: "default".to_owned(),
            name: "web".to_owned(),
            disruptions_allowed: (current_healthy - desired_healthy).max(0),
            desired_healthy,
            current_healthy,
            expected_pods,
            always_allow_unhealthy: false,
            failing: None,
        })
    }
}

/// What runs, what is asked for, the patch after it, and the newest patch of each minor between.
fn offered(setup: &Setup) -> BTreeSet<Version> {
    let between = setup.from.minor + 1..setup.target.minor;
    let between = between.map(|minor| Version { minor, patch: PATCH_BETWEEN, ..setup.target });
    between.chain([setup.from, setup.target, setup.next()]).collect()
}

/// A pod of a controller that is not a DaemonSet.
fn web_pod(number: u64) -> PodSeen {
    let kind = "ReplicaSet".to_owned();
    PodSeen {
        namespace: "default".to_owned(),
        name: format!("web-{number}"),
        uid: format!("pod-{number}"),
        controller: Some(Owner { api_version: "apps/v1".to_owned(), kind, name: "web".to_owned() }),
        ready: true,
        ..PodSeen::default()
    }
}

/// The DaemonSet's pod on a node.
pub(super) fn daemon_pod(node: &str, ready: bool, probes_settle: Duration) -> PodSeen {
    let kind = "DaemonSet".to_owned();
    PodSeen {
        namespace: "kube-system".to_owned(),
        name: format!("proxy-{node}"),
        uid: format!("proxy-{node}"),
        controller: Some(Owner { api_version: "apps/v1".to_owned(), kind, name: "proxy".to_owned() }),
        ready,
        probes_settle,
        ..PodSeen::default()
    }
}

/// The mirror of a static pod. While its container does not run, its status names no image.
pub(super) fn static_pod(node: &str, component: &str, version: Option<Version>) -> PodSeen {
    let image = version.map(|version| format!("registry.example/{component}:{version}")).unwrap_or_default();
    let container = ContainerSeen { name: component.to_owned(), image, ready: version.is_some() };
    PodSeen {
        namespace: "kube-system".to_owned(),
        name: format!("{component}-{node}"),
        uid: format!("{component}-{node}"),
        labels: BTreeMap::from([("component".to_owned(), component.to_owned())]),
        mirror: true,
        ready: version.is_some(),
        containers: vec![container],
        ..PodSeen::default()
    }
}

impl World {
    /// Changes a Node, and tells whoever watches it.
    pub(super) fn change_node(&mut self, name: &str, change: impl FnOnce(&mut Node)) {
        let Some(node) = self.api.stored.nodes.get_mut(name) else { return };
        let before = node.clone();
        change(node);
        if *node == before {
            return;
        }
        self.api.stored.revision += 1;
        node.resource_version = self.api.stored.revision.to_string();
        self.tell_node(name);
        if before.control_plane {
            self.tell_turn();
        }
    }

    /// `spec.unschedulable` as somebody writes it; only changes are history.
    pub(super) fn set_unschedulable(&mut self, name: &str, unschedulable: bool, by: Who) {
        let Some(node) = self.api.stored.nodes.get(name) else { return };
        if node.unschedulable != unschedulable {
            self.record(name, if unschedulable { What::Cordoned { by } } else { What::Uncordoned { by } });
        }
        self.change_node(name, |node| node.unschedulable = unschedulable);
        if !unschedulable {
            self.schedule_pods();
        }
    }

    pub(super) fn annotate(&mut self, name: &str, key: &str, value: Option<String>) {
        self.change_node(name, |node| match value {
            Some(value) => {
                node.annotations.insert(key.to_owned(), value);
            }
            None => {
                node.annotations.remove(key);
            }
        });
    }

    pub(super) fn annotation(&self, name: &str, key: &str) -> Option<&String> {
        self.api.stored.nodes.get(name)?.annotations.get(key)
    }

    /// The agent's fenced patch, which is one write.
    pub(super) fn patch_node(&mut self, name: &str, patch: &NodePatch) {
        let Some(node) = self.api.stored.nodes.get(name) else { return };
        let (was, current) = (node.unschedulable, node.annotations.get(CURRENT).cloned());
        let unschedulable = patch.unschedulable.unwrap_or(was);
        if was != unschedulable {
            let by = Who::Agent(name.to_owned());
            self.record(name, if unschedulable { What::Cordoned { by } } else { What::Uncordoned { by } });
        }
        let written =
            patch.notes.get(CURRENT).cloned().flatten().filter(|text| current.as_ref() != Some(text));
        if let Some(version) = written.and_then(|text| text.parse().ok()) {
            self.record(name, What::CurrentWritten { version });
        }
        if patch.notes.contains_key(CRI_SOCKET) {
            self.api.stored.sockets.insert(name.to_owned());
        }
        self.change_node(name, |node| {
            node.unschedulable = unschedulable;
            for (key, value) in &patch.notes {
                match value {
                    Some(value) => node.annotations.insert((*key).to_owned(), value.clone()),
                    None => node.annotations.remove(*key),
                };
            }
        });
        if was && !unschedulable {
            self.schedule_pods();
        }
    }

    /// Writes a Lease, and tells who waits.
    pub(super) fn set_lease(&mut self, name: LeaseName, state: &LeaseState, by: &Who) {
        let version = self.api.next_revision();
        let before = self.api.stored.leases.insert(name, Lease { version, state: state.clone() });
        let before = before.unwrap_or_default().state;
        self.record_lease(name, &before, state, by);
        // A renewal changes nothing that a waiting agent asks about, and its adapter does not tell it.
        if before != *state {
            self.tell_turn();
        }
    }

    /// What a change of a Lease looks like from outside.
    pub(super) fn record_lease(
        &mut self,
        name: LeaseName,
        before: &LeaseState,
        after: &LeaseState,
        by: &Who,
    ) {
        let holder_of = |state: &LeaseState| state.holder.as_deref().and_then(Holder::parse);
        let (was, is) = (holder_of(before), holder_of(after));
        if was != is {
            // Taken over by an agent it was never given back.
            let given_back = is.is_none() || *by == Who::Person;
            if let Some(Holder { node, .. }) = was.as_ref().filter(|_| given_back) {
                self.record(node, What::LeaseReleased { lease: name, by: by.clone() });
            }
            if let Some(Holder { node, uid, turn }) = is.clone() {
                self.record(&node, What::LeaseTaken { lease: name, uid, turn: turn.0 });
            }
        }
        let marked = |state: &LeaseState| state.degraded.is_some();
        let begins_anew = was != is;
        if let Some(Holder { node, .. }) = is
            && (marked(before) != marked(after) || (begins_anew && marked(after)))
        {
            self.record(&node, What::LeaseMarked { lease: name, degraded: marked(after) });
        }
    }

    /// Binds pods that wait to nodes that take them, as long as there is one.
    pub(super) fn schedule_pods(&mut self) {
        while self.api.pending > 0 && self.serves_api() {
            let takes = |node: &&Node| {
                let tainted = node.control_plane || self.setup.tainted_workers;
                let only_planes = self.setup.workers == 0;
                node.ready == Ready::True
                    && !node.unschedulable
                    && (!tainted || only_planes || !self.has_untainted())
            };
            let nodes = self.api.stored.nodes.values();
            let fits: Vec<String> = nodes.filter(takes).map(|node| node.name.clone()).collect();
            let Some(node) = self.rng.pick(&fits).cloned() else { break };
            self.api.pending -= 1;
            let pod = self.bind_pod(&node);
            if let Some(pod) = self.api.stored.pods.get_mut(&pod) {
                pod.seen.ready = false;
            }
            self.later(self.now + POD_STARTS, Happening::PodReady { pod });
        }
    }

    /// Whether a worker without a taint could take pods; otherwise what waits tolerates all.
    fn has_untainted(&self) -> bool {
        let fits = |node: &&Node| !node.control_plane && node.ready == Ready::True && !node.unschedulable;
        !self.setup.tainted_workers && self.api.stored.nodes.values().any(|node| fits(&node))
    }

    pub(super) fn bind_pod(&mut self, node: &str) -> String {
        self.api.made += 1;
        let seen = web_pod(self.api.made);
        let uid = seen.uid.clone();
        self.record(node, What::PodBound { pod: uid.clone() });
        self.api.stored.pods.insert(uid.clone(), Pod { node: node.to_owned(), seen });
        uid
    }

    pub(super) fn pod_ready(&mut self, uid: &str) {
        if let Some(pod) = self.api.stored.pods.get_mut(uid) {
            pod.seen.ready = true;
        }
    }

    /// A pod is gone once its kubelet has ended it and has said so; the pods of a Node that is no more are collected. Its
    /// controller makes another.
    pub(super) fn pod_gone(&mut self, uid: &str) {
        let Some(node) = self.api.stored.pods.get(uid).map(|pod| pod.node.clone()) else { return };
        let ends = self
            .machines
            .get(&node)
            .is_some_and(|machine| machine.host.powered && machine.host.kubelet.active);
        let said = ends && self.reaches(&node, Identity::Kubelet);
        if !said && self.api.stored.nodes.contains_key(&node) {
            self.later(self.now + ENDS_LATER, Happening::PodGone { pod: uid.to_owned() });
            return;
        }
        if let Some(pod) = self.api.stored.pods.remove(uid) {
            self.record(&pod.node, What::PodGone { pod: uid.to_owned() });
            self.api.pending += 1;
            self.schedule_pods();
            self.tell_drain(&pod.node);
        }
    }
}
