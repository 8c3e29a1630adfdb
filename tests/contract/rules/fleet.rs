use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use node_upgrade_agent::cluster::NAMESPACE;
use serde_json::{Value, json};
use upgrade_core::api::{Check, LeaseName, Version, annotations};
use upgrade_core::drain::DrainOptions;
use upgrade_core::observed::{Observation, Outcome, TurnSeen};

use super::super::test_cluster::{OTHER, OWN, TestCluster, Told, holder, make};

super::at_every_server!(
    the_fleet_is_seen_whole,
    whoever_waits_is_told_of_a_freed_lease_and_not_of_renewals,
    an_invalid_policy_leaves_the_last_good_one_in_force,
    preflight_finds_nothing_wrong_with_a_node_in_order,
    no_kubelet_goes_past_an_api_server,
    a_pod_under_two_budgets_is_named_before_anything_is_touched,
    other_tools_at_work_and_a_lonely_node_hold_preflight_up,
    this_hosts_api_server_is_asked_directly,
);

const TARGET: Version = Version::new(1, 36, 3);
const CONTROL_PLANE: &str = "cp1";

async fn make_control_plane(bench: &TestCluster, version: &str) {
    bench.make_node(CONTROL_PLANE, &json!({"node-role.kubernetes.io/control-plane": ""})).await;
    let labels = json!({"tier": "control-plane", "component": "kube-apiserver"});
    let metadata = json!({"name": "kube-apiserver-cp1", "namespace": "kube-system", "labels": labels});
    let image = format!("registry.example:5000/kube-apiserver:{version}");
    bench.make_pod_of(&metadata, CONTROL_PLANE, &json!([{"name": "kube-apiserver", "image": image}])).await;
}

pub(crate) async fn the_fleet_is_seen_whole(bench: &TestCluster) {
    make_control_plane(bench, "v1.36.2").await;
    for number in 0..60 {
        bench.make_node(&format!("worker-{number}"), &json!({})).await;
    }
    let notes =
        json!({annotations::TARGET: "1.36.3", annotations::PHASE: "degraded", annotations::IGNORE: ""});
    bench
        .patch_node(OTHER, &json!({"metadata": {"annotations": notes}, "spec": {"unschedulable": true}}))
        .await;
    bench.other.claim(LeaseName::Slot(0), &holder(OTHER)).await;
    bench.other.renew(LeaseName::Slot(0), &holder(OTHER), Some("broken")).await;
    let ended = bench.own.look_at_fleet().await;
    let [Observation::Fleet(fleet)] = &ended.observations[..] else { panic!("{ended:?}") };
    assert_eq!(fleet.nodes.len(), 63);
    let other = fleet.nodes.iter().find(|node| node.name == OTHER).unwrap();
    assert!(other.ready && other.unschedulable && other.degraded && other.ignored && !other.control_plane);
    assert_eq!((other.target, other.kubelet), (Some(TARGET), Some(Version::new(1, 36, 2))));
    assert!(fleet.nodes.iter().any(|node| node.name == CONTROL_PLANE && node.control_plane));
    assert_eq!(fleet.leases.len(), 1);
    assert_eq!(fleet.leases[0].degraded.as_deref(), Some("broken"));
    assert!(fleet.leases[0].held_by_other_than(&holder(OWN)));
    assert_eq!(fleet.kubeadm_config, Some(TARGET));
    let [server] = &fleet.pods[..] else { panic!("{:?}", fleet.pods) };
    assert_eq!((server.version, server.ready), (Some(Version::new(1, 36, 2)), true));
}

pub(crate) async fn whoever_waits_is_told_of_a_freed_lease_and_not_of_renewals(bench: &TestCluster) {
    let (slot, theirs) = (LeaseName::Slot(0), holder(OTHER));
    bench.other.claim(slot, &theirs).await;
    let told = Told::default();
    let turn = |facts: &[Observation]| match facts.last() {
        Some(Observation::Turn(turn)) => Some(turn.clone()),
        _ => None,
    };
    let held = |turn: &TurnSeen| turn.leases.iter().any(|lease| lease.holder.is_some());
    let script = async {
        told.until(|facts| turn(facts).is_some_and(|turn| held(&turn))).await;
        let renewal = Patch::Merge(json!({"spec": {"renewTime": "2020-01-01T00:00:00.000000Z"}}));
        bench.leases().patch("slot-0", &PatchParams::default(), &renewal).await.unwrap();
        bench.other.release(slot, &theirs).await;
        told.until(|facts| turn(facts).is_some_and(|turn| !held(&turn))).await;
        assert_eq!(told.all().len(), 2, "{:?}", told.all());
        make_control_plane(bench, "v1.36.2").await;
        told.until(|facts| turn(facts).is_some_and(|turn| turn.control_planes.len() == 1)).await;
    };
    tokio::select! {
        ended = bench.own.await_turn(told.ear()) => panic!("{ended:?}"),
        () = script => {}
    }
}

