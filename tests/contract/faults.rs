//! What the adapters come to when things go wrong; needs an API server that does so at will.

use futures::FutureExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use upgrade_core::act::{Act, ActResult, FaultClass};
use upgrade_core::api::{LeaseName, Version, annotations};
use upgrade_core::drain::DrainOptions;
use upgrade_core::observed::{DrainState, LeaseSeen, NodeSeen, Observation};
use upgrade_tests::api::Api;
use upgrade_tests::api::faults::{Effect, Fault};

use super::test_cluster::{
    OTHER, OWN, TestCluster, Told, ask, cordon, holder, in_hand, is_held, lease_seen, node_seen,
};

const SLOT: LeaseName = LeaseName::Slot(0);
const CURRENT: Version = Version::new(1, 36, 3);

/// Somebody patches the own Node just before a request is served.
fn somebody_patches_first(patch: serde_json::Value) -> impl Fn() -> Effect + Send + 'static {
    move || {
        let patch = patch.clone();
        Effect::First(Box::new(move |admin: &Client| {
            let nodes = kube::Api::<k8s_openapi::api::core::v1::Node>::all(admin.clone());
            async move {
                nodes.patch(OWN, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
            }
            .boxed()
        }))
    }
}

fn writes(server: &Api, part: &str) -> usize {
    server.requests().iter().filter(|line| !line.starts_with("GET") && line.contains(part)).count()
}

/// Pod `web` is deleted just before a request is served, and one of its name made that belongs on this node.
pub(super) fn made_anew_first() -> Effect {
    Effect::First(Box::new(|admin: &Client| {
        let pods = kube::Api::<Pod>::namespaced(admin.clone(), "default");
        async move {
            let mut pod = pods.get("web").await.unwrap();
            pods.delete("web", &DeleteParams::default().grace_period(0)).await.unwrap();
            pod.metadata.uid = None;
            pod.metadata.resource_version = None;
            for owner in pod.metadata.owner_references.iter_mut().flatten() {
                "DaemonSet".clone_into(&mut owner.kind);
            }
            pods.create(&PostParams::default(), &pod).await.unwrap();
        }
        .boxed()
    }))
}

