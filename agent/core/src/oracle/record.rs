//! What a history has shown of one node so far.

use std::collections::{BTreeMap, BTreeSet};

use super::causes::Causes;
use super::since::Since;
use super::tenure::Tenure;
use super::{CUT_OFF, Installed, What, Who};
use crate::api::{Check, LeaseName, PackageVersion, Phase, Reason, Version};

mod tools;

/// How many minors a kubelet may be older than an API server: kubernetes.io/releases/version-skew-policy.
pub(super) const KUBELET_BEHIND: u32 = 3;

/// What was told of a DaemonSet's pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DaemonPod {
    pub(super) is: Option<bool>,
    pub(super) by: usize,
    /// The event since which it is so.
    pub(super) since: usize,
    /// The last event that told it Ready.
    pub(super) ready_by: Option<usize>,
}

/// A node out of service, and whose doing that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cordon {
    pub(super) by_agent: bool,
    pub(super) by: usize,
}

/// A run of `kubeadm upgrade` on a control-plane node that has not ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) version: Version,
    /// Whether it has to bring the static pods to that version: they were not there when it was first begun.
    pub(super) for_static_pods: bool,
}

/// One node.
#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    pub(super) control_plane: bool,
    /// The UID of the Node that exists, or that existed last.
    pub(super) uid: Option<Since<String>>,
    pub(super) deleted: Option<usize>,
    /// The UIDs that Nodes of this name had before, and since when those are gone.
    pub(super) gone: BTreeMap<String, usize>,
    pub(super) ignored: Option<Since<bool>>,
    /// The checks that people pass over here.
    pub(super) skips: BTreeSet<Check>,
    pub(super) target: Option<Since<Option<Version>>>,
    /// The targets before, and when each of them was changed.
    pub(super) targets_before: Vec<Since<Option<Version>>>,
    /// Every target since the node was last without an unmet one.
    pub(super) targets: BTreeSet<Version>,
    pub(super) installed: Installed,
    pub(super) ready: Option<Since<(bool, Version)>>,
    pub(super) ready_before: Option<Since<(bool, Version)>>,
    pub(super) restarted: Option<usize>,
    /// When somebody else last installed something.
    pub(super) by_hand: Option<usize>,
    /// What its API server ran last.
    pub(super) api_server: Option<Since<Version>>,
    pub(super) static_pods: BTreeMap<&'static str, Since<Option<Version>>>,
    pub(super) etcd: Option<Since<bool>>,
    /// What kubeadm-config names, which is the same for all.
    pub(super) config: Option<Version>,
    pub(super) daemon_pods: BTreeMap<String, DaemonPod>,
    /// Since when its kubelet talks to its own API server alone.
    pub(super) own_server: Option<usize>,
    /// The version of the kubeadm that wrote kubelet's files.
    pub(super) files: Option<Since<Version>>,
    pub(super) cordon: Option<Cordon>,
    pub(super) uncordoned: Option<Since<Who>>,
    pub(super) tenure: Option<Tenure>,
    /// When its agent last gave its Lease back after kubelet came to another minor under it.
    pub(super) released: Option<usize>,
    /// Since when it cannot reach the API.
    pub(super) cut_off: Option<usize>,
    /// When its agent's process last ended.
    pub(super) died: Option<usize>,
    /// Whether the tenure that ended last went past its point of no return.
    pub(super) went_past_return: bool,
    pub(super) was_cordoned_by_agent: bool,
    /// kubeadm's run that was begun last, until one succeeds; a turn that ends does not end it.
    pub(super) unfinished: Option<Since<Run>>,
    pub(super) tool: Option<Since<&'static str>>,
    /// When a tool last began or ended.
    pub(super) tool_at: Option<usize>,
    pub(super) pods: BTreeMap<String, usize>,
    /// Those of them whose eviction was accepted.
    pub(super) asked_to_go: BTreeSet<String>,
    pub(super) phase: Option<Since<Phase>>,
    pub(super) reason: Option<Reason>,
    /// When it last stopped saying that it is refused.
    pub(super) refused_until: Option<usize>,
    pub(super) current: Option<Version>,
    /// When it last said another one.
    pub(super) current_at: Option<usize>,
    /// The target it was degraded at.
    pub(super) failed_at: Option<Version>,
    pub(super) causes: Causes,
    /// When the agent's copies of the host's files were lost.
    pub(super) copies_lost: Option<usize>,
}

