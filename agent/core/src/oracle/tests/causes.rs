//! What a refusal and a degraded end need.

use super::*;

/// A worker is asked for the new version; then this happens, and it reports.
fn reports(phase: Phase, reason: Reason, events: impl IntoIterator<Item = What>) -> Story {
    let mut story = after_the_control_plane();
    if phase == Phase::Degraded {
        story.all("w1", clearing("w1")).all("w1", changing("w1")[..8].to_vec());
    } else {
        story.add("w1", What::TargetSet(Some(NEW)));
    }
    story.all("w1", events).add("w1", told(phase, reason));
    story
}

fn failed() -> What {
    What::ToolEnded { tool: "install-kubelet", ok: false }
}

#[test]
fn a_refusal_without_a_cause_breaks_rule_6() {
    let refused = |events: Vec<What>| reports(Phase::Refused, Reason::PreflightFailed, events);
    refused(vec![]).breaks(Rule::CauseOfRefused);
    refused(vec![What::WentWrong { what: "no packages" }]).keeps();
    refused(vec![says(false, OLD)]).breaks(Rule::CauseOfRefused);
    refused(vec![package("kubelet", Version::new(1, 36, 9), Who::Person)]).keeps();
    refused(vec![What::EvictionRefused { pod: "w1-pod".to_owned() }]).keeps();
}

#[test]
fn what_went_wrong_for_the_whole_fleet_is_a_cause_for_each_node() {
    let refused = told(Phase::Refused, Reason::PreflightFailed);
    let after = |what| {
        let mut story = after_the_control_plane();
        story.add(FLEET, what).add("w1", What::TargetSet(Some(NEW)));
        story.add("w1", refused.clone());
        story
    };
    after(What::Withdrawn { version: NEW }).keeps();
    after(What::Withdrawn { version: OLD }).keeps();
    after(What::Withdrawn { version: Version::new(1, 36, 4) }).breaks(Rule::CauseOfRefused);
    after(What::Withdrawn { version: Version::new(1, 36, 1) }).breaks(Rule::CauseOfRefused);
    after(What::WentWrong { what: ETCD_RESTORED }).breaks(Rule::CauseOfRefused);
}

#[test]
fn what_went_wrong_outside_is_a_cause_until_it_is_put_right_and_asked_again() {
    let full = || What::WentWrong { what: "disk full" };
    let right = || What::PutRight { what: "disk full" };
    let refused = |events: Vec<What>| reports(Phase::Refused, Reason::PreflightFailed, events);
    refused(vec![full()]).keeps();
    refused(vec![full(), What::Asked]).keeps();
    refused(vec![full(), right()]).keeps();
    refused(vec![full(), right(), What::Asked]).breaks(Rule::CauseOfRefused);
    refused(vec![full(), right(), full(), What::Asked]).keeps();
}

#[test]
fn causes_are_not_judged_where_the_history_does_not_tell_what_went_wrong_outside() {
    let story = reports(Phase::Refused, Reason::PreflightFailed, []);
    let expectations = Expectations { tells_causes: false, ..expectations() };
    assert_eq!(check(&story.0, &expectations), []);
}

#[test]
fn what_happens_on_another_node_by_itself_is_no_cause_to_refuse() {
    let mut story = after_the_control_plane();
    story.add("w1", What::TargetSet(Some(NEW)));
    story.after(1_000, "cp", What::StaticPod { component: "kube-apiserver", version: None });
    story.after(1_000, "w2", says(false, OLD));
    story.after(1_000, "w1", told(Phase::Refused, Reason::PreflightFailed)).breaks(Rule::CauseOfRefused);
}

#[test]
fn a_cause_from_before_people_asked_again_is_none_any_more() {
    let refused = told(Phase::Refused, Reason::PreflightFailed);
    let held = What::EvictionRefused { pod: "w1-pod".to_owned() };
    reports(Phase::Refused, Reason::PreflightFailed, [held.clone(), What::Asked])
        .breaks(Rule::CauseOfRefused);
    let mut late = after_the_control_plane();
    late.all("w1", [What::TargetSet(Some(NEW)), held, What::Asked]);
    late.clone().after(5_000, "w1", refused.clone()).keeps();
    late.after(5_000, "w1", What::Asked).after(4_000, "w1", refused.clone()).keeps();
    late.after(5_000, "w1", refused).breaks(Rule::CauseOfRefused);
}

#[test]
fn a_target_that_cannot_be_reached_is_a_cause_to_refuse() {
    for target in [Version::new(1, 35, 9), Version::new(1, 36, 1), Version::new(1, 40, 0)] {
        let mut story = after_the_control_plane();
        story.add("w1", What::TargetSet(Some(target)));
        story.add("w1", told(Phase::Refused, Reason::PreflightFailed)).keeps();
    }
    let mut story = Story::begin();
    story.add(FLEET, What::KubeadmConfig { version: Version::new(1, 36, 4) });
    story.add("cp", What::TargetSet(Some(NEW)));
    story.add("cp", told(Phase::Refused, Reason::PreflightFailed)).keeps();
}

