use serde_json::json;
use upgrade_core::act::ActResult;
use upgrade_core::api::{LeaseName, Version, annotations};
use upgrade_core::observed::{FleetSeen, LeaseSeen, Observation};
use upgrade_core::time::Mono;

use super::super::test_cluster::{OTHER, OWN, TestCluster, holder, is_held, lease_seen, mark};

super::at_every_server!(
    of_two_claimers_exactly_one_holds_the_lease,
    a_held_lease_is_never_taken_for_being_late,
    claiming_ones_own_lease_proves_it_again,
    an_earlier_turn_of_the_same_node_makes_room_and_a_later_node_of_its_name_does_not,
    the_note_of_an_apply_survives_release_and_claim,
    a_proof_shows_the_lease_and_then_the_fleet_and_the_control_plane,
    a_lease_that_is_not_ours_proves_nothing_and_is_only_told_of,
    a_renewal_proves_the_lease_and_keeps_its_mark_as_asked,
    a_mark_is_no_longer_than_the_admission_policy_lets_it_be,
    a_lease_that_is_lost_or_gone_is_not_renewed,
    releasing_leaves_a_foreign_or_absent_lease_alone,
    a_released_lease_can_be_claimed,
    a_lease_of_a_newer_protocol_is_not_claimed,
);

const SLOT: LeaseName = LeaseName::Slot(0);

pub(crate) async fn of_two_claimers_exactly_one_holds_the_lease(bench: &TestCluster) {
    let (mine, theirs) = (holder(OWN), holder(OTHER));
    let (one, other) = tokio::join!(bench.own.claim(SLOT, &mine), bench.other.claim(SLOT, &theirs));
    let (one, other) = (lease_seen(&one), lease_seen(&other));
    assert!(is_held(one) != is_held(other), "{one:?} {other:?}");
    let lease = bench.lease("slot-0").await;
    let written = lease.spec.unwrap().holder_identity.unwrap();
    let winner = if is_held(one) { &mine } else { &theirs };
    assert_eq!(written, winner.to_string());
    assert_eq!(lease.metadata.labels.unwrap()["node-upgrade-agent/held"], "true");
}

pub(crate) async fn a_held_lease_is_never_taken_for_being_late(bench: &TestCluster) {
    let theirs = holder(OTHER).to_string();
    let long_ago = "2020-01-01T00:00:00.000000Z";
    let spec = json!({"holderIdentity": theirs, "renewTime": long_ago, "leaseDurationSeconds": 1});
    bench.make_lease(&json!({"name": "slot-0"}), &spec).await;
    let before = bench.lease("slot-0").await;
    let claimed = bench.own.claim(SLOT, &holder(OWN)).await;
    assert_eq!(*lease_seen(&claimed), LeaseSeen::Other(theirs));
    assert_eq!(bench.lease("slot-0").await, before);
}

pub(crate) async fn claiming_ones_own_lease_proves_it_again(bench: &TestCluster) {
    assert!(is_held(lease_seen(&bench.own.claim(SLOT, &holder(OWN)).await)));
    bench.own.renew(SLOT, &holder(OWN), mark("broken"), None).await;
    assert!(is_held(lease_seen(&bench.own.claim(SLOT, &holder(OWN)).await)));
    let notes = bench.lease("slot-0").await.metadata.annotations.unwrap();
    assert_eq!(
        notes["node-upgrade-agent/degraded"], "broken",
        "a claim does not lift the mark that halts others"
    );
}

pub(crate) async fn an_earlier_turn_of_the_same_node_makes_room_and_a_later_node_of_its_name_does_not(
    bench: &TestCluster,
) {
    let mut earlier = holder(OWN);
    "earlier".clone_into(&mut earlier.turn.0);
    bench.own.claim(SLOT, &earlier).await;
    assert!(is_held(lease_seen(&bench.own.claim(SLOT, &holder(OWN)).await)), "a node has one turn at a time");
    let mut reborn = holder(OWN);
    "another-uid".clone_into(&mut reborn.uid);
    let claimed = bench.own.claim(SLOT, &reborn).await;
    assert_eq!(*lease_seen(&claimed), LeaseSeen::Other(holder(OWN).to_string()));
    assert_eq!(*lease_seen(&bench.own.release(SLOT, &earlier).await), LeaseSeen::Free);
}

pub(crate) async fn the_note_of_an_apply_survives_release_and_claim(bench: &TestCluster) {
    let (lease, version) = (LeaseName::ControlPlane, Version::new(1, 36, 3));
    let applied = |ended: &ActResult| match lease_seen(ended) {
        LeaseSeen::Held { applied, .. } => *applied,
        other => panic!("{other:?}"),
    };
    assert_eq!(applied(&bench.own.claim(lease, &holder(OWN)).await), None);
    assert_eq!(applied(&bench.own.renew(lease, &holder(OWN), None, Some(version)).await), Some(version));
    assert_eq!(applied(&bench.own.renew(lease, &holder(OWN), mark("broken"), None).await), Some(version));
    assert_eq!(*lease_seen(&bench.own.release(lease, &holder(OWN)).await), LeaseSeen::Free);
    let freed = bench.lease("control-plane").await.metadata.annotations.unwrap();
    assert_eq!(freed[annotations::APPLIED], "v1.36.3");
    assert!(!freed.contains_key("node-upgrade-agent/degraded"));
    assert_eq!(applied(&bench.other.claim(lease, &holder(OTHER)).await), Some(version));
    let newer = Version::new(1, 37, 0);
    assert_eq!(applied(&bench.other.renew(lease, &holder(OTHER), None, Some(newer)).await), Some(newer));
}

