use super::*;
use crate::api::Version;
use crate::judge::tests::{NEW, NEWER, OLD};
use crate::observed::Owner;
use crate::time::Unix;

/// Kubelet was restarted a while ago by this clock.
const RESTART: Mono = Mono(60_000);
const NOW: Now = Now { mono: Mono(100_000), boot: crate::time::BootId(1), unix: Unix(1_040) };

fn plan() -> Plan {
    Plan {
        daemon_sets: ["kube-system/kube-proxy".into()].into(),
        csi_drivers: ["a.example".into(), "b.example".into()].into(),
        ..crate::judge::tests::plan(false)
    }
}

fn kubelet() -> UnitSeen {
    UnitSeen { active: true, since: RESTART, ..UnitSeen::default() }
}

fn node() -> NodeSeen {
    NodeSeen { ready: Ready::True, heartbeat: Unix(1_000), kubelet: Some(NEW), ..NodeSeen::default() }
}

fn host() -> HostSeen {
    let plugin_sockets = ["a.example-reg.sock".into(), "b.example-reg.sock".into()].into();
    HostSeen { kubelet: kubelet(), plugin_sockets, ..HostSeen::default() }
}

fn daemon_pod() -> PodSeen {
    let owner = Owner { api_version: "apps/v1".into(), kind: "DaemonSet".into(), name: "kube-proxy".into() };
    PodSeen { namespace: "kube-system".into(), controller: Some(owner), ready: true, ..PodSeen::default() }
}

fn pods() -> PodsSeen {
    PodsSeen { at: NOW.mono, pods: vec![daemon_pod()], csi_drivers: plan().csi_drivers }
}

#[track_caller]
fn names(lack: Option<String>, words: &str) {
    let lack = lack.unwrap_or_else(|| panic!("nothing is lacking: {words}"));
    assert!(lack.contains(words), "{words}: {lack}");
}

fn lacks(node: &NodeSeen) -> Option<String> {
    node_lacks(&plan(), node, &kubelet(), None, NOW)
}

#[test]
fn a_node_serves_only_with_a_kubelet_of_the_target() {
    let with = |kubelet: Option<Version>| lacks(&NodeSeen { kubelet, ..node() });
    assert_eq!(with(Some(NEW)), None);
    names(with(Some(OLD)), "reports v1.36.2, not v1.36.3");
    names(with(Some(NEWER)), "reports v1.36.4");
    names(with(None), "no release");
}

#[test]
fn a_node_that_is_not_ready_does_not_serve() {
    for ready in [Ready::False, Ready::Unknown] {
        names(lacks(&NodeSeen { ready, ..node() }), "not Ready");
    }
}

#[test]
fn a_ready_that_is_older_than_kubelets_restart_says_nothing() {
    let with = |heartbeat| lacks(&NodeSeen { heartbeat, ..node() });
    names(with(Unix(999)), "older than kubelet's restart");
    assert_eq!(with(Unix(1_000)), None);
    assert_eq!(with(NOW.unix), None);
    let future = NodeSeen { heartbeat: NOW.unix.plus(Duration::from_secs(1)), ..node() };
    let after = |seconds| {
        let now = Now { mono: RESTART.plus(Duration::from_secs(seconds)), ..NOW };
        node_lacks(&plan(), &future, &kubelet(), None, now)
    };
    names(after(119), "older than kubelet's restart");
    assert_eq!(after(120), None, "somebody would have taken it away by now");
    let set = |seconds, heartbeat| {
        let now = Now { mono: RESTART.plus(Duration::from_secs(seconds)), ..NOW };
        let node = NodeSeen { heartbeat: Unix(heartbeat), ..node() };
        node_lacks(&plan(), &node, &kubelet(), Some(RESTART.plus(Duration::from_secs(1))), now)
    };
    names(set(119, 0), "older than kubelet's restart");
    names(set(119, NOW.unix.0), "older than kubelet's restart");
    assert_eq!(set(120, 0), None, "the clock was set, so its time says nothing");
}

#[test]
fn a_kubelet_counts_once_it_is_active_and_has_run_for_the_soak_and_the_fleets_min_ready_seconds() {
    let lacks = |active, soak, min_ready, ran: u64| {
        let patience =
            Patience { soak: Duration::from_secs(soak), min_ready: Duration::from_secs(min_ready) };
        let now = Now { mono: RESTART.plus(Duration::from_secs(ran)), ..NOW };
        unit_lacks(&UnitSeen { active, ..kubelet() }, patience, now)
    };
    for (soak, min_ready) in [(30, 0), (0, 30), (30, 10), (10, 30)] {
        names(lacks(true, soak, min_ready, 29), "29 s of 30 s");
        assert_eq!(lacks(true, soak, min_ready, 30), None, "{soak} {min_ready}");
        names(lacks(false, soak, min_ready, 30), "not active");
    }
}

#[test]
fn each_daemon_set_that_was_ready_here_and_still_runs_here_is_ready_again() {
    let with = |pods: Vec<PodSeen>| pods_lack(&plan(), &PodsSeen { pods, ..self::pods() }, &host());
    assert_eq!(with(vec![daemon_pod()]), None);
    names(with(vec![PodSeen { ready: false, ..daemon_pod() }]), "Ready again: kube-system/kube-proxy");
    let going = PodSeen { deletion: Some(Unix(1)), ..daemon_pod() };
    names(with(vec![going.clone(), PodSeen { ready: false, ..daemon_pod() }]), "kube-system/kube-proxy");
    for (what, pods) in [
        ("it no longer wants this node", vec![]),
        ("its last pod goes", vec![going]),
        ("another namespace's", vec![PodSeen { namespace: "default".into(), ready: false, ..daemon_pod() }]),
        ("no controller", vec![PodSeen { controller: None, ready: false, ..daemon_pod() }]),
    ] {
        assert_eq!(with(pods), None, "{what}");
    }
}

#[test]
fn a_ready_that_kubelet_may_have_carried_over_its_restart_says_nothing_until_the_probes_had_their_time() {
    let probes_settle = Duration::from_secs(10);
    let pod = PodSeen { probes_settle, ..daemon_pod() };
    let seen_after = |millis| {
        let at = RESTART.plus(Duration::from_millis(millis));
        pods_lack(&plan(), &PodsSeen { at, pods: vec![pod.clone()], ..pods() }, &host())
    };
    names(seen_after(9_999), "kube-system/kube-proxy");
    assert_eq!(seen_after(10_000), None);
}

#[test]
fn each_csi_driver_that_was_registered_and_still_runs_here_is_registered_again() {
    let seen = PodsSeen { csi_drivers: ["a.example".into(), "c.example".into()].into(), ..pods() };
    names(pods_lack(&plan(), &seen, &host()), "registered again: b.example");
    let gone = HostSeen { plugin_sockets: ["a.example-reg.sock".into()].into(), ..host() };
    assert_eq!(pods_lack(&plan(), &seen, &gone), None);
}

#[test]
fn daemon_sets_are_noted_that_have_a_ready_pod_here() {
    let unready = PodSeen { ready: false, ..daemon_pod() };
    let going = PodSeen { deletion: Some(Unix(1)), ..daemon_pod() };
    assert!(daemon_sets(&[unready, going, PodSeen { controller: None, ..daemon_pod() }]).is_empty());
    assert_eq!(daemon_sets(&[daemon_pod()]), plan().daemon_sets);
}
