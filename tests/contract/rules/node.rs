use node_upgrade_agent::cluster::EventKind;
use serde_json::{Value, json};
use upgrade_core::act::Act;
use upgrade_core::api::{ApiServerNote, Phase, Reason, Report, Version, annotations};
use upgrade_core::observed::{NodeSeen, Observation};
use upgrade_core::time::Unix;

use super::super::test_cluster::{OTHER, OWN, TestCluster, Told, ask, cordon, in_hand, node_seen};

super::at_every_server!(
    a_cordon_is_noted_in_the_same_write_and_taken_back_whole,
    a_turns_mark_and_its_cordon_are_one_write,
    the_mark_goes_and_current_comes_in_one_write,
    notes_are_written_once_and_read_as_they_were_written,
    cordoning_again_writes_nothing,
    a_cordon_that_somebody_lifted_is_made_again_with_an_event_that_says_how_to_stop,
    somebody_elses_cordon_outlives_ours,
    only_the_own_node_can_be_written,
    the_watch_tells_every_change_of_the_own_node_and_none_of_others,
    a_node_created_anew_is_told_as_another_one,
    a_report_is_written_for_people_and_for_tools,
    the_time_of_a_condition_moves_only_with_its_status,
    an_event_stands_where_kubectl_describe_looks,
    a_node_that_does_not_exist_is_named,
);

pub(crate) async fn a_cordon_is_noted_in_the_same_write_and_taken_back_whole(bench: &TestCluster) {
    let before = bench.node(OWN).await;
    let cordoned = bench.own.write_node(&cordon()).await;
    assert!(node_seen(&cordoned).unschedulable);
    assert_eq!(node_seen(&cordoned).cordon_note, Some(false));
    let uncordoned = bench.own.write_node(&Act::Uncordon).await;
    assert!(!node_seen(&uncordoned).unschedulable);
    assert_eq!(node_seen(&uncordoned).cordon_note, None);
    let after = bench.node(OWN).await;
    let unschedulable =
        |spec: Option<k8s_openapi::api::core::v1::NodeSpec>| spec.and_then(|spec| spec.unschedulable);
    assert_eq!(unschedulable(after.spec), unschedulable(before.spec));
    assert!(after.metadata.annotations.is_none_or(|notes| !notes.contains_key(annotations::FOUND_CORDONED)));
}

/// The changes of the own Node that a watch shows while this act is carried out: one for each write.
async fn changes_by(bench: &TestCluster, act: &Act) -> Vec<NodeSeen> {
    let told = Told::default();
    let seen = |facts: Vec<Observation>| -> Vec<NodeSeen> {
        let node = |fact| match fact {
            Observation::Node(node) => node,
            _ => None,
        };
        facts.into_iter().filter_map(node).collect()
    };
    let script = async {
        told.until_node(|node| node.is_some()).await;
        let before = told.all().len();
        let last = node_seen(&bench.own.write_node(act).await).clone();
        told.until_node(|node| node == Some(&last)).await;
        seen(told.all()).split_off(before)
    };
    tokio::select! {
        () = bench.own.watch_node(told.ear()) => unreachable!("a watch has no end"),
        changes = script => changes,
    }
}

pub(crate) async fn a_turns_mark_and_its_cordon_are_one_write(bench: &TestCluster) {
    let changes = changes_by(bench, &cordon()).await;
    let [cordoned] = &changes[..] else { panic!("{changes:?}") };
    assert!(cordoned.unschedulable);
    assert_eq!((cordoned.cordon_note, cordoned.in_hand.clone()), (Some(false), Some(in_hand(OWN))));
    let uncordoned = bench.own.write_node(&Act::Uncordon).await;
    assert_eq!(node_seen(&uncordoned).in_hand, Some(in_hand(OWN)), "the mark goes with the turn's end");
}

pub(crate) async fn the_mark_goes_and_current_comes_in_one_write(bench: &TestCluster) {
    let current = Version::new(1, 36, 3);
    let marked = bench.own.write_node(&Act::Mark { mark: in_hand(OWN) }).await;
    assert_eq!(node_seen(&marked).in_hand, Some(in_hand(OWN)));
    assert!(!node_seen(&marked).unschedulable, "a mark says nothing of cordons");
    let changes = changes_by(bench, &Act::Unmark { current: Some(current) }).await;
    let [after] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((after.in_hand.clone(), after.current), (None, Some(current)));
}

