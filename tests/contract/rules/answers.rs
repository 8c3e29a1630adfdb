//! Answers that the adapters build on, as they come over the wire.

use std::collections::BTreeMap;

use kube::Client;
use serde_json::{Value, json};

use super::super::test_cluster::{OTHER, OWN, TestCluster, Wire, ask, holder};

super::at_every_server!(
    an_eviction_that_a_budget_refuses_is_429_and_names_it,
    an_eviction_of_another_uid_is_a_conflict_that_says_so,
    an_eviction_under_two_budgets_is_an_error_of_the_server_by_its_words_alone,
    a_pod_that_is_gone_is_forbidden_to_read_and_absent_to_evict,
    a_kubelet_evicts_from_its_own_node_alone,
    an_ended_pod_goes_whatever_its_budget_says,
    an_unready_pod_goes_while_the_others_keep_its_budget,
    an_evicted_pod_is_there_until_its_kubelet_ends_it,
    a_kubelet_has_its_own_node_alone,
    the_coordination_credential_can_do_nothing_else,
    writes_from_an_old_read_are_conflicts,
);

const NODES: &str = "/api/v1/nodes";
const PODS: &str = "/api/v1/namespaces/default/pods";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/node-upgrade-agent/leases";

async fn get(client: &Client, path: &str) -> Wire {
    ask(client, &format!("GET {path}"), &Value::Null).await
}

async fn evict(client: &Client, name: &str, options: &Value) -> Wire {
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": "default"},
        "deleteOptions": options,
    });
    // The server's own knowledge of which pod is where lags a moment behind, and then it knows of none.
    loop {
        let answer = ask(client, &format!("POST {PODS}/{name}/eviction"), &eviction).await;
        let known = get(client, &format!("{PODS}/{name}")).await.code == 200;
        if answer.code != 404 || !known {
            return answer;
        }
    }
}

/// Code and reason.
fn refusal(answer: &Wire) -> (u16, &str) {
    (answer.code, answer.body["reason"].as_str().unwrap_or_default())
}

pub(crate) async fn an_eviction_that_a_budget_refuses_is_429_and_names_it(bench: &TestCluster) {
    bench.make_pod("web", OWN, "ReplicaSet").await;
    bench.make_budget("careful", 1).await;
    let answer = evict(&bench.kubelet, "web", &json!({})).await;
    assert_eq!(refusal(&answer), (429, "TooManyRequests"), "{answer:?}");
    assert_eq!(answer.message(), "Cannot evict pod as it would violate the pod's disruption budget.");
    let cause = &answer.body["details"]["causes"][0];
    assert_eq!(cause["reason"], "DisruptionBudget");
    assert_eq!(cause["message"], "The disruption budget careful needs 1 healthy pods and has 1 currently");
    // No advice when to come back, so the pause is ours.
    assert!(answer.body["details"]["retryAfterSeconds"].is_null(), "{answer:?}");
    assert_eq!(bench.pods().await, ["web"]);
}

pub(crate) async fn an_eviction_of_another_uid_is_a_conflict_that_says_so(bench: &TestCluster) {
    bench.make_pod("web", OWN, "ReplicaSet").await;
    let options = json!({"preconditions": {"uid": "another"}});
    let answer = evict(&bench.kubelet, "web", &options).await;
    assert_eq!(refusal(&answer), (409, "Conflict"), "{answer:?}");
    assert!(answer.message().contains("the UID in the precondition (another) does not match"), "{answer:?}");
    assert_eq!(bench.pods().await, ["web"]);
    bench.make_budget("careful", 1).await;
    let answer = evict(&bench.kubelet, "web", &options).await;
    assert_eq!(answer.code, 429, "the budget is asked before the UID is compared: {answer:?}");
}

pub(crate) async fn an_eviction_under_two_budgets_is_an_error_of_the_server_by_its_words_alone(
    bench: &TestCluster,
) {
    bench.make_pod("web", OWN, "ReplicaSet").await;
    bench.make_budget("one", 0).await;
    bench.make_budget("two", 0).await;
    let answer = evict(&bench.kubelet, "web", &json!({})).await;
    assert_eq!(refusal(&answer), (500, ""), "{answer:?}");
    assert!(answer.message().contains("more than one PodDisruptionBudget"), "{answer:?}");
    assert_eq!(bench.pods().await, ["web"]);
}

pub(crate) async fn a_pod_that_is_gone_is_forbidden_to_read_and_absent_to_evict(bench: &TestCluster) {
    bench.make_pod("web", OWN, "ReplicaSet").await;
    let path = format!("{PODS}/web");
    // The authorizer knows which pod is where a moment later.
    while get(&bench.kubelet, &path).await.code != 200 {}
    bench.delete_pod("web").await;
    while get(&bench.kubelet, &path).await.code == 404 {}
    let answer = get(&bench.kubelet, &path).await;
    assert_eq!(refusal(&answer), (403, "Forbidden"), "{answer:?}");
    let answer = evict(&bench.kubelet, "web", &json!({})).await;
    assert_eq!(refusal(&answer), (404, "NotFound"), "{answer:?}");
}

