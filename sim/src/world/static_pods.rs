//! Static pods: what the kubelet makes of the manifests.

use upgrade_core::api::Version;
use upgrade_core::oracle::What;

use super::host::{API_SERVER, ETCD};
use super::{Happening, World};

/// How long static pods take to run after their manifest is in place, the API server's readiness with it.
const STARTS: u64 = 5_000;
/// The API server waits for its old port, and for etcd.
const API_SERVER_STARTS: u64 = 20_000;
/// In a minor its old mirror is waited for too: measured were 108 s without an answer, etcd's 44 among them.
const API_SERVER_OF_A_NEW_MINOR_STARTS: u64 = 62_000;
/// etcd's member is away for so long while its manifest changes: the kubelet's removal of the old mirror pod waits for
/// this node's API server, whose etcd is the one that restarts (kubernetes#139502).
const ETCD_STARTS: u64 = 44_000;
/// After a restart by a kubelet of a new minor: the new containers first die on ports still in use.
const ALL_START: u64 = 32_000;
/// After a boot.
const BOOT_STARTS: u64 = 8_000;

fn starts(component: &str, new_minor: bool) -> u64 {
    match component {
        ETCD => ETCD_STARTS,
        API_SERVER if new_minor => API_SERVER_OF_A_NEW_MINOR_STARTS,
        API_SERVER => API_SERVER_STARTS,
        _ => STARTS,
    }
}

impl World {
    /// What a static pod's change looks like from outside.
    pub(super) fn record_static_pod(
        &mut self,
        node: &str,
        component: &'static str,
        version: Option<Version>,
    ) {
        if component == ETCD {
            // A member that was removed answers nobody, though its pod runs.
            let healthy = version.is_some() && self.api.members.contains(node);
            self.record(node, What::EtcdMember { healthy });
        } else {
            self.record(node, What::StaticPod { component, version });
        }
        self.tells_mirrors(node);
    }

    pub(super) fn static_pod_stops(&mut self, node: &str, component: &'static str) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        if machine.host.pods.insert(component, None).flatten().is_some() {
            self.record_static_pod(node, component, None);
        }
    }

    /// A manifest is taken out of its directory.
    pub(super) fn manifest_out(&mut self, node: &str, component: &'static str) {
        if let Some(machine) = self.machines.get_mut(node) {
            machine.host.manifests.remove(component);
        }
        self.static_pod_stops(node, component);
        self.tells_mirrors(node);
    }

    /// A manifest comes to its place; the kubelet starts what it says, if it runs.
    pub(super) fn manifest_in(&mut self, node: &str, component: &'static str, version: Version) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        machine.host.manifests.insert(component, version);
        self.tells_mirrors(node);
        let Some(machine) = self.machines.get_mut(node) else { return };
        let runs = machine.host.pods.get(component).copied().flatten();
        if runs == Some(version) {
            return;
        }
        // Its kubelet comes to that minor later.
        let new_minor = machine.host.kubelet_runs.minor != version.minor;
        let boot = machine.host.boot;
        self.static_pod_stops(node, component);
        let at = self.now + starts(component, new_minor);
        self.later(at, Happening::PodRuns { node: node.to_owned(), boot, component });
    }

    pub(super) fn pod_runs(&mut self, node: &str, boot: u64, component: &'static str) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        let host = &mut machine.host;
        let Some(version) = host.manifests.get(component).copied() else { return };
        if host.boot != boot || !host.powered || host.pods.get(component).copied().flatten().is_some() {
            return;
        }
        if !host.kubelet.active || host.kubelet_crashes(self.now) {
            let again = self.now + STARTS;
            self.later(again, Happening::PodRuns { node: node.to_owned(), boot, component });
            return;
        }
        if component == ETCD {
            if version < host.etcd_data {
                return;
            }
            host.etcd_data = version;
        }
        host.pods.insert(component, Some(version));
        self.record_static_pod(node, component, Some(version));
        if component == "kube-apiserver" || component == ETCD {
            self.schedule_pods();
        }
    }

    /// After a boot the kubelet starts what it finds.
    pub(super) fn static_pods_boot(&mut self, node: &str) {
        self.start_all(node, BOOT_STARTS);
    }

    /// A kubelet of a new minor restarts all of its static pods seconds after it is Ready, though no manifest changed: their
    /// UIDs are hashes of a struct that has changed (kubernetes#116080).
    pub(super) fn restarts_static_pods(&mut self, node: &str, starts: u64) {
        let Some(machine) = self.machines.get(node) else { return };
        let host = &machine.host;
        if !host.powered || !host.kubelet.active || host.starts != starts {
            return;
        }
        let components: Vec<&'static str> = host.manifests.keys().copied().collect();
        for component in components {
            self.static_pod_stops(node, component);
        }
        self.start_all(node, ALL_START);
    }

    fn start_all(&mut self, node: &str, after: u64) {
        let Some(machine) = self.machines.get(node) else { return };
        let boot = machine.host.boot;
        let components: Vec<&'static str> = machine.host.manifests.keys().copied().collect();
        for component in components {
            let node = node.to_owned();
            self.later(self.now + after, Happening::PodRuns { node, boot, component });
        }
    }
}