pub(crate) async fn notes_are_written_once_and_read_as_they_were_written(bench: &TestCluster) {
    let note = ApiServerNote { version: Version::new(1, 36, 3), hash: "0123456789abcdef".to_owned() };
    let publish = Act::PublishApiServer { note: note.clone() };
    let once = bench.own.write_node(&publish).await;
    assert_eq!(node_seen(&once).api_server, Some(note));
    assert_eq!(
        node_seen(&bench.own.write_node(&publish).await),
        node_seen(&once),
        "nothing is written again"
    );
    let socket = Act::NoteCriSocket { socket: "unix:///run/containerd/containerd.sock".to_owned() };
    assert!(node_seen(&bench.own.write_node(&socket).await).has_cri_socket);
    assert_eq!(
        bench.node(OWN).await.metadata.annotations.unwrap()[annotations::CRI_SOCKET],
        "unix:///run/containerd/containerd.sock"
    );
}

pub(crate) async fn cordoning_again_writes_nothing(bench: &TestCluster) {
    let once = bench.own.write_node(&cordon()).await;
    let twice = bench.own.write_node(&cordon()).await;
    assert_eq!(node_seen(&once), node_seen(&twice));
}

pub(crate) async fn a_cordon_that_somebody_lifted_is_made_again_with_an_event_that_says_how_to_stop(
    bench: &TestCluster,
) {
    bench.own.write_node(&cordon()).await;
    assert!(bench.event("CordonedAgain").await.is_none());
    bench.patch_node(OWN, &json!({"spec": {"unschedulable": null}})).await;
    assert!(node_seen(&bench.own.write_node(&cordon()).await).unschedulable);
    let event = bench.event("CordonedAgain").await.unwrap();
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    assert!(event.message.unwrap().contains("remove the annotation node-upgrade-agent/target"));
}

pub(crate) async fn somebody_elses_cordon_outlives_ours(bench: &TestCluster) {
    bench.patch_node(OWN, &json!({"spec": {"unschedulable": true}})).await;
    assert_eq!(node_seen(&bench.own.write_node(&cordon()).await).cordon_note, Some(true));
    let after = bench.own.write_node(&Act::Uncordon).await;
    assert!(node_seen(&after).unschedulable);
    assert_eq!(node_seen(&after).cordon_note, None);
}

pub(crate) async fn only_the_own_node_can_be_written(bench: &TestCluster) {
    let before = bench.node(OTHER).await;
    for act in [cordon(), Act::PublishCurrent { current: Version::new(1, 36, 3) }] {
        let fault = bench.astray.write_node(&act).await.fault.unwrap();
        assert!(fault.message.contains("Node n2") && fault.message.contains("403"), "{}", fault.message);
    }
    assert!(bench.astray.report(&report(Phase::Draining, Reason::Progressing, "")).await.is_err());
    let blind = json!({"spec": {"unschedulable": true}});
    assert_eq!(
        ask(&bench.kubelet, "PATCH /api/v1/nodes/n2", &blind).await.code,
        403,
        "nor without a read before"
    );
    assert_eq!(bench.node(OTHER).await, before);
}

pub(crate) async fn the_watch_tells_every_change_of_the_own_node_and_none_of_others(bench: &TestCluster) {
    let told = Told::default();
    let script = async {
        told.until_node(|node| node.is_some_and(|node| node.name == OWN)).await;
        let target = |node: &str, value: &str| {
            let patch = json!({"metadata": {"annotations": {annotations::TARGET: value}}});
            let node = node.to_owned();
            async move { bench.patch_node(&node, &patch).await }
        };
        target(OTHER, "v1.36.9").await;
        target(OWN, "v1.36.3").await;
        told.until_node(|node| {
            node.and_then(|node| node.target_text.as_ref()).is_some_and(|value| value == "v1.36.3")
        })
        .await;
    };
    tokio::select! {
        () = bench.own.watch_node(told.ear()) => {}
        () = script => {}
    }
    let facts = told.all();
    assert!(facts.iter().all(|fact| !format!("{fact:?}").contains(OTHER)), "{facts:?}");
}