impl Node {
    pub(super) fn cordoned_by_agent(&self) -> Option<&Cordon> {
        self.cordon.as_ref().filter(|cordon| cordon.by_agent)
    }

    /// Since when the Node of this UID is gone, if it is. One that was never seen is gone since it was first named.
    pub(super) fn gone_since(&self, uid: &str, named: usize) -> Option<usize> {
        let other = self.uid.as_ref().is_some_and(|is| is.is != uid && !uid.is_empty());
        let gone = self.gone.get(uid).copied();
        if other { gone.or(Some(named)) } else { gone.or(self.deleted) }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.is_some_and(|ready| ready.is.0)
    }

    pub(super) fn kubelet(&self) -> Option<Version> {
        self.ready.map(|ready| ready.is.1)
    }

    /// What it runs: static pods that are older than the kubelet are what a control-plane node runs.
    pub(super) fn runs(&self) -> Option<Version> {
        self.static_pods.values().filter_map(|pod| pod.is).chain(self.kubelet()).min()
    }

    pub(super) fn asks_for(&self) -> Option<Version> {
        self.target.and_then(|target| target.is)
    }

    pub(super) fn is_in(&self, phase: Phase) -> bool {
        self.phase.is_some_and(|is| is.is == phase)
    }

    pub(super) fn is_ignored(&self) -> bool {
        !self.control_plane && self.ignored.is_some_and(|ignored| ignored.is)
    }

    /// The tenure, unless its Lease was taken away.
    pub(super) fn holding(&self) -> Option<&Tenure> {
        self.tenure.as_ref().filter(|tenure| tenure.lost.is_none())
    }

    /// In service, with a kubelet that its turn has installed.
    pub(super) fn is_back_with_another_kubelet(&self) -> bool {
        self.changed_by_us("kubelet") && self.is_ready() && self.cordon.is_none()
    }

    pub(super) fn changed_by_us(&self, package: &str) -> bool {
        self.tenure.as_ref().is_some_and(|tenure| tenure.changed.contains(package))
    }

    /// By the version skew policy: a control plane takes one minor at a time, a kubelet is at most three behind.
    pub(super) fn cannot_reach(&self, runs: Version, target: Version) -> bool {
        let allowed = if self.control_plane { 1 } else { KUBELET_BEHIND };
        target < runs || target.minors_ahead_of(runs) > allowed
    }

    /// The target, while it is given and `current` does not name it or more.
    pub(super) fn unmet_target(&self) -> Option<Since<Version>> {
        let target = self.target?;
        let version = target.is?;
        let unmet = self.current.is_none_or(|current| current < version);
        unmet.then_some(Since { is: version, by: self.current_at.unwrap_or_default().max(target.by) })
    }

    /// Whether its API server and its kubelet are seen to run this version or more.
    pub(super) fn runs_all(&self, version: Version) -> bool {
        let server = self.api_server.is_some_and(|server| server.is >= version);
        server && self.kubelet() >= Some(version)
    }

    /// Whether it serves at the version it was degraded at, whatever it reported last.
    fn is_done_all_the_same(&self) -> bool {
        let failed_at = self.failed_at;
        let serves = self.is_ready() && self.cordon.is_none() && self.kubelet() == failed_at;
        serves && self.current >= failed_at
    }

    /// Since when it reports that it is degraded.
    pub(super) fn reports_degraded(&self) -> Option<usize> {
        let phase = self.phase.filter(|phase| phase.is == Phase::Degraded);
        phase.filter(|_| !self.is_done_all_the_same()).map(|phase| phase.by)
    }

