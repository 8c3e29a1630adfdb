//! Whether the control plane is whole: the other nodes of it, etcd, and this node's static pods.

use std::collections::BTreeSet;

use super::claim::{Bar, BarKind, Claimant, control_planes, give_way};
use crate::api::Check;
use crate::api::Version;
use crate::api::{Explanation, Reason};
use crate::observed::PodSeen;
use crate::observed::{EtcdSeen, FleetNode, FleetSeen, LocalControlPlane};

/// The static pods of a kubeadm control plane that carry the Kubernetes version.
pub const STATIC_PODS: [&str; 3] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];
/// The static pod of the API server.
pub const API_SERVER: &str = "kube-apiserver";
/// The static pod of a stacked etcd.
pub const ETCD: &str = "etcd";

fn waits(message: impl Into<String>) -> Bar {
    give_way(Reason::WaitingForTurn, message)
}

/// Rule 2: every other control-plane node Ready, not in the middle of its turn, its static pods at one version, API server and
/// etcd Ready; and etcd whole.
pub(super) fn others_whole(
    who: Claimant<'_>,
    fleet: &FleetSeen,
    local: Option<&LocalControlPlane>,
) -> Option<Bar> {
    let mut others = control_planes(fleet).filter(|node| node.name != who.node);
    others.find_map(|node| other_lacks(node, fleet, local)).or_else(|| etcd_bars(who, fleet, local))
}

fn other_lacks(node: &FleetNode, fleet: &FleetSeen, local: Option<&LocalControlPlane>) -> Option<Bar> {
    let name = &node.name;
    if node.in_hand.is_some() || node.cordon_note {
        return Some(waits(format!("{name} is in the middle of its upgrade")));
    }
    let etcd = local.and_then(|local| local.etcd.as_ref());
    if !node.ready {
        let at_work = control_planes(fleet).any(|other| other.in_hand.is_some());
        return Some(down(name, etcd.filter(|_| !at_work)));
    }
    let ready = |component: &str| fleet.pod(name, component).is_some_and(|pod| pod.ready);
    if !ready(API_SERVER) {
        return Some(waits(format!("the API server on {name} is not Ready")));
    }
    if etcd.is_some() && !ready(ETCD) {
        return Some(waits(format!("etcd on {name} is not Ready")));
    }
    if let Some(component) = STATIC_PODS.into_iter().find(|component| !ready(component)) {
        return Some(waits(format!("the static pod {component} on {name} is not Ready")));
    }
    let versions = STATIC_PODS.map(|component| fleet.pod(name, component).and_then(|pod| pod.version));
    let mut known = versions.into_iter().flatten();
    let first = known.next();
    known.find(|version| Some(*version) != first).zip(first).map(|(other, first)| {
        waits(format!(
            "the static pods on {name} are of two versions, {first} and {other}: finish its upgrade first"
        ))
    })
}

/// A control-plane node that is not Ready may come back. One whose member of etcd does not answer either has to be repaired or
/// removed, which only a person can decide.
fn down(name: &str, etcd: Option<&EtcdSeen>) -> Bar {
    let alone = etcd.is_some_and(|etcd| etcd.unhealthy.contains(name));
    if !alone {
        return waits(format!("control-plane node {name} is not Ready"));
    }
    let message = format!(
        "control-plane node {name} is not Ready and its member of etcd does not answer. Repair it; or, if it is gone for good, \
         remove its member (`etcdctl member list`, then `etcdctl member remove ID`) and its Node (`kubectl delete node {name}`)"
    );
    Bar { why: Explanation::new(Reason::ControlPlaneDown, message), kind: BarKind::Refuse }
}

/// Whether a stacked etcd bars this turn; asked anew after each claim, because every turn of a control plane restarts a member.
pub(super) fn etcd_bars(
    who: Claimant<'_>,
    fleet: &FleetSeen,
    local: Option<&LocalControlPlane>,
) -> Option<Bar> {
    let etcd = local?.etcd.as_ref().filter(|_| !who.skips(Check::Etcd))?;
    etcd_lacks(etcd, &control_planes(fleet).map(|node| node.name.as_str()).collect()).map(waits)
}

/// What is wrong with etcd, if anything: a member for each of these control-plane nodes and no others, all healthy. No answer is no
/// proof.
pub fn etcd_lacks(etcd: &EtcdSeen, control_planes: &BTreeSet<&str>) -> Option<String> {
    let EtcdSeen { members, learners, alarms, unhealthy, .. } = etcd;
    if members.is_empty() {
        return Some("etcd on this host does not answer, or has no quorum".to_owned());
    }
    let (count, nodes) = (members.len(), control_planes.len());
    let whole = count == nodes && unhealthy.is_empty() && *learners == 0 && *alarms == 0;
    if !whole {
        return Some(format!(
            "etcd is not whole: {count} members for {nodes} control-plane nodes, {learners} learners, {alarms} alarms{}",
            not_healthy(unhealthy)
        ));
    }
    // Where none is named after a node, somebody has chosen other names.
    let is_node = |member: &&String| control_planes.contains(member.as_str());
    let stranger = members.iter().find(|member| !is_node(member))?;
    members.iter().any(|member| is_node(&member)).then(|| {
        format!(
            "etcd is not whole: its member {stranger} is of no control-plane node, and one of these has none"
        )
    })
}

