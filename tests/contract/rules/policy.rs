//! The fleet's policy, read and watched.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use node_upgrade_agent::cluster::NAMESPACE;
use serde_json::{Value, json};
use upgrade_core::observed::{Observation, PolicySeen};

use super::super::test_cluster::{TestCluster, Told, make};

super::at_every_server!(
    an_absent_policy_means_the_defaults_until_one_was_seen,
    a_policy_that_was_seen_before_a_restart_is_gone_and_not_absent,
    a_value_that_cannot_be_read_bars_claims_and_is_named_and_the_rest_applies,
    the_watch_tells_every_change_of_the_policy_and_of_no_other_configmap,
    the_watch_tells_that_a_policy_is_gone_which_bars_claims,
);

fn maps(bench: &TestCluster) -> Api<ConfigMap> {
    Api::namespaced(bench.admin.clone(), NAMESPACE)
}

async fn make_map(bench: &TestCluster, name: &str, data: &Value) {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
    make(&maps(bench), &map).await;
}

async fn change(bench: &TestCluster, name: &str, data: &Value) {
    let patch = Patch::Merge(json!({"data": data}));
    maps(bench).patch(name, &PatchParams::default(), &patch).await.unwrap();
}

/// The policy as the own agent reads it with the fleet.
pub(crate) async fn policy_seen(bench: &TestCluster) -> PolicySeen {
    let ended = bench.own.look_at_fleet().await;
    let [Observation::Fleet(fleet)] = &ended.observations[..] else { panic!("{ended:?}") };
    fleet.policy.clone()
}

fn forbids(seen: &PolicySeen) -> String {
    seen.policy.forbids_claims().unwrap_or_default()
}

pub(crate) async fn an_absent_policy_means_the_defaults_until_one_was_seen(bench: &TestCluster) {
    let absent = policy_seen(bench).await;
    assert!(!absent.exists && absent.policy.forbids_claims().is_none());
    make_map(bench, "policy", &json!({"minReadySeconds": "7"})).await;
    let there = policy_seen(bench).await;
    assert!(there.exists && there.policy.forbids_claims().is_none());
    assert_eq!(there.policy.min_ready.as_secs(), 7);
    maps(bench).delete("policy", &DeleteParams::default()).await.unwrap();
    let gone = policy_seen(bench).await;
    assert!(!gone.exists && forbids(&gone).contains("is gone"), "{gone:?}");
}

pub(crate) async fn a_policy_that_was_seen_before_a_restart_is_gone_and_not_absent(bench: &TestCluster) {
    assert_eq!(forbids(&policy_seen(bench).await), "");
    bench.own.remember_policy();
    let gone = policy_seen(bench).await;
    assert!(!gone.exists && forbids(&gone).contains("is gone"), "{gone:?}");
}

pub(crate) async fn a_value_that_cannot_be_read_bars_claims_and_is_named_and_the_rest_applies(
    bench: &TestCluster,
) {
    make_map(bench, "policy", &json!({"paused": "true", "minReadySeconds": "soon"})).await;
    let seen = policy_seen(bench).await;
    assert!(seen.policy.paused);
    change(bench, "policy", &json!({"paused": "false"})).await;
    let seen = policy_seen(bench).await;
    assert!(!seen.policy.paused && forbids(&seen).contains("minReadySeconds"), "{seen:?}");
    change(bench, "policy", &json!({"minReadySeconds": null})).await;
    assert_eq!(forbids(&policy_seen(bench).await), "");
}

fn last(facts: &[Observation]) -> Option<&PolicySeen> {
    facts.iter().rev().find_map(|fact| match fact {
        Observation::Policy(seen) => Some(seen),
        _ => None,
    })
}

/// Watches while the script is played.
async fn while_watching(bench: &TestCluster, told: &Told, script: impl Future<Output = ()>) {
    tokio::select! {
        () = bench.own.watch_fleet(told.ear()) => unreachable!("a watch has no end"),
        () = script => {}
    }
}

pub(crate) async fn the_watch_tells_every_change_of_the_policy_and_of_no_other_configmap(
    bench: &TestCluster,
) {
    let told = Told::default();
    let script = async {
        told.until(|facts| last(facts).is_some_and(|seen| !seen.exists)).await;
        make_map(bench, "another", &json!({"paused": "true"})).await;
        make_map(bench, "policy", &json!({})).await;
        told.until(|facts| last(facts).is_some_and(|seen| seen.exists)).await;
        assert!(!last(&told.all()).unwrap().policy.paused, "the other one says nothing to us");
        change(bench, "policy", &json!({"paused": "true"})).await;
        told.until(|facts| last(facts).is_some_and(|seen| seen.policy.paused)).await;
        change(bench, "policy", &json!({"paused": "perhaps"})).await;
        told.until(|facts| last(facts).is_some_and(|seen| forbids(seen).contains("perhaps"))).await;
        change(bench, "policy", &json!({"paused": "false"})).await;
        told.until(|facts| last(facts).is_some_and(|seen| forbids(seen).is_empty())).await;
    };
    while_watching(bench, &told, script).await;
}

pub(crate) async fn the_watch_tells_that_a_policy_is_gone_which_bars_claims(bench: &TestCluster) {
    make_map(bench, "policy", &json!({})).await;
    let told = Told::default();
    let script = async {
        told.until(|facts| last(facts).is_some_and(|seen| seen.exists)).await;
        maps(bench).delete("policy", &DeleteParams::default()).await.unwrap();
        told.until(|facts| last(facts).is_some_and(|seen| forbids(seen).contains("is gone"))).await;
    };
    while_watching(bench, &told, script).await;
}
