//! The objects of the API server, and who learns of their changes.

use std::collections::{BTreeMap, BTreeSet};

use upgrade_core::cordon::CordonPatch;
use upgrade_core::job::{Holder, LeaseName};
use upgrade_core::oracle::{What, Who};
use upgrade_core::policy::Policy;
use upgrade_core::request::{CURRENT, FOUND_CORDONED, IGNORE, PHASE, TARGET, is_on};
use upgrade_core::seen::{
    ContainerSeen, ControlPlanePod, Fact, FleetLease, FleetNode, FleetSeen, NodeSeen, Owner, PodSeen,
    PodsSeen, Ready, TurnSeen,
};
use upgrade_core::time::{Mono, Unix};
use upgrade_core::version::Version;

use super::{Happening, World};

/// A Lease of ours.
#[derive(Debug, Clone, Default)]
pub(super) struct Lease {
    pub(super) holder: Option<String>,
    pub(super) degraded: Option<String>,
}

/// A pod that a controller keeps, and where it runs.
#[derive(Debug, Clone)]
pub(super) struct Pod {
    pub(super) node: String,
    pub(super) seen: PodSeen,
}

/// What is stored.
#[derive(Debug, Clone)]
pub(super) struct Api {
    pub(super) revision: u64,
    pub(super) nodes: BTreeMap<String, NodeSeen>,
    pub(super) leases: BTreeMap<LeaseName, Lease>,
    pub(super) pods: BTreeMap<String, Pod>,
    /// Pods that found no node yet.
    pub(super) pending: u64,
    pub(super) made: u64,
    pub(super) policy: Policy,
    pub(super) kubeadm_config: Version,
    pub(super) down_until: u64,
    pub(super) blocked_until: u64,
}

impl Api {
    pub(super) fn new(version: Version) -> Self {
        Self {
            revision: 0,
            nodes: BTreeMap::new(),
            leases: BTreeMap::new(),
            pods: BTreeMap::new(),
            pending: 0,
            made: 0,
            policy: Policy::default(),
            kubeadm_config: version,
            down_until: 0,
            blocked_until: 0,
        }
    }

    fn fleet_leases(&self) -> Vec<FleetLease> {
        let one = |(name, lease): (&LeaseName, &Lease)| FleetLease {
            name: *name,
            holder: lease.holder.clone(),
            degraded: lease.degraded.clone(),
        };
        self.leases.iter().map(one).collect()
    }

    fn fleet_nodes(&self) -> impl Iterator<Item = FleetNode> {
        self.nodes.values().map(|node| FleetNode {
            name: node.name.clone(),
            uid: node.uid.clone(),
            ready: node.ready == Ready::True,
            unschedulable: node.unschedulable,
            control_plane: node.control_plane,
            ignored: is_on(&node.annotations, IGNORE),
            in_hand: node.annotations.contains_key(FOUND_CORDONED),
            degraded: node.annotations.get(PHASE).is_some_and(|phase| phase == "degraded"),
            target: node.annotations.get(TARGET).and_then(|text| text.parse().ok()),
            current: node.annotations.get(CURRENT).and_then(|text| text.parse().ok()),
            kubelet: node.kubelet,
        })
    }

    pub(super) fn turn(&self, at: Mono) -> TurnSeen {
        let control_planes = self.fleet_nodes().filter(|node| node.control_plane).collect();
        TurnSeen { at, leases: self.fleet_leases(), control_planes }
    }
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

fn daemon_pod(node: &str) -> PodSeen {
    let kind = "DaemonSet".to_owned();
    PodSeen {
        namespace: "kube-system".to_owned(),
        name: format!("proxy-{node}"),
        uid: format!("proxy-{node}"),
        controller: Some(Owner { api_version: "apps/v1".to_owned(), kind, name: "proxy".to_owned() }),
        ready: true,
        ..PodSeen::default()
    }
}

fn static_pod(node: &str, component: &str, version: Version) -> PodSeen {
    let container = ContainerSeen {
        name: component.to_owned(),
        image: format!("registry.example/{component}:{version}"),
        ready: true,
    };
    PodSeen {
        namespace: "kube-system".to_owned(),
        name: format!("{component}-{node}"),
        uid: format!("{component}-{node}-{version}"),
        labels: BTreeMap::from([("component".to_owned(), component.to_owned())]),
        mirror: true,
        ready: true,
        containers: vec![container],
        ..PodSeen::default()
    }
}

impl World {
    /// Whether this host's requests reach an API server now.
    pub(super) fn reaches_api(&self, node: &str) -> bool {
        let cut_off = self.machines.get(node).is_some_and(|machine| machine.cut_off_until > self.now);
        !cut_off && self.serves_api()
    }

