//! The world does what the real one was measured to do: without this a history that comes out right says nothing.

use upgrade_core::api::Version;
use upgrade_core::oracle::{FLEET, What};
use upgrade_sim::fault::{ByHand, Failure, Fault, Identity};
use upgrade_sim::schedule::{Planned, Point, Schedule};
use upgrade_sim::setup::Setup;
use upgrade_sim::world::World;

const OLD_MINOR: Version = Version::new(1, 35, 4);

fn minor() -> Setup {
    Setup { from: OLD_MINOR, ..Setup::small() }
}

/// When such events happened to a node.
fn times(world: &World, node: &str, is: impl Fn(&What) -> bool) -> Vec<u64> {
    let events = world.history.iter().filter(|event| event.node == node && is(&event.what));
    events.map(|event| event.at).collect()
}

fn etcd(healthy: bool) -> impl Fn(&What) -> bool {
    move |what| *what == What::EtcdMember { healthy }
}

fn ended(tool: &'static str, ok: bool) -> impl Fn(&What) -> bool {
    move |what| *what == What::ToolEnded { tool, ok }
}

#[test]
fn a_minor_takes_etcd_away_for_three_quarters_of_a_minute() {
    let world = World::run(&minor(), &Schedule::new());
    let gone = times(&world, "cp1", etcd(false))[0];
    let back = times(&world, "cp1", |what| etcd(true)(what)).into_iter().find(|at| *at > gone).unwrap();
    assert!((40_000..50_000).contains(&(back - gone)), "{gone} to {back}");
}

#[test]
fn a_minor_takes_the_api_server_of_its_node_away_for_nearly_two_minutes() {
    let world = World::run(&minor(), &Schedule::new());
    let gone = times(&world, "cp1", etcd(false))[0];
    let new = What::StaticPod { component: "kube-apiserver", version: Some(minor().target) };
    let back = times(&world, "cp1", |what| *what == new)[0];
    assert!((103_000..113_000).contains(&(back - gone)), "{gone} to {back}");
}

#[test]
fn a_kubelet_of_a_new_minor_restarts_etcd_and_all_static_pods_seconds_after_it_is_ready() {
    let setup = minor();
    let world = World::run(&setup, &Schedule::new());
    let ready = What::Ready { ready: true, kubelet: setup.target };
    let ready = times(&world, "cp1", |what| *what == ready)[0];
    let stops = |what: &What| matches!(what, What::StaticPod { version: None, .. }) || etcd(false)(what);
    let stopped: Vec<u64> = times(&world, "cp1", stops)
        .into_iter()
        .filter(|at| (2_000..4_000).contains(&at.saturating_sub(ready)))
        .collect();
    assert_eq!(stopped.len(), 4, "{stopped:?} after {ready}");
}

#[test]
fn a_kubelet_of_a_new_patch_leaves_static_pods_alone() {
    let world = World::run(&Setup::small(), &Schedule::new());
    let restarted = times(&world, "cp1", |what| *what == What::KubeletRestarted)[0];
    let stops = times(&world, "cp1", |what| matches!(what, What::StaticPod { version: None, .. }));
    assert!(stops.iter().all(|at| *at < restarted), "{stops:?} and {restarted}");
}

#[test]
fn kubeadm_puts_back_all_static_pods_that_it_changed_when_one_does_not_come_up() {
    let fails = Fault::ToolFails {
        node: "cp1".to_owned(),
        tool: "kubeadm-upgrade",
        times: 9,
        how: Failure::RolledBack("kube-scheduler"),
    };
    let setup = Setup::small();
    let world = World::run(&setup, &vec![Planned::at(4_000, fails)]);
    let mut runs = std::collections::BTreeMap::new();
    for event in world.history.iter().filter(|event| event.node == "cp1") {
        if let What::StaticPod { component, version } = event.what {
            runs.insert(component, version);
        }
    }
    let new = |what: &What| matches!(what, What::StaticPod { version: Some(version), .. } if *version == setup.target);
    assert!(!times(&world, "cp1", new).is_empty(), "some were changed");
    assert!(
        !times(&world, "cp1", ended("kubeadm-upgrade", false)).is_empty(),
        "and kubeadm says that it failed"
    );
    assert!(runs.values().all(|version| *version == Some(setup.from)), "{runs:?}");
}

#[test]
fn kubeadm_leaves_the_addons_while_an_api_server_is_old() {
    let setup = Setup { control_planes: 2, workers: 1, unasked: true, ..Setup::small() };
    let asks =
        |node: &str, at| Planned::at(at, Fault::Target { node: node.to_owned(), target: Some(setup.target) });
    let half = World::run(&setup, &vec![asks("cp1", 5_000)]);
    assert_eq!(times(&half, "cp1", ended("kubeadm-upgrade", true)).len(), 2, "one in each turn");
    assert_eq!(half.addons(), setup.from);
    let whole = World::run(&setup, &vec![asks("cp1", 5_000), asks("cp2", 6_000)]);
    assert_eq!(whole.addons(), setup.target);
}

