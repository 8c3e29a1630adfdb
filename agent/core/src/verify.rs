//! Whether a node serves again at its target (design section 4): everything `verifying` wants.

use std::collections::BTreeSet;

use crate::job::Hop;
use crate::seen::{HostSeen, LocalControlPlane, NodeSeen, PodSeen, PodsSeen, Ready};
use crate::time::{Now, Unix};
use crate::version::Version;

/// The static pods of a kubeadm control plane that carry the Kubernetes version.
pub const STATIC_PODS: [&str; 3] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];

/// How long a node must have served before it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Seconds kubelet must have run without another restart.
    pub soak: u64,
    /// The fleet's `minReadySeconds`.
    pub min_ready: u64,
}

/// What the Node object still lacks, judged without asking anybody else.
pub fn node_lacks(hop: &Hop, node: &NodeSeen, kubelet_since: Unix) -> Option<String> {
    if node.kubelet != Some(hop.target) {
        let reports = node.kubelet.map_or_else(|| "no release".to_owned(), |version| version.to_string());
        return Some(format!("kubelet reports {reports}, not {}", hop.target));
    }
    if node.ready != Ready::True {
        return Some("the Node is not Ready".to_owned());
    }
    (node.heartbeat < kubelet_since).then(|| "the Node's Ready is older than kubelet's restart".to_owned())
}

/// What kubelet's unit still lacks: active, and not restarted for the soak time.
pub fn unit_lacks(host: &HostSeen, patience: Patience, now: Now) -> Option<String> {
    if !host.kubelet.active {
        return Some("kubelet.service is not active".to_owned());
    }
    let runs = now.unix.since(host.kubelet.since);
    let wanted = patience.soak.max(patience.min_ready);
    (runs < wanted).then(|| format!("kubelet has run for {runs} s of {wanted} s"))
}

/// What the pods of this node still lack: static pods at the target, DaemonSet pods and CSI drivers back.
pub fn pods_lack(hop: &Hop, seen: &PodsSeen) -> Option<String> {
    if hop.verb.is_control_plane()
        && let Some(lack) = STATIC_PODS.iter().find_map(|name| static_pod_lacks(name, hop.target, &seen.pods))
    {
        return Some(lack);
    }
    let ready = daemon_sets(&seen.pods);
    let mut missing: Vec<&str> = hop.daemon_sets.difference(&ready).map(String::as_str).collect();
    if !missing.is_empty() {
        return Some(format!("DaemonSet pods are not Ready again: {}", missing.join(", ")));
    }
    missing = hop.csi_drivers.difference(&seen.csi_drivers).map(String::as_str).collect();
    (!missing.is_empty()).then(|| format!("CSI drivers are not registered again: {}", missing.join(", ")))
}

/// What the control plane on this host still lacks.
pub fn control_plane_lacks(local: &LocalControlPlane) -> Option<String> {
    if !local.api_server_ready {
        return Some("this node's API server is not ready".to_owned());
    }
    let etcd = local.etcd.as_ref()?;
    let whole = etcd.healthy == etcd.members + etcd.learners && etcd.alarms == 0;
    (!whole).then(|| {
        format!("etcd: {} of {} members are healthy, {} alarms", etcd.healthy, etcd.members, etcd.alarms)
    })
}

fn static_pod_lacks(component: &str, target: Version, pods: &[PodSeen]) -> Option<String> {
    let Some(pod) = pods.iter().find(|pod| is_static(pod, component)) else {
        return Some(format!("the static pod {component} is not to be seen"));
    };
    match image_version(pod, component) {
        Some(version) if version == target && pod.ready => None,
        Some(version) if version == target => Some(format!("the static pod {component} is not Ready")),
        Some(version) => Some(format!("the static pod {component} runs {version}")),
        None => Some(format!("the static pod {component} runs an image without a version in its tag")),
    }
}

fn is_static(pod: &PodSeen, component: &str) -> bool {
    pod.mirror
        && pod.namespace == "kube-system"
        && pod.labels.get("component").is_some_and(|label| label == component)
}

fn image_version(pod: &PodSeen, component: &str) -> Option<Version> {
    let container = pod.containers.iter().find(|container| container.name == component)?;
    crate::image::version(&container.image)
}

/// The oldest version among this node's static control-plane pods; none if it has none or one cannot be read.
pub fn static_pods_version(pods: &[PodSeen]) -> Option<Version> {
    let version = |component: &str| {
        pods.iter().find(|pod| is_static(pod, component)).and_then(|pod| image_version(pod, component))
    };
    STATIC_PODS.iter().map(|component| version(component)).collect::<Option<Vec<_>>>()?.into_iter().min()
}

/// DaemonSets that have a Ready pod here, as `namespace/name`.
pub fn daemon_sets(pods: &[PodSeen]) -> BTreeSet<String> {
    let daemon = |pod: &&PodSeen| pod.ready && pod.deletion.is_none();
    let name = |pod: &PodSeen| {
        let owner = pod.controller.as_ref().filter(|owner| owner.kind == "DaemonSet")?;
        Some(format!("{}/{}", pod.namespace, owner.name))
    };
    pods.iter().filter(daemon).filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seen::EtcdSeen;

    #[test]
    #[should_panic(expected = "no answer is no proof")]
    fn a25_an_etcd_that_gives_no_answer_is_not_whole() {
        let local = LocalControlPlane {
            api_server_ready: true,
            etcd: Some(EtcdSeen::default()),
            ..Default::default()
        };
        assert!(control_plane_lacks(&local).is_some(), "no answer is no proof");
    }
}
