//! Which pods go and which stay, as docs/drain.md says it row by row.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use upgrade_core::drain::DrainOptions;
use upgrade_core::observed::{DrainState, Observation, Outcome};

use super::super::test_cluster::{OTHER, OWN, TestCluster, Told, make};
use super::drain::{blocks, progress};
use super::drain_options::{container, drained, foretold, given_up, owner};

super::at_every_server!(
    a_pod_of_nobody_goes_where_force_is_set,
    emptydir_data_refuses_the_drain_where_it_is_to_be_kept_and_goes_where_it_is_not,
    what_must_not_go_is_known_before_anything_is_touched,
    everything_that_refuses_a_drain_is_told_at_once,
    the_mirror_of_a_static_pod_stays,
    pods_go_whatever_kind_of_controller_they_have_and_whether_it_is_still_there,
    a_finished_pod_of_a_daemon_set_stays,
    a_pod_created_anew_under_its_name_on_another_node_is_not_touched,
    a_pod_that_terminates_already_is_waited_for,
    a_pod_held_by_a_finalizer_is_named_with_it,
);

pub(crate) async fn a_pod_of_nobody_goes_where_force_is_set(bench: &TestCluster) {
    bench.make_pod_of(&json!({"name": "bare"}), OWN, &container()).await;
    drained(bench, DrainOptions { force: true, ..DrainOptions::default() }).await;
    assert!(bench.pods().await.is_empty());
}

/// A pod with an emptyDir volume, that a controller would create again.
async fn make_scratch_pod(bench: &TestCluster, name: &str) {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "ownerReferences": owner("ReplicaSet")},
        "spec": {
            "nodeName": OWN, "containers": container(), "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": false, "volumes": [{"name": "scratch", "emptyDir": {}}],
        },
    });
    make(&Api::<Pod>::namespaced(bench.admin.clone(), "default"), &pod).await;
}

pub(crate) async fn emptydir_data_refuses_the_drain_where_it_is_to_be_kept_and_goes_where_it_is_not(
    bench: &TestCluster,
) {
    make_scratch_pod(bench, "scratch").await;
    bench.make_pod("web", OWN, "ReplicaSet").await;
    let keep = DrainOptions { delete_emptydir_data: false, ..DrainOptions::default() };
    let why = given_up(bench, keep).await;
    assert!(why.contains("default/scratch") && why.contains("delete-emptydir-data"), "{why}");
    assert_eq!(bench.pods().await, ["scratch", "web"]);
    let Outcome::Passed(told) = foretold(bench).await else { panic!("refused") };
    assert!(told.ends_with("emptyDir data is lost of default/scratch"), "{told}");
    drained(bench, DrainOptions::default()).await;
    assert!(bench.pods().await.is_empty());
}

pub(crate) async fn what_must_not_go_is_known_before_anything_is_touched(bench: &TestCluster) {
    bench.make_pod_of(&json!({"name": "bare"}), OWN, &container()).await;
    let Outcome::Failed(why) = foretold(bench).await else { panic!("it passed") };
    assert!(why.contains("default/bare") && why.contains("force = true"), "{why}");
}

pub(crate) async fn everything_that_refuses_a_drain_is_told_at_once(bench: &TestCluster) {
    make_scratch_pod(bench, "scratch").await;
    for name in ["bare-1", "bare-0"] {
        bench.make_pod_of(&json!({"name": name}), OWN, &container()).await;
    }
    let keep = DrainOptions { delete_emptydir_data: false, ..DrainOptions::default() };
    let why = given_up(bench, keep).await;
    let places = ["default/bare-0", "default/bare-1", "default/scratch"].map(|pod| why.find(pod));
    assert!(places.is_sorted() && places.iter().all(Option::is_some), "{why}");
}

pub(crate) async fn the_mirror_of_a_static_pod_stays(bench: &TestCluster) {
    let notes = json!({"kubernetes.io/config.mirror": "hash"});
    bench.make_pod_of(&json!({"name": "static", "annotations": notes}), OWN, &container()).await;
    bench.make_pod("web", OWN, "ReplicaSet").await;
    drained(bench, DrainOptions { force: true, ..DrainOptions::default() }).await;
    assert_eq!(bench.pods().await, ["static"]);
}