#[test]
fn a_dead_control_plane_node_is_a_cause_only_while_it_is_dead() {
    let dead = |events: Vec<What>| {
        let mut story = Story::begin();
        control_plane::joins(&mut story, "cp2");
        story.all("cp2", events).add("cp", What::TargetSet(Some(NEW)));
        story.add("cp", told(Phase::Refused, Reason::PreflightFailed));
        story
    };
    dead(vec![says(false, OLD), What::EtcdMember { healthy: false }]).keeps();
    dead(vec![says(false, OLD)]).breaks(Rule::CauseOfRefused);
}

#[test]
fn a_reason_wants_a_cause_of_its_kind() {
    let held = What::EvictionRefused { pod: "w1-pod".to_owned() };
    reports(Phase::Refused, Reason::DrainGivenUp, [held.clone()]).keeps();
    reports(Phase::Refused, Reason::ToolFailed, [held]).breaks(Rule::CauseOfRefused);
    reports(Phase::Refused, Reason::InvalidTarget, [What::TargetSet(None)]).keeps();
    reports(Phase::Refused, Reason::InvalidTarget, []).breaks(Rule::CauseOfRefused);
}

#[test]
fn pods_that_stayed_are_a_cause_for_a_drain_given_up() {
    let mut story = after_the_control_plane();
    story.all("w1", clearing("w1")[..4].to_vec());
    story.all("w1", [What::Uncordoned { by: agent("w1") }, released("w1")]);
    story.add("w1", told(Phase::Refused, Reason::DrainGivenUp)).keeps();
}

#[test]
fn a_degraded_end_without_a_cause_breaks_rule_9() {
    let degraded = |reason, events: Vec<What>| reports(Phase::Degraded, reason, events);
    degraded(Reason::ToolFailed, vec![]).breaks(Rule::CauseOfDegraded);
    degraded(Reason::ToolFailed, vec![started("install-kubelet"), failed()]).keeps();
    degraded(Reason::JournalLost, vec![]).breaks(Rule::CauseOfDegraded);
    degraded(Reason::JournalLost, vec![What::WentWrong { what: MEMORY_LOST }]).keeps();
}

#[test]
fn a_drain_that_is_blocked_degrades_no_node_whose_host_is_unchanged() {
    let refused = What::EvictionRefused { pod: "w1-pod".to_owned() };
    let mut story = after_the_control_plane();
    story.all("w1", clearing("w1")[..3].to_vec()).add("w1", refused.clone());
    story.clone().add("w1", told(Phase::Degraded, Reason::DrainBlocked)).breaks(Rule::CauseOfDegraded);
    let full = What::WentWrong { what: "disk full" };
    story.add("w1", full).clone().add("w1", told(Phase::Degraded, Reason::ToolFailed)).keeps();
    story.add("w1", told(Phase::Degraded, Reason::DrainTimedOut)).breaks(Rule::CauseOfDegraded);
    reports(Phase::Degraded, Reason::DrainBlocked, [refused]).keeps();
}

#[test]
fn a_node_is_degraded_for_not_serving_only_after_the_verify_time() {
    let mut story = reports(Phase::Idle, Reason::Idle, []);
    story.all("w1", clearing("w1")).all("w1", changing("w1")[..9].to_vec()).add("w1", says(false, NEW));
    let degraded = told(Phase::Degraded, Reason::NotVerified);
    story.clone().after(60_000, "w1", degraded.clone()).breaks(Rule::CauseOfDegraded);
    story.clone().after(600_000, "w1", degraded.clone()).keeps();
    story.add("w1", says(true, NEW)).after(600_000, "w1", degraded.clone()).breaks(Rule::CauseOfDegraded);
    let mut unchanged = reports(Phase::Idle, Reason::Idle, []);
    unchanged.all("w1", clearing("w1"));
    unchanged.after(600_000, "w1", degraded).breaks(Rule::CauseOfDegraded);
}

#[test]
fn static_pods_that_a_person_left_at_two_versions_are_a_cause() {
    let degraded = |version| {
        let mut story = Story::begin();
        let pods = ["kube-controller-manager", "kube-scheduler"];
        story.all("cp", pods.map(|component| What::StaticPod { component, version: Some(OLD) }));
        story.all(
            "cp",
            [What::TargetSet(Some(NEW)), taken("cp", LeaseName::ControlPlane), api_server(version)],
        );
        story.after(600_000, "cp", told(Phase::Degraded, Reason::NotVerified));
        story.broken().contains(&Rule::CauseOfDegraded)
    };
    assert!(degraded(OLD));
    assert!(!degraded(NEW));
}

#[test]
fn a_worker_below_the_minor_of_kubeadm_config_is_refused_for_that() {
    let refused = |config| {
        let mut story = after_the_control_plane();
        story.add(FLEET, What::KubeadmConfig { version: config }).add("w1", What::TargetSet(Some(NEW)));
        story.add("w1", told(Phase::Refused, Reason::PreflightFailed));
        story
    };
    refused(Version::new(1, 37, 0)).keeps();
    refused(Version::new(1, 36, 9)).breaks(Rule::CauseOfRefused);
}

pub(super) fn fires() -> Vec<(Rule, Story)> {
    vec![
        (Rule::CauseOfRefused, reports(Phase::Refused, Reason::PreflightFailed, [])),
        (Rule::CauseOfDegraded, reports(Phase::Degraded, Reason::ToolFailed, [])),
    ]
}