pub(crate) async fn a_kubelet_evicts_from_its_own_node_alone(bench: &TestCluster) {
    bench.make_pod("web", OTHER, "ReplicaSet").await;
    let mut answer = evict(&bench.kubelet, "web", &json!({})).await;
    while answer.code == 404 {
        answer = evict(&bench.kubelet, "web", &json!({})).await;
    }
    assert_eq!(refusal(&answer), (403, "Forbidden"), "{answer:?}");
    assert!(
        answer.message().contains("node n1 can only evict pods with spec.nodeName set to itself"),
        "{answer:?}"
    );
}

pub(crate) async fn an_ended_pod_goes_whatever_its_budget_says(bench: &TestCluster) {
    bench.make_pod("web", OWN, "ReplicaSet").await;
    bench.make_pod("ended", OWN, "Job").await;
    bench.set_status("ended", "Succeeded", false).await;
    bench.make_budget("careful", 1).await;
    assert_eq!(evict(&bench.kubelet, "ended", &json!({})).await.code, 201);
    assert_eq!(bench.pods().await, ["web"]);
}

pub(crate) async fn an_unready_pod_goes_while_the_others_keep_its_budget(bench: &TestCluster) {
    bench.make_pod("ready", OWN, "ReplicaSet").await;
    bench.make_pod("unready", OWN, "ReplicaSet").await;
    bench.set_status("unready", "Running", false).await;
    bench.make_budget("careful", 1).await;
    assert_eq!(evict(&bench.kubelet, "ready", &json!({})).await.code, 429);
    assert_eq!(evict(&bench.kubelet, "unready", &json!({})).await.code, 201);
    assert_eq!(bench.pods().await, ["ready"]);
}

pub(crate) async fn an_evicted_pod_is_there_until_its_kubelet_ends_it(bench: &TestCluster) {
    let containers = json!([{"name": "main", "image": "registry.example/web:1"}]);
    bench.make_pod_with_grace(&json!({"name": "slow"}), OWN, &containers, 30).await;
    for _ in 0..2 {
        assert_eq!(evict(&bench.kubelet, "slow", &json!({})).await.code, 201);
        let pod = get(&bench.kubelet, &format!("{PODS}/slow")).await.body;
        assert!(pod["metadata"]["deletionTimestamp"].is_string(), "{pod}");
    }
    bench.delete_pod("slow").await;
    assert!(bench.pods().await.is_empty());
}

pub(crate) async fn a_kubelet_has_its_own_node_alone(bench: &TestCluster) {
    let kubelet = &bench.kubelet;
    let note = json!({"metadata": {"annotations": {"x": "y"}}});
    for (line, body, code) in [
        (format!("GET {NODES}/{OWN}"), Value::Null, 200),
        (format!("GET {NODES}/{OTHER}"), Value::Null, 403),
        (format!("GET {NODES}"), Value::Null, 403),
        (format!("GET {NODES}?fieldSelector=metadata.name%3D{OWN}"), Value::Null, 200),
        (format!("GET {NODES}?fieldSelector=metadata.name%3D{OTHER}"), Value::Null, 403),
        (format!("PATCH {NODES}/{OWN}"), note.clone(), 200),
        (format!("PATCH {NODES}/{OTHER}"), note.clone(), 403),
        (format!("PATCH {NODES}/{OWN}"), json!({"spec": {"unschedulable": true}}), 200),
        (
            format!("PATCH {NODES}/{OWN}"),
            json!({"spec": {"taints": [{"key": "x", "effect": "NoSchedule"}]}}),
            403,
        ),
        (format!("DELETE {NODES}/{OWN}"), Value::Null, 403),
        (format!("GET {NODES}/{OWN}/status"), Value::Null, 403),
        ("GET /api/v1/pods".to_owned(), Value::Null, 403),
        (format!("GET /api/v1/pods?fieldSelector=spec.nodeName%3D{OWN}"), Value::Null, 200),
        (format!("GET /api/v1/pods?fieldSelector=spec.nodeName%3D{OTHER}"), Value::Null, 403),
        ("GET /api/v1/namespaces/kube-system/configmaps/kubeadm-config".to_owned(), Value::Null, 200),
        ("GET /api/v1/namespaces/kube-system/configmaps".to_owned(), Value::Null, 403),
        (format!("GET /apis/storage.k8s.io/v1/csinodes/{OWN}"), Value::Null, 404),
        (format!("GET /apis/storage.k8s.io/v1/csinodes/{OTHER}"), Value::Null, 403),
        ("GET /apis/policy/v1/poddisruptionbudgets".to_owned(), Value::Null, 403),
        (format!("GET {LEASES}"), Value::Null, 403),
        ("GET /readyz".to_owned(), Value::Null, 200),
    ] {
        let answer = ask(kubelet, &line, &body).await;
        assert_eq!(answer.code, code, "{line}: {answer:?}");
    }
}

