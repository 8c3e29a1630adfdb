//! What a history has shown so far: the state the rules are judged against.

use std::collections::{BTreeMap, BTreeSet};

use super::{Event, FLEET, Installed, What, Who};
use crate::job::{LeaseName, Verb};
use crate::report::Phase;
use crate::version::Version;

/// A value and the index of the event that made it so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Since<T> {
    pub(super) is: T,
    pub(super) by: usize,
}

/// A node out of service, and whose doing that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cordon {
    pub(super) by_agent: bool,
    pub(super) by: usize,
}

/// From a node's taking of a Lease until it is back in service without it.
#[derive(Debug, Clone)]
pub(super) struct Tenure {
    pub(super) lease: LeaseName,
    pub(super) taken: usize,
    /// The event that took the Lease away, if somebody else did.
    pub(super) lost: Option<usize>,
    /// What was installed when it began.
    pub(super) from: Installed,
    pub(super) kubelet_before: Option<Version>,
    /// The packages our tools changed since.
    pub(super) changed: BTreeSet<String>,
    /// The first tool that changes the host.
    pub(super) staged: Option<usize>,
    /// The first tool after which there is no simple way back.
    pub(super) past_return: Option<usize>,
    /// kubeadm's verb and target, until it succeeded.
    pub(super) verb: Option<Since<(Verb, Version)>>,
}

/// One node.
#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    pub(super) control_plane: bool,
    pub(super) deleted: Option<usize>,
    pub(super) target: Option<Since<Option<Version>>>,
    /// Every target since the node was last without an unmet one.
    pub(super) targets: BTreeSet<Version>,
    pub(super) installed: Installed,
    pub(super) ready: Option<Since<(bool, Version)>>,
    pub(super) ready_before: Option<Since<(bool, Version)>>,
    pub(super) restarted: Option<usize>,
    /// When somebody else last installed something.
    pub(super) by_hand: Option<usize>,
    pub(super) api_server: Option<Since<Version>>,
    pub(super) cordon: Option<Cordon>,
    pub(super) uncordoned: Option<Since<Who>>,
    pub(super) tenure: Option<Tenure>,
    /// Whether the tenure that ended last went past its point of no return.
    pub(super) went_past_return: bool,
    pub(super) was_cordoned_by_agent: bool,
    pub(super) tool: Option<Since<&'static str>>,
    pub(super) pods: BTreeMap<String, usize>,
    pub(super) phase: Option<Since<Phase>>,
    pub(super) current: Option<Version>,
}

impl Node {
    pub(super) fn cordoned_by_agent(&self) -> Option<&Cordon> {
        self.cordon.as_ref().filter(|cordon| cordon.by_agent)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.is_some_and(|ready| ready.is.0)
    }

    pub(super) fn kubelet(&self) -> Option<Version> {
        self.ready.map(|ready| ready.is.1)
    }

    /// The target, while it is given and `current` does not name it or more.
    pub(super) fn unmet_target(&self) -> Option<Since<Version>> {
        let target = self.target?;
        let version = target.is?;
        let unmet = self.current.is_none_or(|current| current < version);
        unmet.then_some(Since { is: version, by: target.by })
    }
}

/// Who holds a Lease, and since which event.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) node: String,
    pub(super) by: usize,
    pub(super) degraded: bool,
}

/// All nodes and Leases.
pub(super) struct Fleet<'a> {
    pub(super) history: &'a [Event],
    pub(super) nodes: BTreeMap<String, Node>,
    pub(super) leases: BTreeMap<LeaseName, Held>,
    /// Which node took the control plane to a version with `kubeadm upgrade apply`, and when that was done.
    pub(super) applied: BTreeMap<Version, (String, usize)>,
    nobody: Node,
}

impl<'a> Fleet<'a> {
    pub(super) fn new(history: &'a [Event]) -> Self {
        Self {
            history,
            nodes: BTreeMap::new(),
            leases: BTreeMap::new(),
            applied: BTreeMap::new(),
            nobody: Node::default(),
        }
    }

    /// The node of this name; one of which nothing is known, if it was never heard of.
    pub(super) fn node(&self, name: &str) -> &Node {
        self.nodes.get(name).unwrap_or(&self.nobody)
    }

