//! What each act comes to, request by request, as the adapters carry it out.

pub(in crate::world) mod drain;
mod host;
mod lease;
mod node;
mod preflight;

use upgrade_core::act::{Act, ActResult};
use upgrade_core::agent::ActId;
use upgrade_core::observed::{EtcdSeen, LocalControlPlane, Observation};
use upgrade_core::time::Mono;

use super::host::API_SERVER;
use super::process::{TRAVEL, transient};
use super::{Happening, World};
use crate::fault::Identity;

/// Who carries something out: one life of one agent, for one of its acts or for a renewal beside them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) node: String,
    pub(super) life: u64,
    pub(super) id: Option<ActId>,
}

/// What was decided from a read and is to be written: it fails if the object is another one by then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Write {
    /// A Lease.
    Lease(lease::Swap),
    /// The own Node.
    Node(node::Patch),
}

impl World {
    /// A request comes to where it has its effect. Who sent it may be dead: what is on its way comes about.
    pub(super) fn effect(&mut self, caller: &Caller, act: Act, sent: u64) {
        let (node, at) = (caller.node.as_str(), Mono(sent));
        match act {
            Act::LookAtHost { .. }
            | Act::Run { .. }
            | Act::Await { .. }
            | Act::BackUp { .. }
            | Act::RestoreManifests { .. }
            | Act::RollBackManifests { .. }
            | Act::RestoreKubeletConfig { .. }
            | Act::RestartKubelet
            | Act::CleanUp => {
                if self.machines.get(node).is_some_and(|machine| machine.host.powered) {
                    self.host_act(caller, act, at);
                }
            }
            Act::Claim { .. } | Act::Renew { .. } | Act::Prove { .. } | Act::Release { .. } => {
                self.lease_act(caller, &act);
            }
            Act::Cordon { .. }
            | Act::Uncordon
            | Act::ForgetCordon
            | Act::Mark { .. }
            | Act::Unmark { .. }
            | Act::NoteCriSocket { .. }
            | Act::PublishCurrent { .. }
            | Act::PublishApiServer { .. } => self.node_act(caller, &act),
            Act::Drain { options, until } => self.begin_drain(caller, &options, until),
            Act::Preflight { target, kind } => self.preflight(caller, target, kind),
            Act::LookAtControlPlane => {
                self.requests(node, 1);
                let ended = self.local(node, at).map_or_else(
                    || transient("this host carries no control plane"),
                    |local| ActResult::ok(vec![Observation::Local(local)]),
                );
                self.reply(caller, ended);
            }
            Act::LookAtFleet => {
                let ended = self.look_at_fleet(caller, at);
                self.reply(caller, ended);
            }
            Act::LookAtNode | Act::LookAtPods => self.kubelets_act(caller, &act, at),
        }
    }

    /// One request with the kubelet's own credential.
    fn kubelets_act(&mut self, caller: &Caller, act: &Act, at: Mono) {
        let node = caller.node.as_str();
        self.requests(node, if *act == Act::LookAtPods { 2 } else { 1 });
        let ended = if self.reaches(node, Identity::Kubelet) {
            match act {
                Act::LookAtPods => ActResult::ok(vec![Observation::Pods(self.pods_of(node, at))]),
                _ => ActResult::ok(vec![self.read_node(caller)]),
            }
        } else {
            transient("the API server does not answer")
        };
        self.reply(caller, ended);
    }

    /// The watches of what agents share begin, or end.
    pub(super) fn watches(&mut self, node: &str, number: u64, on: bool) {
        let Some(life) = self.life(node, number) else { return };
        life.watches = on;
        if !on {
            return;
        }
        self.requests(node, 5);
        if !self.reaches(node, Identity::Coordination) {
            return self.watch_broke(node, number);
        }
        let at = self.clock(node).mono;
        for fact in [Observation::Turn(self.turn(at)), Observation::Policy(self.policy(node, at))] {
            let fact = Box::new(fact);
            self.later(self.now + 2 * TRAVEL, Happening::Saw { node: node.to_owned(), life: number, fact });
        }
    }

    /// Leases, Nodes and pods with the one credential, kubeadm-config with the other; the policy travels with them.
    pub(super) fn look_at_fleet(&mut self, caller: &Caller, at: Mono) -> ActResult {
        self.requests(&caller.node, 1);
        let reads = |identity| self.reaches(&caller.node, identity);
        if !(reads(Identity::Coordination) && reads(Identity::Kubelet)) {
            return transient("the API server does not answer");
        }
        self.requests(&caller.node, 4);
        ActResult::ok(vec![Observation::Fleet(self.fleet(&caller.node, at))])
    }

    /// Asked directly, with the host's own certificates: no balancer, no credential of the API. A member that does not
    /// answer says nothing.
    fn local(&self, node: &str, at: Mono) -> Option<LocalControlPlane> {
        let machine = self.machines.get(node).filter(|machine| machine.host.control_plane)?;
        // etcd ends itself where its member was removed.
        let answers = self.member_is_healthy(node) && self.has_quorum();
        let members = &self.api.members;
        let unhealthy = members.iter().filter(|member| !self.member_is_healthy(member)).cloned().collect();
        let etcd = EtcdSeen { healthy: true, members: members.clone(), unhealthy, ..EtcdSeen::default() };
        let etcd = if answers { etcd } else { EtcdSeen::default() };
        let runs = machine.host.pods.get(API_SERVER).copied().flatten();
        let hash = self.api_server_hash(node).filter(|_| self.reaches(node, Identity::Kubelet));
        let api_server_ready = self.api_server_is_ready(node);
        Some(LocalControlPlane { at, api_server_ready, version: runs, hash, etcd: Some(etcd) })
    }

    /// Whoever has read what it writes sends it, if it still lives.
    pub(super) fn writes(&mut self, caller: Caller, write: Box<Write>) {
        if self.lives(&caller.node, caller.life) {
            self.requests(&caller.node, 1);
            self.later(self.now + TRAVEL, Happening::Written { caller, write });
        }
    }

    pub(super) fn written(&mut self, caller: &Caller, write: Write) {
        match write {
            Write::Lease(swap) => self.swap_written(caller, swap),
            Write::Node(patch) => self.patch_written(caller, &patch),
        }
    }
}
