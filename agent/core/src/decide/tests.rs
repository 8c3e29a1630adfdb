use std::collections::BTreeMap;

use super::*;
use crate::act::Tool;
use crate::api::annotations::{CURRENT, FOUND_CORDONED, RETRY, TARGET};
use crate::api::{Check, Holder, KubeadmCommand, LeaseName, TurnId, Version};
use crate::memory::{Backoff, Packages, Plan, Verdict};
use crate::observed::{
    DrainState, Finding, Findings, FleetLease, FleetNode, FleetSeen, Outcome, PackageSeen, Progress, Ready,
    ToolState, TurnSeen, UnitSeen,
};

mod access;
mod changing;
mod pausing;
mod proving;
mod verifying;

const OLD: Version = Version::new(1, 36, 2);
const NEW: Version = Version::new(1, 36, 3);
const NOW: Now = Now { mono: Mono(1_000_000), unix: Unix(5_000) };

fn settings() -> Settings {
    Settings {
        node: "w1".into(),
        drain: DrainOptions::default(),
        soak: Duration::from_secs(5),
        verify_timeout: Duration::from_mins(10),
    }
}

fn packages(version: &str) -> Packages {
    let version: crate::api::PackageVersion = version.parse().unwrap();
    Packages { kubeadm: version.clone(), kubelet: version.clone(), kubectl: Some(version) }
}

fn plan(command: KubeadmCommand) -> Plan {
    Plan {
        from: packages("1.36.2-1.1"),
        to: packages("1.36.3-1.1"),
        command,
        target: NEW,
        can_restore_packages: true,
        daemon_sets: [].into(),
        csi_drivers: [].into(),
    }
}

fn host(kubeadm: &str, kubelet: &str) -> HostSeen {
    let seen =
        |version: &str| PackageSeen { version: version.parse().unwrap(), configured: true, held: true };
    HostSeen {
        at: NOW.mono,
        packages: BTreeMap::from([
            ("kubeadm".into(), seen(kubeadm)),
            ("kubelet".into(), seen(kubelet)),
            ("kubectl".into(), seen(kubelet)),
        ]),
        kubelet: UnitSeen { active: true, invocation: "a".into(), since: Unix(4_000) },
        ..HostSeen::default()
    }
}

fn turn(stage: Stage, command: KubeadmCommand) -> Turn {
    let lease = if command.is_control_plane() { LeaseName::ControlPlane } else { LeaseName::Slot(0) };
    Turn {
        holder: Holder { node: "w1".into(), uid: "u1".into(), turn: TurnId("j1".into()) },
        lease,
        plan: plan(command),
        stage,
        attempts: 0,
        unit_serial: 7,
        entered: NOW.unix,
        not_before: Unix(0),
        skipped: [].into(),
        retry: None,
        since: NOW.unix,
    }
}

fn worker(stage: Stage) -> Memory {
    remembering(turn(stage, KubeadmCommand::NodeWorker))
}

fn remembering(turn: Turn) -> Memory {
    Memory { known: true, turn: Some(turn), held: ["kubelet".into()].into(), ..Memory::default() }
}

fn changing(step: Step) -> Stage {
    Stage::Changing { step, direction: Direction::Forward }
}

fn draining() -> Stage {
    Stage::Clearing { disturbed: Some(Unix(4_990)) }
}

/// A worker at the old version with a target, its Lease proved just now, nothing cordoned.
fn seen() -> Observed {
    let annotations = BTreeMap::from([(TARGET.into(), NEW.to_string()), (CURRENT.into(), OLD.to_string())]);
    let node = NodeSeen {
        name: "w1".into(),
        uid: "u1".into(),
        ready: Ready::True,
        heartbeat: Unix(4_999),
        kubelet: Some(OLD),
        ..NodeSeen::default()
    };
    Observed {
        node: Some(node.with_annotations(&annotations)),
        node_at: NOW.mono,
        host: Some(host("1.36.2-1.1", "1.36.2-1.1")),
        lease: Some(LeaseSeen::Held { at: NOW.mono, turn: TurnId("j1".into()) }),
        ..Observed::default()
    }
}

