//! Who learns of changes, and when; and which host reaches which API server.

use std::collections::BTreeSet;
use std::time::Duration;

use upgrade_core::api::Policy;
use upgrade_core::observed::{
    FleetLease, FleetNode, FleetSeen, LeaseMark, Observation, PodSeen, PodsSeen, PolicySeen, Ready, TurnSeen,
};
use upgrade_core::time::Mono;

use super::api::{CSI_DRIVER, Node, daemon_pod};
use super::host::ETCD;
use super::{Happening, World};
use crate::fault::Identity;
use crate::setup::Endpoint;

/// How long a change takes to reach who watches it.
const LATENCY: u64 = 40;

impl World {
    /// Whether requests of this host with this credential reach an API server that takes them now.
    pub(super) fn reaches(&self, node: &str, identity: Identity) -> bool {
        let Some(machine) = self.machines.get(node) else { return false };
        let refused = machine.refused_until.get(&identity).is_some_and(|until| *until > self.now);
        !refused
            && if identity == Identity::Coordination {
                self.connects_to_endpoint(node)
            } else {
                self.connects(node)
            }
    }

    /// The coordination credential goes to the cluster's endpoint, whatever kubelet.conf names.
    fn connects_to_endpoint(&self, node: &str) -> bool {
        let Some(machine) = self.machines.get(node) else { return false };
        machine.cut_off_until <= self.now && self.serves_api()
    }

    /// The same for whoever comes with a credential that is taken.
    pub(super) fn connects(&self, node: &str) -> bool {
        let Some(machine) = self.machines.get(node) else { return false };
        let local = machine.host.control_plane && machine.host.kubelet_conf == Endpoint::Local;
        let answered = if local { self.api_server_is_ready(node) } else { self.any_api_server_is_ready() };
        machine.cut_off_until <= self.now && self.api.down_until <= self.now && answered
    }

    /// Whether anybody is served.
    pub(super) fn serves_api(&self) -> bool {
        self.api.down_until <= self.now && self.any_api_server_is_ready()
    }

    fn any_api_server_is_ready(&self) -> bool {
        self.machines.keys().any(|node| self.api_server_is_ready(node))
    }

    /// An API server answers while it runs, its own member of etcd answers, and etcd has its quorum.
    pub(super) fn api_server_is_ready(&self, node: &str) -> bool {
        let runs = |machine: &super::Machine| machine.host.runs("kube-apiserver", self.now);
        self.machines.get(node).is_some_and(runs) && self.member_is_healthy(node) && self.has_quorum()
    }

    pub(super) fn member_is_healthy(&self, node: &str) -> bool {
        self.api.members.contains(node)
            && self.machines.get(node).is_some_and(|machine| machine.host.runs(ETCD, self.now))
    }

    pub(super) fn healthy_members(&self) -> usize {
        self.api.members.iter().filter(|node| self.member_is_healthy(node)).count()
    }

    pub(super) fn has_quorum(&self) -> bool {
        self.healthy_members() * 2 > self.api.members.len()
    }

    /// The watch of the own Node: its events keep their order.
    pub(super) fn tell_node(&mut self, name: &str) {
        let fact = Observation::Node(self.api.stored.nodes.get(name).map(Node::seen));
        self.watched(name, Identity::Kubelet, fact);
    }

    /// A watch that begins anew lists what stands.
    pub(super) fn lists_node(&mut self, name: &str) {
        let version = self.api.stored.nodes.get(name).map(|node| node.resource_version.clone());
        let life = self.machines.get_mut(name).and_then(|machine| machine.life.as_mut());
        let news = life.is_none_or(|life| {
            let before = life.mark.before();
            let Some(version) = version else {
                life.mark.found_none(before);
                return true;
            };
            life.mark.lists(before, &version)
        });
        if news {
            self.tell_node(name);
        }
    }

    /// The watches of Leases and control-plane Nodes.
    pub(super) fn tell_turn(&mut self) {
        for name in self.names() {
            let awaits = self.machines.get(&name).and_then(|machine| machine.life.as_ref());
            if awaits.is_some_and(|life| life.watches) {
                let turn = self.turn(self.clock(&name).mono);
                self.watched(&name, Identity::Coordination, Observation::Turn(turn));
            }
        }
    }