    /// Takes one event in that concerns this node alone.
    pub(super) fn take(&mut self, index: usize, what: &What) {
        if !self.is_first_of_package(what) {
            self.causes.take(index, what, self.tenure.is_some());
            if matches!(what, What::WentWrong { what: super::COPIES_LOST }) {
                self.copies_lost = Some(index);
            }
        }
        match what {
            What::WentWrong { what: CUT_OFF } => self.cut_off = Some(index),
            What::PutRight { what: CUT_OFF } => self.cut_off = None,
            What::Joined { .. } | What::Deleted => self.take_object(index, what),
            What::Ready { ready, kubelet } => {
                self.ready_before = self.ready;
                self.ready = Some(Since { is: (*ready, *kubelet), by: index });
            }
            What::StaticPod { component, version } => self.take_static_pod(index, component, *version),
            What::EtcdMember { healthy } => self.etcd = Some(Since { is: *healthy, by: index }),
            What::DaemonPod { .. } | What::PodBound { .. } | What::PodGone { .. } | What::Evicted { .. } => {
                self.take_pod(index, what);
            }
            What::KubeletFiles { version } => self.files = Some(Since { is: *version, by: index }),
            What::KubeletServer { own } => self.own_server = Some(index).filter(|_| *own),
            What::Skips(checks) => self.skips.clone_from(checks),
            What::Ignored(ignored) => self.ignored = Some(Since { is: *ignored, by: index }),
            What::Reported { phase, reason } => self.take_report(index, *phase, *reason),
            What::CurrentWritten { version } => self.take_current(index, *version),
            What::TargetSet(target) => self.take_target(index, *target),
            What::Cordoned { .. } | What::Uncordoned { .. } => self.take_cordon(index, what),
            What::ToolStarted { .. }
            | What::ToolEnded { .. }
            | What::PackageInstalled { .. }
            | What::KubeletRestarted
            | What::Booted => self.take_host(index, what),
            What::LeaseTaken { lease, uid, turn } => self.take_tenure(index, *lease, uid, turn),
            What::LeaseReleased { lease, by } => self.take_release(index, *lease, by),
            What::LeaseMarked { degraded: true, .. } => self.failed(),
            What::EvictionRefused { .. } => {
                if let Some(tenure) = &mut self.tenure {
                    tenure.asked = tenure.asked.or(Some(index));
                    tenure.begun = tenure.begun.or(Some(index));
                }
            }
            What::AgentDied => self.died = Some(index),
            What::LeaseMarked { .. }
            | What::KubeadmConfig { .. }
            | What::PolicySet { .. }
            | What::Addons { .. }
            | What::LeaseGiven { .. }
            | What::Requested { .. }
            | What::WentWrong { .. }
            | What::PutRight { .. }
            | What::Withdrawn { .. }
            | What::Asked
            | What::AgentStarted => {}
        }
        if let Some(tenure) = &mut self.tenure {
            tenure.look_back(&self.static_pods, self.config);
        }
    }

    fn take_pod(&mut self, index: usize, what: &What) {
        match what {
            What::DaemonPod { daemon_set, ready } => {
                let before = self.daemon_pods.get(daemon_set);
                let ready_by = before.and_then(|pod| pod.ready_by);
                let ready_by = Some(index).filter(|_| *ready == Some(true)).or(ready_by);
                let since = before.filter(|pod| pod.is == *ready).map_or(index, |pod| pod.since);
                let pod = DaemonPod { is: *ready, by: index, since, ready_by };
                self.daemon_pods.insert(daemon_set.clone(), pod);
            }
            What::PodBound { pod } => {
                self.pods.insert(pod.clone(), index);
            }
            What::PodGone { pod } => {
                self.pods.remove(pod);
                self.asked_to_go.remove(pod);
            }
            What::Evicted { by: Who::Agent(_), pod } => {
                self.asked_to_go.insert(pod.clone());
                if let Some(tenure) = &mut self.tenure {
                    tenure.evicted = tenure.evicted.or(Some(index));
                    tenure.asked = tenure.asked.or(Some(index));
                    tenure.begun = tenure.begun.or(Some(index));
                }
            }
            _ => {}
        }
    }

