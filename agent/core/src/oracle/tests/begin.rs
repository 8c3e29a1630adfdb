//! When a node may begin.

use super::*;

#[test]
fn more_nodes_out_of_service_than_slots_break_rule_1() {
    let mut story = after_the_control_plane();
    story.all("w1", clearing("w1"));
    story.add("w2", taken("w2", LeaseName::Slot(1))).keeps();
    story.add("w2", What::Cordoned { by: agent("w2") }).breaks(Rule::Budget);
}

#[test]
fn a_node_that_is_down_uses_up_the_budget() {
    let mut story = after_the_control_plane();
    story.add("w2", What::Ready { ready: false, kubelet: OLD });
    story.all("w1", clearing("w1")).breaks(Rule::Budget);
}

#[test]
fn a_worker_that_is_down_uses_up_the_budget_of_a_control_plane_node_too() {
    let mut story = Story::begin();
    story.add("w2", says(false, OLD)).all("cp", clearing("cp")).breaks(Rule::Budget);
}

#[test]
fn the_budget_holds_still_when_the_first_pod_is_evicted() {
    let mut story = after_the_control_plane();
    story.all("w1", clearing("w1")[..3].to_vec());
    let evicts = clearing("w1")[3].clone();
    let mut begun = story.clone();
    begun.add("w1", evicts.clone()).add("w2", says(false, OLD)).add("w1", evicts.clone()).keeps();
    story.add("w2", says(false, OLD)).add("w1", evicts).breaks(Rule::Budget);
}

#[test]
fn a_policy_bars_claims_that_pauses_is_of_a_later_protocol_or_cannot_be_read() {
    let bars = |data: &[(&str, &str)]| {
        bars_claims(Some(&data.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect()))
    };
    assert!(!bars(&[]) && !bars(&[("paused", "false"), ("minReadySeconds", "5")]));
    assert!(bars(&[("paused", "true")]) && bars(&[("paused", "yes")]));
    assert!(bars(&[("minReadySeconds", "soon")]) && bars(&[("protocol", "2")]));
    assert!(bars_claims(None));
}

#[test]
fn a_worker_out_of_service_beside_a_control_plane_node_breaks_rule_2() {
    let mut story = Story::begin();
    story.all("cp", clearing("cp")).keeps();
    story.all("w1", clearing("w1"));
    assert!(story.broken().contains(&Rule::ControlPlaneAlone));
}

#[test]
fn a_worker_before_its_control_plane_breaks_rule_2() {
    let mut story = Story::begin();
    story.add("cp", What::TargetSet(Some(NEW)));
    story.all("w1", clearing("w1")).breaks(Rule::ControlPlaneFirst);
}

/// w2 is degraded on its way to a version; w1 waits to go to another.
fn degraded_at(version: Version) -> Story {
    let mut story = after_the_control_plane();
    story.add("w1", What::TargetSet(Some(NEW)));
    story.all("w2", clearing("w2")).add("w2", says(false, OLD));
    story.0.iter_mut().filter(|event| event.node == "w2").for_each(|event| {
        if let What::TargetSet(target) = &mut event.what {
            *target = Some(version);
        }
    });
    story.all("w2", [What::WentWrong { what: "disk" }, reported(Phase::Degraded)]);
    story.add("w2", What::LeaseMarked { lease: LeaseName::Slot(0), degraded: true });
    story
}

fn w1_begins(story: &mut Story) -> Vec<Rule> {
    let cordons = What::Cordoned { by: agent("w1") };
    story.all("w1", [taken("w1", LeaseName::Slot(1)), cordons]).broken()
}

#[test]
fn nobody_begins_towards_the_version_another_is_degraded_at() {
    assert!(w1_begins(&mut degraded_at(NEW)).contains(&Rule::HaltOnDegraded));
    assert!(!w1_begins(&mut degraded_at(Version::new(1, 36, 4))).contains(&Rule::HaltOnDegraded));
    assert_eq!(degraded_at(NEW).premises(Rule::HaltOnDegraded), 2);
}

#[test]
fn an_ignored_node_and_one_that_serves_after_all_halt_nobody() {
    let mut ignored = degraded_at(NEW);
    ignored.add("w2", What::Ignored(true));
    assert!(!w1_begins(&mut ignored).contains(&Rule::HaltOnDegraded));
    let mut serves = degraded_at(NEW);
    serves.all("w2", [says(true, NEW), What::Uncordoned { by: agent("w2") }, released("w2")]);
    serves.add("w2", What::CurrentWritten { version: NEW });
    assert!(!w1_begins(&mut serves).contains(&Rule::HaltOnDegraded));
}