    /// And of the policy.
    pub(super) fn tell_policy(&mut self) {
        for name in self.names() {
            let watches = self.machines.get(&name).and_then(|machine| machine.life.as_ref());
            if watches.is_some_and(|life| life.watches) {
                let policy = self.policy(&name, self.clock(&name).mono);
                self.watched(&name, Identity::Coordination, Observation::Policy(policy));
            }
        }
    }

    /// What a watch tells arrives in its order; a silent one tells nothing, and whoever watches learns of it by asking.
    fn watched(&mut self, name: &str, identity: Identity, fact: Observation) {
        let (now, down_until) = (self.now, self.api.down_until);
        let Some(machine) = self.machines.get_mut(name) else { return };
        let refused_until = machine.refused_until.get(&identity).copied().unwrap_or_default();
        let silent = machine.silent_until > now;
        let cut_off_until = machine.cut_off_until.max(refused_until);
        let lag = if machine.lag_until > now { machine.lag } else { LATENCY };
        let Some(life) = machine.life.as_mut().filter(|_| !silent) else { return };
        // Each identity has a connection of its own.
        let last = if identity == Identity::Kubelet { &mut life.told_at } else { &mut life.shared_at };
        *last = (*last).max(now.max(cut_off_until).max(down_until) + lag);
        let (at, life) = (*last, life.number);
        self.later(at, Happening::Saw { node: name.to_owned(), life, fact: Box::new(fact) });
    }

    fn fleet_leases(&self) -> Vec<FleetLease> {
        let leases = self.api.stored.leases.iter();
        let one = leases.map(|(name, lease)| FleetLease {
            name: *name,
            holder: lease.state.holder.clone(),
            mark: lease.state.degraded.as_deref().map(LeaseMark::read),
            applied: lease.state.applied.as_ref().and_then(|text| text.parse().ok()),
        });
        one.collect()
    }

    pub(super) fn turn(&self, at: Mono) -> TurnSeen {
        let control_planes =
            self.api.stored.nodes.values().filter(|node| node.control_plane).map(small).collect();
        TurnSeen { at, leases: self.fleet_leases(), control_planes }
    }

    /// Everything on one consistent read.
    pub(super) fn fleet(&self, reader: &str, at: Mono) -> FleetSeen {
        FleetSeen {
            at,
            pods: self.control_plane_pods(),
            nodes: self.api.stored.nodes.values().map(small).collect(),
            leases: self.fleet_leases(),
            kubeadm_config: Some(self.api.stored.kubeadm_config),
            policy: self.policy(reader, at),
        }
    }

    /// The policy as a process reads it that may have read one before.
    pub(super) fn policy(&self, reader: &str, at: Mono) -> PolicySeen {
        let data = self.api.stored.policy.as_ref();
        let exists = data.is_some();
        let life = self.machines.get(reader).and_then(|machine| machine.life.as_ref());
        let seen_before = life.is_some_and(|life| {
            let before = life.policy_seen.get();
            life.policy_seen.replace(before || exists)
        });
        PolicySeen { at, policy: Policy::read(data, seen_before), exists }
    }

    /// The pods bound to a node, as a list answers.
    pub(super) fn pods_of(&self, name: &str, at: Mono) -> PodsSeen {
        let own = self.api.stored.pods.values().filter(|pod| pod.node == name).map(|pod| pod.seen.clone());
        let mut pods: Vec<PodSeen> = own.collect();
        let mut csi_drivers = BTreeSet::new();
        if let Some(machine) = self.machines.get(name) {
            let host = &machine.host;
            let settles = Duration::from_millis(self.setup.probed);
            pods.extend(self.api.stored.daemon_set.then(|| daemon_pod(name, host.daemon_pod_told, settles)));
            pods.extend(self.mirror_pods(name));
            csi_drivers.extend(host.csi_driver.then(|| CSI_DRIVER.to_owned()));
        }
        PodsSeen { at, pods, csi_drivers }
    }
}

/// A Node as whoever reads the fleet sees it.
fn small(node: &Node) -> FleetNode {
    let seen = FleetNode {
        name: node.name.clone(),
        uid: node.uid.clone(),
        ready: node.ready == Ready::True,
        unschedulable: node.unschedulable,
        tainted: node.control_plane,
        control_plane: node.control_plane,
        kubelet: node.kubelet,
        ..FleetNode::default()
    };
    seen.with_annotations(&node.annotations)
}
