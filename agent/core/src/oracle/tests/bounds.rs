//! What must not go on for ever.

use super::*;

const MINUTE: u64 = 60_000;

/// A worker that is cordoned and then, each so much later, this.
fn cordoned(apart: u64, events: impl IntoIterator<Item = What>) -> Story {
    let mut story = after_the_control_plane();
    story.all("w1", clearing("w1")[..3].to_vec());
    for what in events {
        story.after(apart, "w1", what);
    }
    story
}

#[test]
fn a_cordoned_node_on_which_nothing_goes_on_breaks_rule_8() {
    assert_eq!(cordoned(0, []).watched(29 * MINUTE), []);
    assert_eq!(cordoned(0, []).watched(31 * MINUTE), [Rule::CordonedTime]);
    cordoned(20 * MINUTE, [What::PodGone { pod: "a".to_owned() }, What::PodGone { pod: "b".to_owned() }])
        .keeps();
    let back = What::Uncordoned { by: agent("w1") };
    cordoned(31 * MINUTE, [back]).breaks(Rule::CordonedTime);
}

#[test]
fn a_host_that_is_cut_off_waits_for_that_to_end() {
    let off = || cordoned(0, [What::WentWrong { what: CUT_OFF }]);
    assert_eq!(off().watched(180 * MINUTE), []);
    let mut back = off();
    back.after(120 * MINUTE, "w1", What::PutRight { what: CUT_OFF });
    assert_eq!(back.watched(29 * MINUTE), []);
    assert_eq!(back.watched(31 * MINUTE), [Rule::CordonedTime]);
    assert_eq!(
        cordoned(0, [What::WentWrong { what: "disk full" }]).watched(31 * MINUTE),
        [Rule::CordonedTime]
    );
}

#[test]
fn what_was_waited_for_too_long_is_told_also_where_etcd_is_restored_next() {
    let mut story = cordoned(0, []);
    story.after(31 * MINUTE, FLEET, What::WentWrong { what: ETCD_RESTORED });
    story.after(0, "w1", What::Uncordoned { by: Who::Person }).breaks(Rule::CordonedTime);
}

#[test]
fn phases_told_in_turns_are_no_progress() {
    let turns = [Phase::Draining, Phase::BackingOut].map(reported);
    let turns = turns.iter().cycle().take(5).cloned();
    cordoned(12 * MINUTE, turns).breaks(Rule::CordonedTime);
}

#[test]
fn a_node_whose_kubelet_restarts_without_end_is_cordoned_too_long() {
    let restarts = || std::iter::repeat_n(What::KubeletRestarted, 10);
    cordoned(10 * MINUTE, restarts()).keeps();
    cordoned(20 * MINUTE, restarts()).breaks(Rule::CordonedTime);
}

#[test]
fn current_is_written_before_the_lease_is_given_back() {
    let late = |story: &Story| {
        let violations = check(&story.0, &Expectations::default());
        violations
            .iter()
            .any(|violation| (violation.rule, violation.node.as_str()) == (Rule::CurrentLast, "w1"))
    };
    let mut story = after_the_control_plane();
    assert!(!late(story.all("w1", upgrade("w1"))));
    let at = story.0.len();
    story.0.swap(at - 2, at - 1);
    let (earlier, later) = (story.0[at - 1].at, story.0[at - 2].at);
    (story.0[at - 2].at, story.0[at - 1].at) = (earlier, later);
    assert!(late(&story));
}

#[test]
fn where_current_may_follow_the_lease_it_does_in_time() {
    let watched = |story: &Story, longer: u64| {
        let examined = examine(&story.0, story.end_at() + longer, &expectations());
        examined.violations.into_iter().map(|violation| violation.rule).collect::<Vec<_>>()
    };
    let mut story = after_the_control_plane();
    story.all("w1", upgrade("w1"));
    let said = What::CurrentWritten { version: NEW };
    let at = story.0.iter().rposition(|event| event.what == said).unwrap();
    story.0.remove(at);
    assert_eq!(watched(&story, 29 * MINUTE), []);
    assert_eq!(watched(&story, 31 * MINUTE), [Rule::CurrentLast]);
    story.after(20 * MINUTE, "w1", said);
    assert_eq!(watched(&story, 31 * MINUTE), []);
}