#[test]
fn one_whose_lease_was_freed_and_that_is_refused_another_has_nowhere_to_say_that_it_halts() {
    let freed = |reason| {
        let mut story = degraded_at(NEW);
        story.all("w2", [freed("w2"), told(Phase::Degraded, reason)]);
        w1_begins(&mut story).contains(&Rule::HaltOnDegraded)
    };
    assert!(freed(Reason::ToolFailed));
    assert!(!freed(Reason::Retrying));
    let mut held = degraded_at(NEW);
    held.add("w2", told(Phase::Degraded, Reason::Retrying));
    assert!(w1_begins(&mut held).contains(&Rule::HaltOnDegraded));
}

#[test]
fn a_mark_nobody_could_notice_yet_halts_nobody() {
    let mut story = degraded_at(NEW);
    story.0.truncate(story.0.len() - 2);
    story.all("w1", [taken("w1", LeaseName::Slot(1))]);
    story.after(1_000, "w2", reported(Phase::Degraded));
    story.after(1_000, "w1", What::Cordoned { by: agent("w1") });
    assert!(!story.broken().contains(&Rule::HaltOnDegraded));
}

fn paused_before(cordon: bool) -> Story {
    let mut story = after_the_control_plane();
    let steps = clearing("w1");
    let (begun, rest) = steps.split_at(if cordon { 2 } else { 3 });
    story.all("w1", begun.to_vec()).add(FLEET, What::PolicySet { bars: true });
    story.all("w1", rest.to_vec());
    story
}

#[test]
fn nobody_begins_while_the_policy_pauses_the_fleet() {
    paused_before(true).breaks(Rule::Paused);
    paused_before(false).keeps();
    assert_eq!(paused_before(false).premises(Rule::Paused), 1);
    let mut over = after_the_control_plane();
    over.add(FLEET, What::PolicySet { bars: true }).add(FLEET, What::PolicySet { bars: false });
    over.all("w1", clearing("w1")).keeps();
}

#[test]
fn an_ignored_control_plane_node_that_is_down_uses_up_budget_all_the_same() {
    let mut story = after_the_control_plane();
    story.all("cp", [says(false, NEW), What::Ignored(true)]);
    assert!(w1_begins(&mut story).contains(&Rule::Budget));
}

#[test]
fn an_ignored_node_that_is_down_uses_up_no_budget() {
    let mut story = after_the_control_plane();
    story.all("w2", [says(false, OLD), What::Ignored(true)]);
    story.all("w1", clearing("w1")).keeps();
}

/// A control-plane node cordons itself for this version beside a worker that is out of service.
fn beside(version: Version, events: impl IntoIterator<Item = What>) -> (Story, Vec<Rule>) {
    let mut story = after_the_control_plane();
    story.all("w1", clearing("w1")).all("w1", events);
    story.add("cp", What::TargetSet(Some(version))).add("cp", taken("cp", LeaseName::ControlPlane));
    story.add("cp", What::Cordoned { by: agent("cp") });
    let two = Expectations { slots: 2, ..expectations() };
    let broken = check(&story.0, &two).into_iter().map(|violation| violation.rule).collect();
    (story, broken)
}

#[test]
fn a_marked_or_ignored_workers_slot_keeps_no_control_plane_from_its_turn() {
    let newer = Version::new(1, 36, 4);
    let failed = || {
        let failed = What::ToolEnded { tool: "install-kubelet", ok: false };
        vec![started("install-kubelet"), failed, told(Phase::Degraded, Reason::ToolFailed)]
    };
    let mark = |degraded| What::LeaseMarked { lease: LeaseName::Slot(0), degraded };
    assert_eq!(beside(newer, []).1, [Rule::ControlPlaneAlone]);
    assert_eq!(beside(newer, failed()).1, []);
    assert_eq!(beside(newer, [failed(), vec![mark(true)]].concat()).1, []);
    let marked = beside(NEW, [failed(), vec![mark(true)]].concat()).1;
    assert!(!marked.contains(&Rule::ControlPlaneAlone), "{marked:?}");
    assert!(beside(NEW, failed()).1.contains(&Rule::ControlPlaneAlone));
    assert_eq!(beside(newer, [What::Ignored(true)]).1, []);
    assert_eq!(beside(newer, [What::Ignored(true), What::Ignored(false)]).1, [Rule::ControlPlaneAlone]);
    beside(newer, failed()).0.breaks(Rule::Budget);
}