    pub(super) fn serves_api(&self) -> bool {
        self.api.down_until <= self.now && self.machines.values().any(|machine| machine.host.serves_api())
    }

    /// Changes a Node, and tells whoever watches it.
    pub(super) fn change_node(&mut self, name: &str, change: impl FnOnce(&mut NodeSeen)) {
        let Some(node) = self.api.nodes.get_mut(name) else { return };
        let before = node.clone();
        change(node);
        if *node == before {
            return;
        }
        self.api.revision += 1;
        node.resource_version = self.api.revision.to_string();
        self.tell_node(name);
        if before.control_plane {
            self.tell_turn();
        }
    }

    /// The watch of the own Node: its events keep their order.
    pub(super) fn tell_node(&mut self, name: &str) {
        let fact = Fact::Node(self.api.nodes.get(name).cloned());
        self.watched(name, fact);
    }

    pub(super) fn tell_policy(&mut self) {
        for name in self.names() {
            self.watched(&name, Fact::Policy(self.api.policy.clone()));
        }
    }

    fn watched(&mut self, name: &str, fact: Fact) {
        let Some(machine) = self.machines.get_mut(name) else { return };
        let Some(life) = &mut machine.life else { return };
        let lag = if machine.lag_until > self.now { machine.lag } else { 40 };
        let reached = self.now.max(machine.cut_off_until).max(self.api.down_until);
        life.told_at = life.told_at.max(reached + lag);
        let (at, life) = (life.told_at, life.number);
        self.later(at, Happening::Saw { node: name.to_owned(), life, fact: Box::new(fact) });
    }

    /// The watches of agents that await their turn.
    pub(super) fn tell_turn(&mut self) {
        for name in self.names() {
            let awaits = self.machines.get(&name).and_then(|machine| machine.life.as_ref());
            if let Some(life) = awaits.filter(|life| life.awaits_turn.is_some()) {
                let turn = self.api.turn(life.mono(self.now));
                self.watched(&name, Fact::Turn(turn));
            }
        }
    }

    /// `spec.unschedulable` as somebody writes it; only changes are history.
    pub(super) fn set_unschedulable(&mut self, name: &str, unschedulable: bool, by: Who) {
        let Some(node) = self.api.nodes.get(name) else { return };
        if node.unschedulable != unschedulable {
            self.record(name, if unschedulable { What::Cordoned { by } } else { What::Uncordoned { by } });
        }
        self.change_node(name, |node| node.unschedulable = unschedulable);
    }

    /// The agent's fenced patch.
    pub(super) fn patch_cordon(&mut self, name: &str, patch: CordonPatch) {
        self.set_unschedulable(name, patch.unschedulable, Who::Agent(name.to_owned()));
        self.change_node(name, |node| match patch.found_cordoned {
            Some(found) => {
                node.annotations.insert(FOUND_CORDONED.to_owned(), found.to_string());
            }
            None => {
                node.annotations.remove(FOUND_CORDONED);
            }
        });
    }

    pub(super) fn set_ready(&mut self, name: &str, ready: Ready, kubelet: Version) {
        let Some(node) = self.api.nodes.get(name) else { return };
        let changed = (node.ready == Ready::True) != (ready == Ready::True) || node.kubelet != Some(kubelet);
        let restarted = self.machines.get(name).is_some_and(|machine| machine.unreported);
        if changed || restarted {
            self.record(name, What::Ready { ready: ready == Ready::True, kubelet });
        }
        if let Some(machine) = self.machines.get_mut(name) {
            machine.unreported = false;
        }
        let heartbeat = self.unix();
        self.change_node(name, |node| {
            node.ready = ready;
            node.kubelet = Some(kubelet);
            node.heartbeat = heartbeat;
        });
    }