    fn take_report(&mut self, index: usize, phase: Phase, reason: Reason) {
        if self.is_in(Phase::Refused) && phase != Phase::Refused {
            self.refused_until = Some(index);
        }
        self.phase = Some(Since { is: phase, by: index });
        self.reason = Some(reason);
        match phase {
            Phase::Degraded => self.failed(),
            // Of a node that does not serve nothing is said by that.
            Phase::Idle | Phase::Preflight | Phase::Refused
                if !self.is_ready() && !self.causes.lost_memory() =>
            {
                self.end_without_lease();
            }
            _ => {}
        }
    }

    /// kubeadm-config came to name another version.
    pub(super) fn take_config(&mut self, version: Version) {
        self.config = Some(version);
        let works = self.tool.is_some();
        if let Some(tenure) = &mut self.tenure {
            // Whoever has gone back without its Lease has no part in what another writes then.
            if tenure.lost.is_some() && tenure.past_return.is_none() && !works {
                tenure.config_before = self.config;
            }
            tenure.look_back(&self.static_pods, self.config);
        }
    }

    fn take_static_pod(&mut self, index: usize, component: &'static str, version: Option<Version>) {
        let known = self.api_server.map(|server| server.is);
        if let Some(version) = version.filter(|is| component == "kube-apiserver" && known != Some(*is)) {
            self.api_server = Some(Since { is: version, by: index });
        }
        self.static_pods.insert(component, Since { is: version, by: index });
    }

    /// What a node came with was not installed in anybody's way.
    fn is_first_of_package(&self, what: &What) -> bool {
        matches!(what, What::PackageInstalled { package, .. } if !self.installed.contains_key(package))
    }

    fn failed(&mut self) {
        let towards = self.tenure.as_ref().and_then(|tenure| tenure.towards);
        self.failed_at = towards.or(self.asks_for()).or(self.failed_at);
    }

    fn take_object(&mut self, index: usize, what: &What) {
        if let Some(before) = &self.uid
            && !matches!(what, What::Joined { uid, .. } if *uid == before.is)
        {
            self.gone.entry(before.is.clone()).or_insert(index);
        }
        if let What::Joined { control_plane, uid } = what {
            self.gone.remove(uid);
            self.control_plane = *control_plane;
            self.uid = Some(Since { is: uid.clone(), by: index }).filter(|uid| !uid.is.is_empty());
            // Whoever deletes a Node and lets it come back has put it back into service.
            if self.deleted.take().is_some() {
                self.uncordoned = Some(Since { is: Who::Person, by: index });
                self.tenure.iter_mut().for_each(|tenure| tenure.evicted = None);
            }
        } else {
            self.deleted = Some(index);
            self.cordon = None;
            self.current = None;
            self.target = None;
            self.ignored = None;
            self.skips.clear();
        }
    }

    fn take_current(&mut self, index: usize, version: Version) {
        if self.current != Some(version) {
            self.current_at = Some(index);
        }
        self.current = Some(version);
        if let Some(tenure) = self.tenure.as_mut().filter(|tenure| tenure.kubelet_installed.is_some()) {
            tenure.returned = tenure.returned.or(Some(index));
        }
        self.end_without_lease();
    }

    /// A turn whose Lease was taken away ends with `current`, or with a word of what comes after it, for it has no Lease to give back.
    fn end_without_lease(&mut self) {
        let over = self.tenure.as_ref().is_some_and(|tenure| tenure.lost.is_some());
        if over && self.cordon.is_none() && self.tool.is_none() {
            self.went_past_return = self.tenure.take().is_some_and(|tenure| tenure.past_return.is_some());
        }
    }