/// What a proof ended with: the moment of the Lease, and the fleet's.
fn proven(ended: &ActResult) -> (Mono, &FleetSeen) {
    match &ended.observations[..] {
        [Observation::Lease(LeaseSeen::Held { at, .. }), Observation::Fleet(fleet), ..] => (*at, fleet),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn a_proof_shows_the_lease_and_then_the_fleet_and_the_control_plane(bench: &TestCluster) {
    bench.own.claim(SLOT, &holder(OWN)).await;
    let ended = bench.own.prove(SLOT, &holder(OWN), None, true).await;
    assert_eq!(ended.fault, None);
    let (at, fleet) = proven(&ended);
    assert!(fleet.at >= at && fleet.policy.at >= at, "{at:?} {fleet:?}");
    assert_eq!(fleet.leases[0].holder, Some(holder(OWN).to_string()));
    let [_, _, Observation::Local(local)] = &ended.observations[..] else { panic!("{ended:?}") };
    assert!(local.at >= at && local.api_server_ready);
    let worker = bench.own.prove(SLOT, &holder(OWN), mark("broken"), false).await;
    assert_eq!(worker.observations.len(), 2, "a worker has nothing of its own to ask");
    assert_eq!(proven(&worker).1.leases[0].mark, mark("broken"));
}

pub(crate) async fn a_lease_that_is_not_ours_proves_nothing_and_is_only_told_of(bench: &TestCluster) {
    let absent = bench.own.prove(SLOT, &holder(OWN), None, false).await;
    assert_eq!(*lease_seen(&absent), LeaseSeen::Free);
    bench.other.claim(SLOT, &holder(OTHER)).await;
    let theirs = bench.own.prove(SLOT, &holder(OWN), mark("broken"), false).await;
    assert_eq!(*lease_seen(&theirs), LeaseSeen::Other(holder(OTHER).to_string()));
}

pub(crate) async fn a_renewal_proves_the_lease_and_keeps_its_mark_as_asked(bench: &TestCluster) {
    bench.own.claim(SLOT, &holder(OWN)).await;
    let standing = || async {
        let notes = bench.lease("slot-0").await.metadata.annotations.unwrap();
        notes.get("node-upgrade-agent/degraded").cloned()
    };
    assert!(is_held(lease_seen(&bench.own.renew(SLOT, &holder(OWN), mark("kubelet is down"), None).await)));
    assert_eq!(standing().await.as_deref(), Some("kubelet is down"));
    assert!(is_held(lease_seen(&bench.own.renew(SLOT, &holder(OWN), None, None).await)));
    assert_eq!(standing().await, None);
}

pub(crate) async fn a_mark_is_no_longer_than_the_admission_policy_lets_it_be(bench: &TestCluster) {
    bench.own.claim(SLOT, &holder(OWN)).await;
    let said = format!("apt failed: {} E: no space left", "é\u{1b}".repeat(4000));
    assert!(is_held(lease_seen(&bench.own.renew(SLOT, &holder(OWN), mark(&said), None).await)));
    let written = &bench.lease("slot-0").await.metadata.annotations.unwrap()["node-upgrade-agent/degraded"];
    assert!(
        written.starts_with("apt failed") && written.ends_with("no space left") && written.len() <= 1024,
        "{written}"
    );
}

pub(crate) async fn a_lease_that_is_lost_or_gone_is_not_renewed(bench: &TestCluster) {
    assert_eq!(*lease_seen(&bench.own.renew(SLOT, &holder(OWN), None, None).await), LeaseSeen::Free);
    bench.other.claim(SLOT, &holder(OTHER)).await;
    let before = bench.lease("slot-0").await;
    let renewed = bench.own.renew(SLOT, &holder(OWN), mark("mark"), None).await;
    assert_eq!(*lease_seen(&renewed), LeaseSeen::Other(holder(OTHER).to_string()));
    assert_eq!(bench.lease("slot-0").await, before);
}

pub(crate) async fn releasing_leaves_a_foreign_or_absent_lease_alone(bench: &TestCluster) {
    assert_eq!(*lease_seen(&bench.own.release(SLOT, &holder(OWN)).await), LeaseSeen::Free);
    bench.other.claim(SLOT, &holder(OTHER)).await;
    let before = bench.lease("slot-0").await;
    let released = bench.own.release(SLOT, &holder(OWN)).await;
    assert_eq!(*lease_seen(&released), LeaseSeen::Other(holder(OTHER).to_string()));
    assert_eq!(bench.lease("slot-0").await, before);
}

pub(crate) async fn a_released_lease_can_be_claimed(bench: &TestCluster) {
    bench.own.claim(SLOT, &holder(OWN)).await;
    assert_eq!(*lease_seen(&bench.own.release(SLOT, &holder(OWN)).await), LeaseSeen::Free);
    let lease = bench.lease("slot-0").await;
    assert_eq!(lease.metadata.labels.unwrap()["node-upgrade-agent/held"], "false");
    assert_eq!(lease.spec.unwrap().holder_identity, None);
    assert!(is_held(lease_seen(&bench.other.claim(SLOT, &holder(OTHER)).await)));
}

pub(crate) async fn a_lease_of_a_newer_protocol_is_not_claimed(bench: &TestCluster) {
    let notes = json!({"node-upgrade-agent/protocol": "2"});
    bench.make_lease(&json!({"name": "slot-0", "annotations": notes}), &json!({})).await;
    let fault = bench.own.claim(SLOT, &holder(OWN)).await.fault.unwrap();
    assert!(
        fault.message.contains("protocol 2") && fault.message.contains("upgrade this agent"),
        "{fault:?}"
    );
    assert_eq!(bench.lease("slot-0").await.spec.unwrap_or_default().holder_identity, None);
}
