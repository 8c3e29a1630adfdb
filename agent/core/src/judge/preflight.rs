//! Preflight put together: what is asked of the cluster and of the host, in which order, and what comes out.

use std::collections::BTreeSet;

use super::checks;
use super::checks::cluster::OtherTools;
use super::claim::Claimant;
use crate::api::{Check, KubeadmCommand, TurnKind, Version};
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
    /// What its etcd says, where it is stacked; asked on control-plane nodes alone.
    pub etcd: Option<EtcdSeen>,
}

/// What the cluster says to an upgrade of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterPreflight {
    /// One finding per check that needs the API.
    pub findings: Vec<Finding>,
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
pub fn cluster_findings(seen: &ClusterSeen<'_>, who: Claimant<'_>, options: &DrainOptions) -> Vec<Finding> {
    let ClusterSeen { node, fleet, tools, pods, etcd } = seen;
    let mut outcomes = vec![
        (Check::ApiServers, checks::api_servers(who, fleet)),
        (Check::NodeReady, checks::node_ready(node)),
        (Check::OtherTools, checks::other_tools(*tools)),
        (Check::OtherNodes, checks::other_nodes(fleet, &node.name, options)),
        (Check::Pods, minor_without_drain(node, who, options).unwrap_or_else(|| pods.clone())),
    ];
    if who.control_plane {
        outcomes.push((Check::Etcd, checks::etcd(etcd.as_ref(), fleet)));
    }
    outcomes.into_iter().map(|(check, outcome)| Finding { check, outcome }).collect()
}

/// The kubelet of a new minor wants its node drained
/// (<https://kubernetes.io/releases/version-skew-policy/#kubelet-upgrade>).
fn minor_without_drain(node: &NodeSeen, who: Claimant<'_>, options: &DrainOptions) -> Option<Outcome> {
    let minor = node.kubelet.is_some_and(|kubelet| who.target.minors_ahead_of(kubelet) > 0);
    (minor && !options.enabled).then(|| {
        Outcome::Failed(format!(
            "a kubelet of another minor, as that of {}, wants its node drained: set enabled = true in [drain] of config.toml",
            who.target
        ))
    })
}

/// Checks of what turn B needs. Turn A asks them too, for an A without its B cannot be taken back; but what may change by itself
/// does not hold it up.
fn is_of_the_kubelet(check: Check) -> bool {
    matches!(
        check,
        Check::OtherNodes | Check::Pods | Check::KubeletFlags | Check::Cgroups | Check::ContainerRuntime
    )
}

fn holds_up(kind: TurnKind, finding: &Finding) -> bool {
    let waits = matches!(finding.outcome, Outcome::Pending(_));
    waits && !(kind == TurnKind::ControlPlane && is_of_the_kubelet(finding.check))
}

/// Whether the host is asked after the cluster: what comes right by itself is asked again soon, and the downloads can
/// wait for it.
pub fn asks_host(kind: TurnKind, findings: &[Finding], skip: &BTreeSet<Check>) -> bool {
    // Of a node that is down it is found out all the same: its upgrade may be its repair.
    let down = |check| matches!(check, Check::NodeReady | Check::KubeletUnit);
    let waits = |finding: &Finding| holds_up(kind, finding) && !down(finding.check);
    !findings.iter().any(|finding| waits(finding) && !skips(skip, finding.check))
}

fn skips(skip: &BTreeSet<Check>, check: Check) -> bool {
    skip.contains(&check) && check.may_be_skipped()
}

/// kubeadm's command that is tried. Which control-plane node applies is decided with the Lease in hand; here only the kind matters.
pub const fn command(kind: TurnKind, control_plane: bool) -> KubeadmCommand {
    match kind {
        TurnKind::ControlPlane => KubeadmCommand::Apply,
        TurnKind::Kubelet if control_plane => KubeadmCommand::NodeKubelet,
        TurnKind::Kubelet => KubeadmCommand::NodeWorker,
    }
}

/// What a run of preflight is about, and what it saw of the node beside its checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The target.
    pub target: Version,
    /// The turn.
    pub kind: TurnKind,
    /// The value of `retry` when it began.
    pub retry: Option<String>,
    /// When it ended.
    pub at: Mono,
    /// Whether this host carries a control plane.
    pub control_plane: bool,
    /// The one version of its static pods.
    pub static_pods: Option<Version>,
    /// The version kubeadm-config names.
    pub kubeadm_config: Option<Version>,
    /// Whether its Node is not Ready.
    pub found_down: bool,
    /// Whether its kubelet talks to its own API server alone.
    pub own_server: bool,
}

/// Both parts in one, in the order people read them ([`Check::ALL`]); `host` is none where it was not asked.
pub fn findings(about: About, cluster: ClusterPreflight, host: Option<HostPreflight>) -> Findings {
    let About { target, kind, retry, at, control_plane, static_pods, kubeadm_config, found_down, own_server } =
        about;
    let ClusterPreflight { mut findings } = cluster;
    let plan = host.and_then(|host| {
        let HostPreflight { findings: on_host, from, to, can_restore_packages } = host;
        findings.extend(on_host);
        from.zip(to).map(|(from, to)| Plan {
            from,
            to,
            target,
            can_restore_packages,
            // What has to be Ready again is seen when the turn begins.
            daemon_sets: BTreeSet::new(),
            csi_drivers: BTreeSet::new(),
            control_plane,
            static_pods,
            kubeadm_config,
            found_down,
            own_server,
        })
    });
    findings.sort_by_key(|finding| Check::ALL.iter().position(|check| *check == finding.check));
    Findings { target, kind, retry, at, plan, findings }
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
    for finding in &findings.findings {
        let Finding { check, outcome } = finding;
        match outcome {
            Outcome::Failed(_) | Outcome::Pending(_) if skips(skip, *check) => skipped.push(*check),
            Outcome::Failed(text) => failures.push((*check, text)),
            Outcome::Pending(text) if holds_up(findings.kind, finding) => pending.push(text),
            Outcome::Passed(_) | Outcome::Noted(_) | Outcome::Pending(_) => {}
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
mod tests;