/// Whether a pod is this node's static pod of a component.
pub(super) fn is_static(pod: &PodSeen, component: &str) -> bool {
    pod.mirror
        && pod.namespace == "kube-system"
        && pod.labels.get("component").is_some_and(|label| label == component)
}

/// The version of a static pod's running image.
pub(super) fn image_version(pod: &PodSeen, component: &str) -> Option<Version> {
    let container = pod.containers.iter().find(|container| container.name == component)?;
    crate::api::image::version(&container.image)
}

/// The static pods of this node by version: none where one of them is not seen or names no version.
fn static_pods(pods: &[PodSeen]) -> Option<Vec<Version>> {
    let version = |component: &str| {
        pods.iter().find(|pod| is_static(pod, component)).and_then(|pod| image_version(pod, component))
    };
    STATIC_PODS.iter().map(|component| version(component)).collect()
}

/// Whether each static pod of this node has its mirror, and that an image. A Node that was deleted loses them for a while.
pub fn shows_static_pods(pods: &[PodSeen]) -> bool {
    let names_image = |pod: &PodSeen, component: &str| {
        pod.containers.iter().any(|container| container.name == component && !container.image.is_empty())
    };
    let shown =
        |component: &str| pods.iter().any(|pod| is_static(pod, component) && names_image(pod, component));
    STATIC_PODS.iter().all(|component| shown(component))
}

/// The oldest version among this node's static pods; none if it has none or one cannot be read.
pub fn oldest_static_pod(pods: &[PodSeen]) -> Option<Version> {
    static_pods(pods)?.into_iter().min()
}

/// The newest version among this node's static pods; none if it has none or one cannot be read.
pub fn newest_static_pod(pods: &[PodSeen]) -> Option<Version> {
    static_pods(pods)?.into_iter().max()
}

/// The one version that all static pods of this node run.
pub fn uniform_static_pods(pods: &[PodSeen]) -> Option<Version> {
    let versions = static_pods(pods)?;
    let first = *versions.first()?;
    versions.iter().all(|version| *version == first).then_some(first)
}

/// What a control plane on this host still lacks to be whole at `version`: its static pods of one version that is no older and
/// Ready, the API server ready, its member of etcd healthy. A person may have taken it further meanwhile.
pub fn lacks(pods: &[PodSeen], local: &LocalControlPlane, version: Version) -> Option<String> {
    let version = uniform_static_pods(pods).map_or(version, |runs| runs.max(version));
    STATIC_PODS
        .iter()
        .find_map(|component| static_pod_lacks(component, version, pods))
        .or_else(|| (!local.api_server_ready).then(|| "this node's API server is not ready".to_owned()))
        .or_else(|| local.etcd.as_ref().and_then(own_etcd_lacks))
}

/// The member on this host: how the others are, and whether there are as many as nodes, is asked before a turn, and is no fault of
/// this node.
fn own_etcd_lacks(etcd: &EtcdSeen) -> Option<String> {
    if etcd.members.is_empty() {
        return Some("etcd on this host does not answer, or has no quorum".to_owned());
    }
    if !etcd.healthy {
        return Some("the member of etcd on this host is not healthy".to_owned());
    }
    (etcd.alarms > 0).then(|| format!("etcd has {} alarms: see `etcdctl alarm list`", etcd.alarms))
}

fn not_healthy(members: &BTreeSet<String>) -> String {
    let names: Vec<&str> = members.iter().map(String::as_str).collect();
    if names.is_empty() { String::new() } else { format!(", not healthy: {}", names.join(", ")) }
}

fn static_pod_lacks(component: &str, target: Version, pods: &[PodSeen]) -> Option<String> {
    let Some(pod) = pods.iter().find(|pod| is_static(pod, component)) else {
        return Some(format!("the static pod {component} is not seen"));
    };
    match image_version(pod, component) {
        Some(version) if version == target && pod.ready => None,
        Some(version) if version == target => Some(format!("the static pod {component} is not Ready")),
        Some(version) => Some(format!("the static pod {component} runs {version}")),
        None => Some(format!("the static pod {component} runs an image without a version in its tag")),
    }
}

#[cfg(test)]
mod tests;