pub(crate) async fn the_coordination_credential_can_do_nothing_else(bench: &TestCluster) {
    let agent = &bench.agent;
    bench.make_lease(&json!({"name": "slot-0"}), &json!({})).await;
    let lease = held_lease("slot-1");
    let unfenced = json!({"spec": {"renewTime": null}});
    for (line, body, code) in [
        (format!("GET {NODES}"), Value::Null, 200),
        (format!("GET {NODES}/{OTHER}"), Value::Null, 403),
        (format!("PATCH {NODES}/{OWN}"), json!({"spec": {"unschedulable": true}}), 403),
        (format!("GET {LEASES}"), Value::Null, 200),
        (format!("POST {LEASES}"), lease.clone(), 201),
        (format!("PATCH {LEASES}/slot-0"), unfenced, 403),
        (format!("DELETE {LEASES}/slot-0"), Value::Null, 403),
        ("GET /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases".to_owned(), Value::Null, 403),
        ("GET /apis/coordination.k8s.io/v1/leases".to_owned(), Value::Null, 403),
        ("GET /apis/policy/v1/poddisruptionbudgets".to_owned(), Value::Null, 200),
        ("GET /api/v1/namespaces/kube-system/pods".to_owned(), Value::Null, 200),
        ("GET /api/v1/namespaces/default/pods".to_owned(), Value::Null, 403),
        ("GET /api/v1/pods".to_owned(), Value::Null, 403),
        ("GET /api/v1/namespaces/node-upgrade-agent/configmaps/policy".to_owned(), Value::Null, 404),
        ("GET /api/v1/namespaces/node-upgrade-agent/configmaps".to_owned(), Value::Null, 403),
        ("GET /api/v1/namespaces/kube-system/configmaps/kubeadm-config".to_owned(), Value::Null, 403),
        ("GET /api/v1/namespaces/kube-system/secrets".to_owned(), Value::Null, 403),
    ] {
        let answer = ask(agent, &line, &body).await;
        assert_eq!(answer.code, code, "{line}: {answer:?}");
    }
}

/// A claim of our own, as the admission policy lets agents write it.
fn held_lease(name: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {
            "name": name, "labels": {"node-upgrade-agent/held": "true"},
            "annotations": {"node-upgrade-agent/protocol": "1"},
        },
        "spec": {"holderIdentity": holder(OWN).to_string()},
    })
}

pub(crate) async fn writes_from_an_old_read_are_conflicts(bench: &TestCluster) {
    let old = get(&bench.kubelet, &format!("{NODES}/{OWN}")).await.body["metadata"].clone();
    let cordon = |fences: &[&str]| {
        let fences: BTreeMap<_, _> = fences.iter().map(|fence| (*fence, &old[*fence])).collect();
        let patch = json!({"metadata": fences, "spec": {"unschedulable": true}});
        async move { ask(&bench.kubelet, &format!("PATCH {NODES}/{OWN}"), &patch).await }
    };
    bench.patch_node(OWN, &json!({"metadata": {"annotations": {"x": "y"}}})).await;
    assert_eq!(refusal(&cordon(&["uid", "resourceVersion"]).await), (409, "Conflict"));
    assert_eq!(cordon(&["uid"]).await.code, 200);
    bench.delete_node(OWN).await;
    bench.make_node(OWN, &json!({})).await;
    assert_eq!(refusal(&cordon(&["uid", "resourceVersion"]).await), (409, "Conflict"));
    assert_eq!(refusal(&cordon(&["uid"]).await), (422, "Invalid"), "a UID alone is no precondition");
    bench.make_lease(&json!({"name": "slot-0"}), &json!({})).await;
    let mut lease = get(&bench.agent, &format!("{LEASES}/slot-0")).await.body;
    let claim = held_lease("slot-0");
    let again = ask(&bench.agent, &format!("POST {LEASES}"), &claim).await;
    assert_eq!(refusal(&again), (409, "AlreadyExists"), "{again:?}");
    for part in ["labels", "annotations"] {
        lease["metadata"][part] = claim["metadata"][part].clone();
    }
    for code in [200, 409] {
        lease["spec"]["holderIdentity"] =
            if code == 200 { holder(OWN).to_string().into() } else { Value::Null };
        let answer = ask(&bench.agent, &format!("PUT {LEASES}/slot-0"), &lease).await;
        assert_eq!(answer.code, code, "{answer:?}");
    }
}