pub(crate) async fn a_node_created_anew_is_told_as_another_one(bench: &TestCluster) {
    let told = Told::default();
    let script = async {
        told.until_node(|node| node.is_some()).await;
        let first = told.last_node().unwrap().uid;
        bench.delete_node(OWN).await;
        told.until_node(|node| node.is_none()).await;
        bench.make_node(OWN, &json!({})).await;
        told.until_node(|node| node.is_some_and(|node| node.uid != first)).await;
    };
    tokio::select! {
        () = bench.own.watch_node(told.ear()) => {}
        () = script => {}
    }
}

pub(crate) async fn a_report_is_written_for_people_and_for_tools(bench: &TestCluster) {
    let written = report(Phase::Draining, Reason::DrainBlocked, "budget web blocks");
    bench.own.report(&written).await.unwrap();
    let notes = bench.node(OWN).await.metadata.annotations.unwrap();
    assert_eq!(notes[annotations::PHASE], "draining");
    let status: Value = serde_json::from_str(&notes[annotations::STATUS]).unwrap();
    assert_eq!(status["reason"], "DrainBlocked");
    assert_eq!(status["message"], "budget web blocks");
    let condition = bench.condition().await;
    assert_eq!(condition.status, "False");
    assert_eq!(condition.reason.as_deref(), Some("DrainBlocked"));
    let ready = bench.node(OWN).await.status.unwrap().conditions.unwrap();
    assert!(ready.iter().any(|condition| condition.type_ == "Ready"), "other conditions stay");
    bench.own.report(&report(Phase::Idle, Reason::Idle, "at v1.36.3")).await.unwrap();
    assert_eq!(bench.condition().await.status, "True");
    bench.own.report(&report(Phase::Idle, Reason::Paused, "paused")).await.unwrap();
    assert_eq!(bench.condition().await.status, "False", "idle without having what was asked for");
}

pub(crate) async fn the_time_of_a_condition_moves_only_with_its_status(bench: &TestCluster) {
    let long_ago = json!({
        "type": annotations::CONDITION, "status": "False", "reason": "Draining", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z", "lastHeartbeatTime": "2026-01-01T00:00:00Z",
    });
    let nodes: kube::Api<k8s_openapi::api::core::v1::Node> = kube::Api::all(bench.admin.clone());
    let patch = kube::api::Patch::Strategic(json!({"status": {"conditions": [long_ago]}}));
    nodes.patch_status(OWN, &kube::api::PatchParams::default(), &patch).await.unwrap();
    let before = bench.condition().await;
    bench.own.report(&report(Phase::Draining, Reason::DrainBlocked, "blocked")).await.unwrap();
    let same = bench.condition().await;
    assert_eq!(same.reason.as_deref(), Some("DrainBlocked"));
    assert_eq!(same.last_transition_time, before.last_transition_time);
    assert!(same.last_heartbeat_time > before.last_heartbeat_time);
    bench.own.report(&report(Phase::Idle, Reason::Idle, "done")).await.unwrap();
    assert!(bench.condition().await.last_transition_time > before.last_transition_time);
}

pub(crate) async fn an_event_stands_where_kubectl_describe_looks(bench: &TestCluster) {
    bench.own.event(EventKind::Warning, "DrainBlocked", "budget web blocks").await;
    let event = bench.event("DrainBlocked").await.unwrap();
    assert_eq!(event.involved_object.uid.as_deref(), Some(OWN));
    assert_eq!(event.involved_object.kind.as_deref(), Some("Node"));
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    assert_eq!(event.message.as_deref(), Some("budget web blocks"));
}

pub(crate) async fn a_node_that_does_not_exist_is_named(bench: &TestCluster) {
    bench.delete_node(OWN).await;
    assert_eq!(bench.own.read_node().await, Ok(None));
    let fault = bench.own.write_node(&cordon()).await.fault.unwrap();
    assert!(fault.message.contains("Node n1 does not exist"), "{}", fault.message);
}

fn report(phase: Phase, reason: Reason, message: &str) -> Report {
    Report {
        target: Some("v1.36.3".to_owned()),
        hop: None,
        phase,
        since: Unix(0),
        attempts: 0,
        reason,
        message: message.to_owned(),
        drain: None,
        notes: Vec::new(),
        slot: None,
        current: None,
    }
}
