//! Preflight put together: what is asked of the cluster and of the host, in which order, and what comes out.

use std::collections::BTreeSet;

use super::checks;
use super::checks::cluster::OtherTools;
use crate::api::{Check, KubeadmCommand, Version};
use crate::drain::DrainOptions;
use crate::memory::{Packages, Plan};
use crate::observed::{EtcdSeen, Finding, Findings, FleetSeen, NodeSeen, Outcome};
use crate::time::Mono;

/// What the cluster shows to preflight.
#[derive(Debug, Clone)]
pub struct ClusterSeen<'a> {
    /// The own Node.
    pub node: &'a NodeSeen,
    /// The fleet on a consistent read.
    pub fleet: &'a FleetSeen,
    /// Other tools at work on this node.
    pub tools: OtherTools,
    /// What `checks::pods::pods` said of the pods here.
    pub pods: Outcome,
    /// Whether this host carries a static API server.
    pub control_plane: bool,
    /// What its etcd says, where it is stacked; asked on control-plane nodes alone.
    pub etcd: Option<EtcdSeen>,
}

/// What the cluster says to an upgrade of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterPreflight {
    /// One finding per check that needs the API.
    pub findings: Vec<Finding>,
    /// DaemonSets whose pods here are Ready, as `namespace/name`.
    pub daemon_sets: BTreeSet<String>,
    /// CSI drivers registered here.
    pub csi_drivers: BTreeSet<String>,
}

/// What this host's part of preflight saw.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostPreflight {
    /// Every check that could be made.
    pub findings: Vec<Finding>,
    /// What is installed; none where kubeadm or kubelet is not (a finding says so).
    pub from: Option<Packages>,
    /// What would be installed; none where it could not be resolved (a finding says so).
    pub to: Option<Packages>,
    /// Whether the installed packages were fetched too, so that they can be put back.
    pub can_restore_packages: bool,
}

impl HostPreflight {
    /// Adds what a check came to.
    pub fn note(&mut self, check: Check, outcome: Outcome) {
        self.findings.push(Finding { check, outcome });
    }
}

/// Every check that the API can answer.
pub fn cluster_findings(seen: &ClusterSeen<'_>, target: Version, options: &DrainOptions) -> Vec<Finding> {
    let ClusterSeen { node, fleet, tools, pods, control_plane, etcd } = seen;
    let name = &node.name;
    let mut outcomes = vec![
        (Check::ApiServers, checks::api_servers(fleet, name, *control_plane, target)),
        (Check::NodeReady, checks::node_ready(node)),
        (Check::OtherTools, checks::other_tools(*tools)),
        (Check::OtherNodes, checks::other_nodes(fleet, name, options)),
        (Check::Pods, pods.clone()),
    ];
    if *control_plane {
        outcomes.push((Check::Etcd, checks::etcd(etcd.as_ref(), fleet)));
    }
    outcomes.into_iter().map(|(check, outcome)| Finding { check, outcome }).collect()
}

/// Whether the host is asked after the cluster: what comes right by itself is asked again soon, and the downloads can
/// wait for it.
pub fn asks_host(findings: &[Finding]) -> bool {
    !findings.iter().any(|finding| matches!(finding.outcome, Outcome::Pending(_)))
}

/// kubeadm's command that is tried and planned with. Which control-plane node applies is decided with the Lease in hand;
/// here only the kind matters.
pub const fn command(control_plane: bool) -> KubeadmCommand {
    if control_plane { KubeadmCommand::Apply } else { KubeadmCommand::NodeWorker }
}

/// Both parts in one, in the order people read them ([`Check::ALL`]); `host` is none where it was not asked.
pub fn findings(
    target: Version,
    command: KubeadmCommand,
    at: Mono,
    cluster: ClusterPreflight,
    host: Option<HostPreflight>,
) -> Findings {
    let ClusterPreflight { mut findings, daemon_sets, csi_drivers } = cluster;
    let plan = host.and_then(|host| {
        let HostPreflight { findings: on_host, from, to, can_restore_packages } = host;
        findings.extend(on_host);
        from.zip(to).map(|(from, to)| Plan {
            from,
            to,
            command,
            target,
            can_restore_packages,
            daemon_sets,
            csi_drivers,
        })
    });
    findings.sort_by_key(|finding| Check::ALL.iter().position(|check| *check == finding.check));
    Findings { target, at, plan, findings }
}

/// What follows from a run of preflight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Go on with these packages; `skipped` failed but were asked to be passed over.
    Go {
        /// The resolved packages.
        plan: Box<Plan>,
        /// Failed checks that `skip-checks` named.
        skipped: Vec<Check>,
    },
    /// A person must act: the first failed check and everything that failed.
    Refuse {
        /// The check whose word becomes the reason.
        check: Check,
        /// All failures in one text.
        message: String,
    },
    /// Ask again later.
    NotYet(String),
}

