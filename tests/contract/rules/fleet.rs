use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use node_upgrade_agent::cluster::Question;
use serde_json::json;
use upgrade_core::act::Act;
use upgrade_core::api::{ApiServerNote, Check, LeaseName, TurnKind, Version, annotations};
use upgrade_core::drain::DrainOptions;
use upgrade_core::judge::preflight::ClusterPreflight;
use upgrade_core::observed::{Observation, Outcome, TurnSeen};

use super::super::test_cluster::{OTHER, OWN, TestCluster, Told, cordon, holder, in_hand, mark};

super::at_every_server!(
    the_fleet_is_seen_whole,
    whoever_waits_is_told_of_a_freed_lease_and_not_of_renewals,
    preflight_finds_nothing_wrong_with_a_node_in_order,
    a_kubelet_that_would_go_past_an_api_server_is_noted,
    a_pod_under_two_budgets_is_named_before_anything_is_touched,
    other_tools_at_work_and_a_lonely_node_hold_preflight_up,
    this_hosts_api_server_is_asked_directly,
    what_an_agent_notes_of_itself_is_seen_by_its_peers,
);

const TARGET: Version = Version::new(1, 36, 3);
const CONTROL_PLANE: &str = "cp1";
const HASH: &str = "0123456789abcdef0123456789abcdef";

async fn make_control_plane(bench: &TestCluster, version: &str) {
    bench.make_node(CONTROL_PLANE, &json!({"node-role.kubernetes.io/control-plane": ""})).await;
    make_api_server(bench, CONTROL_PLANE, version).await;
}

async fn make_api_server(bench: &TestCluster, node: &str, version: &str) {
    let labels = json!({"tier": "control-plane", "component": "kube-apiserver"});
    let metadata = json!({
        "name": format!("kube-apiserver-{node}"), "namespace": "kube-system", "labels": labels,
        "annotations": {"kubernetes.io/config.hash": HASH},
    });
    let image = format!("registry.example:5000/kube-apiserver:{version}");
    bench.make_pod_of(&metadata, node, &json!([{"name": "kube-apiserver", "image": image}])).await;
}

pub(crate) async fn the_fleet_is_seen_whole(bench: &TestCluster) {
    make_control_plane(bench, "v1.36.2").await;
    for number in 0..60 {
        bench.make_node(&format!("worker-{number}"), &json!({})).await;
    }
    let notes =
        json!({annotations::TARGET: "1.36.3", annotations::PHASE: "refused", annotations::IGNORE: ""});
    bench
        .patch_node(OTHER, &json!({"metadata": {"annotations": notes}, "spec": {"unschedulable": true}}))
        .await;
    bench.other.claim(LeaseName::Slot(0), &holder(OTHER)).await;
    bench.other.renew(LeaseName::Slot(0), &holder(OTHER), mark("broken"), None).await;
    let ended = bench.own.look_at_fleet().await;
    let [Observation::Fleet(fleet)] = &ended.observations[..] else { panic!("{ended:?}") };
    assert_eq!(fleet.nodes.len(), 63);
    let other = fleet.nodes.iter().find(|node| node.name == OTHER).unwrap();
    assert!(other.ready && other.unschedulable && other.refused && other.ignored && !other.control_plane);
    assert_eq!((other.target, other.kubelet), (Some(TARGET), Some(Version::new(1, 36, 2))));
    assert!(fleet.nodes.iter().any(|node| node.name == CONTROL_PLANE && node.control_plane));
    assert_eq!(fleet.leases.len(), 1);
    assert_eq!(fleet.leases[0].mark, mark("broken"));
    assert!(fleet.leases[0].held_by_other_than(&holder(OWN)));
    assert_eq!(fleet.kubeadm_config, Some(TARGET));
    let [server] = &fleet.pods[..] else { panic!("{:?}", fleet.pods) };
    assert_eq!((server.version, server.ready), (Some(Version::new(1, 36, 2)), true));
    assert_eq!(server.hash.as_deref(), Some(HASH));
    assert!(!fleet.policy.exists && fleet.policy.at >= fleet.at);
}

