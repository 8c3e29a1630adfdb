//! Each option of a drain, and what preflight says of a drain before it begins.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use upgrade_core::api::{Check, Reason};
use upgrade_core::drain::DrainOptions;
use upgrade_core::observed::{DrainState, Observation, Outcome};

use super::super::real::Real;
use super::super::test_cluster::{OTHER, OWN, TestCluster, Told, make};
use super::drain::{blocks, progress};
use super::fleet::outcome;

super::at_every_server!(
    pods_are_deleted_past_their_budget_where_eviction_is_disabled,
    only_the_pods_of_the_selector_go,
    a_finished_pod_goes_whoever_owns_it,
    a_pod_bound_after_the_drain_began_goes_too,
    a_pod_that_terminates_for_ever_is_passed_over_where_that_is_wanted,
    a_daemon_set_refuses_the_drain_where_it_may_not_be_passed_over,
    critical_pods_go_last_where_that_is_wanted,
    the_configured_grace_is_every_pods,
    a_drain_in_which_nothing_goes_is_given_up,
    an_unready_pod_goes_where_its_budget_lets_unready_pods_go,
    a_budget_that_lets_nothing_go_is_noted_beforehand_and_refuses_nothing,
    budgets_that_let_each_pod_go_but_not_all_are_named_beforehand,
    dry_runs_of_evictions_change_nothing,
);

pub(super) fn container() -> Value {
    json!([{"name": "main", "image": "registry.example/web:1"}])
}

pub(super) fn owner(kind: &str) -> Value {
    json!([{"apiVersion": "apps/v1", "kind": kind, "name": "owner", "uid": "owner-uid", "controller": true}])
}

pub(super) async fn drained(bench: &TestCluster, options: DrainOptions) {
    let ended = bench.own.drain(options, |_| {}).await;
    assert_eq!(progress(&ended).state, DrainState::Drained, "{ended:?}");
}

pub(super) async fn given_up(bench: &TestCluster, options: DrainOptions) -> String {
    let ended = bench.own.drain(options, |_| {}).await;
    match &progress(&ended).state {
        DrainState::GivenUp(trouble) => trouble.message.clone(),
        state @ (DrainState::Draining | DrainState::CutOff | DrainState::Drained) => panic!("{state:?}"),
    }
}

/// What preflight says of the pods.
pub(super) async fn foretold(bench: &TestCluster) -> Outcome {
    outcome(bench, Check::Pods).await
}

pub(crate) async fn pods_are_deleted_past_their_budget_where_eviction_is_disabled(bench: &TestCluster) {
    bench.make_pod("web", OWN, "ReplicaSet").await;
    bench.make_pod("elsewhere", OTHER, "ReplicaSet").await;
    bench.make_budget("careful", 2).await;
    drained(bench, DrainOptions { disable_eviction: true, ..DrainOptions::default() }).await;
    assert_eq!(bench.pods().await, ["elsewhere"]);
}

pub(crate) async fn only_the_pods_of_the_selector_go(bench: &TestCluster) {
    bench.make_pod("web", OWN, "ReplicaSet").await;
    // Nothing would create it again, and yet nobody asks: it is not looked at.
    bench.make_pod_of(&json!({"name": "bare", "labels": {"app": "db"}}), OWN, &container()).await;
    drained(bench, DrainOptions { pod_selector: "app=web".to_owned(), ..DrainOptions::default() }).await;
    assert_eq!(bench.pods().await, ["bare"]);
}

pub(crate) async fn a_finished_pod_goes_whoever_owns_it(bench: &TestCluster) {
    bench.make_pod_of(&json!({"name": "bare"}), OWN, &container()).await;
    bench.set_status("bare", "Succeeded", false).await;
    drained(bench, DrainOptions::default()).await;
    assert!(bench.pods().await.is_empty());
}