pub(crate) async fn an_invalid_policy_leaves_the_last_good_one_in_force(bench: &TestCluster) {
    assert!(!bench.own.read_policy().await.unwrap().policy.paused);
    let maps: Api<ConfigMap> = Api::namespaced(bench.admin.clone(), NAMESPACE);
    let data = json!({"paused": "true"});
    make(
        &maps,
        &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "policy"}, "data": data}),
    )
    .await;
    let good = bench.own.read_policy().await.unwrap();
    assert!(good.policy.paused && good.invalid.is_none());
    let wrong = Patch::Merge(json!({"data": {"paused": "maybe"}}));
    maps.patch("policy", &PatchParams::default(), &wrong).await.unwrap();
    let still = bench.own.read_policy().await.unwrap();
    assert!(still.policy.paused && still.invalid.unwrap().contains("paused"));
}

async fn outcome(bench: &TestCluster, check: Check) -> Outcome {
    let options = DrainOptions::default();
    let preflight = bench.own.preflight_findings(false, TARGET, &options).await.unwrap();
    preflight.findings.into_iter().find(|finding| finding.check == check).unwrap().outcome
}

pub(crate) async fn preflight_finds_nothing_wrong_with_a_node_in_order(bench: &TestCluster) {
    make_control_plane(bench, "v1.36.3").await;
    bench.make_pod("web", OWN, "ReplicaSet").await;
    bench.make_pod("proxy", OWN, "DaemonSet").await;
    let options = DrainOptions::default();
    let preflight = bench.own.preflight_findings(false, TARGET, &options).await.unwrap();
    for finding in &preflight.findings {
        assert!(matches!(finding.outcome, Outcome::Passed(_)), "{finding:?}");
    }
    assert_eq!(preflight.daemon_sets.into_iter().collect::<Vec<_>>(), ["default/owner"]);
}

pub(crate) async fn no_kubelet_goes_past_an_api_server(bench: &TestCluster) {
    assert!(matches!(outcome(bench, Check::ApiServers).await, Outcome::Failed(_)), "none is known");
    make_control_plane(bench, "v1.36.2").await;
    let behind = outcome(bench, Check::ApiServers).await;
    assert!(matches!(&behind, Outcome::Failed(text) if text.contains("cp1 runs v1.36.2")), "{behind:?}");
    let target: Value = json!({"metadata": {"annotations": {annotations::TARGET: TARGET.to_string()}}});
    bench.patch_node(CONTROL_PLANE, &target).await;
    let coming = outcome(bench, Check::ApiServers).await;
    assert!(matches!(&coming, Outcome::Passed(text) if text.contains("first")), "{coming:?}");
}

pub(crate) async fn a_pod_under_two_budgets_is_named_before_anything_is_touched(bench: &TestCluster) {
    bench.make_pod("web", OWN, "ReplicaSet").await;
    bench.make_budget("one", 0).await;
    let alone = outcome(bench, Check::Pods).await;
    assert!(matches!(&alone, Outcome::Passed(_)), "{alone:?}");
    bench.make_budget("two", 0).await;
    let Outcome::Failed(why) = outcome(bench, Check::Pods).await else { panic!("it passed") };
    for words in ["default/web", "several disruption budgets (one, two)"] {
        assert!(why.contains(words), "{why}");
    }
}

pub(crate) async fn other_tools_at_work_and_a_lonely_node_hold_preflight_up(bench: &TestCluster) {
    let taint = json!({"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule", "value": "1"});
    bench.patch_node(OWN, &json!({"spec": {"taints": [taint]}})).await;
    assert!(matches!(outcome(bench, Check::OtherTools).await, Outcome::Pending(_)));
    let note = json!({"weave.works/kured-reboot-in-progress": "now"});
    bench.patch_node(OWN, &json!({"metadata": {"annotations": note}, "spec": {"taints": null}})).await;
    assert!(matches!(outcome(bench, Check::OtherTools).await, Outcome::Pending(_)));
    bench.patch_node(OTHER, &json!({"spec": {"unschedulable": true}})).await;
    assert!(matches!(outcome(bench, Check::OtherNodes).await, Outcome::Pending(_)), "it may come back");
    Api::<Node>::all(bench.admin.clone()).delete(OTHER, &DeleteParams::default()).await.unwrap();
    assert!(matches!(outcome(bench, Check::OtherNodes).await, Outcome::Failed(_)), "nothing will come");
}

pub(crate) async fn this_hosts_api_server_is_asked_directly(bench: &TestCluster) {
    let ended = bench.own.look_at_control_plane().await;
    let [Observation::Local(local)] = &ended.observations[..] else { panic!("{ended:?}") };
    assert!(local.api_server_ready && local.etcd.is_none());
}
