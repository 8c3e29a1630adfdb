//! A stand-in for the adapters' preflight: what decides whether an upgrade begins at all.

use std::collections::BTreeSet;

use upgrade_core::act::Ended;
use upgrade_core::job::{Hop, Packages, Verb};
use upgrade_core::preflight::{Check, Finding, Findings, Outcome};
use upgrade_core::seen::{Fact, NodeSeen, Ready};
use upgrade_core::time::Mono;
use upgrade_core::verify::daemon_sets;
use upgrade_core::version::{Version, reachable};

use super::World;
use super::host::package;

impl World {
    pub(super) fn preflight(&self, node: &str, target: Version, at: Mono) -> Ended {
        let (Some(machine), Some(seen)) = (self.machines.get(node), self.api.nodes.get(node)) else {
            return super::machine::transient("the Node does not exist");
        };
        let host = &machine.host;
        let installed = host.version("kubelet").unwrap_or(host.kubelet_runs);
        let reaches = match reachable(installed.max(host.kubelet_runs), target, host.control_plane) {
            Ok(()) => Outcome::Passed(String::new()),
            Err(why) => Outcome::Failed(why.to_string()),
        };
        let behind =
            self.machines.values().filter_map(|machine| machine.host.manifests.get("kube-apiserver"));
        let servers = if !host.control_plane && behind.into_iter().any(|version| *version < target) {
            Outcome::Pending("an API server is older".to_owned())
        } else {
            Outcome::Passed(String::new())
        };
        let ready = match seen.ready {
            Ready::True => Outcome::Passed(String::new()),
            Ready::False | Ready::Unknown => Outcome::Pending("the Node is not Ready".to_owned()),
        };
        let takes_pods =
            |other: &NodeSeen| other.name != node && other.ready == Ready::True && !other.unschedulable;
        let others = if self.api.nodes.values().any(takes_pods) {
            Outcome::Passed(String::new())
        } else {
            Outcome::Pending("no other node can take the pods".to_owned())
        };
        let findings = [
            (Check::Reachable, reaches),
            (Check::ApiServers, servers),
            (Check::NodeReady, ready),
            (Check::OtherNodes, others),
        ];
        let findings = findings.map(|(check, outcome)| Finding { check, outcome }).to_vec();
        let hop = self.hop(node, target);
        Ended::well(vec![Fact::Preflight(Findings { target, at, hop, findings })])
    }

    fn hop(&self, node: &str, target: Version) -> Option<Hop> {
        let host = &self.machines.get(node)?.host;
        let installed = |name: &str| host.packages.get(name).map(|package| package.version.clone());
        let new = package(target)?;
        let from = Packages {
            kubeadm: installed("kubeadm")?,
            kubelet: installed("kubelet")?,
            kubectl: installed("kubectl"),
        };
        let to = Packages { kubeadm: new.clone(), kubelet: new.clone(), kubectl: Some(new) };
        let verb = if host.control_plane { Verb::Apply } else { Verb::NodeWorker };
        let daemon_sets = daemon_sets(&self.pods_of(node, Mono(0)).pods);
        Some(Hop { from, to, verb, target, way_back: true, daemon_sets, csi_drivers: BTreeSet::new() })
    }
}
