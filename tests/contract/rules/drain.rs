use std::time::Duration;

use serde_json::json;
use upgrade_core::act::ActResult;
use upgrade_core::api::Reason;
use upgrade_core::drain::DrainOptions;
use upgrade_core::observed::{DrainState, Observation, Progress};

use super::super::test_cluster::{OTHER, OWN, TestCluster, Told};

super::at_every_server!(
    what_may_go_is_evicted_and_what_belongs_here_stays,
    a_drain_waits_for_a_budget_and_names_it,
    a_budget_gives_way_as_replacements_become_ready,
    a_drain_waits_until_evicted_pods_have_ended,
    a_pod_under_two_budgets_is_told_as_blocked,
    a_drain_that_must_not_begin_evicts_nothing,
    a_drain_has_an_end,
    every_pod_of_a_long_list_is_seen,
);

pub(crate) async fn what_may_go_is_evicted_and_what_belongs_here_stays(bench: &TestCluster) {
    for number in 0..20 {
        bench.make_pod(&format!("web-{number}"), OWN, "ReplicaSet").await;
    }
    bench.make_pod("proxy", OWN, "DaemonSet").await;
    bench.make_pod("elsewhere", OTHER, "ReplicaSet").await;
    let ended = bench.own.drain(DrainOptions::default(), |_| {}).await;
    assert_eq!(progress(&ended).state, DrainState::Drained, "{ended:?}");
    assert_eq!(bench.pods().await, ["elsewhere", "proxy"]);
}

pub(crate) async fn a_drain_waits_for_a_budget_and_names_it(bench: &TestCluster) {
    bench.make_pod("web", OWN, "ReplicaSet").await;
    bench.make_budget("careful", 1).await;
    let told = Told::default();
    let room = async {
        told.until(|facts| facts.iter().any(|fact| blocks(fact, "careful"))).await;
        assert_eq!(bench.pods().await, ["web"]);
        bench.change_budget("careful", 0).await;
    };
    let (ended, ()) = tokio::join!(bench.own.drain(DrainOptions::default(), told.ear()), room);
    assert_eq!(progress(&ended).state, DrainState::Drained, "{ended:?}");
    assert!(bench.pods().await.is_empty());
}

pub(crate) async fn a_budget_gives_way_as_replacements_become_ready(bench: &TestCluster) {
    bench.make_pod("web-0", OWN, "ReplicaSet").await;
    bench.make_pod("web-1", OWN, "ReplicaSet").await;
    bench.make_budget("careful", 1).await;
    let told = Told::default();
    let replace = async {
        // The one that may go can be answered after the one that must stay for it.
        let one_left = |fact: &Observation| {
            blocks(fact, "careful") && matches!(fact, Observation::Drain(progress) if progress.left == 1)
        };
        told.until(|facts| facts.iter().any(one_left)).await;
        assert_eq!(bench.pods().await.len(), 1);
        bench.make_pod("web-2", OTHER, "ReplicaSet").await;
        bench.settle_budget("careful", 1).await;
    };
    let (ended, ()) = tokio::join!(bench.own.drain(DrainOptions::default(), told.ear()), replace);
    assert_eq!(progress(&ended).state, DrainState::Drained, "{ended:?}");
    assert_eq!(bench.pods().await, ["web-2"]);
}

pub(crate) async fn a_drain_waits_until_evicted_pods_have_ended(bench: &TestCluster) {
    let owner =
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "a", "uid": "b", "controller": true});
    let containers = json!([{"name": "main", "image": "registry.example/web:1"}]);
    let metadata = json!({"name": "slow", "ownerReferences": [owner]});
    bench.make_pod_with_grace(&metadata, OWN, &containers, 30).await;
    let kubelet = async {
        bench.until_terminating("slow").await;
        bench.delete_pod("slow").await;
    };
    let (ended, ()) = tokio::join!(bench.own.drain(DrainOptions::default(), |_| {}), kubelet);
    assert_eq!(progress(&ended).state, DrainState::Drained, "{ended:?}");
    assert!(bench.pods().await.is_empty());
}

pub(crate) async fn a_pod_under_two_budgets_is_told_as_blocked(bench: &TestCluster) {
    bench.make_pod("web", OWN, "ReplicaSet").await;
    bench.make_budget("one", 0).await;
    bench.make_budget("two", 0).await;
    let options = DrainOptions { timeout: Duration::from_secs(1), ..DrainOptions::default() };
    let ended = bench.own.drain(options, |_| {}).await;
    let DrainState::GivenUp(trouble) = &progress(&ended).state else { panic!("{ended:?}") };
    assert_eq!(trouble.reason, Reason::DrainBlocked);
    assert!(trouble.message.contains("more than one PodDisruptionBudget"), "{trouble:?}");
}

pub(crate) async fn a_drain_that_must_not_begin_evicts_nothing(bench: &TestCluster) {
    bench.make_pod("web", OWN, "ReplicaSet").await;
    let bare = json!([{"name": "main", "image": "registry.example/web:1"}]);
    bench.make_pod_of(&json!({"name": "bare"}), OWN, &bare).await;
    let ended = bench.own.drain(DrainOptions::default(), |_| {}).await;
    let DrainState::GivenUp(trouble) = &progress(&ended).state else { panic!("{ended:?}") };
    assert!(trouble.message.contains("default/bare"), "{trouble:?}");
    assert_eq!(bench.pods().await, ["bare", "web"]);
}

pub(crate) async fn a_drain_has_an_end(bench: &TestCluster) {
    bench.make_pod("web", OWN, "ReplicaSet").await;
    bench.make_budget("careful", 1).await;
    let options = DrainOptions { timeout: Duration::from_secs(1), ..DrainOptions::default() };
    let ended = bench.own.drain(options, |_| {}).await;
    let DrainState::GivenUp(trouble) = &progress(&ended).state else { panic!("{ended:?}") };
    assert_eq!(trouble.reason, Reason::DrainBlocked);
    assert!(trouble.message.contains("careful"), "{trouble:?}");
}

pub(crate) async fn every_pod_of_a_long_list_is_seen(bench: &TestCluster) {
    for number in 0..140 {
        bench.make_pod(&format!("web-{number}"), OWN, "ReplicaSet").await;
    }
    bench.make_pod("elsewhere", OTHER, "ReplicaSet").await;
    let ended = bench.own.look_at_pods().await;
    let [Observation::Pods(seen)] = &ended.observations[..] else { panic!("{ended:?}") };
    assert_eq!(seen.pods.len(), 140);
    assert!(seen.pods.iter().all(|pod| pod.ready && pod.controller.is_some()));
}

pub(crate) fn progress(ended: &ActResult) -> &Progress {
    match &ended.observations[..] {
        [Observation::Drain(progress)] => progress,
        _ => panic!("{ended:?}"),
    }
}

pub(crate) fn blocks(fact: &Observation, budget: &str) -> bool {
    let Observation::Drain(progress) = fact else { return false };
    progress.blocked.iter().any(|blocked| blocked.budget.as_deref() == Some(budget))
}
