use super::*;
use crate::judge::tests::{NEW, NEWER, NEXT_MINOR, OLD, host, static_pods};

/// What runs on a node whose packages are those of its kubelet.
struct Node {
    kubelet: Option<Version>,
    static_pods: Option<Version>,
    config: Option<Version>,
    ready: Ready,
}

const WORKER: Node = Node { kubelet: Some(OLD), static_pods: None, config: Some(NEW), ready: Ready::True };
const PLANE: Node = Node { static_pods: Some(OLD), config: Some(OLD), ..WORKER };

fn next_of(
    node: &Node,
    pods: &[PodSeen],
    target: Version,
    change: impl FnOnce(&mut NodeSeen, &mut HostSeen),
) -> NextTurn {
    let mut seen = NodeSeen { kubelet: node.kubelet, ready: node.ready, ..NodeSeen::default() };
    let runs = node.kubelet.unwrap_or(OLD);
    let mut host = host(runs, runs);
    host.control_plane = node.static_pods.is_some();
    change(&mut seen, &mut host);
    next_turn(&Runs { node: &seen, host: &host, pods, kubeadm_config: node.config }, target)
}

fn next(node: &Node, target: Version) -> NextTurn {
    let pods = node.static_pods.map(static_pods).unwrap_or_default();
    next_of(node, &pods, target, |_, _| {})
}

#[track_caller]
fn is_refused(next: &NextTurn, words: &str) {
    let refused = matches!(next, NextTurn::Refused(why)
        if why.reason == Reason::PreflightFailed && why.message.contains(words));
    assert!(refused, "{words}: {next:?}");
}

#[track_caller]
fn is_pending(next: &NextTurn, words: &str) {
    let pending = matches!(next, NextTurn::Pending(why)
        if why.reason == Reason::PreflightPending && why.message.contains(words));
    assert!(pending, "{words}: {next:?}");
}

const A: NextTurn = NextTurn::Turn(TurnKind::ControlPlane);
const B: NextTurn = NextTurn::Turn(TurnKind::Kubelet);

#[test]
fn a_control_plane_node_takes_its_static_pods_first_and_its_kubelet_after_them() {
    for (kubelet, pods, config, ready, expected) in [
        (OLD, OLD, OLD, Ready::True, A),
        (OLD, OLD, NEW, Ready::True, A),
        (OLD, NEW, OLD, Ready::True, A),
        (NEW, OLD, OLD, Ready::True, A),
        (NEW, OLD, NEW, Ready::False, A),
        (OLD, NEW, NEW, Ready::True, B),
        (OLD, NEW, NEW, Ready::Unknown, B),
        (OLD, NEW, NEWER, Ready::True, B),
        (OLD, OLD, OLD, Ready::False, B),
        (OLD, OLD, NEW, Ready::Unknown, B),
        (NEW, NEW, NEW, Ready::True, NextTurn::Nothing),
        (NEW, NEW, NEWER, Ready::False, NextTurn::Nothing),
    ] {
        let node = Node { kubelet: Some(kubelet), static_pods: Some(pods), config: Some(config), ready };
        assert_eq!(next(&node, NEW), expected, "{kubelet} {pods} {config} {ready:?}");
    }
}

#[test]
fn a_dead_kubelet_goes_first_within_its_minor_alone() {
    let dead = Node { ready: Ready::False, ..PLANE };
    assert_eq!(next(&dead, NEW), B);
    assert_eq!(next(&dead, NEXT_MINOR), A);
    let behind = Node { static_pods: Some(NEXT_MINOR), config: Some(NEXT_MINOR), ..dead };
    assert_eq!(next(&behind, Version { patch: 1, ..NEXT_MINOR }), A, "its kubelet is of an older minor");
}

#[test]
fn static_pods_of_two_versions_are_not_done() {
    let mut mixed = static_pods(NEW);
    mixed.truncate(2);
    mixed.extend(static_pods(OLD).into_iter().skip(2));
    let node = Node { config: Some(NEW), ..PLANE };
    assert_eq!(next_of(&node, &mixed, NEW, |_, _| {}), A);
}

#[test]
fn a_worker_goes_until_kubelet_its_configuration_and_kubeadm_are_at_the_target() {
    let done = Node { kubelet: Some(NEW), ..WORKER };
    let changed = |change: fn(&mut NodeSeen, &mut HostSeen)| next_of(&done, &[], NEW, change);
    assert_eq!(next(&WORKER, NEW), B);
    assert_eq!(next(&Node { config: Some(OLD), ..WORKER }, NEW), B, "its claim waits");
    assert_eq!(next(&done, NEW), NextTurn::Nothing);
    assert_eq!(changed(|_, host| host.packages = crate::judge::tests::host(OLD, NEW).packages), B);
    assert_eq!(changed(|_, host| host.kubelet_config_stale = true), B);
    let proven = changed(|node, host| {
        node.current = Some(NEW);
        host.kubelet_config_stale = true;
    });
    assert_eq!(proven, NextTurn::Nothing, "what was proven is not asked again for the times of files");
}

#[test]
fn nothing_goes_back() {
    let newer = |version| Node { kubelet: Some(version), ..WORKER };
    is_refused(&next(&newer(NEWER), NEW), "older than the running version");
    let package = |host: &mut HostSeen| host.packages = crate::judge::tests::host(OLD, NEWER).packages;
    is_refused(&next_of(&WORKER, &[], NEW, |_, host| package(host)), "kubelet 1.36.4-1.1 is installed");
    is_refused(
        &next(&Node { static_pods: Some(NEWER), ..PLANE }, NEW),
        "static pod of this node runs v1.36.4",
    );
    is_refused(&next(&Node { config: Some(NEWER), ..PLANE }, NEW), "names v1.36.4");
}

#[test]
fn a_kubelet_is_not_brought_to_a_minor_that_kubeadm_config_has_left() {
    let node = Node { config: Some(NEXT_MINOR), ..WORKER };
    is_refused(&next(&node, NEW), "names v1.37.0, a newer minor");
    let plane = Node { static_pods: Some(NEW), config: Some(NEXT_MINOR), ..PLANE };
    is_refused(&next(&plane, NEW), "names v1.37.0, a newer minor");
}

#[test]
fn a_control_plane_goes_up_one_minor_at_a_time_and_a_worker_three() {
    let far = |minors| Version::new(1, OLD.minor + minors, 0);
    for (node, allowed) in [(&PLANE, 1), (&WORKER, 3)] {
        assert!(matches!(next(node, far(allowed)), NextTurn::Turn(_)));
        is_refused(&next(node, far(allowed + 1)), "cannot be reached");
    }
}

#[test]
fn what_is_not_known_is_waited_for() {
    is_pending(&next(&Node { kubelet: None, ..WORKER }, NEW), "which version its kubelet runs");
    is_pending(&next(&Node { config: None, ..WORKER }, NEW), "kubeadm-config names no version");
    is_pending(&next_of(&PLANE, &static_pods(OLD)[..2], NEW, |_, _| {}), "not all seen");
}