/// Judges findings: failures refuse unless skipped, pending ones wait, and only a resolved plan goes on.
pub fn judge(findings: &Findings, skip: &BTreeSet<Check>) -> Verdict {
    let mut failures: Vec<(Check, &str)> = Vec::new();
    let mut pending: Vec<&str> = Vec::new();
    let mut skipped = Vec::new();
    for Finding { check, outcome } in &findings.findings {
        let skips = skip.contains(check) && check.may_be_skipped();
        match outcome {
            Outcome::Passed(_) => {}
            Outcome::Failed(_) | Outcome::Pending(_) if skips => skipped.push(*check),
            Outcome::Failed(text) => failures.push((*check, text)),
            Outcome::Pending(text) => pending.push(text),
        }
    }
    if let Some(&(check, _)) = failures.first() {
        let message =
            failures.iter().map(|(check, text)| format!("{check}: {text}")).collect::<Vec<_>>().join("; ");
        return Verdict::Refuse { check, message };
    }
    if !pending.is_empty() {
        return Verdict::NotYet(pending.join("; "));
    }
    match &findings.plan {
        Some(plan) => Verdict::Go { plan: Box::new(plan.clone()), skipped },
        None => Verdict::Refuse {
            check: Check::Packages,
            message: format!("Packages: no packages for {} were resolved", findings.target),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::preflight::{Verdict, judge};
    use crate::observed::{ControlPlanePod, FleetNode, Ready};

    const TARGET: Version = Version::new(1, 36, 3);

    fn passed(check: Check) -> Finding {
        Finding { check, outcome: Outcome::Passed(String::new()) }
    }

    fn packages(version: &str) -> Packages {
        let version = || version.parse().unwrap();
        Packages { kubeadm: version(), kubelet: version(), kubectl: None }
    }

    fn on_cluster(checks: &[Check]) -> ClusterPreflight {
        ClusterPreflight {
            findings: checks.iter().map(|&check| passed(check)).collect(),
            daemon_sets: BTreeSet::from(["kube-system/kube-proxy".to_owned()]),
            csi_drivers: BTreeSet::from(["csi.example".to_owned()]),
        }
    }

    fn on_host(from: Option<&str>, to: Option<&str>) -> HostPreflight {
        HostPreflight {
            findings: vec![passed(Check::Kubeadm), passed(Check::Dpkg)],
            from: from.map(packages),
            to: to.map(packages),
            can_restore_packages: true,
        }
    }

    fn together(host: Option<HostPreflight>) -> Findings {
        findings(TARGET, command(false), Mono(5), on_cluster(&[Check::Etcd, Check::ApiServers]), host)
    }

    #[test]
    fn the_host_is_not_asked_while_the_cluster_has_something_pending() {
        let with = |outcome: Outcome| [passed(Check::Etcd), Finding { check: Check::NodeReady, outcome }];
        assert!(asks_host(&with(Outcome::Passed(String::new()))));
        assert!(asks_host(&with(Outcome::Failed(String::new()))));
        assert!(!asks_host(&with(Outcome::Pending(String::new()))));
    }

    #[test]
    #[should_panic(expected = "leaves no plan")]
    fn a7_every_check_that_may_be_skipped_leaves_a_plan_when_it_is() {
        for check in Check::ALL.into_iter().filter(|check| check.may_be_skipped()) {
            for outcome in [Outcome::Failed(String::new()), Outcome::Pending(String::new())] {
                let mut cluster = on_cluster(&[]);
                cluster.findings.push(Finding { check, outcome });
                let asked = asks_host(&cluster.findings);
                let host = asked.then(|| on_host(Some("1.36.2-1.1"), Some("1.36.3-1.1")));
                let found = findings(TARGET, command(false), Mono(5), cluster, host);
                let verdict = judge(&found, &BTreeSet::from([check]));
                assert!(
                    matches!(verdict, Verdict::Go { .. }),
                    "{check}, skipped, leaves no plan: {verdict:?}"
                );
            }
        }
    }

    #[test]
    fn findings_are_told_in_one_order_wherever_they_come_from() {
        let told: Vec<_> = together(Some(on_host(None, None))).findings.iter().map(|f| f.check).collect();
        assert_eq!(told, [Check::ApiServers, Check::Dpkg, Check::Kubeadm, Check::Etcd]);
    }

    #[test]
    fn a_hop_is_planned_when_both_what_is_and_what_comes_is_known() {
        let plan = together(Some(on_host(Some("1.36.2-1.1"), Some("1.36.3-1.1")))).plan.unwrap();
        let ClusterPreflight { daemon_sets, csi_drivers, .. } = on_cluster(&[]);
        let (from, to) = (packages("1.36.2-1.1"), packages("1.36.3-1.1"));
        let command = KubeadmCommand::NodeWorker;
        let planned =
            Plan { from, to, command, target: TARGET, can_restore_packages: true, daemon_sets, csi_drivers };
        assert_eq!(plan, planned);
        for host in [
            None,
            Some(on_host(None, None)),
            Some(on_host(Some("1.36.2-1.1"), None)),
            Some(on_host(None, Some("1.36.3-1.1"))),
        ] {
            assert_eq!(together(host).plan, None);
        }
    }

    #[test]
    fn a_control_plane_node_plans_to_apply_and_a_worker_does_not() {
        assert_eq!((command(true), command(false)), (KubeadmCommand::Apply, KubeadmCommand::NodeWorker));
    }

    #[test]
    fn etcd_is_asked_on_control_plane_nodes_alone() {
        let node = NodeSeen { name: "n1".into(), ready: Ready::True, ..NodeSeen::default() };
        let server = ControlPlanePod {
            node: "cp1".into(),
            component: "kube-apiserver".into(),
            version: Some(TARGET),
            ready: true,
        };
        let other = FleetNode { name: "n2".into(), ready: true, ..FleetNode::default() };
        let fleet = FleetSeen { nodes: vec![other], pods: vec![server], ..FleetSeen::default() };
        let asked = |control_plane| {
            let (tools, pods) = (OtherTools::default(), Outcome::Passed(String::new()));
            let seen = ClusterSeen { node: &node, fleet: &fleet, tools, pods, control_plane, etcd: None };
            cluster_findings(&seen, TARGET, &DrainOptions::default())
        };
        let worker = asked(false);
        assert!(worker.iter().all(|finding| matches!(finding.outcome, Outcome::Passed(_))), "{worker:?}");
        assert_eq!(worker.len(), 5);
        assert_eq!(asked(true).last().map(|finding| finding.check), Some(Check::Etcd));
    }
}
