use super::*;
use crate::api::TurnId;
use crate::observed::ControlPlanePod;
use crate::time::Mono;

const TARGET: Version = Version::new(1, 36, 3);
const OLD: Version = Version::new(1, 36, 2);

fn holder(node: &str) -> Holder {
    Holder { node: node.into(), uid: format!("uid-{node}"), turn: TurnId("j".into()) }
}

fn node(name: &str, control_plane: bool) -> FleetNode {
    FleetNode {
        name: name.into(),
        ready: true,
        control_plane,
        current: Some(TARGET),
        target: Some(TARGET),
        ..FleetNode::default()
    }
}

fn server(node: &str, component: &str, version: Version) -> ControlPlanePod {
    ControlPlanePod { node: node.into(), component: component.into(), version: Some(version), ready: true }
}

fn lease(name: LeaseName, holder_node: Option<&str>) -> FleetLease {
    FleetLease { name, holder: holder_node.map(|node| holder(node).to_string()), degraded: None }
}

fn fleet() -> FleetSeen {
    FleetSeen {
        at: Mono(0),
        nodes: vec![node("cp1", true), node("w1", false), node("w2", false)],
        leases: vec![lease(LeaseName::Slot(0), Some("w1"))],
        pods: vec![server("cp1", "kube-apiserver", TARGET), server("cp1", "etcd", TARGET)],
        kubeadm_config: Some(OLD),
    }
}

fn worker() -> Candidate<'static> {
    Candidate { node: "w1", lease: LeaseName::Slot(0), target: TARGET, drains: true }
}

fn plane() -> Candidate<'static> {
    Candidate { node: "cp1", lease: LeaseName::ControlPlane, target: TARGET, drains: true }
}

fn worker_stands(fleet: &FleetSeen) -> ClaimStanding {
    claim_stands(worker(), &holder("w1"), fleet, None)
}

fn gives_back(standing: &ClaimStanding, words: &str) {
    assert!(matches!(standing, ClaimStanding::GiveBack(why) if why.message.contains(words)), "{standing:?}");
}

#[test]
fn a_worker_goes_when_nobody_stands_in_its_way() {
    assert_eq!(worker_stands(&fleet()), ClaimStanding::Holds);
}

#[test]
fn a_node_that_is_down_uses_up_the_budget_unless_people_ignore_it() {
    let mut fleet = fleet();
    fleet.nodes[2].ready = false;
    fleet.nodes.push(node("w3", false));
    gives_back(&worker_stands(&fleet), "used by w2");
    fleet.nodes[2].ignored = true;
    assert_eq!(worker_stands(&fleet), ClaimStanding::Holds);
}

#[test]
fn a_node_in_the_middle_of_its_upgrade_counts_even_if_somebody_freed_its_lease() {
    let mut fleet = fleet();
    fleet.nodes[2].mid_upgrade = true;
    gives_back(&worker_stands(&fleet), "used by w2");
    fleet.leases = vec![lease(LeaseName::ControlPlane, Some("cp1"))];
    let kept = claim_stands(plane(), &holder("cp1"), &fleet, None);
    assert!(matches!(kept, ClaimStanding::KeepAndWait(why) if why.message.contains("w2")));
}

#[test]
fn nobody_waits_with_a_lease_in_hand_for_a_node_that_needs_a_person() {
    let mut fleet = fleet();
    fleet.nodes[2] = FleetNode { mid_upgrade: true, degraded: true, ..fleet.nodes[2].clone() };
    fleet.leases = vec![lease(LeaseName::ControlPlane, Some("cp1"))];
    gives_back(&claim_stands(plane(), &holder("cp1"), &fleet, None), "w2 is degraded");
    let turn = TurnSeen { control_planes: vec![fleet.nodes[2].clone()], ..TurnSeen::default() };
    assert!(may_claim(worker(), &turn).is_some());
}

#[test]
fn a_degraded_node_uses_up_the_budget_and_its_lease_halts_claims() {
    let mut sick = fleet();
    sick.nodes[2].degraded = true;
    gives_back(&worker_stands(&sick), "w2");
    let mut halted = fleet();
    halted.leases.push(FleetLease { degraded: Some("disk".into()), ..lease(LeaseName::Slot(1), Some("w2")) });
    gives_back(&worker_stands(&halted), "disk");
    let turn = TurnSeen { leases: halted.leases, ..TurnSeen::default() };
    assert_eq!(may_claim(plane(), &turn).unwrap().reason, Reason::BudgetExhausted);
}