#[tokio::test(start_paused = true)]
async fn a_cordon_decided_from_an_old_read_is_decided_anew() {
    let (bench, server) = TestCluster::fake().await;
    let theirs = json!({"spec": {"unschedulable": true}});
    server.fail(Fault::once(&["PATCH", "/nodes/n1?"], somebody_patches_first(theirs)).after(1));
    // The admin's own patch is the first request that fits; the agent's is the second.
    bench.patch_node(OWN, &json!({"metadata": {"annotations": {"x": "1"}}})).await;
    let ended = bench.own.write_node(&cordon()).await;
    assert_eq!(node_seen(&ended).cordon_note, Some(true), "their cordon came between our read and our write");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_never_holds_still_is_given_up_with_a_fault() {
    let (bench, server) = TestCluster::fake().await;
    let conflict = || Effect::Refuse(409, "the object has been modified".to_owned());
    server.fail(Fault::once(&["PATCH", "/nodes/n1"], conflict).times(100));
    let fault = bench.own.write_node(&cordon()).await.fault.unwrap();
    assert_eq!(fault.class, FaultClass::Transient);
    assert_eq!(writes(&server, "PATCH /api/v1/nodes/n1"), 5 + 1, "one by the bench, five tries");
}

#[tokio::test(start_paused = true)]
async fn a_cordon_whose_answer_was_lost_is_still_ours() {
    let (bench, server) = TestCluster::fake().await;
    server.fail(Fault::once(&["PATCH", "/nodes/n1"], || Effect::LoseAnswer));
    let fault = bench.own.write_node(&cordon()).await.fault.unwrap();
    assert!(fault.message.contains("cordoning Node n1: no answer within 10 s"), "{}", fault.message);
    let again = bench.own.write_node(&cordon()).await;
    assert_eq!(node_seen(&again).cordon_note, Some(false));
    assert!(!node_seen(&bench.own.write_node(&Act::Uncordon).await).unschedulable);
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_answer_was_lost_is_found_held() {
    for method in ["POST", "PUT"] {
        let (bench, server) = TestCluster::fake().await;
        if method == "PUT" {
            bench.make_lease(&json!({"name": "slot-0"}), &json!({})).await;
        }
        server.fail(Fault::once(&[method, "/leases"], || Effect::LoseAnswer));
        let fault = bench.own.claim(SLOT, &holder(OWN)).await.fault.unwrap();
        assert_eq!(fault.class, FaultClass::Transient);
        assert!(is_held(lease_seen(&bench.own.claim(SLOT, &holder(OWN)).await)), "{method}");
        assert!(!is_held(lease_seen(&bench.other.claim(SLOT, &holder(OTHER)).await)), "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_claims_between_our_read_and_our_write_has_the_lease() {
    for absent in [true, false] {
        let (bench, server) = TestCluster::fake().await;
        if !absent {
            bench.make_lease(&json!({"name": "slot-0"}), &json!({})).await;
        }
        let other = bench.other.clone();
        let method = if absent { "POST" } else { "PUT" };
        server.fail(Fault::once(&[method, "/leases"], move || {
            let other = other.clone();
            Effect::First(Box::new(move |_| {
                async move { assert!(is_held(lease_seen(&other.claim(SLOT, &holder(OTHER)).await))) }.boxed()
            }))
        }));
        let claimed = bench.own.claim(SLOT, &holder(OWN)).await;
        assert_eq!(*lease_seen(&claimed), LeaseSeen::Other(holder(OTHER).to_string()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_proof_dates_the_fleet_after_the_answer_to_the_swap() {
    let (bench, server) = TestCluster::fake().await;
    bench.own.claim(SLOT, &holder(OWN)).await;
    let slow = || Effect::Delay(std::time::Duration::from_secs(7));
    server.fail(Fault::once(&["PUT", "/leases/slot-0"], slow));
    let other = bench.other.clone();
    server.fail(Fault::once(&["GET", "/leases?"], move || {
        let other = other.clone();
        Effect::First(Box::new(move |_| {
            async move { assert!(is_held(lease_seen(&other.claim(LeaseName::Slot(1), &holder(OTHER)).await))) }.boxed()
        }))
    }));
    let ended = bench.own.prove(SLOT, &holder(OWN), None, true).await;
    let [
        Observation::Lease(LeaseSeen::Held { at, .. }),
        Observation::Fleet(fleet),
        Observation::Local(local),
    ] = &ended.observations[..]
    else {
        panic!("{ended:?}")
    };
    assert!(at.0 >= 7_000 && fleet.at >= *at && fleet.policy.at >= *at && local.at >= *at, "{ended:?}");
    assert_eq!(fleet.leases.len(), 2, "who claimed after the swap is in it");
}

#[tokio::test(start_paused = true)]
async fn a_fleet_that_cannot_be_read_takes_nothing_away_from_the_proof_of_the_lease() {
    let (bench, server) = TestCluster::fake().await;
    bench.own.claim(SLOT, &holder(OWN)).await;
    server.fail(Fault::once(&["GET", "/configmaps/policy"], || Effect::Unreachable));
    let ended = bench.own.prove(SLOT, &holder(OWN), None, false).await;
    assert!(matches!(&ended.observations[..], [Observation::Lease(LeaseSeen::Held { .. })]), "{ended:?}");
    let fault = ended.fault.unwrap();
    assert!(
        fault.message.contains("reading ConfigMap node-upgrade-agent/policy"),
        "no claim is judged without it: {fault:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_mark_decided_from_an_old_read_is_decided_anew() {
    let (bench, server) = TestCluster::fake().await;
    let theirs = json!({"metadata": {"annotations": {annotations::TARGET: "v1.36.4"}}});
    server.fail(Fault::once(&["PATCH", "/nodes/n1?"], somebody_patches_first(theirs)).after(1));
    bench.patch_node(OWN, &json!({"metadata": {"annotations": {"x": "1"}}})).await;
    let ended = bench.own.write_node(&Act::Mark { mark: in_hand(OWN) }).await;
    assert_eq!(node_seen(&ended).request.wanted(), Some(Version::new(1, 36, 4)), "what came between is seen");
    assert_eq!(node_seen(&ended).in_hand, Some(in_hand(OWN)));
}

#[tokio::test(start_paused = true)]
async fn the_watch_of_the_fleet_outlives_cuts_and_forgotten_history() {
    let (bench, server) = TestCluster::fake().await;
    let told = Told::default();
    let script = async {
        for (number, fault) in
            [Api::cut_watches, Api::expire_watches, Api::cut_watches].into_iter().enumerate()
        {
            let policies = |facts: &[Observation]| {
                facts.iter().filter(|fact| matches!(fact, Observation::Policy(seen) if seen.exists)).count()
            };
            let turns = |facts: &[Observation]| {
                facts.iter().filter(|fact| matches!(fact, Observation::Turn(_))).count()
            };
            let seconds = json!({"minReadySeconds": number.to_string()});
            let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "policy"}, "data": seconds});
            let policy = "/api/v1/namespaces/node-upgrade-agent/configmaps";
            drop(ask(&bench.admin, &format!("DELETE {policy}/policy"), &serde_json::Value::Null).await);
            assert_eq!(ask(&bench.admin, &format!("POST {policy}"), &map).await.code, 201);
            bench.own.claim(LeaseName::Slot(u32::try_from(number).unwrap()), &holder(OWN)).await;
            told.until(|facts| policies(facts) > number && turns(facts) > number).await;
            fault(&server);
        }
    };
    tokio::select! {
        () = bench.own.watch_fleet(told.ear()) => unreachable!("a watch has no end"),
        () = script => {}
    }
}

#[tokio::test(start_paused = true)]
async fn no_call_waits_for_ever_and_a_fault_tells_the_whole_chain() {
    let (bench, server) = TestCluster::fake().await;
    server.fail(Fault::once(&["GET", "/nodes/n1"], || Effect::Swallow));
    let begun = tokio::time::Instant::now();
    assert!(bench.own.read_node().await.is_err());
    assert_eq!(begun.elapsed().as_secs(), 10);
    server.fail(Fault::once(&["GET", "/nodes/n1"], || Effect::Unreachable));
    let fault = bench.own.read_node().await.unwrap_err();
    assert!(fault.message.starts_with("reading Node n1: "), "{}", fault.message);
    assert_eq!(fault.message.matches("connection refused").count(), 1, "{}", fault.message);
}

#[tokio::test(start_paused = true)]
async fn the_watch_outlives_cuts_and_forgotten_history() {
    let (bench, server) = TestCluster::fake().await;
    let told = Told::default();
    let script = async {
        told.until_node(|node| node.is_some()).await;
        for (number, fault) in
            [Api::cut_watches, Api::expire_watches, Api::cut_watches].into_iter().enumerate()
        {
            fault(&server);
            let value = number.to_string();
            bench.patch_node(OWN, &json!({"metadata": {"annotations": {annotations::RETRY: value}}})).await;
            told.until_node(|node| node.and_then(|node| node.request.retry.as_ref()) == Some(&value)).await;
        }
    };
    tokio::select! {
        () = bench.own.watch_node(told.ear()) => {}
        () = script => {}
    }
}

#[tokio::test(start_paused = true)]
async fn the_watch_begins_when_the_api_server_comes_back() {
    let (bench, server) = TestCluster::fake().await;
    server.fail(Fault::once(&["GET", "/nodes"], || Effect::Unreachable).times(3));
    server.fail(Fault::once(&["GET", "/nodes"], || Effect::Swallow));
    let told = Told::default();
    tokio::select! {
        () = bench.own.watch_node(told.ear()) => {}
        () = told.until_node(|node| node.is_some()) => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_lagging_watch_does_not_take_our_own_write_back() {
    let (bench, server) = TestCluster::fake().await;
    let told = Told::default();
    let script = async {
        told.until_node(|node| node.is_some()).await;
        server.freeze_watches();
        // This change is older than our cordon and will be shown after its answer.
        bench.patch_node(OWN, &json!({"metadata": {"annotations": {annotations::RETRY: "old"}}})).await;
        assert!(node_seen(&bench.own.write_node(&cordon()).await).unschedulable);
        let before = told.all().len();
        server.thaw();
        bench.patch_node(OWN, &json!({"metadata": {"annotations": {annotations::RETRY: "new"}}})).await;
        told.until_node(|node| {
            node.and_then(|node| node.request.retry.as_ref()).is_some_and(|value| value == "new")
        })
        .await;
        for fact in &told.all()[before..] {
            assert!(matches!(fact, Observation::Node(Some(node)) if node.unschedulable), "{fact:?}");
        }
    };
    tokio::select! {
        () = bench.own.watch_node(told.ear()) => {}
        () = script => {}
    }
}

/// Restores the API server under a quiet watch, and returns after how many seconds the watch told what came then.
async fn told_after_a_restore(reads: bool) -> u64 {
    let (bench, server) = TestCluster::fake().await;
    for number in 0..50 {
        bench.patch_node(OTHER, &json!({"metadata": {"annotations": {"x": number.to_string()}}})).await;
    }
    let told = Told::default();
    let script = async {
        bench.own.write_node(&Act::PublishCurrent { current: CURRENT }).await;
        told.until_node(|node| node.is_some_and(|node| node.current.is_some())).await;
        server.restore_from_backup();
        bench.patch_node(OWN, &json!({"metadata": {"annotations": {annotations::RETRY: "after"}}})).await;
        if reads {
            bench.own.read_node().await.unwrap();
        }
        let wanted = |node: Option<&NodeSeen>| {
            node.and_then(|node| node.request.retry.as_ref()).is_some_and(|value| value == "after")
        };
        told.until_node_within(3600, wanted).await;
        bench.patch_node(OWN, &json!({"metadata": {"annotations": {annotations::RETRY: "later"}}})).await;
        told.until_node(|node| {
            node.and_then(|node| node.request.retry.as_ref()).is_some_and(|value| value == "later")
        })
        .await;
    };
    let begun = tokio::time::Instant::now();
    tokio::select! {
        () = bench.own.watch_node(told.ear()) => {}
        () = script => {}
    }
    begun.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn an_api_server_restored_from_a_backup_is_believed_within_the_hour() {
    let seconds = told_after_a_restore(false).await;
    assert!(seconds > 300, "the fake server was expected to stay silent, as the real one does");
}

#[tokio::test(start_paused = true)]
async fn a_direct_read_of_a_restored_api_server_begins_the_watch_anew() {
    let seconds = told_after_a_restore(true).await;
    assert!(seconds < 60, "{seconds} s");
}

#[tokio::test(start_paused = true)]
async fn an_idle_hour_costs_at_most_fifteen_requests() {
    let (bench, server) = TestCluster::fake().await;
    let before = server.requests().len();
    let hour = std::time::Duration::from_hours(1);
    assert!(tokio::time::timeout(hour, bench.own.watch_node(|_| {})).await.is_err());
    let spent = server.requests().len() - before;
    assert!((2..=15).contains(&spent), "{spent} requests");
}

#[tokio::test(start_paused = true)]
async fn a_report_costs_one_write_and_tells_its_condition_where_that_changes() {
    let (bench, server) = TestCluster::fake().await;
    let text = json!({
        "phase": "draining", "since": 0, "attempts": 0, "reason": "Progressing", "message": "3 pods left",
    });
    let mut report: upgrade_core::api::Report = serde_json::from_value(text).unwrap();
    let before = writes(&server, "/nodes/n1");
    bench.own.report(&report).await.unwrap();
    let told = bench.condition().await;
    report.attempts = 1;
    bench.own.report(&report).await.unwrap();
    assert_eq!(bench.condition().await, told);
    assert_eq!(writes(&server, "/nodes/n1") - before, 2);
    report.message = "2 pods left".to_owned();
    server.fail(Fault::once(&["PATCH", "/nodes/n1/status"], || Effect::Unreachable));
    assert!(bench.own.report(&report).await.is_err());
    assert_eq!(bench.condition().await, told);
    bench.own.report(&report).await.unwrap();
    assert_eq!(
        bench.condition().await.message.as_deref(),
        Some("2 pods left"),
        "a lost one is written again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_of_the_same_name_and_another_uid_is_not_evicted() {
    let (bench, server) = TestCluster::fake().await;
    bench.make_pod("web", OWN, "ReplicaSet").await;
    server.fail(Fault::once(&["POST", "/pods/web/eviction"], made_anew_first));
    let told = Told::default();
    let ended = bench.own.drain(DrainOptions::default(), told.ear()).await;
    assert!(
        matches!(&ended.observations[..], [Observation::Drain(drained)] if drained.state == DrainState::Drained),
        "{ended:?}"
    );
    assert_eq!(bench.pods().await, ["web"]);
    assert_eq!(writes(&server, "/eviction"), 1);
    let is_blocked =
        |fact: &Observation| matches!(fact, Observation::Drain(progress) if !progress.blocked.is_empty());
    assert!(
        !told.all().iter().any(is_blocked),
        "another pod of its name holds no drain up: {:?}",
        told.all()
    );
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_when_the_api_server_goes_away_and_goes_on_when_it_is_begun_again() {
    let (bench, server) = TestCluster::fake().await;
    for number in 0..5 {
        bench.make_pod(&format!("web-{number}"), OWN, "ReplicaSet").await;
    }
    server.fail(Fault::once(&["/eviction"], || Effect::Unreachable).times(2));
    server.fail(Fault::once(&["/eviction"], || Effect::LoseAnswer));
    server.fail(Fault::once(&["/eviction"], || Effect::Refuse(500, "etcdserver: leader changed".to_owned())));
    server.fail(Fault::once(&["GET", "/pods"], || Effect::Unreachable).times(3));
    server.cut_watches();
    let state = |ended: &ActResult| match &ended.observations[..] {
        [Observation::Drain(progress)] => (progress.state.clone(), ended.fault.is_some()),
        _ => panic!("{ended:?}"),
    };
    let mut drains = 0;
    loop {
        let ended = bench.own.drain(DrainOptions::default(), |_| {}).await;
        drains += 1;
        match state(&ended) {
            (DrainState::CutOff, true) => {}
            (DrainState::Drained, false) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!((2..=6).contains(&drains), "{drains}");
    assert!(bench.pods().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_shows_nothing_more_does_not_end_a_drain_and_does_not_hold_it_up() {
    let (bench, server) = TestCluster::fake().await;
    bench.make_pod("web", OWN, "ReplicaSet").await;
    bench.make_budget("careful", 1).await;
    let told = Told::default();
    let script = async {
        told.until(|facts| {
            facts
                .iter()
                .any(|fact| matches!(fact, Observation::Drain(progress) if !progress.blocked.is_empty()))
        })
        .await;
        server.freeze_watches();
        bench.delete_pod("web").await;
    };
    let (ended, ()) = tokio::join!(bench.own.drain(DrainOptions::default(), told.ear()), script);
    assert!(
        matches!(&ended.observations[..], [Observation::Drain(drained)] if drained.state == DrainState::Drained),
        "{ended:?}"
    );
}
