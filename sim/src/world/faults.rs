//! Faults striking and ending.

use std::collections::BTreeMap;

use upgrade_core::oracle::{CUT_OFF, FLEET, MEMORY_LOST, What};

use super::api::DAEMON_SET;
use super::host::ETCD;
use super::{Happening, World};
use crate::fault::{FOR_EVER, Fault, Identity};

/// The word for a disk without room.
const DISK_FULL: &str = "disk full";

impl World {
    pub(super) fn strikes(&mut self, fault: &Fault) {
        if self.must_come_back(fault) {
            return self.comes_back(fault);
        }
        let until = fault.ends_after().map_or(FOR_EVER, |lasts| self.now + lasts);
        match fault {
            Fault::Kill { node, restart } => self.kill(node, *restart),
            Fault::PowerCut { node, boot } => self.power_cut(node, *boot),
            Fault::JournalLost { node } => self.journal_lost(node),
            Fault::Outage { .. } | Fault::EtcdRestored => {
                self.api.down_until = self.api.down_until.max(until);
                self.names().iter().for_each(|name| self.cuts_drain_off(name));
            }
            Fault::EtcdBackedUp => self.api.back_up(),
            Fault::BudgetBlocks { .. } => self.api.blocked_until = until,
            Fault::EvictionsDenied { .. } => self.api.denied_until = until,
            Fault::DaemonSetDeleted => self.daemon_set_deleted(),
            Fault::VersionWithdrawn { version } => {
                self.api.offered.remove(version);
                self.record(FLEET, What::Withdrawn { version: *version });
            }
            fault => self.at_a_host_or_by_a_person(fault, until),
        }
        if fault.ends_after().is_some_and(|lasts| lasts > 0) {
            self.later(until, Happening::Over(Box::new(fault.clone())));
        }
    }

    fn at_a_host_or_by_a_person(&mut self, fault: &Fault, until: u64) {
        match fault {
            Fault::DiskFull { node, .. }
            | Fault::ClockJumps { node, .. }
            | Fault::ClockDrifts { node, .. }
            | Fault::WatchLag { node, .. }
            | Fault::WatchSilent { node, .. }
            | Fault::LostAnswers { node, .. }
            | Fault::Partition { node, .. }
            | Fault::CredentialFails { node, .. }
            | Fault::HeartbeatFails { node, .. } => self.connection_fault(node, fault, until),
            Fault::EtcdMemberSick { node, .. }
            | Fault::StaticPodSick { node, .. }
            | Fault::KubeletSick { node, .. }
            | Fault::KubeletCrashLoops { node, .. }
            | Fault::DaemonPodsSick { node, .. }
            | Fault::CsiDriverGone { node }
            | Fault::ToolFails { node, .. }
            | Fault::RepositoryDown { node, .. }
            | Fault::ForeignPackageBroken { node } => self.host_fault(node, fault, until),
            person => self.person(person),
        }
    }

    fn journal_lost(&mut self, node: &str) {
        if let Some(machine) = self.machines.get_mut(node) {
            machine.journal = None;
        }
        self.record(node, What::WentWrong { what: MEMORY_LOST });
        self.kill(node, 2_000);
    }

    fn connection_fault(&mut self, node: &str, fault: &Fault, until: u64) {
        let now = self.now;
        let Some(machine) = self.machines.get_mut(node) else { return };
        match fault {
            Fault::DiskFull { .. } => machine.host.disk_full_until = until,
            Fault::ClockJumps { seconds, .. } => machine.host.clock.jump(*seconds),
            Fault::ClockDrifts { ppm, .. } => machine.host.clock.drift(*ppm, now),
            Fault::WatchLag { lag, .. } => {
                machine.lag = *lag;
                machine.lag_until = until;
            }
            Fault::WatchSilent { .. } => machine.silent_until = until,
            Fault::LostAnswers { .. } => machine.mute_until = until,
            Fault::Partition { .. } => machine.cut_off_until = until,
            Fault::CredentialFails { identity, .. } => {
                machine.refused_until.insert(*identity, until);
            }
            Fault::HeartbeatFails { .. } => machine.heartbeats_fail_until = until,
            _ => {}
        }
        match fault {
            Fault::DiskFull { .. } => self.record(node, What::WentWrong { what: DISK_FULL }),
            Fault::Partition { .. } | Fault::CredentialFails { identity: Identity::Kubelet, .. } => {
                self.record(node, What::WentWrong { what: CUT_OFF });
            }
            _ => {}
        }
    }

