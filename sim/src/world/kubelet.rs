//! Kubelets, the node controller, and hosts that lose their power.

use upgrade_core::api::Version;
use upgrade_core::observed::{Ready, ToolState};
use upgrade_core::oracle::What;

use super::api::{DAEMON_SET, Node};
use super::{Happening, World};
use crate::fault::{FOR_EVER, Identity};

/// A kubelet writes its status so long after its start.
const FIRST_STATUS: u64 = 2_000;
/// And looks so often whether something has changed, renewing its own Lease.
const PACE: u64 = 10_000;
/// It writes its status at least so often.
const STATUS_PACE: u64 = 300_000;
/// The node controller gives a silent kubelet so long.
const GRACE: u64 = 40_000;
/// A kubelet that cannot run ends so soon after its start, and systemd starts it again so much later.
const ENDS: u64 = 1_500;
const STARTED_AGAIN: u64 = 10_000;
/// A kubelet of a new minor restarts its static pods so long after it is Ready.
const STATIC_PODS_RESTART: u64 = 3_000;

impl World {
    /// Starts kubelet from what is installed.
    pub(super) fn restart_kubelet(&mut self, node: &str) {
        let now = self.now;
        let Some(machine) = self.machines.get_mut(node) else { return };
        let host = &mut machine.host;
        if !host.powered {
            return;
        }
        host.starts += 1;
        host.kubelet.active = true;
        host.kubelet.since = host.mono(now);
        host.kubelet.invocation = host.starts.to_string();
        let installed = host.version("kubelet").unwrap_or(host.kubelet_runs);
        host.new_minor |= installed.minor != host.kubelet_runs.minor;
        host.kubelet_runs = installed;
        machine.unreported = true;
        let (starts, crashes) = (host.starts, host.kubelet_crashes(now));
        self.record(node, What::KubeletRestarted);
        let node = node.to_owned();
        if crashes {
            self.later(now + ENDS, Happening::KubeletEnds { node, starts });
        } else {
            self.later(now + FIRST_STATUS, Happening::Kubelet { node: node.clone(), starts });
            self.later(now + self.setup.probed, Happening::Probes { node, starts });
        }
    }

