//! What people do at the API server and on hosts.

use std::collections::BTreeMap;

use upgrade_core::api::annotations::{FOUND_CORDONED, IGNORE, IN_HAND, RETRY, SKIP_CHECKS, TARGET};
use upgrade_core::api::{Check, Holder, LeaseName, Version};
use upgrade_core::judge::lease::LeaseState;
use upgrade_core::observed::ToolState;
use upgrade_core::oracle::{COPIES_LOST, FLEET, MEMORY_LOST, What, Who, bars_claims};

use super::api::Lease;
use super::{Happening, World};
use crate::fault::{ByHand, Fault};

/// Who finds no API server, or dpkg locked, comes back so much later.
const COMES_BACK: u64 = 5_000;
/// And gives up so long after all else is calm.
const LOSES_PATIENCE: u64 = 1_800_000;

impl World {
    pub(super) fn person(&mut self, fault: &Fault) {
        match fault {
            Fault::UpgradedByHand { node, version, how } => self.by_hand(node, *version, *how),
            Fault::AgentPurged { node, .. } => self.agent_purged(node),
            _ => self.person_at_api(fault),
        }
    }

    /// Whether a person finds no API server, or dpkg locked.
    pub(super) fn must_come_back(&self, fault: &Fault) -> bool {
        match fault {
            Fault::UpgradedByHand { node, how, .. } => {
                // kubeadm asks the API server and writes its configuration there.
                self.dpkg_is_busy(node) || *how == ByHand::Whole && !self.serves_api()
            }
            fault => fault.is_asked_of_the_api() && !self.serves_api(),
        }
    }

    /// Until they lose patience.
    pub(super) fn comes_back(&mut self, fault: &Fault) {
        if self.now < self.calm_from + LOSES_PATIENCE {
            self.later(self.now + COMES_BACK, Happening::Strikes(Box::new(fault.clone())));
        }
    }

    fn dpkg_is_busy(&self, node: &str) -> bool {
        self.machines.get(node).is_some_and(|machine| {
            let running = |unit: &super::tools::Unit| unit.state == ToolState::Running;
            machine.host.dpkg_interrupted || machine.host.units.values().any(running)
        })
    }

    fn person_at_api(&mut self, fault: &Fault) {
        match fault {
            Fault::Target { node, target } => self.set_target(node, *target),
            Fault::TargetGarbled { node } => {
                self.asks(node, What::TargetSet(None), TARGET, Some("the newest".to_owned()));
            }
            Fault::Retry { node } => {
                self.asks(node, What::Asked, RETRY, Some(self.now.to_string()));
            }
            Fault::SkipChecks { node, checks } => {
                let words: Vec<&str> = checks.iter().map(|check| Check::word(*check)).collect();
                let skips = What::Skips(checks.iter().copied().collect());
                self.asks(node, skips, SKIP_CHECKS, (!words.is_empty()).then(|| words.join(",")));
            }
            Fault::Ignore { node, on } if self.api.stored.nodes.contains_key(node) => {
                self.record(node, What::Ignored(*on));
                self.annotate(node, IGNORE, on.then(|| "true".to_owned()));
            }
            Fault::PersonCordons { node } => self.set_unschedulable(node, true, Who::Person),
            Fault::PersonUncordons { node } => self.set_unschedulable(node, false, Who::Person),
            Fault::LeaseFreed { node } => self.free_lease(node),
            Fault::NotesRemoved { node } => {
                self.annotate(node, FOUND_CORDONED, None);
                self.annotate(node, IN_HAND, None);
            }
            Fault::NodeDeleted { node, .. } => self.delete_node(node),
            // etcd itself refuses to lose its last member.
            Fault::EtcdMemberRemoved { node } if self.api.members.len() > 1 => {
                self.api.members.remove(node);
                self.record(node, What::EtcdMember { healthy: false });
            }
            Fault::Paused { .. } => self.set_policy("paused", Some("true")),
            Fault::PolicyGarbled { .. } => self.set_policy("minReadySeconds", Some("soon")),
            Fault::PolicyGone { .. } => self.replace_policy(None),
            Fault::MinReady { seconds } => self.set_policy("minReadySeconds", Some(&seconds.to_string())),
            _ => {}
        }
    }