#[test]
fn of_two_workers_that_are_down_each_may_go_in_its_turn() {
    let mut story = after_the_control_plane();
    story.add("w2", says(false, OLD)).add("w1", says(false, OLD));
    story.all("w1", clearing("w1")).keeps();
}

#[test]
fn a_control_plane_at_rest_and_refused_holds_up_no_worker() {
    let mut story = Story::begin();
    story.add("cp", What::TargetSet(Some(NEW))).add("cp", api_server(NEW));
    story.clone().all("w1", clearing("w1")).breaks(Rule::ControlPlaneFirst);
    story.all("cp", [What::EvictionRefused { pod: "cp-pod".to_owned() }, reported(Phase::Refused)]);
    story.clone().all("w1", clearing("w1")).keeps();
    let left_refused = |later| {
        let mut story = story.clone();
        story.all("w1", clearing("w1")[..2].to_vec()).add("cp", reported(Phase::Preflight));
        story.after(later, "w1", clearing("w1")[2].clone()).broken().contains(&Rule::ControlPlaneFirst)
    };
    assert!(!left_refused(9_000));
    assert!(left_refused(11_000));
}

#[test]
fn pods_are_evicted_only_while_another_node_takes_them() {
    let evicts = |ready: [bool; 2]| {
        let mut story = after_the_control_plane();
        story.all("w1", clearing("w1")[..3].to_vec());
        story
            .add("cp", says(ready[0], NEW))
            .add("w2", says(ready[1], OLD))
            .add("w1", clearing("w1")[3].clone());
        story.broken().contains(&Rule::Drain)
    };
    assert!(evicts([false, false]));
    assert!(!evicts([true, false]) && !evicts([false, true]));
}

#[test]
fn a_node_that_was_deleted_just_now_takes_pods_as_far_as_anybody_knows() {
    let evicts = |later| {
        let mut story = after_the_control_plane();
        story.all("w1", clearing("w1")[..3].to_vec());
        story.add("cp", says(false, NEW)).add("w2", What::Deleted).after(
            later,
            "w1",
            clearing("w1")[3].clone(),
        );
        story.broken().contains(&Rule::Drain)
    };
    assert!(!evicts(9_000));
    assert!(evicts(11_000));
}

/// cp2 is asked to go too, and cp is in the middle of this.
fn at_work_with(events: Vec<What>) -> Story {
    let mut story = Story::begin();
    control_plane::joins(&mut story, "cp2");
    story.all("cp", [What::TargetSet(Some(NEW)), taken("cp", LeaseName::ControlPlane)]).all("cp", events);
    story
}

#[test]
fn a_run_of_kubeadm_keeps_others_away_with_or_without_its_lease() {
    let run = What::ToolStarted { tool: "kubeadm-upgrade", kubeadm: Some((KubeadmCommand::Apply, NEW)) };
    let begins =
        [What::TargetSet(Some(NEW)), taken("cp2", LeaseName::ControlPlane), started("install-kubeadm")];
    let mut story = at_work_with(vec![run.clone(), freed("cp")]);
    assert!(story.all("cp2", begins.clone()).broken().contains(&Rule::ControlPlaneAlone));
    let mut over = at_work_with(vec![run.clone(), api_server(NEW), ended("kubeadm-upgrade"), freed("cp")]);
    assert!(!over.all("cp2", begins.clone()).broken().contains(&Rule::ControlPlaneAlone));
    let made_anew = |later| {
        let joined = What::Joined { control_plane: true, uid: "cp-uid-1".to_owned() };
        let story = at_work_with(vec![run.clone(), What::Deleted, joined, freed("cp")]);
        story
            .hurried(|what| matches!(what, What::Joined { uid, .. } if uid == "cp-uid-1"), 1_000)
            .after(later, "cp2", What::TargetSet(Some(NEW)))
            .after(1_000, "cp2", taken("cp2", LeaseName::ControlPlane))
            .after(1_000, "cp2", started("install-kubeadm"))
            .broken()
            .contains(&Rule::ControlPlaneAlone)
    };
    assert!(!made_anew(60_000), "its mark went with its Node");
    assert!(made_anew(90_000));
    at_work_with(vec![run, released("cp")]).breaks(Rule::ReleaseLast);
}

