//! What a drain costs the API server, and what it never waits for.

use std::time::Duration;

use kube::api::DeleteParams;
use serde_json::json;
use tokio::time::Instant;
use upgrade_core::drain::DrainOptions;
use upgrade_core::observed::{DrainState, Observation};
use upgrade_tests::api::Api;
use upgrade_tests::api::faults::{Effect, Fault};

use super::faults::made_anew_first;
use super::rules::{blocks, progress};
use super::test_cluster::{OWN, TestCluster, Told};

/// The requests of a drain, and how it ended.
async fn requests_of(bench: &TestCluster, server: &Api, options: DrainOptions) -> (Vec<String>, DrainState) {
    let before = server.requests().len();
    let ended = bench.own.drain(options, |_| {}).await;
    (server.requests().split_off(before), progress(&ended).state.clone())
}

fn count(requests: &[String], part: &str) -> usize {
    requests.iter().filter(|line| line.contains(part)).count()
}

#[tokio::test(start_paused = true)]
async fn a_node_with_nothing_to_evict_costs_one_list() {
    let (bench, server) = TestCluster::fake().await;
    bench.make_pod("proxy", OWN, "DaemonSet").await;
    let (requests, state) = requests_of(&bench, &server, DrainOptions::default()).await;
    assert_eq!(state, DrainState::Drained);
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert_eq!(count(&requests, "GET /api/v1/pods?&fieldSelector="), 1, "{requests:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hundred_pods_cost_an_eviction_each_and_five_requests() {
    let (bench, server) = TestCluster::fake().await;
    for number in 0..100 {
        let metadata = json!({"name": format!("web-{number}"), "ownerReferences": owner()});
        bench.make_pod_with_grace(&metadata, OWN, &container(), 30).await;
    }
    let before = server.requests().len();
    let kubelet = async {
        // All of them get their grace: polling each would cost a hundred requests a second.
        tokio::time::sleep(Duration::from_secs(30)).await;
        for pod in bench.pods().await {
            bench.delete_pod(&pod).await;
        }
    };
    let (ended, ()) = tokio::join!(bench.own.drain(DrainOptions::default(), |_| {}), kubelet);
    assert_eq!(progress(&ended).state, DrainState::Drained);
    // The kubelet that the bench plays asks too.
    let own = |line: &String| !line.starts_with("DELETE") && !line.contains("/namespaces/default/pods?");
    let requests: Vec<_> = server.requests().split_off(before).into_iter().filter(own).collect();
    assert_eq!(count(&requests, "/eviction"), 100);
    assert!(requests.len() <= 105, "{} requests", requests.len());
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_terminates_already_costs_no_eviction() {
    let (bench, server) = TestCluster::fake().await;
    let metadata = json!({"name": "slow", "ownerReferences": owner()});
    bench.make_pod_with_grace(&metadata, OWN, &container(), 30).await;
    let pods = kube::Api::<k8s_openapi::api::core::v1::Pod>::namespaced(bench.admin.clone(), "default");
    pods.delete("slow", &DeleteParams::default()).await.unwrap();
    let told = Told::default();
    let kubelet = async {
        told.until(|facts| {
            facts.iter().any(|fact| matches!(fact, Observation::Drain(told) if told.left == 1))
        })
        .await;
        bench.delete_pod("slow").await;
    };
    let (ended, ()) = tokio::join!(bench.own.drain(DrainOptions::default(), told.ear()), kubelet);
    assert_eq!(progress(&ended).state, DrainState::Drained);
    assert_eq!(count(&server.requests(), "/eviction"), 0);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_its_time_cuts_an_eviction_that_is_never_answered() {
    let (bench, server) = TestCluster::fake().await;
    bench.make_pod("web", OWN, "ReplicaSet").await;
    server.fail(Fault::once(&["/eviction"], || Effect::Swallow));
    let begun = Instant::now();
    let options = DrainOptions { timeout: Duration::from_secs(3), ..DrainOptions::default() };
    let (_, state) = requests_of(&bench, &server, options).await;
    assert!(
        matches!(state, DrainState::GivenUp(why) if why.message.contains("default/web (not evicted yet)"))
    );
    assert_eq!(begun.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_list_of_many_slow_pages_comes_to_its_end() {
    let (bench, server) = TestCluster::fake().await;
    for number in 0..160 {
        bench.make_pod(&format!("web-{number}"), OWN, "ReplicaSet").await;
    }
    let slow = || Effect::Delay(Duration::from_secs(4));
    server.fail(Fault::once(&["GET /api/v1/pods", "limit="], slow).times(usize::MAX));
    let (_, state) = requests_of(&bench, &server, DrainOptions::default()).await;
    assert_eq!(state, DrainState::Drained);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_has_the_uid_as_its_precondition_too() {
    let (bench, server) = TestCluster::fake().await;
    bench.make_pod("web", OWN, "ReplicaSet").await;
    server.fail(Fault::once(&["DELETE", "/pods/web"], made_anew_first));
    let options = DrainOptions { disable_eviction: true, ..DrainOptions::default() };
    let (_, state) = requests_of(&bench, &server, options).await;
    assert_eq!(state, DrainState::Drained);
    assert_eq!(bench.pods().await, ["web"]);
}

#[tokio::test(start_paused = true)]
async fn blocked_pods_cost_an_eviction_every_ten_seconds_however_many_they_are_and_no_reads() {
    let (bench, server) = TestCluster::fake().await;
    for number in 0..8 {
        bench.make_pod(&format!("web-{number}"), OWN, "ReplicaSet").await;
    }
    bench.make_budget("careful", 8).await;
    let told = Told::default();
    let options = DrainOptions {
        timeout: Duration::from_mins(15),
        no_progress_timeout: Duration::ZERO,
        ..DrainOptions::default()
    };
    let before = server.requests().len();
    let ended = bench.own.drain(options, told.ear()).await;
    assert!(matches!(progress(&ended).state, DrainState::GivenUp(_)));
    assert!(told.all().iter().any(|fact| blocks(fact, "careful")));
    let requests = server.requests().split_off(before);
    // Each once; then one of them every second for 16 s, every sixteenth of the time until 160 s, every ten seconds.
    let evictions = count(&requests, "/eviction");
    assert!((8 + 120..=8 + 140).contains(&evictions), "{evictions}");
    let reads = requests.len() - evictions;
    assert!(reads <= 20, "a list a minute, and the watch's: {reads}");
}

fn container() -> serde_json::Value {
    json!([{"name": "main", "image": "registry.example/web:1"}])
}

fn owner() -> serde_json::Value {
    json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u", "controller": true}])
}
