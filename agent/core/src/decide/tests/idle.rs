//! No turn: what is said of the node, and what comes next.

use super::*;
use crate::api::{ApiServerNote, Request};
use crate::memory::{Backoff, Refusal};
use crate::observed::{Access, TurnSeen};

type Change = fn(&mut Case);

fn worker(change: Change) -> Case {
    Case::idle(false).with(change)
}

fn plane(change: Change) -> Case {
    let mut case = Case::idle(true);
    case.seen.local.as_mut().unwrap().version = Some(OLD);
    case.seen.local.as_mut().unwrap().hash = Some("h".into());
    case.node().api_server = Some(ApiServerNote { version: OLD, hash: "h".into() });
    case.with(change)
}

fn preflight(kind: TurnKind) -> Act {
    Act::Preflight { target: NEW, kind }
}

#[test]
fn without_a_target_nothing_is_asked_of_anybody() {
    let idle = worker(|case| case.target(None)).next();
    assert!(matches!(idle, Next::Wait { why, until: None } if why.reason == Reason::Idle));
    let request = Request { target: Some("1.36".parse::<Version>()), ..Request::default() };
    let wrong = Case::idle(false).with(|case| case.node().request = request);
    assert_eq!(wrong.says(), "wait InvalidTarget");
}

#[test]
fn current_says_what_runs_in_service_and_does_not_run_ahead_of_a_turn_to_come() {
    assert_eq!(worker(|case| case.node().current = None).does(), Act::PublishCurrent { current: OLD });
    let spared: [Change; 4] = [
        |case| case.node().ready = Ready::Unknown,
        |case| case.node().kubelet = None,
        |case| {
            case.node().kubelet = Some(NEW);
            case.host().kubelet_config_stale = true;
        },
        |case| case.node().current = Some(OLD),
    ];
    for (number, spare) in spared.into_iter().enumerate() {
        let said = worker(|case| case.node().current = None).with(spare).says();
        assert_ne!(said, "publish-current", "{number}");
    }
    let by_hand = worker(|case| {
        case.node().kubelet = Some(NEW);
        case.host().packages = host(NEW, NEW).packages;
    });
    assert_eq!(by_hand.does(), Act::PublishCurrent { current: NEW });
}

#[test]
fn a_control_plane_node_is_in_service_at_the_oldest_of_its_parts() {
    let ahead = plane(|case| {
        case.node().current = None;
        case.node().kubelet = Some(NEW);
        case.target(None);
    });
    assert_eq!(ahead.does(), Act::PublishCurrent { current: OLD });
    let seen =
        |before| ahead.clone().with(|case| case.seen.pods.as_mut().unwrap().at = ago(seconds(before))).says();
    assert_eq!([seen(10), seen(11)], ["publish-current", "look-at-pods"]);
}

#[test]
fn what_the_api_server_answers_is_written_when_it_or_its_pod_changes_and_asked_every_ten_minutes() {
    let note =
        |version, hash: &str| Act::PublishApiServer { note: ApiServerNote { version, hash: hash.into() } };
    assert_eq!(plane(|case| case.seen.local.as_mut().unwrap().version = Some(NEW)).does(), note(NEW, "h"));
    assert_eq!(
        plane(|case| case.seen.local.as_mut().unwrap().hash = Some("i".into())).does(),
        note(OLD, "i")
    );
    assert_ne!(plane(|case| case.seen.local.as_mut().unwrap().version = None).says(), "publish-api-server");
    let idle = plane(|case| case.target(None));
    let asked =
        |age| idle.clone().with(|case| case.seen.local.as_mut().unwrap().at = ago(seconds(age))).says();
    assert_eq!([asked(600), asked(601)], ["wait Idle", "look-at-control-plane"]);
    let idle = idle.next();
    assert!(
        matches!(idle, Next::Wait { until: Some(at), .. } if at == NOW.mono.plus(Duration::from_millis(600_001)))
    );
}

#[test]
fn the_turn_that_comes_next_is_preflighted() {
    assert_eq!(worker(|case| case.seen.preflight = None).does(), preflight(TurnKind::Kubelet));
    assert_eq!(plane(|case| case.seen.preflight = None).does(), preflight(TurnKind::ControlPlane));
    let at_rest = plane(|case| {
        case.seen.pods.as_mut().unwrap().pods = static_pods(NEW);
        *case.fleet() = fleet_at(NEW);
        case.seen.local.as_mut().unwrap().version = Some(NEW);
        case.node().api_server = Some(ApiServerNote { version: NEW, hash: "h".into() });
    });
    assert_eq!(at_rest.does(), preflight(TurnKind::Kubelet), "and not on the findings of turn A");
}