pub(crate) async fn a_pod_bound_after_the_drain_began_goes_too(bench: &TestCluster) {
    bench.make_pod("web", OWN, "ReplicaSet").await;
    bench.make_budget("careful", 1).await;
    let told = Told::default();
    let bind = async {
        told.until(|facts| facts.iter().any(|fact| blocks(fact, "careful"))).await;
        let late = json!({"name": "late", "ownerReferences": owner("Job")});
        bench.make_pod_with_grace(&late, OWN, &container(), 30).await;
        bench.until_terminating("late").await;
        bench.delete_pod("late").await;
        bench.change_budget("careful", 0).await;
    };
    let (ended, ()) = tokio::join!(bench.own.drain(DrainOptions::default(), told.ear()), bind);
    assert_eq!(progress(&ended).state, DrainState::Drained, "{ended:?}");
    assert!(bench.pods().await.is_empty());
}

pub(crate) async fn a_pod_that_terminates_for_ever_is_passed_over_where_that_is_wanted(bench: &TestCluster) {
    let slow = json!({"name": "slow", "ownerReferences": owner("ReplicaSet")});
    bench.make_pod_with_grace(&slow, OWN, &container(), 1).await;
    drained(
        bench,
        DrainOptions { skip_wait_for_delete_timeout: Duration::from_secs(1), ..DrainOptions::default() },
    )
    .await;
    assert_eq!(bench.pods().await, ["slow"], "nobody plays the kubelet that would end it");
    let told = bench.event("PodsPassedOver").await.and_then(|event| event.message).unwrap_or_default();
    assert!(told.contains("default/slow") && told.contains("skip-wait-for-delete-timeout"), "{told}");
}

pub(crate) async fn a_daemon_set_refuses_the_drain_where_it_may_not_be_passed_over(bench: &TestCluster) {
    bench.make_pod("web", OWN, "ReplicaSet").await;
    bench.make_pod("proxy", OWN, "DaemonSet").await;
    let options = DrainOptions { ignore_daemonsets: false, ..DrainOptions::default() };
    let why = given_up(bench, options).await;
    assert!(why.contains("default/proxy") && why.contains("ignore-daemonsets"), "{why}");
    assert_eq!(bench.pods().await, ["proxy", "web"]);
}

pub(crate) async fn critical_pods_go_last_where_that_is_wanted(bench: &TestCluster) {
    let slow = json!({"name": "slow", "ownerReferences": owner("ReplicaSet")});
    bench.make_pod_with_grace(&slow, OWN, &container(), 30).await;
    bench.make_critical_pod("dns", OWN).await;
    let kubelet = async {
        bench.until_terminating("slow").await;
        // Room for a wrong eviction to happen: one would be sent together with the other.
        assert_eq!(bench.own.look_at_pods().await.observations.len(), 1);
        assert_eq!(bench.critical_pods().await, ["dns"]);
        bench.delete_pod("slow").await;
    };
    let options = DrainOptions { critical_last: true, ..DrainOptions::default() };
    let (ended, ()) = tokio::join!(bench.own.drain(options, |_| {}), kubelet);
    assert_eq!(progress(&ended).state, DrainState::Drained, "{ended:?}");
    assert!(bench.critical_pods().await.is_empty());
}

pub(crate) async fn the_configured_grace_is_every_pods(bench: &TestCluster) {
    let slow = json!({"name": "slow", "ownerReferences": owner("ReplicaSet")});
    bench.make_pod_with_grace(&slow, OWN, &container(), 300).await;
    let kubelet = async {
        bench.until_terminating("slow").await;
        assert_eq!(bench.pod("slow").await.metadata.deletion_grace_period_seconds, Some(7));
        bench.delete_pod("slow").await;
    };
    let options = DrainOptions { grace_period: Some(7), ..DrainOptions::default() };
    let (ended, ()) = tokio::join!(bench.own.drain(options, |_| {}), kubelet);
    assert_eq!(progress(&ended).state, DrainState::Drained, "{ended:?}");
}

pub(crate) async fn a_drain_in_which_nothing_goes_is_given_up(bench: &TestCluster) {
    bench.make_pod("web", OWN, "ReplicaSet").await;
    bench.make_budget("careful", 1).await;
    let options = DrainOptions { no_progress_timeout: Duration::from_secs(1), ..DrainOptions::default() };
    let ended = bench.own.drain(options, |_| {}).await;
    let DrainState::GivenUp(trouble) = &progress(&ended).state else { panic!("{ended:?}") };
    assert_eq!(trouble.reason, Reason::DrainBlocked);
    for words in ["careful", "no-progress-timeout"] {
        assert!(trouble.message.contains(words), "{trouble:?}");
    }
}