#[test]
fn when_a_worker_and_a_control_plane_node_see_each_other_the_worker_gives_way() {
    let mut fleet = fleet();
    fleet.leases.push(lease(LeaseName::ControlPlane, Some("cp1")));
    gives_back(&worker_stands(&fleet), "cp1 holds the Lease control-plane");
    let kept = claim_stands(plane(), &holder("cp1"), &fleet, None);
    assert!(matches!(kept, ClaimStanding::KeepAndWait(why) if why.message.contains("w1")));
}

#[test]
fn workers_wait_for_a_control_plane_node_with_an_unmet_target() {
    let mut fleet = fleet();
    fleet.nodes[0].current = Some(OLD);
    gives_back(&worker_stands(&fleet), "cp1 goes to v1.36.3 first");
    let turn = TurnSeen { control_planes: vec![fleet.nodes[0].clone()], ..TurnSeen::default() };
    assert!(may_claim(worker(), &turn).is_some());
    assert_eq!(may_claim(plane(), &turn), None);
    fleet.nodes[0].ignored = true;
    assert_eq!(worker_stands(&fleet), ClaimStanding::Holds);
}

#[test]
fn no_kubelet_goes_past_an_api_server() {
    let mut fleet = fleet();
    fleet.pods.push(server("cp2", "kube-apiserver", OLD));
    gives_back(&worker_stands(&fleet), "cp2 runs v1.36.2");
    fleet.pods.clear();
    gives_back(&worker_stands(&fleet), "no kube-apiserver pod");
}

#[test]
fn a_control_plane_node_goes_only_while_the_rest_of_the_control_plane_is_whole() {
    let me = holder("cp1");
    let mut fleet = fleet();
    fleet.leases = vec![lease(LeaseName::ControlPlane, Some("cp1"))];
    let local = |members, healthy, learners, alarms| LocalControlPlane {
        etcd: Some(EtcdSeen { members, healthy, learners, alarms }),
        ..LocalControlPlane::default()
    };
    assert_eq!(claim_stands(plane(), &me, &fleet, Some(&local(1, 1, 0, 0))), ClaimStanding::Holds);
    for (members, healthy, learners, alarms) in [(2, 2, 0, 0), (1, 0, 0, 0), (1, 1, 1, 0), (1, 1, 0, 1)] {
        gives_back(
            &claim_stands(plane(), &me, &fleet, Some(&local(members, healthy, learners, alarms))),
            "etcd is not whole",
        );
    }
    fleet.nodes.push(node("cp2", true));
    gives_back(&claim_stands(plane(), &me, &fleet, None), "API server on cp2");
    fleet.pods.push(server("cp2", "kube-apiserver", OLD));
    assert_eq!(claim_stands(plane(), &me, &fleet, None), ClaimStanding::Holds);
    gives_back(&claim_stands(plane(), &me, &fleet, Some(&local(2, 2, 0, 0))), "etcd on cp2");
}

#[test]
fn a_drain_needs_another_ready_schedulable_node() {
    let mut fleet = fleet();
    for other in [0, 2] {
        fleet.nodes[other].unschedulable = true;
    }
    gives_back(&worker_stands(&fleet), "no other Ready, schedulable node");
    let undrained = Candidate { drains: false, ..worker() };
    assert_eq!(claim_stands(undrained, &holder("w1"), &fleet, None), ClaimStanding::Holds);
}

#[test]
#[should_panic(expected = "is not finished")]
fn a21_a_claim_for_a_control_plane_compares_api_servers() {
    let mut fleet = fleet();
    fleet.nodes.push(node("cp2", true));
    fleet.leases = vec![lease(LeaseName::ControlPlane, Some("cp1"))];
    let old = Version { minor: TARGET.minor - 2, ..TARGET };
    fleet.pods.push(server("cp2", "kube-apiserver", old));
    let standing = claim_stands(plane(), &holder("cp1"), &fleet, None);
    assert!(
        matches!(standing, ClaimStanding::GiveBack(_)),
        "the hop before is not finished on cp2: {standing:?}"
    );
}