#[test]
fn findings_say_something_for_an_hour_and_of_their_target_alone() {
    let begins = |change: Change| worker(change).says();
    assert_eq!(begins(|_| {}), "Claiming");
    assert_eq!(begins(|case| case.seen.preflight.as_mut().unwrap().at = ago(seconds(3_601))), "preflight");
    assert_eq!(begins(|case| case.seen.preflight.as_mut().unwrap().at = ago(seconds(3_600))), "Claiming");
    assert_eq!(begins(|case| case.seen.preflight.as_mut().unwrap().target = OLD), "preflight");
}

fn found(outcome: Outcome) -> Case {
    let mut case = Case::idle(false);
    case.seen.preflight.as_mut().unwrap().findings[0].outcome = outcome;
    case
}

#[test]
fn a_refusal_rests_on_what_was_seen_just_now() {
    let mut case = found(Outcome::Failed("there is no other node".into()));
    case.seen.preflight.as_mut().unwrap().at = ago(seconds(15));
    assert!(case.remembers().refused.is_some());
    case.seen.preflight.as_mut().unwrap().at = ago(Duration::from_millis(15_001));
    assert_eq!(case.does(), preflight(TurnKind::Kubelet));
}

#[test]
fn a_failed_check_refuses_until_a_person_changes_something() {
    let mut case = found(Outcome::Failed("unknown flag --x".into()));
    case.memory = case.remembers();
    let refused = case.memory.refused.as_ref().unwrap();
    assert!(case.memory.turn.is_none() && refused.why.message.contains("--x"), "{refused:?}");
    case.seen.preflight = None;
    assert!(matches!(case.next(), Next::Wait { why, until: None } if why.reason == Reason::PreflightFailed));
    let answers: [Change; 3] = [
        |case| case.node().request.retry = Some("1".into()),
        |case| case.node().request.skip = [Check::KubeletFlags].into(),
        |case| case.target(Some(NEWER)),
    ];
    for answer in answers {
        let mut answered = case.clone().with(answer);
        answered.memory = answered.remembers();
        assert_eq!((answered.memory.refused.as_ref(), answered.says()), (None, "preflight".to_owned()));
    }
    let gone = case.with(|case| case.target(None));
    assert_eq!(gone.remembers().refused, None);
}

#[test]
fn a_retry_that_was_set_while_preflight_ran_asks_for_another_one() {
    let mut case = found(Outcome::Failed("no".into()));
    case.node().request.retry = Some("meanwhile".into());
    case.memory = case.remembers();
    assert!(case.memory.refused.is_some());
    case.seen.preflight = None;
    case.memory = case.remembers();
    assert_eq!((case.memory.refused.as_ref(), case.says()), (None, "preflight".to_owned()));
}

/// A refusal of this node's target.
fn refusal() -> Refusal {
    Refusal { target: NEW.to_string(), retry: None, skip: [].into(), why: why(Reason::ToolFailed) }
}

#[test]
fn a_refusal_does_not_stand_after_another_target_was_asked_for() {
    let mut case = worker(|case| case.memory.refused = Some(refusal()));
    case.seen.preflight = None;
    assert_eq!(case.says(), "wait ToolFailed");
    case.target(Some(NEWER));
    case.memory = case.remembers();
    case.target(Some(NEW));
    assert_eq!(case.says(), "preflight", "whoever asks for the same again asks anew");
}

#[test]
fn a_refused_node_that_somebody_has_upgraded_by_hand_is_refused_no_more() {
    let mut case = worker(|case| case.memory.refused = Some(refusal()));
    case.node().kubelet = Some(NEW);
    case.node().current = Some(NEW);
    let looks = case.clone().with(|case| case.host().at = ago(seconds(301)));
    assert_eq!(looks.says(), "look-at-host");
    let until = NOW.mono.plus(Duration::from_mins(5));
    assert!(
        matches!(case.next(), Next::Wait { until: Some(at), .. } if at == until),
        "kubelet alone is not all"
    );
    case.host().packages = host(NEW, NEW).packages;
    assert_eq!(case.remembers().refused, None);
}

