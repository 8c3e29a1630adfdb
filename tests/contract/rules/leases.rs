use serde_json::json;
use upgrade_core::api::LeaseName;
use upgrade_core::observed::LeaseSeen;

use super::super::test_cluster::{OTHER, OWN, TestCluster, holder, is_held, lease_seen};

super::at_every_server!(
    of_two_claimers_exactly_one_holds_the_lease,
    a_held_lease_is_never_taken_for_being_late,
    claiming_ones_own_lease_proves_it_again,
    another_job_of_the_same_node_is_another_holder,
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
    bench.own.renew(SLOT, &holder(OWN), Some("broken")).await;
    assert!(is_held(lease_seen(&bench.own.claim(SLOT, &holder(OWN)).await)));
    let notes = bench.lease("slot-0").await.metadata.annotations.unwrap();
    assert_eq!(
        notes["node-upgrade-agent/degraded"], "broken",
        "a claim does not lift the mark that halts others"
    );
}

pub(crate) async fn another_job_of_the_same_node_is_another_holder(bench: &TestCluster) {
    let mut earlier = holder(OWN);
    "earlier".clone_into(&mut earlier.turn.0);
    bench.own.claim(SLOT, &earlier).await;
    let claimed = bench.own.claim(SLOT, &holder(OWN)).await;
    assert_eq!(*lease_seen(&claimed), LeaseSeen::Other(earlier.to_string()));
}

pub(crate) async fn a_renewal_proves_the_lease_and_keeps_its_mark_as_asked(bench: &TestCluster) {
    bench.own.claim(SLOT, &holder(OWN)).await;
    let mark = || async {
        let notes = bench.lease("slot-0").await.metadata.annotations.unwrap();
        notes.get("node-upgrade-agent/degraded").cloned()
    };
    assert!(is_held(lease_seen(&bench.own.renew(SLOT, &holder(OWN), Some("kubelet is down")).await)));
    assert_eq!(mark().await.as_deref(), Some("kubelet is down"));
    assert!(is_held(lease_seen(&bench.own.renew(SLOT, &holder(OWN), None).await)));
    assert_eq!(mark().await, None);
}

pub(crate) async fn a_mark_is_no_longer_than_the_admission_policy_lets_it_be(bench: &TestCluster) {
    bench.own.claim(SLOT, &holder(OWN)).await;
    let said = format!("apt failed: {} E: no space left", "é\u{1b}".repeat(4000));
    assert!(is_held(lease_seen(&bench.own.renew(SLOT, &holder(OWN), Some(&said)).await)));
    let mark = &bench.lease("slot-0").await.metadata.annotations.unwrap()["node-upgrade-agent/degraded"];
    assert!(
        mark.starts_with("apt failed") && mark.ends_with("no space left") && mark.len() <= 1024,
        "{mark}"
    );
}

pub(crate) async fn a_lease_that_is_lost_or_gone_is_not_renewed(bench: &TestCluster) {
    assert_eq!(*lease_seen(&bench.own.renew(SLOT, &holder(OWN), None).await), LeaseSeen::Free);
    bench.other.claim(SLOT, &holder(OTHER)).await;
    let before = bench.lease("slot-0").await;
    let renewed = bench.own.renew(SLOT, &holder(OWN), Some("mark")).await;
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