pub(crate) async fn whoever_waits_is_told_of_a_freed_lease_and_not_of_renewals(bench: &TestCluster) {
    let (slot, theirs) = (LeaseName::Slot(0), holder(OTHER));
    bench.other.claim(slot, &theirs).await;
    let told = Told::default();
    let turns = |facts: &[Observation]| -> Vec<TurnSeen> {
        let turn = |fact: &Observation| match fact {
            Observation::Turn(turn) => Some(turn.clone()),
            _ => None,
        };
        facts.iter().filter_map(turn).collect()
    };
    let turn = |facts: &[Observation]| turns(facts).pop();
    let held = |turn: &TurnSeen| turn.leases.iter().any(|lease| lease.holder.is_some());
    let script = async {
        told.until(|facts| turn(facts).is_some_and(|turn| held(&turn))).await;
        let renewal = Patch::Merge(json!({"spec": {"renewTime": "2020-01-01T00:00:00.000000Z"}}));
        bench.leases().patch("slot-0", &PatchParams::default(), &renewal).await.unwrap();
        bench.other.release(slot, &theirs).await;
        told.until(|facts| turn(facts).is_some_and(|turn| !held(&turn))).await;
        assert_eq!(turns(&told.all()).len(), 2, "{:?}", told.all());
        make_control_plane(bench, "v1.36.2").await;
        told.until(|facts| turn(facts).is_some_and(|turn| turn.control_planes.len() == 1)).await;
    };
    tokio::select! {
        () = bench.own.watch_fleet(told.ear()) => unreachable!("a watch has no end"),
        () = script => {}
    }
}

/// What the cluster says to a turn B of the own node, a worker.
pub(super) async fn outcome(bench: &TestCluster, check: Check) -> Outcome {
    let found = preflight(bench).await.findings;
    found.into_iter().find(|finding| finding.check == check).unwrap().outcome
}

async fn preflight(bench: &TestCluster) -> ClusterPreflight {
    let asked = Question { target: TARGET, kind: TurnKind::Kubelet, control_plane: false, own_server: false };
    bench.own.preflight(asked, &DrainOptions::default()).await.unwrap().preflight
}

pub(crate) async fn preflight_finds_nothing_wrong_with_a_node_in_order(bench: &TestCluster) {
    make_control_plane(bench, "v1.36.3").await;
    bench.make_pod("web", OWN, "ReplicaSet").await;
    bench.make_pod("proxy", OWN, "DaemonSet").await;
    let preflight = preflight(bench).await;
    for finding in &preflight.findings {
        assert!(matches!(finding.outcome, Outcome::Passed(_)), "{finding:?}");
    }
}

pub(crate) async fn a_kubelet_that_would_go_past_an_api_server_is_noted(bench: &TestCluster) {
    let noted =
        |outcome: &Outcome, words: &str| matches!(outcome, Outcome::Noted(text) if text.contains(words));
    let unknown = outcome(bench, Check::ApiServers).await;
    assert!(noted(&unknown, "no control-plane node is seen"), "{unknown:?}");
    make_control_plane(bench, "v1.35.9").await;
    let behind = outcome(bench, Check::ApiServers).await;
    assert!(noted(&behind, "the API server on cp1 runs v1.35.9"), "{behind:?}");
    let note = ApiServerNote { version: Version::new(1, 36, 2), hash: HASH.to_owned() };
    let note = json!({"metadata": {"annotations": {annotations::API_SERVER: note.text()}}});
    bench.patch_node(CONTROL_PLANE, &note).await;
    let told = outcome(bench, Check::ApiServers).await;
    assert!(matches!(&told, Outcome::Passed(_)), "an agent's own word counts more than an image's: {told:?}");
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
    let local = || async {
        let ended = bench.own.look_at_control_plane().await;
        let [Observation::Local(local)] = &ended.observations[..] else { panic!("{ended:?}") };
        local.clone()
    };
    let first = local().await;
    assert!(first.api_server_ready && first.etcd.is_none());
    let runs: Version = bench.admin.apiserver_version().await.unwrap().git_version.parse().unwrap();
    assert_eq!((first.version, first.hash), (Some(runs), None), "no pod of it is seen");
    make_api_server(bench, OWN, "v1.36.2").await;
    make_control_plane(bench, "v1.36.2").await;
    assert_eq!(local().await.hash.as_deref(), Some(HASH));
}

pub(crate) async fn what_an_agent_notes_of_itself_is_seen_by_its_peers(bench: &TestCluster) {
    let note = ApiServerNote { version: TARGET, hash: HASH.to_owned() };
    bench.own.write_node(&cordon()).await;
    bench.own.write_node(&Act::PublishApiServer { note: note.clone() }).await;
    let ended = bench.other.look_at_fleet().await;
    let [Observation::Fleet(fleet)] = &ended.observations[..] else { panic!("{ended:?}") };
    let own = fleet.nodes.iter().find(|node| node.name == OWN).unwrap();
    assert!(own.cordon_note && own.unschedulable);
    assert_eq!((own.in_hand.clone(), own.api_server.clone()), (Some(in_hand(OWN)), Some(note)));
}