pub(crate) async fn pods_go_whatever_kind_of_controller_they_have_and_whether_it_is_still_there(
    bench: &TestCluster,
) {
    let kinds = [
        ("batch/v1", "Job"),
        ("v1", "ReplicationController"),
        ("apps/v1", "StatefulSet"),
        ("apps.kruise.io/v1alpha1", "DaemonSet"),
    ];
    for (version, kind) in kinds {
        let name = kind.to_lowercase();
        let owner = json!([{
            "apiVersion": version, "kind": kind, "name": "long-gone", "uid": "gone", "controller": true,
        }]);
        bench.make_pod_of(&json!({"name": name, "ownerReferences": owner}), OWN, &container()).await;
    }
    drained(bench, DrainOptions::default()).await;
    assert_eq!(bench.pods().await, Vec::<String>::new());
}

pub(crate) async fn a_finished_pod_of_a_daemon_set_stays(bench: &TestCluster) {
    bench.make_pod("proxy", OWN, "DaemonSet").await;
    bench.set_status("proxy", "Failed", false).await;
    drained(bench, DrainOptions::default()).await;
    assert_eq!(bench.pods().await, ["proxy"]);
}

pub(crate) async fn a_pod_created_anew_under_its_name_on_another_node_is_not_touched(bench: &TestCluster) {
    bench.make_pod("web-0", OWN, "StatefulSet").await;
    bench.make_budget("careful", 1).await;
    let told = Told::default();
    let controller = async {
        told.until(|facts| facts.iter().any(|fact| blocks(fact, "careful"))).await;
        bench.delete_pod("web-0").await;
        bench.make_pod("web-0", OTHER, "StatefulSet").await;
        bench.change_budget("careful", 0).await;
        bench.pod("web-0").await.metadata.uid
    };
    let (ended, anew) = tokio::join!(bench.own.drain(DrainOptions::default(), told.ear()), controller);
    assert_eq!(progress(&ended).state, DrainState::Drained, "{ended:?}");
    let there = bench.pod("web-0").await.metadata;
    assert_eq!((there.uid, there.deletion_timestamp), (anew, None));
}

pub(crate) async fn a_pod_that_terminates_already_is_waited_for(bench: &TestCluster) {
    let metadata = json!({"name": "slow", "ownerReferences": owner("ReplicaSet")});
    bench.make_pod_with_grace(&metadata, OWN, &container(), 30).await;
    let pods: Api<Pod> = Api::namespaced(bench.admin.clone(), "default");
    pods.delete("slow", &DeleteParams::default()).await.unwrap();
    let told = Told::default();
    let kubelet = async {
        let waits = |fact: &Observation| matches!(fact, Observation::Drain(progress) if progress.left == 1);
        told.until(|facts| facts.iter().any(waits)).await;
        bench.delete_pod("slow").await;
    };
    let (ended, ()) = tokio::join!(bench.own.drain(DrainOptions::default(), told.ear()), kubelet);
    assert_eq!(progress(&ended).state, DrainState::Drained, "{ended:?}");
}

pub(crate) async fn a_pod_held_by_a_finalizer_is_named_with_it(bench: &TestCluster) {
    let metadata = json!({
        "name": "held", "ownerReferences": owner("ReplicaSet"), "finalizers": ["example.com/hold"],
    });
    bench.make_pod_of(&metadata, OWN, &container()).await;
    let ended = bench
        .own
        .drain(DrainOptions { timeout: Duration::from_secs(3), ..DrainOptions::default() }, |_| {})
        .await;
    // Let go before anything is judged: the next test finds an empty cluster.
    let pods: Api<Pod> = Api::namespaced(bench.admin.clone(), "default");
    let release: Patch<Value> = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    pods.patch("held", &PatchParams::default(), &release).await.unwrap();
    let DrainState::GivenUp(why) = &progress(&ended).state else { panic!("{ended:?}") };
    assert!(why.message.contains("default/held (still terminating"), "{why:?}");
    assert!(why.message.contains("held by its finalizers example.com/hold"), "{why:?}");
    assert!(bench.pods().await.is_empty());
}
