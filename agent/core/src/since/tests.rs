use super::*;
use crate::api::InHand;
use crate::judge::tests::{NEW, local, static_pods};
use crate::observed::{LocalControlPlane, PodsSeen};
use crate::time::Unix;

fn at(seconds: u64) -> Now {
    Now { mono: Mono(1_000_000 + seconds * 1_000), ..Now::default() }
}

/// The own Node with our note of a cordon.
fn node(version: &str, unschedulable: bool) -> NodeSeen {
    NodeSeen {
        resource_version: version.into(),
        unschedulable,
        cordon_note: Some(false),
        ..NodeSeen::default()
    }
}

fn saw(since: &mut Since, node: Option<NodeSeen>, now: Now) {
    since.observed(&Observation::Node(node), &Observed::default(), now);
}

/// What this process has done after its cordon was answered with this version.
fn cordoned(version: &str) -> Since {
    let mut since = Since::default();
    let observed = Observed { node: Some(node(version, true)), ..Observed::default() };
    since.did(&Act::Cordon { mark: InHand::default() }, &observed, at(0));
    since
}

#[test]
fn a_watch_that_lags_behind_our_cordon_does_not_look_like_somebody_who_lifted_it() {
    let mut since = cordoned("20");
    saw(&mut since, Some(node("19", false)), at(1));
    assert!(since.cordon_lifted.is_none());
    saw(&mut since, Some(node("21", false)), at(2));
    assert!(since.cordon_lifted.is_some());
    saw(&mut since, Some(node("22", true)), at(3));
    assert!(since.cordon_lifted.is_some(), "what stands since then is not ours");
    saw(&mut since, Some(NodeSeen { cordon_note: None, ..node("23", true) }), at(4));
    assert!(since.cordon_lifted.is_none(), "our note is gone");
    let mut again = cordoned("20");
    saw(&mut again, Some(node("21", false)), at(1));
    again.did(&Act::Cordon { mark: InHand::default() }, &Observed::default(), at(2));
    assert!(again.cordon_lifted.is_none());
    assert_eq!((again.cordoned_at, again.marked_at), (at(2).mono, at(2).mono));
}

#[test]
fn a_smaller_version_is_an_api_server_put_back_until_the_fleet_was_looked_at() {
    let mut since = Since::default();
    for (version, restored) in [("20", false), ("opaque", false), ("30", false), ("29", true), ("31", true)] {
        saw(&mut since, Some(node(version, true)), at(0));
        assert_eq!(since.restored, restored, "{version}");
    }
    since.observed(&Observation::Fleet(crate::observed::FleetSeen::default()), &Observed::default(), at(1));
    assert!(!since.restored);
}

#[test]
fn a_node_is_gone_since_it_was_first_missed() {
    let mut since = Since::default();
    saw(&mut since, None, at(1));
    saw(&mut since, None, at(5));
    assert_eq!(since.node_gone_since, Some(at(1).mono));
    saw(&mut since, Some(node("1", false)), at(6));
    assert_eq!(since.node_gone_since, None);
}

#[test]
fn a_node_that_is_made_anew_may_have_come_with_an_older_state() {
    let mut since = Since::default();
    saw(&mut since, Some(node("1", false)), at(0));
    saw(&mut since, None, at(1));
    assert!(!since.restored);
    saw(&mut since, Some(node("2", false)), at(2));
    assert!(since.restored);
    assert_eq!(since.restored_at, None);
}

#[test]
fn the_same_is_waited_for_since_it_was_first() {
    let mut since = Since::default();
    since.waits(Some(Reason::Paused), at(0));
    since.waits(Some(Reason::Paused), at(5));
    assert_eq!((since.waited(at(9)), since.waits_for()), (Duration::from_secs(9), Some(Reason::Paused)));
    since.waits(Some(Reason::Halted), at(10));
    assert_eq!(since.waited(at(12)), Duration::from_secs(2));
    since.waits(None, at(12));
    assert_eq!((since.waited(at(20)), since.waits_for()), (Duration::ZERO, None));
}

