//! Whether a node serves again at its target (design section 4): everything `verifying` wants.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::memory::Plan;
use crate::observed::{HostSeen, NodeSeen, PodSeen, PodsSeen, Ready, UnitSeen};
use crate::time::{Mono, Now};

/// How long a node must have served before it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How long kubelet must have run without another restart.
    pub soak: Duration,
    /// The fleet's `minReadySeconds`.
    pub min_ready: Duration,
}

impl Patience {
    /// How long kubelet must have run.
    pub fn wanted(self) -> Duration {
        self.soak.max(self.min_ready)
    }
}

/// What the Node object still lacks, judged without asking anybody else.
pub fn node_lacks(
    plan: &Plan,
    node: &NodeSeen,
    kubelet: &UnitSeen,
    clock_set_at: Option<Mono>,
    now: Now,
) -> Option<String> {
    if node.kubelet != Some(plan.target) {
        let reports = node.kubelet.map_or_else(|| "no release".to_owned(), |version| version.to_string());
        let newer = node.kubelet.filter(|version| *version > plan.target);
        let way_out = newer.map_or_else(String::new, |version| {
            format!(": set the target to {version}, which somebody installed")
        });
        return Some(format!("kubelet reports {reports}, not {}{way_out}", plan.target));
    }
    if node.ready != Ready::True {
        return Some("the Node is not Ready".to_owned());
    }
    let told = node.has_told_since(kubelet.since, clock_set_at, now);
    (!told).then(|| "the Node's Ready is older than kubelet's restart".to_owned())
}

/// What kubelet's unit still lacks: active, and not restarted for the soak time.
pub fn unit_lacks(kubelet: &UnitSeen, patience: Patience, now: Now) -> Option<String> {
    if !kubelet.active {
        return Some("kubelet.service is not active".to_owned());
    }
    let runs = now.mono.since(kubelet.since);
    let wanted = patience.wanted();
    (runs < wanted).then(|| format!("kubelet has run for {} s of {} s", runs.as_secs(), wanted.as_secs()))
}

/// What the pods of this node still lack: DaemonSet pods that were Ready, and still are to run here, Ready by an observation that
/// says something of the time after kubelet's restart; CSI drivers that were registered, and still run here, registered.
pub fn pods_lack(plan: &Plan, seen: &PodsSeen, host: &HostSeen) -> Option<String> {
    let wanted = |name: &&String| seen.pods.iter().any(|pod| daemon_set(pod).as_ref() == Some(*name));
    let ready: BTreeSet<String> = seen
        .pods
        .iter()
        .filter(|pod| is_ready_since(pod, host.kubelet.since, seen.at))
        .filter_map(daemon_set)
        .collect();
    let missing: Vec<&str> = plan.daemon_sets.difference(&ready).filter(wanted).map(String::as_str).collect();
    if !missing.is_empty() {
        return Some(format!("DaemonSet pods are not Ready again: {}", missing.join(", ")));
    }
    let runs =
        |driver: &&String| host.plugin_sockets.iter().any(|socket| socket.starts_with(driver.as_str()));
    let missing: Vec<&str> =
        plan.csi_drivers.difference(&seen.csi_drivers).filter(runs).map(String::as_str).collect();
    (!missing.is_empty()).then(|| format!("CSI drivers are not registered again: {}", missing.join(", ")))
}

/// Since Kubernetes 1.35 a kubelet carries what it knew of a pod over its restart, until the pod's probes have had their time.
fn is_ready_since(pod: &PodSeen, restart: Mono, observed: Mono) -> bool {
    pod.ready && pod.deletion.is_none() && observed.since(restart) >= pod.probes_settle
}

/// The DaemonSet a pod is of, as `namespace/name`.
fn daemon_set(pod: &PodSeen) -> Option<String> {
    let owner = pod.controller.as_ref().filter(|owner| owner.kind == "DaemonSet")?;
    pod.deletion.is_none().then(|| format!("{}/{}", pod.namespace, owner.name))
}

/// DaemonSets that have a pod here, Ready or not, as `namespace/name`.
pub fn all_daemon_sets(pods: &[PodSeen]) -> BTreeSet<String> {
    pods.iter().filter_map(daemon_set).collect()
}

/// DaemonSets that have a Ready pod here, as `namespace/name`.
pub fn daemon_sets(pods: &[PodSeen]) -> BTreeSet<String> {
    pods.iter().filter(|pod| pod.ready).filter_map(daemon_set).collect()
}

#[cfg(test)]
mod tests;