    /// A Lease taken again for the same turn, or by a node still out of service or past its point of no return, belongs to the same
    /// tenure.
    fn take_tenure(&mut self, index: usize, lease: LeaseName, uid: &str, turn: &str) {
        let out = self.cordoned_by_agent().is_some() || self.tool.is_some();
        let goes_on = |tenure: &&mut Tenure| out || tenure.past_return.is_some() || tenure.turn == turn;
        if let Some(tenure) = self.tenure.as_mut().filter(goes_on) {
            tenure.lost = None;
            tenure.lease = lease;
            tenure.taken = index;
            uid.clone_into(&mut tenure.uid);
            return;
        }
        self.was_cordoned_by_agent = false;
        let ready = self.daemon_pods.iter().filter(|(_, pod)| pod.is == Some(true));
        self.tenure = Some(Tenure {
            lease,
            taken: index,
            uid: uid.to_owned(),
            turn: turn.to_owned(),
            lost: None,
            towards: self.asks_for(),
            from: self.installed.clone(),
            ran: self.static_pods.iter().map(|(component, pod)| (*component, pod.is)).collect(),
            config_before: self.config,
            kubelet_before: self.kubelet(),
            files_before: self.files.map(|files| files.is),
            daemon_sets: ready.map(|(name, pod)| (name.clone(), pod.since)).collect(),
            changed: BTreeSet::new(),
            kubelet_installed: None,
            begun: None,
            staged: None,
            drained: None,
            evicted: None,
            asked: None,
            past_return: None,
            irreversible: BTreeSet::new(),
            failed: None,
            ran_to: None,
            is_at_rest: false,
            returned: None,
            puts_back: false,
            not_put_back: None,
            command: None,
        });
    }

    fn take_release(&mut self, index: usize, lease: LeaseName, by: &Who) {
        match by {
            Who::Agent(_) => {
                let minor = |packages: &Installed| {
                    let kubelet = packages.get("kubelet").and_then(PackageVersion::kubernetes);
                    kubelet.map(|version| (version.major, version.minor))
                };
                let another = |tenure: &Tenure| minor(&tenure.from) != minor(&self.installed);
                self.released = Some(index).filter(|_| self.tenure.as_ref().is_some_and(another));
                self.went_past_return = self.tenure.take().is_some_and(|t| t.past_return.is_some());
            }
            Who::Person => self.lose(index, lease),
        }
    }

    /// Somebody else freed its Lease, or took it.
    pub(super) fn lose(&mut self, index: usize, lease: LeaseName) {
        if let Some(tenure) = self.tenure.as_mut().filter(|tenure| tenure.lease == lease) {
            tenure.lost = Some(index);
        }
    }

    fn take_target(&mut self, index: usize, target: Option<Version>) {
        if self.unmet_target().is_none() && self.tenure.is_none() {
            self.targets.clear();
        }
        self.targets.extend(target);
        self.targets_before.push(Since { is: self.asks_for(), by: index });
        self.target = Some(Since { is: target, by: index });
    }

    fn take_cordon(&mut self, index: usize, what: &What) {
        if let What::Cordoned { by } = what {
            let by_agent = matches!(by, Who::Agent(_));
            self.was_cordoned_by_agent |= by_agent;
            self.cordon = Some(Cordon { by_agent, by: index });
            if let Some(tenure) = self.tenure.as_mut().filter(|_| by_agent) {
                tenure.begun = tenure.begun.or(Some(index));
            }
        } else if let What::Uncordoned { by } = what {
            if matches!(by, Who::Agent(_)) && self.tenure.as_ref().is_some_and(|t| t.staged.is_none()) {
                self.causes.retreated(self.pods.is_empty());
            }
            if let Some(tenure) = self.tenure.as_mut().filter(|_| matches!(by, Who::Agent(_))) {
                let first = Some(index).filter(|_| tenure.kubelet_installed.is_some());
                tenure.returned = tenure.returned.or(first);
            }
            self.cordon = None;
            self.uncordoned = Some(Since { is: by.clone(), by: index });
        }
    }
}
