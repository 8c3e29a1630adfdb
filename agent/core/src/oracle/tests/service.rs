//! Evictions, refusals and the way back into service.

use super::*;

#[test]
fn a_refusal_out_of_service_breaks_rule_6() {
    let mut story = after_the_control_plane();
    let refused = [What::WentWrong { what: "no packages" }, reported(Phase::Refused)];
    story.clone().all("w1", refused.clone()).keeps();
    story.all("w1", clearing("w1")).all("w1", refused).breaks(Rule::RefusedUntouched);
}

#[test]
fn an_eviction_from_a_node_in_service_breaks_rule_7() {
    let mut story = after_the_control_plane();
    story.add("w1", taken("w1", LeaseName::Slot(0)));
    story.add("w1", What::Evicted { pod: "w1-pod".to_owned(), by: agent("w1") }).breaks(Rule::Drain);
}

#[test]
fn an_eviction_that_a_deleted_node_was_too_fresh_to_stop_breaks_nothing() {
    let mut story = after_the_control_plane();
    story.all("w1", clearing("w1").into_iter().take(3)).add("w1", What::Deleted);
    let evicts = What::Evicted { pod: "w1-pod".to_owned(), by: agent("w1") };
    story.clone().after(100, "w1", evicts.clone()).keeps();
    story.add("w1", evicts).breaks(Rule::Drain);
}

#[test]
fn a_node_back_in_service_that_is_not_ready_at_a_chosen_version_breaks_rule_9() {
    let ready = |what: &What| matches!(what, What::Ready { .. });
    exchanged(ready, &[says(false, NEW)]).breaks(Rule::ReadyBeforeService);
    assert!(exchanged(ready, &[]).broken().contains(&Rule::ReadyBeforeService));
    let strange = Version::new(1, 36, 0);
    assert!(exchanged(ready, &[says(true, strange)]).broken().contains(&Rule::ReadyBeforeService));
}

#[test]
fn a_kubelet_restarted_just_before_the_uncordon_breaks_rule_9_unless_somebody_else_did_it() {
    let uncordoned = |what: &What| matches!(what, What::Uncordoned { .. });
    let verifying = reported(Phase::Verifying);
    let again = [verifying, What::KubeletRestarted, What::Uncordoned { by: agent("w1") }];
    let just_before = |mut story: Story| {
        let uncordon = story.0.iter().rposition(|event| uncordoned(&event.what)).unwrap();
        story.0[uncordon - 1].at = story.0[uncordon].at - 5;
        story
    };
    just_before(exchanged(uncordoned, &again)).keeps();
    exchanged(uncordoned, &again).breaks(Rule::ReadyBeforeService);
    assert_eq!(
        just_before(exchanged(uncordoned, &again[1..])).broken(),
        [Rule::ReadyBeforeService, Rule::VerifiedBeforeService]
    );
}

#[test]
fn taking_back_somebody_elses_cordon_breaks_rule_11() {
    let cordoned = |what: &What| matches!(what, What::Cordoned { .. });
    exchanged(cordoned, &[What::Cordoned { by: Who::Person }]).breaks(Rule::OthersCordons);
}

#[test]
fn current_before_the_end_breaks_the_contract() {
    let uncordoned = |what: &What| matches!(what, What::Uncordoned { .. });
    let early = [What::CurrentWritten { version: NEW }, What::Uncordoned { by: agent("w1") }];
    exchanged(uncordoned, &early).breaks(Rule::CurrentLast);
    let mut story = Story::begin();
    story.add("w1", What::CurrentWritten { version: NEW }).breaks(Rule::CurrentLast);
}

/// A worker whose DaemonSet's pod is Ready before the turn, and which is told this of it after the restart.
fn with_daemon_pod(told: Option<bool>) -> Story {
    let pod = |ready| What::DaemonPod { daemon_set: "kube-system/net".to_owned(), ready };
    let mut story = after_the_control_plane();
    story.add("w1", pod(Some(true)));
    for what in upgrade("w1") {
        let uncordons = matches!(what, What::Uncordoned { .. });
        if uncordons && told != Some(true) {
            story.add("w1", pod(told));
        } else if uncordons {
            story.all("w1", [pod(Some(false)), pod(told)]);
        }
        story.add("w1", what);
    }
    story
}

#[test]
fn a_daemon_pod_that_became_ready_as_the_turn_began_was_not_seen_to_be() {
    let becomes_ready = |before| {
        let mut story = with_daemon_pod(Some(false));
        let claims = |event: &Event| event.node == "w1" && matches!(event.what, What::LeaseTaken { .. });
        let claim = story.0.iter().rposition(claims).unwrap();
        let pod = story.0.iter().position(|event| matches!(event.what, What::DaemonPod { .. })).unwrap();
        let at = story.0[claim].at - before;
        let became = Event { at, ..story.0.remove(pod) };
        story.0.insert(claim - 1, became);
        story
    };
    becomes_ready(10_000).keeps();
    becomes_ready(10_001).breaks(Rule::VerifiedBeforeService);
}

