use super::*;
use crate::observed::{ControlPlanePod, FleetNode};

const TARGET: Version = Version::new(1, 36, 3);
const OLD: Version = Version::new(1, 36, 2);
const OLD_MINOR: Version = Version::new(1, 35, 9);

fn server(node: &str, version: Option<Version>) -> ControlPlanePod {
    ControlPlanePod { node: node.into(), component: "kube-apiserver".into(), version, ready: true }
}

fn node(name: &str, control_plane: bool) -> FleetNode {
    FleetNode { name: name.into(), ready: true, control_plane, ..FleetNode::default() }
}

fn fleet(nodes: Vec<FleetNode>, pods: Vec<ControlPlanePod>) -> FleetSeen {
    FleetSeen { nodes, pods, ..FleetSeen::default() }
}

fn servers(pods: &[(&str, Option<Version>)]) -> FleetSeen {
    fleet(Vec::new(), pods.iter().map(|&(node, version)| server(node, version)).collect())
}

/// `passed`, `failed` or `pending`, and the words.
fn read(outcome: &Outcome) -> (&'static str, &str) {
    match outcome {
        Outcome::Passed(text) => ("passed", text),
        Outcome::Failed(text) => ("failed", text),
        Outcome::Pending(text) => ("pending", text),
    }
}

fn told(outcome: &Outcome, word: &str, words: &str) {
    let (seen, text) = read(outcome);
    assert!(seen == word && text.contains(words), "{outcome:?}, not {word}: {words}");
}

#[test]
fn no_kubelet_goes_past_an_api_server() {
    let worker = |fleet: &FleetSeen| api_servers(fleet, "w1", false, TARGET);
    told(&worker(&servers(&[])), "failed", "no kube-apiserver pod");
    told(&worker(&servers(&[("cp1", Some(TARGET))])), "passed", "no API server is older than v1.36.3");
    told(&worker(&servers(&[("cp1", None)])), "failed", "API server on cp1 names no version");
    let behind = worker(&servers(&[("cp1", Some(TARGET)), ("cp2", Some(OLD))]));
    told(&behind, "failed", "cp2 runs v1.36.2: upgrade the control plane to v1.36.3 first");
}

#[test]
fn a_worker_passes_where_the_control_plane_was_asked_to_go_first() {
    let mut fleet = fleet(vec![node("cp1", true)], vec![server("cp1", Some(OLD))]);
    let mut asked = |target| {
        fleet.nodes[0].target = target;
        api_servers(&fleet, "w1", false, TARGET)
    };
    told(&asked(Some(TARGET)), "passed", "the control plane goes to v1.36.3 first");
    told(&asked(Some(OLD)), "failed", "upgrade the control plane");
    told(&asked(None), "failed", "upgrade the control plane");
}

#[test]
fn a_control_plane_node_looks_at_the_minors_of_the_other_api_servers() {
    let own = |fleet: &FleetSeen| api_servers(fleet, "cp1", true, TARGET);
    told(&own(&servers(&[("cp1", Some(OLD_MINOR))])), "passed", "");
    told(&own(&servers(&[("cp1", None), ("cp2", Some(OLD))])), "passed", "");
    told(&own(&servers(&[("cp1", Some(OLD)), ("cp2", Some(OLD_MINOR))])), "failed", "cp2 runs v1.35.9");
    let mut coming = servers(&[("cp1", Some(OLD_MINOR)), ("cp2", Some(OLD_MINOR))]);
    coming.nodes = vec![FleetNode { target: Some(TARGET), ..node("cp2", true) }];
    told(&own(&coming), "failed", "cp2 runs v1.35.9");
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
        other_nodes(&fleet(nodes, Vec::new()), "w1", &options)
    };
    let fit = node("w2", false);
    let down = FleetNode { ready: false, ..fit.clone() };
    let cordoned = FleetNode { unschedulable: true, ..fit.clone() };
    told(&asked(&[], true), "failed", "there is no other node");
    told(&asked(&[down.clone(), cordoned], true), "pending", "none of the other nodes, 2 in number");
    told(&asked(&[down, fit], true), "passed", "1 other nodes");
    told(&asked(&[], false), "passed", "draining is switched off");
}

#[test]
fn etcd_has_a_healthy_member_on_each_control_plane_node_no_learner_and_no_alarm() {
    let fleet = fleet(vec![node("cp1", true), node("cp2", true), node("w1", false)], Vec::new());
    for ((members, healthy, learners, alarms), word, words) in [
        ((2, 2, 0, 0), "passed", "all 2 members"),
        ((0, 0, 0, 0), "pending", "does not answer"),
        ((2, 2, 0, 1), "failed", "etcd has 1 alarms"),
        ((2, 2, 1, 1), "failed", "etcd has 1 alarms"),
        ((1, 2, 1, 0), "pending", "1 members of etcd are learners"),
        ((2, 1, 0, 0), "pending", "1 of 2 members of etcd are healthy"),
        ((1, 1, 0, 0), "failed", "1 members and the cluster 2 control-plane nodes"),
        ((3, 3, 0, 0), "failed", "3 members and the cluster 2 control-plane nodes"),
    ] {
        told(&etcd(Some(&EtcdSeen { members, healthy, learners, alarms }), &fleet), word, words);
    }
    told(&etcd(None, &fleet), "passed", "not stacked");
}
