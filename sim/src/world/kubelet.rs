//! Kubelets, the node controller, and hosts that lose their power.

use upgrade_core::oracle::What;
use upgrade_core::seen::{Ready, ToolState};
use upgrade_core::version::Version;

use super::{Happening, World};

/// A kubelet writes its status so long after its start.
const FIRST_STATUS: u64 = 2_000;
/// And then so often, if nothing changes.
const STATUS_PACE: u64 = 300_000;
/// The node controller gives a silent kubelet so long.
const GRACE: u64 = 40_000;

impl World {
    /// Starts kubelet from what is installed.
    pub(super) fn restart_kubelet(&mut self, node: &str) {
        let since = self.unix();
        let Some(machine) = self.machines.get_mut(node) else { return };
        let host = &mut machine.host;
        if !host.powered {
            return;
        }
        host.starts += 1;
        host.kubelet.active = true;
        host.kubelet.since = since;
        host.kubelet.invocation = host.starts.to_string();
        host.kubelet_runs = host.version("kubelet").unwrap_or(host.kubelet_runs);
        machine.unreported = true;
        let starts = host.starts;
        self.record(node, What::KubeletRestarted);
        self.later(self.now + FIRST_STATUS, Happening::Kubelet { node: node.to_owned(), starts });
    }

    /// A kubelet writes its status, if it can; if it cannot, it tries again soon.
    pub(super) fn kubelet(&mut self, node: &str, starts: u64) {
        let now = self.now;
        let reaches = self.reaches_api(node);
        let Some(machine) = self.machines.get(node) else { return };
        let host = &machine.host;
        if !host.powered || !host.kubelet.active || host.starts != starts {
            return;
        }
        let sick = host.sick_until > now;
        let version = host.kubelet_runs;
        if reaches {
            self.register(node);
            self.set_ready(node, if sick { Ready::False } else { Ready::True }, version);
        }
        let again = if reaches { STATUS_PACE } else { 5_000 };
        self.later(now + again, Happening::Kubelet { node: node.to_owned(), starts });
    }

    /// Makes a kubelet write its status now, because something about it changed.
    pub(super) fn kubelet_changed(&mut self, node: &str) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        let starts = machine.host.starts;
        self.later(self.now + 500, Happening::Kubelet { node: node.to_owned(), starts });
    }

    /// Nobody hears of the kubelet from now on: the node controller says so after a while.
    pub(super) fn kubelet_is_silent(&mut self, node: &str) {
        self.later(self.now + GRACE, Happening::Controller { node: node.to_owned() });
    }

    pub(super) fn controller(&mut self, node: &str) {
        let silent = self.machines.get(node).is_some_and(|machine| {
            !machine.host.powered || !machine.host.kubelet.active || machine.cut_off_until > self.now
        });
        let Some(kubelet) = self.api.nodes.get(node).and_then(|seen| seen.kubelet) else { return };
        let stale = self.api.nodes.get(node).is_some_and(|seen| self.unix().since(seen.heartbeat) >= 39);
        if !silent || !stale || !self.serves_api() {
            return;
        }
        let unreported = self.machines.get(node).is_some_and(|machine| machine.unreported);
        let heartbeat = self.api.nodes.get(node).map(|seen| seen.heartbeat).unwrap_or_default();
        self.set_ready(node, Ready::Unknown, kubelet);
        self.change_node(node, |seen| seen.heartbeat = heartbeat);
        if let Some(machine) = self.machines.get_mut(node) {
            machine.unreported = unreported;
        }
    }

    pub(super) fn power_cut(&mut self, node: &str, boot_after: u64) {
        let Some(machine) = self.machines.get_mut(node).filter(|machine| machine.host.powered) else {
            return;
        };
        let running = machine.host.units.values().filter(|unit| unit.state == ToolState::Running);
        let died: Vec<&'static str> = running.map(|unit| unit.word).collect();
        machine.host.cut();
        let boot = machine.host.boot;
        let lived = machine.life.take().is_some();
        for tool in died {
            self.record(node, What::ToolEnded { tool, ok: false });
        }
        if lived {
            self.record(node, What::AgentDied);
        }
        self.kubelet_is_silent(node);
        self.later(self.now + boot_after, Happening::Boots { node: node.to_owned(), boot });
    }

    pub(super) fn boots(&mut self, node: &str, boot: u64) {
        let Some(machine) = self.machines.get_mut(node).filter(|machine| machine.host.boot == boot) else {
            return;
        };
        machine.host.powered = true;
        let lives = machine.lives;
        let manifests: Vec<_> =
            machine.host.manifests.iter().map(|(name, version)| (*name, *version)).collect();
        self.record(node, What::Booted);
        self.restart_kubelet(node);
        for (component, version) in manifests {
            let node = node.to_owned();
            self.later(self.now + 8_000, Happening::PodRuns { node, boot, component, version });
        }
        self.later(self.now + 3_000, Happening::AgentStarts { node: node.to_owned(), boot, lives });
    }

    pub(super) fn pod_runs(&mut self, node: &str, boot: u64, component: &'static str, version: Version) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        let host = &mut machine.host;
        let stands = host.boot == boot && host.powered && host.manifests.get(component) == Some(&version);
        if !stands || host.pods.get(component) == Some(&Some(version)) {
            return;
        }
        host.pods.insert(component, Some(version));
        if component == "kube-apiserver" {
            self.record(node, What::StaticPod { component, version: Some(version) });
            self.schedule_pods();
        }
    }
}
