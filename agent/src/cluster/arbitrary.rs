//! What an API server or etcd may answer, in any form.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use upgrade_core::api::annotations;
use upgrade_core::drain::{DrainOptions, filter};
use upgrade_core::time::Unix;

use super::convert;
use super::small_pod::Pod;
use crate::arbitrary::mangled_json;

fn node() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": "n1", "uid": "8b2f6b0e", "resourceVersion": "17",
            "labels": {"node-role.kubernetes.io/control-plane": ""},
            "annotations": {
                annotations::TARGET: "v1.36.3", annotations::RETRY: "1", annotations::SKIP_CHECKS: "NodeReady", annotations::IGNORE: "false",
                annotations::CURRENT: "v1.36.2", annotations::PHASE: "degraded", annotations::STATUS: "{}",
                annotations::FOUND_CORDONED: "false", "weave.works/kured-reboot-in-progress": "x", "theirs": "x",
            },
        },
        "spec": {"unschedulable": true, "taints": [{"key": "k", "effect": "NoSchedule"}]},
        "status": {
            "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}],
            "nodeInfo": {
                "machineID": "", "systemUUID": "", "bootID": "", "kernelVersion": "", "osImage": "", "architecture": "",
                "containerRuntimeVersion": "", "kubeletVersion": "v1.36.2", "kubeProxyVersion": "", "operatingSystem": "",
            },
        },
    })
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "kube-apiserver-n1", "namespace": "kube-system", "uid": "1", "labels": {"component": "kube-apiserver"},
            "annotations": {"kubernetes.io/config.mirror": "x"}, "deletionTimestamp": "2026-01-01T00:00:00Z",
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "2", "controller": true}],
        },
        "spec": {
            "nodeName": "n1", "volumes": [{"name": "v", "emptyDir": {}}],
            "containers": [{"name": "kube-apiserver", "image": "registry.example:5000/kube-apiserver:v1.36.3"}],
        },
        "status": {
            "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{
                "name": "kube-apiserver", "image": "registry.example:5000/kube-apiserver:v1.36.3@sha256:00ff", "imageID": "",
                "ready": true, "restartCount": 0,
            }],
        },
    })
}

fn lease() -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {
            "name": "slot-0", "resourceVersion": "17", "labels": {"node-upgrade-agent/held": "true"},
            "annotations": {"node-upgrade-agent/protocol": "1", "node-upgrade-agent/degraded": "broken"},
        },
        "spec": {"holderIdentity": "n1/uid/job", "leaseTransitions": 2, "renewTime": "2026-01-01T00:00:00.000000Z"},
    })
}

/// As the client reads it: what is no such object is an error there.
fn read<K: DeserializeOwned>(value: Value) -> Option<K> {
    serde_json::from_value(value).ok()
}

proptest! {
    #[test]
    fn a_node_in_any_form_is_read_or_refused(value in mangled_json(node())) {
        let Some(node) = read::<Node>(value) else { return Ok(()) };
        let seen = convert::node_seen(node.clone());
        let mut bare = node.clone();
        bare.metadata.annotations.get_or_insert_default().retain(|key, _| key.starts_with(annotations::PREFIX));
        prop_assert_eq!(convert::node_seen(bare), seen, "other people's annotations say nothing to us");
        let _ = convert::fleet_node(node);
    }

    #[test]
    fn a_pod_in_any_form_is_read_or_refused(value in mangled_json(pod()), now: u64) {
        let Some(pod) = read::<Pod>(value) else { return Ok(()) };
        let _ = convert::control_plane_pod(&pod);
        let seen = convert::pod_seen(pod);
        for force in [false, true] {
            let _ = filter(&seen, &DrainOptions { force, ..DrainOptions::default() }, Unix(now));
        }
    }

    #[test]
    fn a_lease_in_any_form_is_read_or_refused(value in mangled_json(lease())) {
        let Some(lease) = read::<Lease>(value) else { return Ok(()) };
        prop_assert!(convert::holder(&lease).is_none_or(|holder| !holder.is_empty()));
        let _ = convert::fleet_lease(&lease);
    }
}