/// Looks at the control plane of this host.
fn looked(since: &mut Since, ready: bool, now: Now) {
    let pods = PodsSeen { at: now.mono, pods: static_pods(NEW), ..PodsSeen::default() };
    let local = LocalControlPlane { at: now.mono, api_server_ready: ready, ..local() };
    let observed = Observed { pods: Some(pods), local: Some(local.clone()), ..Observed::default() };
    since.observed(&Observation::Local(local), &observed, now);
}

#[test]
fn a_control_plane_has_been_whole_as_long_as_each_look_found_it_so_and_none_was_missing() {
    let mut since = Since::default();
    for second in [0, 10, 20] {
        looked(&mut since, true, at(second));
    }
    assert_eq!(since.whole_for(at(30)), Duration::from_secs(20));
    assert_eq!(since.whole_for(at(31)), Duration::ZERO, "not looked at for too long");
    looked(&mut since, true, at(31));
    assert_eq!(since.whole_for(at(31)), Duration::ZERO, "between two looks too far apart it may have fallen");
    looked(&mut since, false, at(35));
    looked(&mut since, true, at(36));
    assert_eq!(since.whole_for(at(36)), Duration::ZERO);
}

#[test]
fn an_api_server_has_been_dead_as_long_as_each_look_found_it_so_and_none_was_missing() {
    let mut since = Since::default();
    assert_eq!(since.api_server_dead_for(at(0)), None);
    for second in [0, 120, 240] {
        looked(&mut since, false, at(second));
    }
    assert_eq!(since.api_server_dead_for(at(240)), Some(Duration::from_mins(4)));
    assert_eq!(since.api_server_dead_for(at(361)), None);
    looked(&mut since, true, at(241));
    assert_eq!(since.api_server_dead_for(at(241)), None);
}

#[test]
fn turns_that_give_way_in_a_row_are_counted() {
    let mut since = Since::default();
    since.turn_ended(true, at(0));
    since.turn_ended(true, at(5));
    assert_eq!((since.gave_way, since.quiet_since), (Some((at(5).mono, 2)), at(5).mono));
    since.turn_ended(false, at(9));
    assert_eq!((since.gave_way, since.quiet_since), (None, at(9).mono));
}

/// Looks at the control-plane nodes, of which these are not Ready; once by a read, once by a watch.
fn peers(since: &mut Since, down: &[&str], now: Now) {
    peers_at_work(since, down, "", now);
}

/// The same, while one of them is at work.
fn peers_at_work(since: &mut Since, down: &[&str], at_work: &str, now: Now) {
    let nodes = ["cp1", "cp2", "cp3"].map(|name| FleetNode {
        in_hand: Some(InHand::default()).filter(|_| name == at_work),
        name: name.into(),
        control_plane: true,
        ready: !down.contains(&name),
        ..FleetNode::default()
    });
    let watched = now.mono.0.is_multiple_of(2_000);
    let seen = if watched {
        let control_planes = nodes.to_vec();
        Observation::Turn(crate::observed::TurnSeen { at: now.mono, leases: Vec::new(), control_planes })
    } else {
        let fleet = crate::observed::FleetSeen { at: now.mono, nodes: nodes.to_vec(), ..Default::default() };
        Observation::Fleet(fleet)
    };
    since.observed(&seen, &Observed::default(), now);
}

#[test]
fn a_peer_is_down_since_the_look_that_first_missed_it_and_the_last_to_go_down_counts() {
    let mut since = Since::default();
    peers(&mut since, &[], at(0));
    assert_eq!(since.peer_down_at, None);
    for (down, second, expected) in [
        (["cp2"].as_slice(), 1, Some(1)),
        (&["cp2"], 2, Some(1)),
        (&["cp2", "cp3"], 3, Some(3)),
        (&["cp3"], 4, Some(3)),
        (&[], 5, None),
        (&["cp2"], 6, Some(6)),
    ] {
        peers(&mut since, down, at(second));
        assert_eq!(since.peer_down_at, expected.map(|second| at(second).mono), "{down:?} at {second}");
    }
}

