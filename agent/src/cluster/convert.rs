//! Kubernetes objects to what the rules know.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use upgrade_core::api::{LeaseName, Phase, Version, annotations};
use upgrade_core::observed::{
    ContainerSeen, ControlPlanePod, FleetLease, FleetNode, NodeSeen, Owner, PodSeen, Ready,
};
use upgrade_core::time::Unix;

use super::small_pod::Pod;

/// Label of control-plane Nodes.
pub(super) const CONTROL_PLANE_LABEL: &str = "node-role.kubernetes.io/control-plane";
/// Marks the mirror of a static pod.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// The least priority of the classes `system-cluster-critical` and `system-node-critical`
/// (`pkg/apis/scheduling/types.go`).
const SYSTEM_CRITICAL: i32 = 2_000_000_000;
/// Annotation on a Lease: why its holder is degraded.
pub(super) const DEGRADED: &str = "node-upgrade-agent/degraded";

/// The own Node.
pub(super) fn node_seen(node: Node) -> NodeSeen {
    let (ready, heartbeat) = ready(&node);
    let control_plane = is_control_plane(&node);
    let kubelet = kubelet(&node);
    let seen = NodeSeen {
        name: node.metadata.name.unwrap_or_default(),
        uid: node.metadata.uid.unwrap_or_default(),
        resource_version: node.metadata.resource_version.unwrap_or_default(),
        unschedulable: node.spec.and_then(|spec| spec.unschedulable).unwrap_or_default(),
        ready,
        heartbeat,
        kubelet,
        control_plane,
        ..NodeSeen::default()
    };
    seen.with_annotations(&node.metadata.annotations.unwrap_or_default())
}

fn ready(node: &Node) -> (Ready, Unix) {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let Some(condition) = conditions.iter().find(|condition| condition.type_ == "Ready") else {
        return (Ready::Unknown, Unix(0));
    };
    let ready = match condition.status.as_str() {
        "True" => Ready::True,
        "False" => Ready::False,
        _ => Ready::Unknown,
    };
    (ready, condition.last_heartbeat_time.as_ref().map(unix).unwrap_or_default())
}

fn unix(time: &Time) -> Unix {
    Unix(u64::try_from(time.0.as_second()).unwrap_or_default())
}

fn kubelet(node: &Node) -> Option<Version> {
    node.status.as_ref()?.node_info.as_ref()?.kubelet_version.parse().ok()
}

fn is_control_plane(node: &Node) -> bool {
    node.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(CONTROL_PLANE_LABEL))
}

/// A Node in the small form of the fleet.
pub(super) fn fleet_node(node: Node) -> FleetNode {
    let (ready, _heartbeat) = ready(&node);
    let control_plane = is_control_plane(&node);
    let kubelet = kubelet(&node);
    let notes = node.metadata.annotations.unwrap_or_default();
    let version = |key: &str| notes.get(key).and_then(|text| text.trim().parse().ok());
    FleetNode {
        ready: ready == Ready::True,
        unschedulable: node.spec.and_then(|spec| spec.unschedulable).unwrap_or_default(),
        control_plane,
        ignored: annotations::is_on(&notes, annotations::IGNORE),
        mid_upgrade: notes.contains_key(annotations::FOUND_CORDONED),
        degraded: notes.get(annotations::PHASE).is_some_and(|phase| phase == Phase::Degraded.word()),
        target: version(annotations::TARGET),
        current: version(annotations::CURRENT),
        kubelet,
        name: node.metadata.name.unwrap_or_default(),
        uid: node.metadata.uid.unwrap_or_default(),
    }
}

/// A Lease; none for Leases that are not ours.
pub(super) fn fleet_lease(lease: &Lease) -> Option<FleetLease> {
    Some(FleetLease {
        name: LeaseName::parse(lease.metadata.name.as_deref()?)?,
        holder: holder(lease).map(str::to_owned),
        degraded: lease.metadata.annotations.as_ref().and_then(|notes| notes.get(DEGRADED)).cloned(),
    })
}

/// Who holds a Lease.
pub(super) fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// A pod of the own node.
pub(super) fn pod_seen(pod: Pod) -> PodSeen {
    let ready = pod_ready(&pod);
    let Pod { metadata: meta, spec, status } = pod;
    let controller =
        meta.owner_references.unwrap_or_default().into_iter().find(|owner| owner.controller == Some(true));
    PodSeen {
        namespace: meta.namespace.unwrap_or_default(),
        name: meta.name.unwrap_or_default(),
        uid: meta.uid.unwrap_or_default(),
        labels: meta.labels.unwrap_or_default(),
        controller: controller.map(|owner| Owner {
            api_version: owner.api_version,
            kind: owner.kind,
            name: owner.name,
        }),
        mirror: meta.annotations.is_some_and(|notes| notes.contains_key(MIRROR)),
        empty_dir: spec
            .volumes
            .is_some_and(|volumes| volumes.iter().any(|volume| volume.empty_dir.is_some())),
        finished: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
        pending: status.phase.as_deref() == Some("Pending"),
        critical: spec.priority.is_some_and(|priority| priority >= SYSTEM_CRITICAL),
        grace: spec
            .termination_grace_period_seconds
            .and_then(|grace| grace.try_into().ok())
            .unwrap_or_default(),
        finalizers: meta.finalizers.unwrap_or_default(),
        ready,
        deletion: meta.deletion_timestamp.as_ref().map(unix),
        containers: status
            .container_statuses
            .unwrap_or_default()
            .into_iter()
            .map(|container| ContainerSeen {
                name: container.name,
                image: container.image,
                ready: container.ready,
            })
            .collect(),
    }
}

fn pod_ready(pod: &Pod) -> bool {
    let conditions = pod.status.conditions.as_deref().unwrap_or_default();
    conditions.iter().any(|condition| condition.kind == "Ready" && condition.status == "True")
}

/// A static pod of the control plane; none for pods without the label that names their component.
///
/// The version is that of the running container: the pod's spec names what shall run, and kubeadm-config what shall
/// run everywhere.
pub(super) fn control_plane_pod(pod: &Pod) -> Option<ControlPlanePod> {
    let component = pod.metadata.labels.as_ref()?.get("component")?.clone();
    let statuses = pod.status.container_statuses.as_deref().unwrap_or_default();
    let version = statuses
        .iter()
        .find(|status| status.name == component)
        .and_then(|status| upgrade_core::api::image::version(&status.image));
    Some(ControlPlanePod { node: pod.spec.node_name.clone()?, version, ready: pod_ready(pod), component })
}
