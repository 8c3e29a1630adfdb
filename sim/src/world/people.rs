//! Faults striking and ending, and what other people do.

use upgrade_core::job::Holder;
use upgrade_core::oracle::{MEMORY_LOST, What, Who};
use upgrade_core::request::{RETRY, TARGET};
use upgrade_core::seen::{NodeSeen, PackageSeen, Ready, ToolState};
use upgrade_core::version::Version;

use super::api::Lease;
use super::host::package;
use super::{Fault, Happening, World};

impl World {
    pub(super) fn strikes(&mut self, fault: &Fault) {
        let until = self.now + fault.lasts();
        match fault {
            Fault::Kill { node, restart } => self.kill(node, *restart),
            Fault::PowerCut { node, boot } => self.power_cut(node, *boot),
            Fault::JournalLost { node } => {
                if let Some(machine) = self.machines.get_mut(node) {
                    machine.journal = None;
                }
                self.record(node, What::WentWrong { what: MEMORY_LOST });
                self.kill(node, 2_000);
                self.free_orphan(node);
            }
            Fault::Outage { .. } => self.api.down_until = until,
            Fault::BudgetBlocks { .. } => self.api.blocked_until = until,
            Fault::Paused { .. } => {
                self.api.policy.paused = true;
                self.tell_policy();
            }
            Fault::WatchLag { .. }
            | Fault::LostAnswers { .. }
            | Fault::Partition { .. }
            | Fault::KubeletSick { .. }
            | Fault::ToolFails { .. } => self.machine_fault(fault, until),
            _ => self.person(fault),
        }
        if fault.lasts() > 0 {
            self.later(until, Happening::Over(Box::new(fault.clone())));
        }
    }

    fn machine_fault(&mut self, fault: &Fault, until: u64) {
        let (Fault::WatchLag { node, .. }
        | Fault::LostAnswers { node, .. }
        | Fault::Partition { node, .. }
        | Fault::KubeletSick { node, .. }
        | Fault::ToolFails { node, .. }) = fault
        else {
            return;
        };
        let Some(machine) = self.machines.get_mut(node) else { return };
        match fault {
            Fault::WatchLag { lag, .. } => {
                machine.lag = *lag;
                machine.lag_until = until;
            }
            Fault::LostAnswers { .. } => machine.mute_until = until,
            Fault::Partition { .. } => {
                machine.cut_off_until = until;
                self.kubelet_is_silent(node);
            }
            Fault::KubeletSick { .. } => {
                machine.host.sick_until = until;
                self.kubelet_changed(node);
            }
            Fault::ToolFails { tool, times, late, .. } => {
                machine.host.failures.insert(tool, (*times, *late));
            }
            _ => {}
        }
    }

    /// A fault that lasted is over.
    pub(super) fn over(&mut self, fault: &Fault) {
        match fault {
            Fault::Paused { .. } => {
                self.api.policy.paused = false;
                self.tell_policy();
            }
            Fault::KubeletSick { node, .. } | Fault::Partition { node, .. } => {
                self.kubelet_changed(node);
                self.tell_node(node);
            }
            Fault::NodeDeleted { node, .. } => self.restart_kubelet(node),
            Fault::Outage { .. } => {
                for name in self.names() {
                    self.tell_node(&name);
                }
                self.tell_turn();
                self.later(self.now, Happening::Schedules);
            }
            _ => {}
        }
    }

    fn person(&mut self, fault: &Fault) {
        match fault {
            Fault::ByHand { node, .. } if self.dpkg_is_busy(node) => self.comes_back(fault),
            Fault::ByHand { node, version } => self.by_hand(node, *version),
            _ if !self.serves_api() => self.comes_back(fault),
            _ => self.person_at_api(fault),
        }
    }

    /// Who finds no API server, or dpkg locked, comes back a little later.
    fn comes_back(&mut self, fault: &Fault) {
        self.calm_from = self.calm_from.max(self.now + 5_000);
        self.later(self.now + 5_000, Happening::Strikes(Box::new(fault.clone())));
    }

    fn dpkg_is_busy(&self, node: &str) -> bool {
        self.machines.get(node).is_some_and(|machine| {
            let running = |unit: &super::host::Unit| unit.state == ToolState::Running;
            machine.host.dpkg_interrupted || machine.host.units.values().any(running)
        })
    }