#[test]
fn nobody_claims_behind_a_bar_that_has_stood_for_long() {
    let claims = |later: u64, bar: &dyn Fn(&mut Story)| {
        let mut story = after_the_control_plane();
        story.add("w1", What::TargetSet(Some(NEW)));
        bar(&mut story);
        story.after(later, "w1", taken("w1", LeaseName::Slot(0)));
        story.broken().contains(&Rule::ClaimsWithoutProgress)
    };
    let bars: [&dyn Fn(&mut Story); 4] = [
        &|story| {
            story.add(FLEET, What::PolicySet { bars: true });
        },
        &|story| {
            story.add("w2", says(false, OLD));
        },
        &|story| {
            story.add("cp", What::TargetSet(Some(Version::new(1, 36, 4))));
        },
        &|story| {
            story.add("w2", What::TargetSet(Some(NEW)));
            story.all("w2", [What::WentWrong { what: "disk" }, reported(Phase::Degraded)]);
        },
    ];
    for (nth, bar) in bars.iter().enumerate() {
        assert!(claims(6 * MINUTE, bar), "{nth}");
        assert!(!claims(4 * MINUTE, bar), "{nth}");
    }
}

#[test]
fn neither_a_degraded_node_nor_one_whose_agent_is_dead_waits() {
    let degraded = [What::WentWrong { what: "disk" }, reported(Phase::Degraded)];
    assert_eq!(cordoned(1_000, degraded).watched(90 * MINUTE), []);
    assert_eq!(cordoned(1_000, [What::AgentDied]).watched(90 * MINUTE), []);
    let back = [What::AgentDied, What::AgentStarted];
    assert_eq!(cordoned(20 * MINUTE, back).watched(5 * MINUTE), []);
    assert_eq!(
        cordoned(20 * MINUTE, [What::AgentDied, What::AgentStarted]).watched(11 * MINUTE),
        [Rule::CordonedTime]
    );
}

/// So many claims that lead to nothing, so far apart.
fn claims(times: usize, apart: u64) -> Story {
    let mut story = after_the_control_plane();
    story.add("w1", What::TargetSet(Some(NEW)));
    for _ in 0..times {
        story.after(apart, "w1", taken("w1", LeaseName::Slot(0))).after(1_000, "w1", released("w1"));
    }
    story
}

#[test]
fn claims_without_progress_are_bounded() {
    claims(40, 15_000).breaks(Rule::ClaimsWithoutProgress);
    claims(40, 5 * MINUTE).keeps();
    let mut asked = claims(15, 15_000);
    asked.add("w1", What::Asked);
    for _ in 0..15 {
        asked.after(15_000, "w1", taken("w1", LeaseName::Slot(0))).after(1_000, "w1", released("w1"));
    }
    asked.keeps();
}

#[test]
fn an_orphaned_lease_is_given_back() {
    let mut story = after_the_control_plane();
    story.all("w1", [reported(Phase::Idle), taken("w1", LeaseName::Slot(0))]);
    assert_eq!(story.watched(9 * MINUTE), []);
    assert_eq!(story.watched(11 * MINUTE), [Rule::OrphanGivenBack]);
    let mut waits = after_the_control_plane();
    waits.all("w1", [What::TargetSet(Some(NEW)), reported(Phase::Claiming), taken("w1", LeaseName::Slot(0))]);
    assert_eq!(waits.watched(11 * MINUTE), []);
    story.add("w1", What::AgentDied);
    assert_eq!(story.watched(11 * MINUTE), []);
}