#[test]
fn a_claim_rests_on_a_fleet_a_control_plane_and_pods_looked_at_just_now() {
    let long: Change = |case| {
        let begun = Now { mono: ago(seconds(10_000)), ..NOW };
        case.since.waits(Some(Reason::WaitingForTurn), begun);
    };
    let at = |word: &str, case: &Case| {
        let seen = |age: u64| {
            let mut case = case.clone();
            match word {
                "look-at-fleet" => case.fleet().at = ago(seconds(age)),
                "look-at-control-plane" => case.seen.local.as_mut().unwrap().at = ago(seconds(age)),
                "look-at-pods" => case.seen.pods.as_mut().unwrap().at = ago(seconds(age)),
                _ => case.host().at = ago(seconds(age)),
            }
            case.says()
        };
        // What has to be Ready again after the turn is seen as it begins.
        let age = if word == "look-at-pods" { 2 } else { 15 };
        assert_eq!([seen(age), seen(age + 1)], ["Claiming", word]);
    };
    for word in ["look-at-fleet", "look-at-pods", "look-at-host"] {
        at(word, &worker(long));
        at(word, &plane(long));
    }
    at("look-at-control-plane", &plane(long));
}

#[test]
fn what_has_to_serve_again_is_what_is_there_when_the_turn_begins() {
    let mut case = Case::idle(false);
    case.seen.preflight.as_mut().unwrap().plan.as_mut().unwrap().daemon_sets =
        ["kube-system/gone".into()].into();
    let owner =
        crate::observed::Owner { kind: "DaemonSet".into(), name: "kube-proxy".into(), ..Default::default() };
    let pods = case.seen.pods.as_mut().unwrap();
    pods.csi_drivers = ["a.example".into()].into();
    pods.pods.push(crate::observed::PodSeen {
        namespace: "kube-system".into(),
        controller: Some(owner),
        ready: true,
        ..Default::default()
    });
    let plan = case.becomes().plan;
    assert_eq!(plan.daemon_sets, ["kube-system/kube-proxy".to_owned()].into());
    assert_eq!(plan.csi_drivers, ["a.example".to_owned()].into());
}

/// A control-plane node whose peer is down, and its member of etcd with it.
fn peer_down() -> Case {
    plane(|case| {
        case.fleet().nodes[1].ready = false;
        let etcd = case.seen.local.as_mut().unwrap().etcd.as_mut().unwrap();
        etcd.unhealthy = ["cp2".to_owned()].into();
    })
}

#[test]
fn that_a_control_plane_node_is_dead_is_said_only_where_etcd_was_asked_after_it_went_down() {
    assert_eq!(peer_down().says(), "wait ControlPlaneDown");
    let pending = |case: &mut Case| {
        let findings = case.seen.preflight.as_mut().unwrap();
        let outcome = Outcome::Pending("etcd is not whole".into());
        findings.findings = vec![Finding { check: Check::Etcd, outcome }];
    };
    assert_eq!(peer_down().with(pending).says(), "wait ControlPlaneDown", "which explains what is pending");
    for change in [|_: &mut Case| {}, pending] {
        let went = |at: Mono| peer_down().with(|case| case.since.peer_down_at = Some(at)).with(change).says();
        assert_eq!(went(NOW.mono), "wait ControlPlaneDown");
        assert_eq!(went(NOW.mono.plus(Duration::from_millis(1))), "look-at-control-plane");
    }
}

#[test]
fn kubeadm_config_is_read_again_before_people_are_told_that_it_is_behind() {
    let behind = |age: u64, told: bool| {
        let mut case = worker(|case| {
            let begun = Now { mono: ago(seconds(10_000)), ..NOW };
            case.since.waits(Some(Reason::WaitingForTurn), begun);
        });
        let target = NEXT_MINOR;
        case.target(Some(target));
        let found = case.seen.preflight.as_mut().unwrap();
        found.target = target;
        let plan = found.plan.as_mut().unwrap();
        (plan.target, plan.to) = (target, packages(target));
        *case.fleet() = FleetSeen { kubeadm_config: Some(NEW), at: ago(seconds(age)), ..fleet_at(target) };
        let planes = fleet_at(target).nodes[..2].to_vec();
        let turn = TurnSeen { at: NOW.mono, leases: Vec::new(), control_planes: planes };
        case.seen.waiting = told.then_some(turn);
        case.says()
    };
    assert_eq!(behind(15, true), "wait WaitingForTurn");
    assert_eq!(behind(16, true), "look-at-fleet", "the nodes were told of since");
    assert_eq!(behind(16, false), "wait WaitingForTurn");
}