    fn person_at_api(&mut self, fault: &Fault) {
        match fault {
            Fault::Target { node, target } => self.set_target(node, *target),
            Fault::Retry { node } => {
                let value = self.now.to_string();
                self.record(node, What::Asked);
                self.change_node(node, |seen| {
                    seen.annotations.insert(RETRY.to_owned(), value);
                });
            }
            Fault::PersonCordons { node } => self.set_unschedulable(node, true, Who::Person),
            Fault::PersonUncordons { node } => {
                self.set_unschedulable(node, false, Who::Person);
                self.schedule_pods();
            }
            Fault::LeaseFreed { node } => self.free_lease(node),
            Fault::NodeDeleted { node, .. } => self.delete_node(node),
            _ => {}
        }
    }

    fn delete_node(&mut self, node: &str) {
        if self.api.nodes.remove(node).is_some() {
            self.record(node, What::Deleted);
            self.api.revision += 1;
            self.tell_node(node);
            self.tell_turn();
        }
    }

    fn set_target(&mut self, node: &str, target: Option<Version>) {
        if !self.api.nodes.contains_key(node) {
            return;
        }
        self.record(node, What::TargetSet(target));
        self.change_node(node, |seen| match target {
            Some(target) => {
                seen.annotations.insert(TARGET.to_owned(), target.to_string());
            }
            None => {
                seen.annotations.remove(TARGET);
            }
        });
    }

    fn free_lease(&mut self, node: &str) {
        let holds =
            |lease: &Lease| lease.holder.as_deref().and_then(Holder::parse).is_some_and(|h| h.node == node);
        let held = self.api.leases.iter().find(|(_, lease)| holds(lease)).map(|(name, _)| *name);
        if let Some(name) = held {
            self.set_lease(name, &Lease::default(), &Who::Person);
        }
    }

    /// Rule 12 leaves a Lease alone whose holder is an earlier Node of this name: where the journal is lost too nobody knows
    /// of the job any more, and people do as `docs/usage.md` says.
    fn free_orphan(&mut self, node: &str) {
        let forgotten = self.machines.get(node).is_some_and(|machine| machine.journal.is_none());
        let Some(uid) = self.api.nodes.get(node).map(|node| node.uid.clone()).filter(|_| forgotten) else {
            return;
        };
        let earlier = |lease: &Lease| {
            let holder = lease.holder.as_deref().and_then(Holder::parse);
            holder.is_some_and(|holder| holder.node == node && holder.uid != uid)
        };
        if self.api.leases.values().any(earlier) {
            self.person(&Fault::LeaseFreed { node: node.to_owned() });
        }
    }

    fn by_hand(&mut self, node: &str, version: Version) {
        let Some(new) = package(version) else { return };
        let Some(machine) = self.machines.get_mut(node).filter(|machine| machine.host.powered) else {
            return;
        };
        let older = |name: &str| machine.host.version(name).is_some_and(|installed| installed < version);
        let names: Vec<&str> =
            ["kubeadm", "kubelet", "kubectl"].into_iter().filter(|name| older(name)).collect();
        for name in &names {
            let seen = PackageSeen { version: new.clone(), configured: true, held: true };
            machine.host.packages.insert((*name).to_owned(), seen);
        }
        for name in &names {
            let (package, version) = ((*name).to_owned(), new.clone());
            self.record(node, What::PackageInstalled { package, version, by: Who::Person });
        }
        if names.contains(&"kubelet") {
            self.restart_kubelet(node);
        }
    }

    /// A kubelet that finds no Node of its name makes one.
    pub(super) fn register(&mut self, node: &str) {
        if self.api.nodes.contains_key(node) {
            return;
        }
        let Some(machine) = self.machines.get_mut(node) else { return };
        machine.recreated += 1;
        let (control_plane, times) = (machine.host.control_plane, machine.recreated);
        let new = NodeSeen {
            name: node.to_owned(),
            uid: format!("{node}-uid-{times}"),
            ready: Ready::False,
            control_plane,
            ..NodeSeen::default()
        };
        let uid = new.uid.clone();
        self.api.nodes.insert(node.to_owned(), new);
        self.record(node, What::Joined { control_plane, uid });
        self.tell_node(node);
        self.free_orphan(node);
    }
}