fn annotate(seen: &mut Observed, key: &str, value: Option<&str>) {
    let node = seen.node.take().unwrap();
    let mut annotations = annotations(&node);
    match value {
        Some(value) => annotations.insert(key.into(), value.into()),
        None => annotations.remove(key),
    };
    seen.node = Some(node.with_annotations(&annotations));
}

/// The annotations that this was read from.
fn annotations(node: &NodeSeen) -> BTreeMap<String, String> {
    let current = node.current.map(|version| version.to_string());
    let cordoned = node.cordon_note.map(|theirs| theirs.to_string());
    let retry = node.request.retry.clone();
    let given =
        [(TARGET, node.target_text.clone()), (CURRENT, current), (FOUND_CORDONED, cordoned), (RETRY, retry)];
    given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

fn cordoned(mut seen: Observed, theirs: bool) -> Observed {
    annotate(&mut seen, FOUND_CORDONED, Some(if theirs { "true" } else { "false" }));
    seen.node.as_mut().unwrap().unschedulable = true;
    seen
}

fn next(memory: &Memory, seen: &Observed) -> Next {
    decide(&settings(), memory, seen, &Since::default(), NOW)
}

fn stage_of(next: &Next) -> &Stage {
    match next {
        Next::Remember(memory) => &memory.turn.as_ref().expect("a turn").stage,
        other => panic!("nothing is remembered: {other:?}"),
    }
}

fn act(next: Next) -> Act {
    match next {
        Next::Do(act) => act,
        other => panic!("nothing is done: {other:?}"),
    }
}

fn findings(outcome: Outcome) -> Findings {
    let findings = vec![Finding { check: Check::KubeletFlags, outcome }];
    Findings { target: NEW, at: NOW.mono, plan: Some(plan(KubeadmCommand::NodeWorker)), findings }
}

fn known() -> Memory {
    Memory { known: true, ..Memory::default() }
}

#[test]
fn without_a_target_nothing_is_asked_of_anybody() {
    let mut seen = seen();
    annotate(&mut seen, TARGET, None);
    assert!(matches!(next(&known(), &seen), Next::Wait { until: None, .. }));
}

#[test]
fn current_is_written_before_anything_else_and_only_while_in_service() {
    let mut seen = seen();
    annotate(&mut seen, CURRENT, None);
    assert_eq!(act(next(&known(), &seen)), Act::PublishCurrent { current: OLD });
    seen.node.as_mut().unwrap().ready = Ready::Unknown;
    assert_eq!(act(next(&known(), &seen)), Act::Preflight { target: NEW });
}

#[test]
fn a_failed_check_refuses_until_a_person_changes_something() {
    let mut seen = seen();
    seen.preflight = Some(findings(Outcome::Failed("unknown flag --x".into())));
    let Next::Remember(memory) = next(&known(), &seen) else { panic!("not refused") };
    assert!(memory.turn.is_none() && memory.refused.as_ref().unwrap().why.message.contains("--x"));
    assert!(matches!(next(&memory, &seen), Next::Wait { until: None, .. }));
    annotate(&mut seen, RETRY, Some("1"));
    seen.preflight = None;
    assert_eq!(act(next(&memory, &seen)), Act::Preflight { target: NEW });
}

#[test]
fn a_downgrade_is_refused_without_looking_further() {
    let mut seen = seen();
    annotate(&mut seen, TARGET, Some("v1.36.1"));
    let Next::Remember(memory) = next(&known(), &seen) else { panic!("not refused") };
    assert!(memory.refused.unwrap().why.message.contains("older"));
}

#[test]
fn a_target_below_a_package_that_somebody_installed_is_refused() {
    let mut seen = seen();
    let plan = Plan { from: packages("1.36.4-1.1"), ..plan(KubeadmCommand::NodeWorker) };
    seen.preflight = Some(Findings { plan: Some(plan), ..findings(Outcome::Passed(String::new())) });
    seen.host = Some(host("1.36.4-1.1", "1.36.4-1.1"));
    let Next::Remember(memory) = next(&known(), &seen) else { panic!("not refused") };
    assert!(memory.refused.unwrap().why.message.contains("1.36.4-1.1 is installed"));
}

#[test]
fn a_retreat_is_waited_out_unless_a_person_asks_for_another_try() {
    let mut seen = seen();
    let why = Explanation::new(Reason::DrainBlocked, "budget");
    let backoff = Backoff { target: NEW, retreats: 1, until: Unix(5_100), retry: None, why };
    let memory = Memory { backoff: Some(backoff), ..known() };
    assert!(
        matches!(next(&memory, &seen), Next::Wait { until: Some(at), .. } if at == NOW.mono.plus(Duration::from_secs(100)))
    );
    annotate(&mut seen, RETRY, Some("now"));
    assert_eq!(act(next(&memory, &seen)), Act::Preflight { target: NEW });
}

#[test]
fn the_job_is_remembered_before_the_lease_is_claimed() {
    let mut seen = seen();
    seen.preflight = Some(findings(Outcome::Passed("fine".into())));
    assert_eq!(act(next(&known(), &seen)), Act::AwaitTurn);
    seen.turn = Some(TurnSeen::default());
    let Next::Remember(memory) = next(&known(), &seen) else { panic!("nothing remembered") };
    assert_eq!(memory.held, ["kubeadm", "kubectl", "kubelet"].map(String::from).into());
    seen.lease = Some(LeaseSeen::Free);
    assert!(matches!(act(next(&memory, &seen)), Act::Claim { lease: LeaseName::Slot(0), .. }));
}

#[test]
fn nothing_is_cordoned_on_a_read_older_than_the_claim() {
    let memory = worker(Stage::Clearing { disturbed: None });
    let mut seen = seen();
    let old = NOW.mono.0 - 1;
    seen.fleet = Some(FleetSeen { at: Mono(old), ..FleetSeen::default() });
    assert_eq!(act(next(&memory, &seen)), Act::LookAtFleet);
}

#[test]
fn a_lease_that_does_not_hold_is_given_back_without_touching_the_node() {
    let memory = worker(Stage::Clearing { disturbed: None });
    let mut seen = seen();
    let down = FleetNode { name: "w2".into(), ..FleetNode::default() };
    let lease = FleetLease { name: LeaseName::ControlPlane, holder: Some("cp1/u/j".into()), degraded: None };
    seen.fleet =
        Some(FleetSeen { at: NOW.mono, nodes: vec![down], leases: vec![lease], ..FleetSeen::default() });
    let decided = next(&memory, &seen);
    assert!(matches!(stage_of(&decided), Stage::Returning(Verdict::BackedOut(_))));
    let Next::Remember(memory) = decided else { unreachable!() };
    assert!(matches!(act(next(&memory, &seen)), Act::Release { .. }));
}

#[test]
fn the_verb_is_decided_with_the_lease_in_hand_and_a_cluster_past_the_target_refuses() {
    for (named, expected) in [
        (OLD, Some(KubeadmCommand::Apply)),
        (NEW, Some(KubeadmCommand::NodeControlPlane)),
        (Version::new(1, 36, 4), None),
    ] {
        let memory = remembering(turn(Stage::Clearing { disturbed: None }, KubeadmCommand::Apply));
        let mut seen = seen();
        let other = FleetNode { name: "w2".into(), ready: true, ..FleetNode::default() };
        seen.local = Some(crate::observed::LocalControlPlane { at: NOW.mono, ..Default::default() });
        let fleet = FleetSeen {
            at: NOW.mono,
            nodes: vec![other],
            kubeadm_config: Some(named),
            ..FleetSeen::default()
        };
        seen.fleet = Some(fleet);
        let Next::Remember(decided) = next(&memory, &seen) else { panic!("nothing is remembered") };
        let turn = decided.turn.unwrap();
        match expected {
            Some(command) => {
                assert_eq!(
                    (turn.plan.command, turn.stage),
                    (command, Stage::Clearing { disturbed: Some(NOW.unix) })
                );
            }
            None => assert!(
                matches!(turn.stage, Stage::Returning(Verdict::BackedOut(why)) if why.message.contains("v1.36.4"))
            ),
        }
    }
}

#[test]
fn a_watch_that_lags_behind_our_cordon_does_not_look_like_somebody_who_lifted_it() {
    let mut since = Since { cordon_version: Some("20".into()), ..Since::default() };
    let node = cordoned(seen(), false).node.unwrap();
    let before = NodeSeen { unschedulable: false, resource_version: "19".into(), ..node };
    since.look(Some(&before));
    assert!(!since.cordon_lifted);
    since.look(Some(&NodeSeen { resource_version: "21".into(), ..before }));
    assert!(since.cordon_lifted);
}

#[test]
fn a_late_answer_about_another_jobs_lease_proves_nothing() {
    let memory = worker(Stage::Clearing { disturbed: None });
    let mut seen = seen();
    seen.lease = Some(LeaseSeen::Held { at: NOW.mono, turn: TurnId("another".into()) });
    assert!(matches!(act(next(&memory, &seen)), Act::Renew { .. }));
}

#[test]
fn after_a_restart_the_lease_is_proved_before_the_drain_goes_on() {
    let mut seen = cordoned(seen(), false);
    seen.lease = None;
    assert!(matches!(act(next(&worker(draining()), &seen)), Act::Renew { .. }));
    seen.lease = Some(LeaseSeen::Other("w2/u/j".into()));
    let decided = next(&worker(draining()), &seen);
    assert!(
        matches!(stage_of(&decided), Stage::Returning(Verdict::BackedOut(why)) if why.reason == Reason::LeaseLost)
    );
}

#[test]
fn somebody_who_uncordons_during_the_drain_is_answered_with_another_cordon() {
    let mut seen = cordoned(seen(), false);
    seen.node.as_mut().unwrap().unschedulable = false;
    assert_eq!(act(next(&worker(draining()), &seen)), Act::Cordon);
}

#[test]
fn somebody_who_uncordons_after_staging_began_is_left_alone() {
    let mut seen = cordoned(seen(), false);
    seen.node.as_mut().unwrap().unschedulable = false;
    assert!(matches!(act(next(&worker(changing(Step::Staging)), &seen)), Act::Run { .. }));
}

#[test]
fn a_cordon_that_somebody_made_after_lifting_ours_is_left_to_them() {
    let seen = cordoned(seen(), false);
    let lifted = NodeSeen { unschedulable: false, ..seen.node.clone().unwrap() };
    let mut since = Since::default();
    since.look(Some(&lifted));
    since.look(seen.node.as_ref());
    for stage in [changing(Step::Installing), Stage::Returning(Verdict::Done)] {
        assert_eq!(act(decide(&settings(), &worker(stage), &seen, &since, NOW)), Act::ForgetCordon);
    }
}

#[test]
fn the_host_is_changed_only_once_a_fresh_list_showed_the_node_drained() {
    let mut seen = cordoned(seen(), false);
    let drain =
        Progress { at: NOW.mono, left: 0, blocked: vec![], passed_over: vec![], state: DrainState::Drained };
    seen.drain = Some(drain.clone());
    assert_eq!(*stage_of(&next(&worker(draining()), &seen)), changing(Step::Staging));
    seen.drain = Some(Progress { at: Mono(0), ..drain });
    assert!(matches!(act(next(&worker(draining()), &seen)), Act::Drain { until: Unix(8_590), .. }));
}

#[test]
fn a_target_removed_during_the_drain_backs_out_and_uncordons_first() {
    let mut seen = cordoned(seen(), false);
    annotate(&mut seen, TARGET, None);
    let Next::Remember(memory) = next(&worker(draining()), &seen) else { panic!("goes on") };
    assert_eq!(act(next(&memory, &seen)), Act::Uncordon);
    annotate(&mut seen, FOUND_CORDONED, None);
    assert!(matches!(act(next(&memory, &seen)), Act::Release { .. }));
}
