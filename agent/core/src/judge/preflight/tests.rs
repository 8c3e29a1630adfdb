use super::*;
use crate::judge::tests::{NEW, NEXT_MINOR, OLD, fleet, node, packages, plan, turn_a, turn_b, worker};
use crate::observed::Ready;

const KINDS: [TurnKind; 2] = [TurnKind::ControlPlane, TurnKind::Kubelet];

fn passed(check: Check) -> Finding {
    Finding { check, outcome: Outcome::Passed(String::new()) }
}

fn failed(check: Check) -> Finding {
    Finding { check, outcome: Outcome::Failed(format!("{check} is wrong")) }
}

fn pending(check: Check) -> Finding {
    Finding { check, outcome: Outcome::Pending(format!("{check} is awaited")) }
}

fn noted(check: Check) -> Finding {
    Finding { check, outcome: Outcome::Noted(String::new()) }
}

fn about(kind: TurnKind) -> About {
    About {
        target: NEW,
        kind,
        retry: Some("r".into()),
        at: Mono(5),
        control_plane: true,
        static_pods: Some(OLD),
        kubeadm_config: Some(OLD),
        found_down: true,
        own_server: true,
    }
}

fn on_cluster(findings: Vec<Finding>) -> ClusterPreflight {
    ClusterPreflight { findings }
}

fn on_host(from: Option<Version>, to: Option<Version>) -> HostPreflight {
    HostPreflight {
        findings: vec![passed(Check::Kubeadm), passed(Check::Dpkg)],
        from: from.map(packages),
        to: to.map(packages),
        can_restore_packages: true,
    }
}

fn found(kind: TurnKind, findings: Vec<Finding>) -> Findings {
    Findings { target: NEW, kind, retry: None, at: Mono(5), plan: Some(plan(true)), findings }
}

fn verdict(kind: TurnKind, findings: Vec<Finding>, skip: &[Check]) -> Verdict {
    judge(&found(kind, findings), &skip.iter().copied().collect())
}

fn is_for_the_kubelet(check: Check) -> bool {
    [Check::OtherNodes, Check::Pods, Check::KubeletFlags, Check::Cgroups, Check::ContainerRuntime]
        .contains(&check)
}

#[test]
fn what_passed_or_is_noted_goes_on() {
    for kind in KINDS {
        let all = Check::ALL.into_iter().flat_map(|check| [passed(check), noted(check)]).collect();
        let plan = Box::new(plan(true));
        assert_eq!(verdict(kind, all, &[]), Verdict::Go { plan, skipped: Vec::new() });
    }
}

#[test]
fn what_failed_refuses_either_turn_and_all_failures_are_told() {
    for kind in KINDS {
        for check in Check::ALL {
            let findings = vec![pending(Check::Etcd), failed(check), failed(Check::Dpkg)];
            let message = format!("{check}: {check} is wrong; Dpkg: Dpkg is wrong");
            assert_eq!(verdict(kind, findings, &[]), Verdict::Refuse { check, message });
        }
    }
}

#[test]
fn what_is_pending_is_waited_for_but_turn_a_does_not_wait_for_what_turn_b_needs() {
    for check in Check::ALL {
        let waits = Verdict::NotYet(format!("{check} is awaited"));
        assert_eq!(verdict(TurnKind::Kubelet, vec![pending(check)], &[]), waits);
        let goes = matches!(verdict(TurnKind::ControlPlane, vec![pending(check)], &[]), Verdict::Go { .. });
        assert_eq!(goes, is_for_the_kubelet(check), "{check}");
    }
}

#[test]
fn a_skip_passes_over_what_failed_or_is_pending_and_is_told_unless_the_check_guards_the_cluster() {
    for check in Check::ALL {
        for finding in [failed(check), pending(check)] {
            let judged = verdict(TurnKind::Kubelet, vec![finding], &[check]);
            let skipped = matches!(&judged, Verdict::Go { skipped, .. } if *skipped == [check]);
            assert_eq!(skipped, check.may_be_skipped(), "{check}: {judged:?}");
        }
    }
    let whole = verdict(TurnKind::Kubelet, vec![passed(Check::Etcd)], &[Check::Etcd]);
    assert!(matches!(whole, Verdict::Go { skipped, .. } if skipped.is_empty()));
}

#[test]
fn without_packages_nothing_goes_on() {
    let nothing = Findings { plan: None, ..found(TurnKind::Kubelet, vec![passed(Check::Etcd)]) };
    let judged = judge(&nothing, &BTreeSet::new());
    assert!(matches!(judged, Verdict::Refuse { check: Check::Packages, .. }), "{judged:?}");
}