    fn asks(&mut self, node: &str, what: What, key: &str, value: Option<String>) {
        self.asked(node);
        if self.api.stored.nodes.contains_key(node) {
            self.record(node, what);
            self.annotate(node, key, value);
        }
    }

    fn asked(&mut self, node: &str) {
        let now = self.now;
        if let Some(machine) = self.machines.get_mut(node) {
            machine.asked_at = now;
        }
    }

    fn set_target(&mut self, node: &str, target: Option<Version>) {
        self.asked(node);
        if self.api.stored.nodes.contains_key(node) {
            self.record(node, What::TargetSet(target));
            self.annotate(node, TARGET, target.map(|target| target.to_string()));
        }
    }

    pub(super) fn set_policy(&mut self, key: &str, value: Option<&str>) {
        let mut policy = self.api.stored.policy.clone().unwrap_or_default();
        match value {
            Some(value) => policy.insert(key.to_owned(), value.to_owned()),
            None => policy.remove(key),
        };
        self.replace_policy(Some(policy));
    }

    pub(super) fn replace_policy(&mut self, policy: Option<BTreeMap<String, String>>) {
        self.api.stored.policy = policy;
        self.api.next_revision();
        self.record_policy();
        self.tell_policy();
    }

    pub(super) fn record_policy(&mut self) {
        let bars = bars_claims(self.api.stored.policy.as_ref());
        self.record(FLEET, What::PolicySet { bars });
    }

    /// `kubectl patch lease`, as the manual says: the holder goes, and whatever else stands there stays.
    fn free_lease(&mut self, node: &str) {
        let holds = |lease: &Lease| {
            lease.state.holder.as_deref().and_then(Holder::parse).is_some_and(|holder| holder.node == node)
        };
        let held: Vec<(LeaseName, LeaseState)> = self
            .api
            .stored
            .leases
            .iter()
            .filter(|(_, lease)| holds(lease))
            .map(|(name, lease)| (*name, lease.state.clone()))
            .collect();
        for (name, state) in held {
            self.set_lease(name, &LeaseState { holder: None, ..state }, &Who::Person);
        }
    }

    /// The Node goes, and with it its pods; its kubelet makes another one at its next start.
    fn delete_node(&mut self, node: &str) {
        if self.api.stored.nodes.remove(node).is_none() {
            return;
        }
        if let Some(machine) = self.machines.get_mut(node) {
            machine.registers = false;
        }
        self.record(node, What::Deleted);
        self.api.stored.mirrors.retain(|(of, _), _| of != node);
        self.api.next_revision();
        let bound = self.api.stored.pods.iter().filter(|(_, pod)| pod.node == node);
        let bound: Vec<String> = bound.map(|(uid, _)| uid.clone()).collect();
        for pod in bound {
            self.later(self.now + COMES_BACK, Happening::PodGone { pod });
        }
        self.tell_node(node);
        self.tell_turn();
    }

    /// The package is purged: the process ends, and its state is gone. What it wrote to the API stays.
    fn agent_purged(&mut self, node: &str) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        machine.purged = true;
        machine.journal = None;
        let copied = !machine.host.copies.is_empty();
        machine.host.copies.clear();
        if copied {
            self.record(node, What::WentWrong { what: COPIES_LOST });
        }
        let Some(machine) = self.machines.get_mut(node) else { return };
        if machine.life.take().is_some() {
            self.record(node, What::AgentDied);
        }
        self.record(node, What::WentWrong { what: MEMORY_LOST });
    }

    pub(super) fn agent_installed(&mut self, node: &str) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        machine.purged = false;
        let (boot, lives) = (machine.host.boot, machine.lives);
        self.later(self.now, Happening::AgentStarts { node: node.to_owned(), boot, lives });
    }
}