    fn host_fault(&mut self, node: &str, fault: &Fault, until: u64) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        let host = &mut machine.host;
        match fault {
            Fault::EtcdMemberSick { .. } => {
                host.pods_sick_until.insert(ETCD, until);
                self.static_pod_changed(node, ETCD);
            }
            Fault::StaticPodSick { component, .. } => {
                host.pods_sick_until.insert(component, until);
                self.static_pod_changed(node, component);
            }
            Fault::KubeletSick { .. } => {
                host.sick_until = until;
                machine.unreported = true;
            }
            Fault::KubeletCrashLoops { version, .. } => {
                host.crash_loops = (*version, until);
                if host.kubelet_crashes(self.now) && host.kubelet.active {
                    let starts = host.starts;
                    let node = node.to_owned();
                    self.later(self.now, Happening::KubeletEnds { node, starts });
                }
            }
            Fault::DaemonPodsSick { .. } => {
                host.daemon_pods_sick_until = until;
                self.probe_soon(node);
            }
            Fault::CsiDriverGone { .. } => host.csi_driver = false,
            Fault::ToolFails { tool, times, how, .. } => {
                host.failures.insert(tool, (*times, *how));
            }
            Fault::RepositoryDown { .. } => host.repository_down_until = until,
            Fault::ForeignPackageBroken { .. } => {
                host.foreign_broken = true;
                self.record(node, What::WentWrong { what: "a foreign package is half configured" });
            }
            _ => {}
        }
    }

    fn probe_soon(&mut self, node: &str) {
        let Some(machine) = self.machines.get(node) else { return };
        let starts = machine.host.starts;
        self.later(self.now, Happening::Probes { node: node.to_owned(), starts });
    }

    fn static_pod_changed(&mut self, node: &str, component: &'static str) {
        let Some(machine) = self.machines.get(node) else { return };
        let runs = machine.host.pods.get(component).copied().flatten();
        let shown = runs.filter(|_| machine.host.runs(component, self.now));
        self.record_static_pod(node, component, shown);
    }

    fn daemon_set_deleted(&mut self) {
        self.api.stored.daemon_set = false;
        for name in self.names() {
            self.record(&name, What::DaemonPod { daemon_set: DAEMON_SET.to_owned(), ready: None });
        }
    }

    /// A fault that lasted is over.
    fn put_right_again(&mut self, node: &str) {
        let Some(machine) = self.machines.get(node) else { return };
        let refused = machine.refused_until.get(&Identity::Kubelet).is_some_and(|until| *until > self.now);
        if machine.cut_off_until <= self.now && !refused {
            self.record(node, What::PutRight { what: CUT_OFF });
        }
    }

    fn is_disk_full(&self, node: &str) -> bool {
        self.machines.get(node).is_some_and(|machine| machine.host.disk_full_until > self.now)
    }

    pub(super) fn over(&mut self, fault: &Fault) {
        match fault {
            Fault::Paused { .. } => self.set_policy("paused", None),
            Fault::PolicyGarbled { .. } => self.set_policy("minReadySeconds", None),
            Fault::PolicyGone { .. } => self.replace_policy(Some(BTreeMap::new())),
            Fault::KubeletSick { node, .. } | Fault::KubeletCrashLoops { node, .. } => {
                self.kubelet_changed(node);
            }
            Fault::Partition { node, .. } => {
                self.put_right_again(node);
                self.lists_node(node);
                self.tell_turn();
            }
            Fault::WatchSilent { node, .. } => {
                self.lists_node(node);
                self.tell_turn();
            }
            Fault::CredentialFails { node, identity: Identity::Kubelet, .. } => self.put_right_again(node),
            Fault::DaemonPodsSick { node, .. } => self.probe_soon(node),
            Fault::DiskFull { node, .. } if !self.is_disk_full(node) => {
                self.record(node, What::PutRight { what: DISK_FULL });
            }
            Fault::EtcdMemberSick { node, .. } => self.static_pod_changed(node, ETCD),
            Fault::StaticPodSick { node, component, .. } => self.static_pod_changed(node, component),
            Fault::NodeDeleted { node, .. } => {
                if let Some(machine) = self.machines.get_mut(node) {
                    machine.registers = true;
                }
                self.restart_kubelet(node);
            }
            Fault::AgentPurged { node, .. } => self.agent_installed(node),
            Fault::EtcdRestored => self.restored(),
            Fault::Outage { .. } => {
                for name in self.names() {
                    self.mirrors(&name);
                    self.lists_node(&name);
                }
                self.tell_turn();
                self.later(self.now, Happening::Schedules);
            }
            _ => {}
        }
    }
}