#[test]
fn the_host_is_not_asked_while_the_cluster_has_something_pending() {
    let asks = |kind, finding, skip: &[Check]| {
        asks_host(kind, &[passed(Check::ApiServers), finding], &skip.iter().copied().collect())
    };
    for kind in KINDS {
        assert!(asks(kind, passed(Check::Etcd), &[]));
        assert!(asks(kind, failed(Check::Etcd), &[]));
        assert!(!asks(kind, pending(Check::Etcd), &[]));
        assert!(asks(kind, pending(Check::Etcd), &[Check::Etcd]));
        // Of a node that is down it is found out all the same: its upgrade may be its repair.
        assert!(asks(kind, pending(Check::NodeReady), &[]));
        assert!(asks(kind, pending(Check::KubeletUnit), &[]));
        assert_eq!(asks(kind, pending(Check::Pods), &[]), kind == TurnKind::ControlPlane);
    }
}

#[test]
fn every_check_that_may_be_skipped_leaves_a_plan_when_it_is() {
    for check in Check::ALL.into_iter().filter(|check| check.may_be_skipped()) {
        for finding in [failed(check), pending(check)] {
            let skip = BTreeSet::from([check]);
            let cluster = on_cluster(vec![finding]);
            let asked = asks_host(TurnKind::Kubelet, &cluster.findings, &skip);
            let host = asked.then(|| on_host(Some(OLD), Some(NEW)));
            let verdict = judge(&findings(about(TurnKind::Kubelet), cluster, host), &skip);
            assert!(matches!(verdict, Verdict::Go { .. }), "{check}, skipped, leaves no plan: {verdict:?}");
        }
    }
}

#[test]
fn findings_are_told_in_one_order_wherever_they_come_from() {
    let cluster = on_cluster(vec![passed(Check::Etcd), passed(Check::ApiServers)]);
    let told = findings(about(TurnKind::Kubelet), cluster, Some(on_host(None, None)));
    let checks: Vec<_> = told.findings.iter().map(|finding| finding.check).collect();
    assert_eq!(checks, [Check::ApiServers, Check::Dpkg, Check::Kubeadm, Check::Etcd]);
}

#[test]
fn a_hop_is_planned_when_both_what_is_and_what_comes_is_known() {
    let together = |host| findings(about(TurnKind::ControlPlane), on_cluster(Vec::new()), host);
    let found = together(Some(on_host(Some(OLD), Some(NEW))));
    assert_eq!((found.kind, found.retry.as_deref(), found.at), (TurnKind::ControlPlane, Some("r"), Mono(5)));
    let planned = Plan {
        from: packages(OLD),
        to: packages(NEW),
        target: NEW,
        can_restore_packages: true,
        daemon_sets: BTreeSet::new(),
        csi_drivers: BTreeSet::new(),
        control_plane: true,
        static_pods: Some(OLD),
        kubeadm_config: Some(OLD),
        found_down: true,
        own_server: true,
    };
    assert_eq!(found.plan, Some(planned));
    for host in
        [None, Some(on_host(None, None)), Some(on_host(Some(OLD), None)), Some(on_host(None, Some(NEW)))]
    {
        assert_eq!(together(host).plan, None);
    }
}

#[test]
fn the_command_that_is_tried_follows_from_the_turn_and_the_node() {
    assert_eq!(command(TurnKind::ControlPlane, true), KubeadmCommand::Apply);
    assert_eq!(command(TurnKind::Kubelet, true), KubeadmCommand::NodeKubelet);
    assert_eq!(command(TurnKind::Kubelet, false), KubeadmCommand::NodeWorker);
}

fn on_a_whole_cluster(who: Claimant<'_>, enabled: bool) -> Vec<Finding> {
    let node =
        NodeSeen { name: node(who.node).name, ready: Ready::True, kubelet: Some(OLD), ..NodeSeen::default() };
    let (tools, pods) = (OtherTools::default(), Outcome::Passed(String::new()));
    let fleet = fleet();
    let seen = ClusterSeen { node: &node, fleet: &fleet, tools, pods, etcd: None };
    cluster_findings(&seen, who, &DrainOptions { enabled, ..DrainOptions::default() })
}

#[test]
fn etcd_is_asked_on_control_plane_nodes_alone() {
    for (who, checks) in [(worker(), 5), (turn_a(), 6), (turn_b(), 6)] {
        let found = on_a_whole_cluster(who, true);
        assert!(found.iter().all(|finding| matches!(finding.outcome, Outcome::Passed(_))), "{found:?}");
        assert_eq!(found.len(), checks);
        assert_eq!(found.iter().any(|finding| finding.check == Check::Etcd), who.control_plane);
    }
}

#[test]
fn a_kubelet_of_a_new_minor_wants_its_node_drained() {
    let refused = |target, enabled| {
        let found = on_a_whole_cluster(Claimant { target, ..worker() }, enabled);
        let pods = found.into_iter().find(|finding| finding.check == Check::Pods).unwrap();
        matches!(pods.outcome, Outcome::Failed(text) if text.contains("enabled = true"))
    };
    assert!(refused(NEXT_MINOR, false));
    assert!(!refused(NEXT_MINOR, true) && !refused(NEW, false));
}