pub(crate) async fn an_unready_pod_goes_where_its_budget_lets_unready_pods_go(bench: &TestCluster) {
    for name in ["web-0", "web-1"] {
        bench.make_pod(name, OWN, "ReplicaSet").await;
        bench.set_status(name, "Running", false).await;
    }
    bench.make_budget("careful", 1).await;
    let options = DrainOptions { timeout: Duration::from_secs(1), ..DrainOptions::default() };
    assert!(given_up(bench, options).await.contains("careful"), "IfHealthyBudget is the default");
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(bench.admin.clone(), "default");
    let policy = Patch::Merge(json!({"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}}));
    budgets.patch("careful", &PatchParams::default(), &policy).await.unwrap();
    bench.settle_budget("careful", 1).await;
    drained(bench, DrainOptions::default()).await;
    assert!(bench.pods().await.is_empty());
}

pub(crate) async fn a_budget_that_lets_nothing_go_is_noted_beforehand_and_refuses_nothing(
    bench: &TestCluster,
) {
    bench.make_pod("web", OWN, "ReplicaSet").await;
    bench.make_budget("stubborn", 1).await;
    let Outcome::Noted(why) = foretold(bench).await else { panic!("not noted") };
    for words in ["default/stubborn", "default/web", "needs 1 healthy pods and has 1 of 1"] {
        assert!(why.contains(words), "{why}");
    }
}

pub(crate) async fn budgets_that_let_each_pod_go_but_not_all_are_named_beforehand(bench: &TestCluster) {
    bench.make_pod("web-0", OWN, "ReplicaSet").await;
    bench.make_pod("web-1", OWN, "ReplicaSet").await;
    bench.make_budget("careful", 1).await;
    let Outcome::Passed(text) = foretold(bench).await else { panic!("it failed") };
    assert!(text.contains("default/careful lets 1 of the 2 pods here go at a time"), "{text}");
}

pub(crate) async fn dry_runs_of_evictions_change_nothing(bench: &TestCluster) {
    bench.make_pod("web-0", OWN, "ReplicaSet").await;
    bench.make_pod("web-1", OTHER, "ReplicaSet").await;
    bench.make_budget("careful", 1).await;
    for _ in 0..3 {
        assert_eq!(foretold(bench).await, Outcome::Passed("1 pods would be evicted".to_owned()));
    }
    assert_eq!(bench.pods().await, ["web-0", "web-1"]);
    assert!(bench.pod("web-0").await.metadata.deletion_timestamp.is_none());
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(bench.admin.clone(), "default");
    let status = budgets.get("careful").await.unwrap().status.unwrap();
    assert_eq!(status.disruptions_allowed, 1, "the room was not used up");
}

/// Only a server that knows namespaces can be asked.
#[tokio::test]
async fn a_pod_of_a_namespace_that_terminates_is_waited_for() {
    let Some(real) = Real::begin().await else { return };
    let bench = &real.bench;
    let namespaces: Api<Namespace> = Api::all(bench.admin.clone());
    let going = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "going"}});
    make(&namespaces, &going).await;
    let metadata = json!({"name": "web", "namespace": "going", "ownerReferences": owner("ReplicaSet")});
    bench.make_pod_of(&metadata, OWN, &container()).await;
    namespaces.delete("going", &DeleteParams::default()).await.unwrap();
    let told = Told::default();
    let namespace_controller = async {
        let refused = |fact: &Observation| {
            matches!(fact, Observation::Drain(progress)
                if progress.blocked.iter().any(|blocked| blocked.message.contains("being terminated")))
        };
        told.until(|facts| facts.iter().any(refused)).await;
        let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(bench.admin.clone(), "going");
        pods.delete("web", &DeleteParams::default().grace_period(0)).await.unwrap();
    };
    let (ended, ()) =
        tokio::join!(bench.own.drain(DrainOptions::default(), told.ear()), namespace_controller);
    assert_eq!(progress(&ended).state, DrainState::Drained, "{ended:?}");
}