    /// Every other node that exists.
    pub(super) fn others<'f>(&'f self, name: &'f str) -> impl Iterator<Item = (&'f String, &'f Node)> {
        self.nodes.iter().filter(move |(other, node)| *other != name && node.deleted.is_none())
    }

    /// Takes one event in.
    pub(super) fn take(&mut self, index: usize, event: &Event) {
        if event.node == FLEET {
            return;
        }
        self.take_lease(index, event);
        self.take_apply(index, event);
        let node = self.nodes.entry(event.node.clone()).or_default();
        match &event.what {
            What::Joined { control_plane, .. } => {
                node.control_plane = *control_plane;
                // Whoever deletes a Node and lets it come back has put it back into service.
                if node.deleted.take().is_some() {
                    node.uncordoned = Some(Since { is: Who::Person, by: index });
                }
            }
            What::Deleted => {
                node.deleted = Some(index);
                node.cordon = None;
                node.current = None;
                node.target = None;
            }
            What::Ready { ready, kubelet } => {
                node.ready_before = node.ready;
                node.ready = Some(Since { is: (*ready, *kubelet), by: index });
            }
            What::StaticPod { component: "kube-apiserver", version: Some(version) } => {
                node.api_server = Some(Since { is: *version, by: index });
            }
            What::PodBound { pod } => {
                node.pods.insert(pod.clone(), index);
            }
            What::PodGone { pod } => {
                node.pods.remove(pod);
            }
            What::Reported { phase, .. } => node.phase = Some(Since { is: *phase, by: index }),
            What::CurrentWritten { version } => node.current = Some(*version),
            What::TargetSet(target) => take_target(node, index, *target),
            What::Cordoned { .. } | What::Uncordoned { .. } => take_cordon(node, index, &event.what),
            What::ToolStarted { .. }
            | What::ToolEnded { .. }
            | What::PackageInstalled { .. }
            | What::KubeletRestarted
            | What::Booted => take_host(node, index, &event.what),
            What::StaticPod { .. }
            | What::Ignored(_)
            | What::EtcdMember { .. }
            | What::KubeadmConfig { .. }
            | What::PolicySet { .. }
            | What::EvictionRefused { .. }
            | What::DaemonPod { .. }
            | What::KubeletFiles { .. }
            | What::Requested { .. }
            | What::WentWrong { .. }
            | What::Asked
            | What::Evicted { .. }
            | What::LeaseTaken { .. }
            | What::LeaseReleased { .. }
            | What::LeaseMarked { .. }
            | What::AgentStarted
            | What::AgentDied => {}
        }
    }

    fn take_apply(&mut self, index: usize, event: &Event) {
        let verb = self.node(&event.node).tenure.as_ref().and_then(|tenure| tenure.verb);
        if let (What::ToolEnded { tool: "kubeadm-upgrade", ok: true }, Some(verb)) = (&event.what, verb)
            && let (Verb::Apply, target) = verb.is
        {
            self.applied.entry(target).or_insert_with(|| (event.node.clone(), index));
        }
    }

    fn take_lease(&mut self, index: usize, event: &Event) {
        let node = self.nodes.entry(event.node.clone()).or_default();
        match &event.what {
            What::LeaseTaken { lease, .. } => {
                let held = Held { node: event.node.clone(), by: index, degraded: false };
                self.leases.insert(*lease, held);
                take_tenure(node, index, *lease);
            }
            What::LeaseReleased { lease, by } => {
                self.leases.remove(lease);
                match by {
                    Who::Agent(_) => {
                        node.went_past_return = node.tenure.take().is_some_and(|t| t.past_return.is_some());
                    }
                    Who::Person => {
                        if let Some(tenure) = node.tenure.as_mut().filter(|tenure| tenure.lease == *lease) {
                            tenure.lost = Some(index);
                        }
                    }
                }
            }
            What::LeaseMarked { lease, degraded } => {
                if let Some(held) = self.leases.get_mut(lease) {
                    held.degraded = *degraded;
                }
            }
            _ => {}
        }
    }
}

/// A Lease taken again by a node still out of service belongs to the same tenure.
fn take_tenure(node: &mut Node, index: usize, lease: LeaseName) {
    let goes_on = node.tenure.is_some() && (node.cordoned_by_agent().is_some() || node.tool.is_some());
    if let Some(tenure) = node.tenure.as_mut().filter(|_| goes_on) {
        tenure.lost = None;
        tenure.lease = lease;
        tenure.taken = index;
        return;
    }
    node.was_cordoned_by_agent = false;
    node.tenure = Some(Tenure {
        lease,
        taken: index,
        lost: None,
        from: node.installed.clone(),
        kubelet_before: node.kubelet(),
        changed: BTreeSet::new(),
        staged: None,
        past_return: None,
        verb: None,
    });
}

fn take_target(node: &mut Node, index: usize, target: Option<Version>) {
    if node.unmet_target().is_none() && node.tenure.is_none() {
        node.targets.clear();
    }
    node.targets.extend(target);
    node.target = Some(Since { is: target, by: index });
}

fn take_cordon(node: &mut Node, index: usize, what: &What) {
    if let What::Cordoned { by } = what {
        let by_agent = matches!(by, Who::Agent(_));
        node.was_cordoned_by_agent |= by_agent;
        node.cordon = Some(Cordon { by_agent, by: index });
    } else if let What::Uncordoned { by } = what {
        node.cordon = None;
        node.uncordoned = Some(Since { is: by.clone(), by: index });
    }
}

fn take_host(node: &mut Node, index: usize, what: &What) {
    match what {
        What::ToolStarted { tool, kubeadm } => {
            node.tool = Some(Since { is: tool, by: index });
            let control_plane = node.control_plane;
            if let Some(tenure) = &mut node.tenure {
                tenure.staged = tenure.staged.or(Some(index).filter(|_| super::host::changes(tool)));
                let past = *tool == "install-kubelet" || (*tool == "kubeadm-upgrade" && control_plane);
                tenure.past_return = tenure.past_return.or(Some(index).filter(|_| past));
                tenure.verb = kubeadm.map(|is| Since { is, by: index }).or(tenure.verb);
            }
        }
        What::ToolEnded { tool, ok } => {
            node.tool = None;
            if let Some(tenure) = node.tenure.as_mut().filter(|_| *ok && *tool == "kubeadm-upgrade") {
                tenure.verb = None;
            }
        }
        What::PackageInstalled { package, version, by } => {
            node.installed.insert(package.clone(), version.clone());
            node.by_hand = Some(index).filter(|_| *by == Who::Person).or(node.by_hand);
            if let Some(tenure) = &mut node.tenure {
                match by {
                    Who::Agent(_) => tenure.changed.insert(package.clone()),
                    Who::Person => tenure.changed.remove(package),
                };
            }
        }
        What::KubeletRestarted | What::Booted => node.restarted = Some(index),
        _ => {}
    }
    if *what == What::Booted {
        node.tool = None;
    }
}