#[test]
fn what_is_not_ready_while_a_peer_is_at_work_is_down_only_when_that_has_ended() {
    let mut since = Since::default();
    peers_at_work(&mut since, &["cp2"], "cp2", at(1));
    assert_eq!(since.peer_down_at, None);
    peers(&mut since, &["cp2"], at(3));
    assert_eq!(since.peer_down_at, Some(at(3).mono));
}

#[test]
fn a_worker_that_is_down_is_no_peer_of_the_control_plane() {
    let mut since = Since::default();
    let worker = FleetNode { name: "w1".into(), ..FleetNode::default() };
    let fleet = crate::observed::FleetSeen { at: at(1).mono, nodes: vec![worker], ..Default::default() };
    since.observed(&Observation::Fleet(fleet), &Observed::default(), at(1));
    assert_eq!(since.peer_down_at, None);
}

#[test]
fn moments_of_what_was_done_are_kept() {
    let mut since = Since::default();
    let observed = Observed::default();
    since.did(&Act::LookAtNode, &observed, at(1));
    since.did(&Act::Mark { mark: InHand::default() }, &observed, at(2));
    since.did(&Act::Await { unit: "u".into() }, &observed, at(3));
    let claim =
        Act::Claim { lease: crate::api::LeaseName::Slot(0), holder: crate::judge::tests::holder("w1") };
    since.did(&claim, &observed, at(4));
    let moments = (since.read_at, since.marked_at, since.tool_ended_at, since.cordoned_at);
    assert_eq!(moments, (at(1).mono, at(2).mono, at(3).mono, Mono::default()));
    assert_eq!(since.claimed_at, at(4).mono);
}

#[test]
fn the_api_has_told_of_the_pods_as_long_as_it_was_asked_and_answered() {
    let mut since = Since::default();
    for second in [0, 30, 60] {
        let pods = PodsSeen { at: at(second).mono, ..PodsSeen::default() };
        since.observed(&Observation::Pods(pods), &Observed::default(), at(second));
    }
    assert_eq!(since.told_for(at(61)), Duration::from_mins(1));
    assert_eq!(since.told_for(at(121)), Duration::ZERO, "nobody has asked since");
    looked(&mut since, true, at(121));
    assert_eq!(since.told_for(at(121)), Duration::ZERO, "its own API server is asked without the API");
}

#[test]
fn a_cordon_whose_answer_was_lost_may_be_ours_and_one_that_an_older_state_brings_back_is() {
    let lifted = || {
        let mut since = cordoned("20");
        saw(&mut since, Some(node("21", false)), at(1));
        assert!(since.cordon_lifted.is_some());
        since
    };
    let mut lost = lifted();
    lost.may_have_done(&Act::Uncordon);
    assert!(lost.cordon_lifted.is_some());
    lost.may_have_done(&Act::Cordon { mark: InHand::default() });
    saw(&mut lost, Some(node("22", true)), at(2));
    assert_eq!(lost.cordon_lifted, None);
    let mut restored = lifted();
    saw(&mut restored, Some(node("20", true)), at(2));
    assert!(restored.restored && restored.cordon_lifted.is_none());
}

#[test]
fn a_clock_that_goes_on_by_another_time_than_has_passed_was_set() {
    let mut since = Since::default();
    let later = |mono: u64, unix: u64| Now { unix: Unix(1_000_000 + unix), ..at(mono) };
    for seconds in [0, 30, 31] {
        since.passed(later(seconds, seconds));
    }
    since.passed(later(40, 42));
    assert_eq!(since.clock_set_at, None, "read in whole seconds");
    since.passed(later(41, 73));
    assert_eq!(since.clock_set_at, Some(at(41).mono));
    since.passed(later(42, 74));
    since.passed(later(50, 2));
    assert_eq!(since.clock_set_at, Some(at(50).mono), "back, too");
}