#[test]
fn a_turn_that_has_no_lease_to_give_back_ends_with_its_agents_word_where_the_node_does_not_serve() {
    let unproven = |ready: bool| {
        let uncordoned = |what: &What| matches!(what, What::Uncordoned { .. });
        let ended =
            [freed("w1"), What::Uncordoned { by: Who::Person }, says(ready, NEW), reported(Phase::Idle)];
        let mut story = exchanged(uncordoned, &ended);
        story.0.retain(|event| event.node != "w1" || event.what != What::KubeletRestarted);
        story.0.truncate(story.0.iter().position(|event| event.what == reported(Phase::Idle)).unwrap() + 1);
        story.all("w1", [says(true, NEW), What::CurrentWritten { version: NEW }]);
        story.broken().contains(&Rule::VerifiedBeforeService)
    };
    assert!(!unproven(false));
    assert!(unproven(true));
}

fn not_restarted() -> Story {
    exchanged(|what| matches!(what, What::KubeletRestarted), &[])
}

#[test]
fn a_daemon_pod_that_still_wants_the_node_is_told_ready_after_the_restart() {
    with_daemon_pod(Some(false)).breaks(Rule::VerifiedBeforeService);
    with_daemon_pod(Some(true)).keeps();
    with_daemon_pod(None).keeps();
}

#[test]
fn a_kubelet_serves_with_the_files_of_its_own_version() {
    let serves_with = |version| {
        let written = [What::KubeletFiles { version }, What::Uncordoned { by: agent("w1") }];
        exchanged(|what| matches!(what, What::Uncordoned { .. }), &written)
    };
    serves_with(NEW).keeps();
    serves_with(OLD).breaks(Rule::VerifiedBeforeService);
}

#[test]
fn a_daemon_pod_told_ready_before_the_restart_alone_proves_nothing() {
    let mut story = with_daemon_pod(Some(true));
    let mut told = 0;
    story.0.retain(|event| {
        told += usize::from(matches!(event.what, What::DaemonPod { .. }));
        told <= 1 || !matches!(event.what, What::DaemonPod { .. })
    });
    story.breaks(Rule::VerifiedBeforeService);
}

#[test]
fn a_kubelet_serves_for_its_soak_before_the_uncordon() {
    let restarted = |what: &What| matches!(what, What::KubeletRestarted);
    let story = exchanged(|_| false, &[]);
    story.clone().hurried(restarted, 400).breaks(Rule::VerifiedBeforeService);
    story.hurried(restarted, 1_500).keeps();
}

#[test]
fn a_kubelet_that_was_never_restarted_does_not_run_its_package() {
    assert!(not_restarted().broken().contains(&Rule::VerifiedBeforeService));
}

#[test]
fn current_may_be_written_in_service_before_or_after_the_lease_is_given_back() {
    let released = |what: &What| matches!(what, What::LeaseReleased { .. });
    let current = What::CurrentWritten { version: NEW };
    exchanged(released, &[current, super::released("w1")]).keeps();
}

#[test]
fn a_node_that_people_keep_cordoned_is_verified_before_it_says_that_it_serves() {
    let ends = |ready: bool| {
        let mut story = after_the_control_plane();
        story.all("w1", [What::TargetSet(Some(NEW)), What::Cordoned { by: Who::Person }]);
        story.add("w1", taken("w1", LeaseName::Slot(0))).all("w1", clearing("w1")[3..].to_vec());
        story.all("w1", changing("w1")).add("w1", says(ready, NEW));
        story.all("w1", [What::CurrentWritten { version: NEW }, released("w1")]);
        story
    };
    ends(true).keeps();
    ends(false).breaks(Rule::ReadyBeforeService);
    let mut old = ends(true);
    old.0.retain(|event| event.what != What::KubeletRestarted || event.node != "w1");
    assert!(old.broken().contains(&Rule::VerifiedBeforeService));
}

#[test]
fn a_kubelet_serves_at_a_hop_that_the_control_plane_has_come_to() {
    let between = |config| {
        let mut story = after_the_control_plane();
        story.add(FLEET, What::KubeadmConfig { version: config });
        let far = Version::new(1, 38, 0);
        for what in upgrade("w1") {
            let what = if what == What::TargetSet(Some(NEW)) { What::TargetSet(Some(far)) } else { what };
            story.add("w1", what);
        }
        story.broken().contains(&Rule::ReadyBeforeService)
    };
    assert!(!between(NEW));
    assert!(!between(Version::new(1, 36, 9)), "an API server runs it");
}

pub(super) fn fires() -> Vec<(Rule, Story)> {
    let evicts = What::Evicted { pod: "w1-pod".to_owned(), by: agent("w1") };
    let mut in_service = after_the_control_plane();
    in_service.add("w1", taken("w1", LeaseName::Slot(0))).add("w1", evicts);
    let mut refused = after_the_control_plane();
    refused.all("w1", clearing("w1")).add("w1", reported(Phase::Refused));
    let ready = |what: &What| matches!(what, What::Ready { .. });
    let cordoned = |what: &What| matches!(what, What::Cordoned { .. });
    let mut early = Story::begin();
    early.add("w1", What::CurrentWritten { version: NEW });
    vec![
        (Rule::Drain, in_service),
        (Rule::RefusedUntouched, refused),
        (Rule::ReadyBeforeService, exchanged(ready, &[says(false, NEW)])),
        (Rule::VerifiedBeforeService, not_restarted()),
        (Rule::OthersCordons, exchanged(cordoned, &[What::Cordoned { by: Who::Person }])),
        (Rule::CurrentLast, early),
    ]
}