#[test]
fn a_pending_check_is_looked_at_again_after_a_pause_that_grows_with_the_time_it_was_waited_for() {
    let pending = found(Outcome::Pending("soon".into()));
    assert_eq!(pending.says(), "wait PreflightPending");
    let aged = |case: &Case, age| {
        case.clone().with(|case| case.seen.preflight.as_mut().unwrap().at = ago(seconds(age))).says()
    };
    assert_eq!([aged(&pending, 15), aged(&pending, 16)], ["wait PreflightPending", "preflight"]);
    for (waited, pause) in [(100, 50), (10_000, 600)] {
        let mut long = pending.clone();
        let begun = Now { mono: ago(seconds(waited)), ..NOW };
        long.since.waits(Some(Reason::PreflightPending), begun);
        assert_eq!([aged(&long, pause), aged(&long, pause + 1)], ["wait PreflightPending", "preflight"]);
    }
}

#[test]
fn who_is_barred_does_not_claim_and_says_why() {
    let rows: [(&str, Change); 4] = [
        ("wait Paused", |case| case.fleet().policy.policy.paused = true),
        ("wait BudgetExhausted", |case| case.fleet().nodes[3].ready = false),
        ("wait WaitingForTurn", |case| case.fleet().leases.push(held(crate::api::LeaseName::Slot(0), "w2"))),
        ("wait WaitingForTurn", |case| case.fleet().nodes[0].kubelet = Some(OLD)),
    ];
    for (words, change) in rows {
        let case = worker(change);
        assert_eq!(case.says(), words);
        assert!(
            matches!(case.next(), Next::Wait { until: Some(at), .. } if at == NOW.mono.plus(seconds(15)))
        );
    }
}

#[test]
fn what_the_watches_have_told_since_the_last_read_counts() {
    let told = |at, change: fn(&mut TurnSeen)| {
        let mut turn = TurnSeen { at, leases: Vec::new(), control_planes: fleet_at(NEW).nodes[..2].to_vec() };
        change(&mut turn);
        Case::idle(false).with(|case| case.seen.waiting = Some(turn)).says()
    };
    let later = NOW.mono.plus(seconds(1));
    let taken: fn(&mut TurnSeen) = |turn| turn.leases.push(held(crate::api::LeaseName::Slot(0), "w2"));
    assert_eq!(
        [told(later, |_| {}), told(later, taken), told(ago(seconds(1)), taken)],
        ["Claiming", "wait WaitingForTurn", "Claiming"]
    );
    let marked: fn(&mut TurnSeen) = |turn| turn.control_planes[0].in_hand = Some(InHand::default());
    assert_eq!(told(later, marked), "wait WaitingForTurn");
    let paused = worker(|case| {
        case.seen.policy.at = Mono(1);
        case.seen.policy.policy.paused = true;
    });
    assert_eq!(paused.says(), "wait Paused");
}

#[test]
fn after_an_etcd_that_was_put_back_nobody_claims_for_a_minute() {
    let says = |age| {
        let mut case = Case::idle(false);
        case.since.restored_at = Some(ago(age));
        case.says()
    };
    assert_eq!(says(seconds(59)), "wait WaitingForTurn");
    assert_eq!(says(seconds(60)), "Claiming");
}

#[test]
fn a_turn_is_remembered_before_its_lease_is_claimed_with_what_was_held() {
    let case = worker(|case| case.node().request.retry = Some("r".into()));
    let memory = case.remembers();
    assert_eq!(memory.held, ["kubeadm", "kubectl", "kubelet"].map(String::from).into());
    let turn = memory.turn.unwrap();
    assert_eq!(
        (turn.reached, turn.kind, turn.retry.as_deref()),
        (Step::Claiming, TurnKind::Kubelet, Some("r"))
    );
    let expected = Holder { turn: TurnId::new(NEW, NOW.unix), ..holder("w1") };
    assert_eq!((turn.holder, turn.lease), (expected, crate::api::LeaseName::Slot(0)));
}

