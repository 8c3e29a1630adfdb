//! Kubernetes objects to what the rules know.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use upgrade_core::api::{LeaseName, Version, annotations};
use upgrade_core::observed::{
    ContainerSeen, ControlPlanePod, FleetLease, FleetNode, LeaseMark, NodeSeen, Owner, PodSeen, Ready,
};
use upgrade_core::time::Unix;

use super::small_pod::{Container, Pod, Probe};

/// Label of control-plane Nodes.
pub(super) const CONTROL_PLANE_LABEL: &str = "node-role.kubernetes.io/control-plane";
/// Marks the mirror of a static pod.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Tells one version of a static pod from another.
pub(super) const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// kubelet looks at a container again after so long, and believes a change after so many looks, where its probe does not say
/// (`SetDefaults_Probe` in `pkg/apis/core/v1/defaults.go`).
const PROBE_PERIOD: u64 = 10;
const PROBE_FAILURES: u64 = 3;
/// Nobody waits longer for probes to settle.
const PROBES_SETTLE_CAP: Duration = Duration::from_mins(1);
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

/// Whether a taint keeps pods away that do not tolerate it. Those of `node.kubernetes.io/` say what the Node's condition and its cordon
/// say too.
fn keeps_away(taint: &Taint) -> bool {
    taint.effect != "PreferNoSchedule" && !taint.key.starts_with("node.kubernetes.io/")
}

/// A Node in the small form of the fleet.
pub(super) fn fleet_node(node: Node) -> FleetNode {
    let (ready, _heartbeat) = ready(&node);
    let control_plane = is_control_plane(&node);
    let kubelet = kubelet(&node);
    let spec = node.spec.unwrap_or_default();
    let seen = FleetNode {
        ready: ready == Ready::True,
        unschedulable: spec.unschedulable.unwrap_or_default(),
        tainted: spec.taints.iter().flatten().any(keeps_away),
        control_plane,
        kubelet,
        name: node.metadata.name.unwrap_or_default(),
        uid: node.metadata.uid.unwrap_or_default(),
        ..FleetNode::default()
    };
    seen.with_annotations(&node.metadata.annotations.unwrap_or_default())
}

/// A Lease; none for Leases that are not ours.
pub(super) fn fleet_lease(lease: &Lease) -> Option<FleetLease> {
    let note = |key: &str| lease.metadata.annotations.as_ref()?.get(key);
    Some(FleetLease {
        name: LeaseName::parse(lease.metadata.name.as_deref()?)?,
        holder: holder(lease).map(str::to_owned),
        mark: note(DEGRADED).map(|text| LeaseMark::read(text)),
        applied: note(annotations::APPLIED).and_then(|text| text.parse().ok()),
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
        probes_settle: probes_settle(
            spec.containers.iter().flatten().chain(spec.init_containers.iter().flatten()),
        ),
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

/// The longest time that one of these containers' readiness probes needs to be believed.
fn probes_settle<'a>(containers: impl Iterator<Item = &'a Container>) -> Duration {
    let number = |number: Option<i32>, default: u64| {
        number.and_then(|number| u64::try_from(number).ok()).filter(|number| *number > 0).unwrap_or(default)
    };
    let time = |probe: &Probe| {
        number(probe.period_seconds, PROBE_PERIOD)
            .saturating_mul(number(probe.failure_threshold, PROBE_FAILURES))
    };
    let longest = containers.filter_map(|container| container.readiness_probe.as_ref()).map(time).max();
    Duration::from_secs(longest.unwrap_or_default()).min(PROBES_SETTLE_CAP)
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
    let hash = pod.metadata.annotations.as_ref().and_then(|notes| notes.get(CONFIG_HASH)).cloned();
    Some(ControlPlanePod {
        node: pod.spec.node_name.clone()?,
        version,
        ready: pod_ready(pod),
        component,
        hash,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn probes_settle_in_the_time_of_the_slowest_one_and_within_a_minute() {
        let settle = |containers: serde_json::Value, init: serde_json::Value| {
            let pod = json!({"metadata": {}, "spec": {"containers": containers, "initContainers": init}});
            pod_seen(serde_json::from_value(pod).unwrap()).probes_settle.as_secs()
        };
        let probe = |period: i32, failures: i32| json!({"readinessProbe": {"periodSeconds": period, "failureThreshold": failures}});
        assert_eq!(settle(json!([{}]), json!([])), 0);
        assert_eq!(settle(json!([{"livenessProbe": {"periodSeconds": 9}}]), json!([])), 0);
        assert_eq!(settle(json!([{}, {"readinessProbe": {}}]), json!([])), 30);
        assert_eq!(settle(json!([probe(2, 3), probe(5, 4)]), json!(null)), 20);
        assert_eq!(settle(json!([probe(2, 3)]), json!([probe(7, 2)])), 14);
        assert_eq!(settle(json!([probe(i32::MAX, i32::MAX)]), json!([])), 60);
    }
}