#[test]
fn an_apply_that_is_cut_after_its_configuration_was_uploaded_takes_the_sockets_note_away() {
    // preflight, three times out, in and awaited, upload-config.
    let cut = Fault::ToolFails {
        node: "cp1".to_owned(),
        tool: "kubeadm-upgrade",
        times: 1,
        how: Failure::Killed(11),
    };
    let world = World::run(&Setup::small(), &vec![Planned::at(4_000, cut)]);
    assert_eq!(times(&world, "", |what| matches!(what, What::KubeadmConfig { .. })).len(), 2, "uploaded");
    let failed = times(&world, "cp1", ended("kubeadm-upgrade", false));
    let succeeded = times(&world, "cp1", ended("kubeadm-upgrade", true));
    // It would find none when it is run again; the agent puts the note back before that.
    let noted: Vec<u64> =
        world.steps.iter().filter(|step| step.word == "note-cri-socket").map(|step| step.at).collect();
    assert!(failed[0] < noted[0] && noted[0] < succeeded[0], "{failed:?}, {noted:?}, {succeeded:?}");
}

#[test]
fn a_kubelet_that_talks_to_its_own_api_server_lapses_while_its_etcd_changes() {
    let setup = Setup { control_planes: 3, from: OLD_MINOR, unasked: true, ..Setup::small() };
    let by_hand = Fault::UpgradedByHand {
        node: "cp1".to_owned(),
        version: setup.target,
        how: ByHand::HalfControlPlane,
    };
    let etcd_too =
        Fault::UpgradedByHand { node: "cp1".to_owned(), version: setup.target, how: ByHand::Whole };
    let world = World::run(&setup, &vec![Planned::at(20_000, by_hand), Planned::at(30_000, etcd_too)]);
    let lapses =
        |node: &str| times(&world, node, |what| matches!(what, What::Ready { ready: false, .. })).len();
    assert_eq!((lapses("cp1"), lapses("cp2")), (1, 0));
}

#[test]
fn each_credential_fails_by_itself() {
    let fails = |identity| {
        let fault = Fault::CredentialFails { node: "cp1".to_owned(), identity, lasts: 120_000 };
        World::run(&Setup::small(), &vec![Planned::act("cp1", "claim", Point::Answered, fault)])
    };
    let cordoned = |world: &World| times(world, "cp1", |what| matches!(what, What::Cordoned { .. }))[0];
    assert!(cordoned(&fails(Identity::Coordination)) > 120_000, "the fleet cannot be read");
    assert!(cordoned(&fails(Identity::Kubelet)) > 120_000, "the Node cannot be written");
    let reports = |world: &World| times(world, "cp1", |what| matches!(what, What::Reported { .. }));
    let early = |world: &World| reports(world).into_iter().any(|at| (13_000..60_000).contains(&at));
    assert!(early(&fails(Identity::Coordination)), "reports go on");
    assert!(!early(&fails(Identity::Kubelet)));
}

#[test]
fn an_etcd_that_is_restored_has_forgotten_what_was_written_since() {
    let setup = Setup { unasked: true, ..Setup::small() };
    let asks = Fault::Target { node: "w1".to_owned(), target: Some(setup.from) };
    let world = World::run(&setup, &vec![Planned::at(5_000, asks), Planned::at(20_000, Fault::EtcdRestored)]);
    let targets = times(&world, "w1", |what| matches!(what, What::TargetSet(_)));
    assert_eq!(targets.len(), 2, "set, and gone again: {targets:?}");
}

/// When the agent of w2 cordons it that waits for w1, where the policy is deleted meanwhile and the agent dies after that, and when the
/// policy is applied again.
fn cordoned_after_the_policy_went(dies: Fault) -> (Vec<u64>, Option<u64>) {
    let setup = Setup { workers: 2, unasked: true, ..Setup::small() };
    let asks = |node: &str| Fault::Target { node: node.to_owned(), target: Some(setup.target) };
    let schedule = vec![
        Planned::at(5_000, asks("cp1")).and(0, asks("w1")),
        Planned::act("w1", "cordon", Point::Done, asks("w2")),
        Planned::act("w1", "kubeadm-upgrade", Point::Done, Fault::PolicyGone { lasts: 600_000 })
            .and(1_000, dies),
    ];
    let world = World::run(&setup, &schedule);
    assert!(world.unstruck().is_empty());
    let back = times(&world, FLEET, |what| *what == What::PolicySet { bars: false });
    (times(&world, "w2", |what| matches!(what, What::Cordoned { .. })), back.last().copied())
}

#[test]
fn a_policy_that_is_gone_bars_an_agent_that_has_been_restarted_and_saw_it_in_an_earlier_life() {
    let killed = Fault::Kill { node: "w2".to_owned(), restart: 5_000 };
    for dies in [killed, Fault::PowerCut { node: "w2".to_owned(), boot: 30_000 }] {
        let (cordoned, back) = cordoned_after_the_policy_went(dies);
        assert!(
            !cordoned.is_empty() && cordoned.iter().all(|at| back.is_some_and(|back| *at > back)),
            "{cordoned:?}, back at {back:?}"
        );
    }
}