#[test]
fn who_gave_way_waits_a_little_longer_each_time_before_the_next_claim() {
    let gave = |age, count| {
        Case::idle(false).with(|case| case.since.gave_way = Some((ago(seconds(age)), count))).says()
    };
    assert_eq!([gave(14, 1), gave(26, 1)], ["wait WaitingForTurn", "Claiming"]);
    assert_eq!([gave(29, 2), gave(41, 2)], ["wait WaitingForTurn", "Claiming"]);
}

#[test]
fn a_retreat_is_waited_out_unless_a_person_asks_for_another_try() {
    let mut case = Case::idle(false);
    let until = NotBefore::after(seconds(100), NOW);
    case.memory.backoff =
        Some(Backoff { target: NEW, retreats: 1, until, retry: None, why: why(Reason::DrainBlocked) });
    let wait = case.next();
    let until = NOW.mono.plus(seconds(100));
    assert!(
        matches!(wait, Next::Wait { why, until: Some(at) } if at == until && why.reason == Reason::BackingOff)
    );
    assert_eq!(case.clone().later(seconds(100)).says(), "Claiming");
    assert_eq!(case.clone().with(|case| case.node().request.retry = Some("now".into())).says(), "Claiming");
    case.memory.backoff.as_mut().unwrap().target = OLD;
    assert_eq!(case.says(), "Claiming");
}

#[test]
fn a_node_at_its_target_forgets_what_was_refused_and_put_off() {
    let mut case = worker(|case| {
        case.node().current = Some(NEW);
        case.node().kubelet = Some(NEW);
        case.host().packages = host(NEW, NEW).packages;
    });
    assert_eq!(case.says(), "wait Idle");
    let refused =
        Refusal { target: OLD.to_string(), retry: None, skip: [].into(), why: why(Reason::ToolFailed) };
    case.memory.refused = Some(refused);
    assert_eq!(case.remembers(), Memory { known: true, ..Memory::default() });
}

#[test]
fn a_downgrade_is_refused_without_looking_further() {
    let refused = worker(|case| case.target(Some(Version::new(1, 36, 1)))).remembers().refused.unwrap();
    assert!(refused.why.message.contains("older"), "{refused:?}");
}

fn without_a_credential(change: Change) -> Case {
    let missing = Access::Missing(why(Reason::WaitingForApproval));
    Case::idle(false).with(|case| case.seen.access = missing).with(change)
}

#[test]
fn without_a_credential_nothing_is_prepared_and_nothing_made_of_a_new_journal() {
    let waits: [Change; 3] = [|_| {}, |case| case.memory.known = false, |case| case.target(None)];
    for change in waits {
        let next = without_a_credential(change).next();
        assert!(
            matches!(&next, Next::Wait { why, until: None } if why.reason == Reason::WaitingForApproval),
            "{next:?}"
        );
    }
    let unknown = without_a_credential(|case| {
        case.memory.known = false;
        case.node().current = None;
    });
    assert_eq!(unknown.says(), "wait WaitingForApproval");
    let seen = without_a_credential(|case| {
        case.node().current = None;
        case.target(None);
    });
    assert_eq!(seen.does(), Act::PublishCurrent { current: OLD }, "people see that a node has an agent");
}

#[test]
fn a_turn_under_way_goes_on_without_a_credential() {
    let mut case = Case::worker(Step::Draining);
    case.seen.access = Access::Missing(why(Reason::WaitingForApproval));
    assert_eq!(case.says(), "drain");
}

#[test]
fn the_marked_lease_of_an_ignored_worker_halts_nobody() {
    let mut case = Case::idle(true);
    case.seen.local.as_mut().unwrap().version = None;
    let mark = crate::observed::LeaseMark { target: Some(NEW), why: "its disk is dead".into() };
    let lease = held(crate::api::LeaseName::Slot(0), "w2");
    case.fleet().leases.push(crate::observed::FleetLease { mark: Some(mark), ..lease });
    case.fleet().nodes[3].ignored = true;
    assert_eq!(case.says(), "Claiming");
}

#[test]
fn an_api_server_whose_version_is_not_known_can_be_passed_over() {
    let mut case = Case::idle(false);
    case.fleet().pods.iter_mut().for_each(|pod| pod.version = None);
    case.fleet().nodes.iter_mut().for_each(|node| node.target = None);
    assert_eq!(case.says(), "wait WaitingForTurn");
    case.node().request.skip = [Check::ApiServers].into();
    assert_eq!(case.says(), "Claiming", "unknown is pending, and can be skipped");
}