#[test]
fn a_node_whose_api_server_is_gone_gives_no_lease_back_meanwhile() {
    let held = |healthy: bool, server: Option<Version>| {
        let mut story = Story::begin();
        story.all("cp", [What::KubeletServer { own: true }, What::EtcdMember { healthy }]);
        story.add("cp", What::StaticPod { component: "kube-apiserver", version: server });
        story.all("cp", [reported(Phase::Idle), taken("cp", LeaseName::ControlPlane)]);
        story.watched(11 * MINUTE)
    };
    assert_eq!(held(true, Some(OLD)), [Rule::OrphanGivenBack]);
    assert_eq!(held(false, Some(OLD)), [], "with its member of etcd");
    assert_eq!(held(true, None), [], "and there is no other");
}

/// A refused worker that sends so many requests each minute for an hour.
fn requests(each: u32) -> Story {
    let mut story = after_the_control_plane();
    for _ in 0..70 {
        story.after(MINUTE, "w1", What::Requested { requests: each });
    }
    story
}

#[test]
fn an_idle_agent_sends_next_to_nothing() {
    requests(2).keeps();
    requests(10).breaks(Rule::RequestsPerHour);
    let mut held = after_the_control_plane();
    held.all("w1", [What::TargetSet(Some(NEW)), taken("w1", LeaseName::Slot(0)), reported(Phase::Claiming)]);
    for _ in 0..9 {
        held.after(MINUTE, "w1", What::Requested { requests: 100 });
    }
    held.keeps();
}

#[test]
fn tools_and_retreats_are_not_repeated_without_end() {
    let fails = [started("hold"), What::ToolEnded { tool: "hold", ok: false }];
    let mut story = after_the_control_plane();
    (0..12).for_each(|_| {
        story.all("w1", fails.clone());
    });
    story.keeps();
    story.clone().all("w1", fails.clone()).breaks(Rule::Attempts);
    story.add("w1", What::Asked).all("w1", fails).keeps();
    retreats(6).keeps();
    retreats(7).breaks(Rule::Attempts);
}

fn retreats(times: usize) -> Story {
    let mut story = after_the_control_plane();
    story.add("w1", What::TargetSet(Some(NEW)));
    for _ in 0..times {
        story.all("w1", [taken("w1", LeaseName::Slot(0)), What::Cordoned { by: agent("w1") }]);
        story.all("w1", [What::Uncordoned { by: agent("w1") }, released("w1")]);
    }
    story
}

/// A degraded worker that is given another target.
fn asked_anew(target: Version) -> Story {
    let mut story = cordoned(1_000, [What::WentWrong { what: "disk" }, reported(Phase::Degraded)]);
    story.add("w1", What::TargetSet(Some(target)));
    story
}

#[test]
fn a_degraded_node_answers_a_newer_target() {
    let newer = Version::new(1, 36, 4);
    assert_eq!(asked_anew(newer).watched(16 * MINUTE), [Rule::WayOut]);
    assert_eq!(asked_anew(newer).watched(14 * MINUTE), []);
    assert_eq!(asked_anew(OLD).watched(16 * MINUTE), []);
    let pending = told(Phase::Degraded, Reason::PreflightPending);
    assert_eq!(asked_anew(newer).add("w1", pending).watched(16 * MINUTE), []);
}

pub(super) fn fires() -> Vec<(Rule, Story)> {
    let later = |mut story: Story| {
        story.after(31 * MINUTE, "w1", What::Requested { requests: 1 });
        story
    };
    let mut orphan = after_the_control_plane();
    orphan.all("w1", [reported(Phase::Idle), taken("w1", LeaseName::Slot(0))]);
    vec![
        (Rule::CordonedTime, later(cordoned(0, []))),
        (Rule::ClaimsWithoutProgress, claims(40, 15_000)),
        (Rule::OrphanGivenBack, later(orphan)),
        (Rule::RequestsPerHour, requests(10)),
        (Rule::Attempts, retreats(7)),
        (Rule::WayOut, later(asked_anew(Version::new(1, 36, 4)))),
    ]
}