    /// Clears or sets a Lease's holder, and tells who waits.
    pub(super) fn set_lease(&mut self, name: LeaseName, lease: &Lease, by: &Who) {
        let before = self.api.leases.insert(name, lease.clone()).unwrap_or_default();
        let holder_of = |holder: &Option<String>| holder.as_deref().and_then(Holder::parse);
        let node_of = |holder: &Option<String>| holder_of(holder).map(|h| h.node);
        if before.holder != lease.holder {
            if let Some(node) = node_of(&before.holder) {
                self.record(&node, What::LeaseReleased { lease: name, by: by.clone() });
            }
            if let Some(Holder { node, uid, job }) = holder_of(&lease.holder) {
                self.record(&node, What::LeaseTaken { lease: name, uid, turn: job.0 });
            }
        }
        if let Some(node) = node_of(&lease.holder)
            && (before.degraded.is_some() != lease.degraded.is_some())
        {
            self.record(&node, What::LeaseMarked { lease: name, degraded: lease.degraded.is_some() });
        }
        self.tell_turn();
    }

    /// Binds a pod that waits to a node that takes it, as long as there is one.
    pub(super) fn schedule_pods(&mut self) {
        while self.api.pending > 0 && self.serves_api() {
            let takes = |node: &&NodeSeen| node.ready == Ready::True && !node.unschedulable;
            let fits: Vec<String> = self.api.nodes.values().filter(takes).map(|n| n.name.clone()).collect();
            let Some(node) = self.rng.pick(&fits).cloned() else { break };
            self.api.pending -= 1;
            self.bind_pod(&node);
        }
    }

    pub(super) fn bind_pod(&mut self, node: &str) {
        self.api.made += 1;
        let seen = web_pod(self.api.made);
        self.record(node, What::PodBound { pod: seen.uid.clone() });
        self.api.pods.insert(seen.uid.clone(), Pod { node: node.to_owned(), seen });
    }

    /// A pod is gone; its controller makes another.
    pub(super) fn pod_gone(&mut self, uid: &str) {
        if let Some(pod) = self.api.pods.remove(uid) {
            self.record(&pod.node, What::PodGone { pod: uid.to_owned() });
            self.api.pending += 1;
            self.schedule_pods();
            self.tell_drain(&pod.node);
        }
    }

    /// The pods bound to a node, as a list answers.
    pub(super) fn pods_of(&self, name: &str, at: Mono) -> PodsSeen {
        let own = self.api.pods.values().filter(|pod| pod.node == name).map(|pod| pod.seen.clone());
        let mut pods: Vec<PodSeen> = own.chain([daemon_pod(name)]).collect();
        if let Some(machine) = self.machines.get(name) {
            let runs = machine.host.pods.iter();
            pods.extend(runs.filter_map(|(c, v)| v.map(|version| static_pod(name, c, version))));
        }
        PodsSeen { at, pods, csi_drivers: BTreeSet::new() }
    }

    /// Everything on one consistent read.
    pub(super) fn fleet(&self, at: Mono) -> FleetSeen {
        let pods = self.machines.iter().flat_map(|(node, machine)| {
            machine.host.pods.iter().map(|(component, version)| ControlPlanePod {
                node: node.clone(),
                component: (*component).to_owned(),
                version: *version,
                ready: version.is_some(),
            })
        });
        let etcd = self.machines.iter().filter(|(_, machine)| machine.host.control_plane);
        let etcd = etcd.map(|(node, machine)| ControlPlanePod {
            node: node.clone(),
            component: "etcd".to_owned(),
            version: None,
            ready: machine.host.powered,
        });
        let nodes = self.api.fleet_nodes().collect();
        FleetSeen {
            at,
            nodes,
            leases: self.api.fleet_leases(),
            pods: pods.chain(etcd).collect(),
            kubeadm_config: Some(self.api.kubeadm_config),
        }
    }

    /// The host's clock.
    pub(super) fn unix(&self) -> Unix {
        Unix(super::EPOCH + self.now / 1000)
    }
}
