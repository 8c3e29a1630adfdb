use super::*;
use crate::api::Version;
use crate::judge::claim::Claimant;
use crate::judge::tests::{self, NEXT_MINOR, fleet as whole_fleet, turn_a, turn_b, worker};
use crate::observed::FleetNode;

fn node(name: &str, control_plane: bool) -> FleetNode {
    FleetNode { name: name.into(), ready: true, control_plane, ..FleetNode::default() }
}

/// `passed`, `noted`, `failed` or `pending`, and the words.
fn read(outcome: &Outcome) -> (&'static str, &str) {
    match outcome {
        Outcome::Passed(text) => ("passed", text),
        Outcome::Noted(text) => ("noted", text),
        Outcome::Failed(text) => ("failed", text),
        Outcome::Pending(text) => ("pending", text),
    }
}

#[track_caller]
fn told(outcome: &Outcome, word: &str, words: &str) {
    let (seen, text) = read(outcome);
    assert!(seen == word && text.contains(words), "{outcome:?}, not {word}: {words}");
}

#[test]
fn an_api_server_of_an_older_minor_is_noted_for_the_claim_waits_for_it() {
    let to =
        |target: Version, who: Claimant<'static>| api_servers(Claimant { target, ..who }, &whole_fleet());
    for who in [worker(), turn_b()] {
        told(&to(Version::new(1, 36, 9), who), "passed", "no API server is of an older minor than v1.36.9");
        told(&to(NEXT_MINOR, who), "noted", "cp1 runs v1.36.3");
        told(&api_servers(who, &FleetSeen::default()), "noted", "no control-plane node is seen");
    }
    told(&to(NEXT_MINOR, turn_a()), "passed", "no kubelet is upgraded in this turn");
}

#[test]
fn a_node_that_is_not_ready_is_waited_for() {
    for (ready, word) in [(Ready::True, "passed"), (Ready::False, "pending"), (Ready::Unknown, "pending")] {
        let node = NodeSeen { name: "n1".into(), ready, ..NodeSeen::default() };
        told(&node_ready(&node), word, "Ready");
    }
}

#[test]
fn other_tools_at_work_are_waited_for() {
    for (kured, autoscaler, word, words) in [
        (false, false, "passed", "neither kured nor"),
        (true, false, "pending", "kured is rebooting"),
        (false, true, "pending", "autoscaler is deleting"),
        (true, true, "pending", "kured is rebooting"),
    ] {
        told(&other_tools(OtherTools { kured, autoscaler }), word, words);
    }
}

#[test]
fn a_drain_needs_another_node_and_waits_until_it_is_ready_and_schedulable() {
    let asked = |others: &[FleetNode], enabled| {
        let nodes = [&[node("w1", false)], others].concat();
        let options = DrainOptions { enabled, ..DrainOptions::default() };
        other_nodes(&FleetSeen { nodes, ..FleetSeen::default() }, "w1", &options)
    };
    let fit = node("w2", false);
    let down = FleetNode { ready: false, ..fit.clone() };
    let cordoned = FleetNode { unschedulable: true, ..fit.clone() };
    told(&asked(&[], true), "failed", "there is no other node");
    told(&asked(&[down.clone(), cordoned], true), "pending", "none of the other nodes, 2 in number");
    told(&asked(&[down, fit.clone()], true), "passed", "1 other nodes");
    let tainted = FleetNode { tainted: true, ..fit.clone() };
    told(&asked(std::slice::from_ref(&tainted), true), "noted", "1 in number, have a taint");
    told(&asked(&[tainted, fit], true), "passed", "2 other nodes");
    told(&asked(&[], false), "passed", "draining is switched off");
}

#[test]
fn an_alarm_of_etcd_is_for_people_and_whatever_else_it_lacks_is_noted_for_the_claim_waits_for_it() {
    let nodes = vec![node("cp1", true), node("cp2", true), node("w1", false)];
    let fleet = FleetSeen { nodes, ..FleetSeen::default() };
    for ((members, unhealthy, learners, alarms), word, words) in [
        ((2, "", 0, 0), "passed", "all 2 members"),
        ((0, "", 0, 0), "noted", "does not answer"),
        ((2, "", 0, 1), "failed", "etcd has 1 alarms"),
        ((2, "", 1, 1), "failed", "etcd has 1 alarms"),
        ((1, "", 1, 0), "noted", "1 learners"),
        ((2, "cp2", 0, 0), "noted", "not healthy: cp2"),
        ((1, "", 0, 0), "noted", "1 members for 2 control-plane nodes"),
        ((3, "", 0, 0), "noted", "3 members for 2 control-plane nodes"),
    ] {
        let unhealthy = Some(unhealthy.to_owned()).filter(|name| !name.is_empty()).into_iter().collect();
        let members = tests::members(members);
        told(
            &etcd(Some(&EtcdSeen { healthy: true, members, learners, alarms, unhealthy }), &fleet),
            word,
            words,
        );
    }
    told(&etcd(None, &fleet), "passed", "not stacked");
}