    /// It has ended; or it had, and systemd starts it once more.
    pub(super) fn kubelet_ends(&mut self, node: &str, starts: u64) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        let host = &mut machine.host;
        if !host.powered || host.starts != starts {
            return;
        }
        if std::mem::replace(&mut host.kubelet.active, false) {
            self.later(self.now + STARTED_AGAIN, Happening::KubeletEnds { node: node.to_owned(), starts });
        } else {
            self.restart_kubelet(node);
        }
    }

    /// A kubelet renews its Lease and writes its status where something has changed; if it cannot, it tries again.
    pub(super) fn kubelet(&mut self, node: &str, starts: u64) {
        let now = self.now;
        let Some(machine) = self.machines.get(node) else { return };
        let host = &machine.host;
        if !host.powered || !host.kubelet.active || host.starts != starts {
            return;
        }
        let ready = if host.sick_until > now { Ready::False } else { Ready::True };
        let version = host.kubelet_runs;
        if self.reaches(node, Identity::Kubelet) {
            self.api.heard.insert(node.to_owned(), now);
            self.register(node);
            self.mirrors(node);
            if self.has_something_to_say(node, ready, version) {
                self.write_status(node, ready, version);
            }
            if let Some(machine) = self.machines.get_mut(node)
                && ready == Ready::True
                && std::mem::take(&mut machine.host.new_minor)
            {
                let at = now + STATIC_PODS_RESTART;
                self.later(at, Happening::RestartsStaticPods { node: node.to_owned(), starts });
            }
        }
        self.later(now + PACE, Happening::Kubelet { node: node.to_owned(), starts });
    }

    fn has_something_to_say(&self, node: &str, ready: Ready, version: Version) -> bool {
        let Some((machine, seen)) = self.machines.get(node).zip(self.api.stored.nodes.get(node)) else {
            return false;
        };
        // It counts by a clock that nobody sets.
        let long_ago = self.now - machine.reported_at >= STATUS_PACE;
        machine.unreported || long_ago || seen.ready != ready || seen.kubelet != Some(version)
    }

    fn write_status(&mut self, node: &str, ready: Ready, version: Version) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        // A heartbeat that says what was said before is no event.
        let restarted = std::mem::take(&mut machine.unreported);
        machine.reported_at = self.now;
        let heartbeat = machine.host.clock.shows(self.now);
        let before = self.api.stored.nodes.get(node).map(|seen| (seen.ready == Ready::True, seen.kubelet));
        if restarted || before != Some((ready == Ready::True, Some(version))) {
            self.record(node, What::Ready { ready: ready == Ready::True, kubelet: version });
        }
        self.change_node(node, |seen| {
            seen.ready = ready;
            seen.kubelet = Some(version);
            seen.heartbeat = heartbeat;
        });
        if ready == Ready::True {
            self.pods_are_ready(node, true);
        }
        self.schedule_pods();
    }

    fn pods_are_ready(&mut self, node: &str, ready: bool) {
        let own = self.api.stored.pods.values_mut().filter(|pod| pod.node == node);
        own.filter(|pod| pod.seen.deletion.is_none()).for_each(|pod| pod.seen.ready = ready);
    }

    /// A kubelet that finds no Node of its name makes one.
    fn register(&mut self, node: &str) {
        if self.api.stored.nodes.contains_key(node) {
            return;
        }
        let Some(machine) = self.machines.get_mut(node).filter(|machine| machine.registers) else { return };
        machine.recreated += 1;
        let (control_plane, times) = (machine.host.control_plane, machine.recreated);
        let uid = format!("{node}-uid-{times}");
        let version = self.api.next_revision().to_string();
        let new = Node {
            name: node.to_owned(),
            uid: uid.clone(),
            resource_version: version,
            ready: Ready::False,
            control_plane,
            ..Node::default()
        };
        self.api.stored.nodes.insert(node.to_owned(), new);
        self.api.stored.sockets.insert(node.to_owned());
        self.record(node, What::Joined { control_plane, uid });
        self.tell_node(node);
        self.tell_turn();
    }

    /// Makes a kubelet write its status now, because something about it changed.
    pub(super) fn kubelet_changed(&mut self, node: &str) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        machine.unreported = true;
    }

    /// Containers are probed anew: only now the kubelet says what is.
    pub(super) fn probes(&mut self, node: &str, starts: u64) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        let host = &mut machine.host;
        if !host.powered || !host.kubelet.active || host.starts != starts {
            return;
        }
        host.daemon_pod_told = host.daemon_pods_sick_until <= self.now;
        let ready = Some(host.daemon_pod_told).filter(|_| self.api.stored.daemon_set);
        self.record(node, What::DaemonPod { daemon_set: DAEMON_SET.to_owned(), ready });
    }

    /// The node controller looks at one node, as long as there is an API server to look at it through.
    pub(super) fn controller(&mut self, node: &str) {
        let now = self.now;
        self.later(now + PACE, Happening::Controller { node: node.to_owned() });
        if !self.serves_api() {
            // Nobody could be heard: everybody is given the whole time anew.
            self.api.heard.insert(node.to_owned(), now);
            return;
        }
        let silent_since = self.api.heard.get(node).copied().unwrap_or_default();
        let Some(seen) = self.api.stored.nodes.get(node) else { return };
        if now.saturating_sub(silent_since) < GRACE || seen.ready == Ready::Unknown {
            return;
        }
        let Some(kubelet) = seen.kubelet else { return };
        self.record(node, What::Ready { ready: false, kubelet });
        self.change_node(node, |seen| seen.ready = Ready::Unknown);
        // And with the node its pods are no longer Ready.
        self.pods_are_ready(node, false);
    }

    pub(super) fn power_cut(&mut self, node: &str, boot_after: u64) {
        let Some(machine) = self.machines.get_mut(node).filter(|machine| machine.host.powered) else {
            return;
        };
        let running = machine.host.units.values().filter(|unit| unit.state == ToolState::Running);
        let died: Vec<&'static str> = running.map(|unit| unit.word).collect();
        machine.host.cut();
        machine.kubeadm_waits.clear();
        let boot = machine.host.boot;
        let lived = machine.life.take().is_some();
        let pods: Vec<&'static str> = machine.host.pods.keys().copied().collect();
        for tool in died {
            self.record(node, What::ToolEnded { tool, ok: false });
        }
        if lived {
            self.record(node, What::AgentDied);
        }
        for component in pods {
            self.static_pod_stops(node, component);
        }
        if boot_after != FOR_EVER {
            self.later(self.now + boot_after, Happening::Boots { node: node.to_owned(), boot });
        }
    }

    pub(super) fn boots(&mut self, node: &str, boot: u64) {
        let Some(machine) = self.machines.get_mut(node).filter(|machine| machine.host.boot == boot) else {
            return;
        };
        machine.host.powered = true;
        machine.host.booted_at = self.now;
        let (lives, installed) = (machine.lives, !machine.purged);
        self.record(node, What::Booted);
        self.restart_kubelet(node);
        self.static_pods_boot(node);
        if installed {
            let at = self.now + 3_000;
            self.later(at, Happening::AgentStarts { node: node.to_owned(), boot, lives });
        }
    }
}