#[test]
fn a_control_plane_node_waits_for_slots_and_a_worker_for_the_control_planes_lease() {
    let slot = || taken("w1", LeaseName::Slot(0));
    let begins = |first: (&str, What), node: &str, wait: u64| {
        let mut story = after_the_control_plane();
        story.add(node, What::TargetSet(Some(Version::new(1, 36, 4))));
        story.add(first.0, first.1).after(wait, node, taken(node, lease(node)));
        let begins =
            if node == "cp" { started("install-kubeadm") } else { What::Cordoned { by: agent(node) } };
        story.after(wait, node, begins);
        story.broken().contains(&Rule::ControlPlaneAlone)
    };
    let control_plane = || taken("cp", LeaseName::ControlPlane);
    assert!(begins(("w1", slot()), "cp", 90_000));
    assert!(!begins(("w1", slot()), "cp", 4_000));
    assert!(begins(("cp", control_plane()), "w1", 90_000));
    assert!(!begins(("cp", control_plane()), "w1", 4_000));
}

#[test]
fn a_drain_under_somebody_elses_cordon_is_a_beginning() {
    let mut story = after_the_control_plane();
    let evicts = clearing("w1")[3].clone();
    story.add("w1", What::Cordoned { by: Who::Person }).add("w1", What::TargetSet(Some(NEW)));
    story.add("w1", taken("w1", LeaseName::Slot(0)));
    story.clone().add("w1", evicts.clone()).keeps();
    let (bars, refused) =
        (What::PolicySet { bars: true }, What::EvictionRefused { pod: "w1-pod".to_owned() });
    story.clone().add(FLEET, bars.clone()).add("w1", evicts.clone()).breaks(Rule::Paused);
    story.clone().add(FLEET, bars.clone()).add("w1", refused.clone()).breaks(Rule::Paused);
    // What was asked before goes on.
    story.add("w1", refused).add(FLEET, bars).add("w1", evicts).keeps();
}

#[test]
fn a_drain_whose_first_eviction_was_refused_has_begun() {
    let evicts = What::Evicted { pod: "w1-pod".to_owned(), by: agent("w1") };
    let refused = What::EvictionRefused { pod: "w1-pod".to_owned() };
    let asks = |before: bool| {
        let mut story = after_the_control_plane();
        story.all("w1", [What::TargetSet(Some(NEW)), What::Cordoned { by: Who::Person }]);
        story.add("w1", taken("w1", LeaseName::Slot(0)));
        let target = What::TargetSet(Some(Version::new(1, 36, 9)));
        let order = if before {
            [("w1", refused.clone()), ("cp", target)]
        } else {
            [("cp", target), ("w1", refused.clone())]
        };
        for (node, what) in order {
            story.add(node, what);
        }
        story.add("w1", evicts.clone());
        story
    };
    asks(true).keeps();
    asks(false).breaks(Rule::ControlPlaneFirst);
}

#[test]
fn for_a_node_that_is_down_only_slots_count() {
    let mut story = after_the_control_plane();
    story.all("w2", clearing("w2")[..3].to_vec()).add("w1", says(false, OLD));
    let begins =
        [What::TargetSet(Some(NEW)), taken("w1", LeaseName::Slot(1)), What::Cordoned { by: agent("w1") }];
    story.clone().all("w1", begins.clone()).breaks(Rule::Budget);
    story.add("w2", freed("w2")).all("w1", begins).keeps();
}

#[test]
fn a_control_plane_that_runs_its_target_holds_up_no_worker_whatever_it_says() {
    let mut story = Story::begin();
    story.all("cp", [What::TargetSet(Some(NEW)), api_server(NEW)]);
    let mut old = story.clone();
    old.all("w1", clearing("w1")).breaks(Rule::ControlPlaneFirst);
    story.add("cp", says(true, NEW)).all("w1", clearing("w1")).keeps();
}

pub(super) fn fires() -> Vec<(Rule, Story)> {
    let mut budget = after_the_control_plane();
    budget.all("w1", clearing("w1")).add("w2", taken("w2", LeaseName::Slot(1)));
    budget.add("w2", What::Cordoned { by: agent("w2") });
    let mut beside = Story::begin();
    beside.all("cp", clearing("cp")).all("w1", clearing("w1"));
    let mut before = Story::begin();
    before.add("cp", What::TargetSet(Some(NEW))).all("w1", clearing("w1"));
    let mut halted = degraded_at(NEW);
    w1_begins(&mut halted);
    vec![
        (Rule::Budget, budget),
        (Rule::ControlPlaneAlone, beside),
        (Rule::ControlPlaneFirst, before),
        (Rule::HaltOnDegraded, halted),
        (Rule::Paused, paused_before(true)),
    ]
}
