//! A tenure: what a history has shown of one turn of a node.

use std::collections::{BTreeMap, BTreeSet};

use super::Installed;
use super::since::Since;
use crate::api::{KubeadmCommand, LeaseName, Version};

/// From a node's taking of a Lease until it is back in service without it.
#[derive(Debug, Clone)]
pub(super) struct Tenure {
    pub(super) lease: LeaseName,
    pub(super) taken: usize,
    /// The Node's UID as the holder names it.
    pub(super) uid: String,
    /// The turn, as it is named there.
    pub(super) turn: String,
    /// The event that took the Lease away, if somebody else did.
    pub(super) lost: Option<usize>,
    /// The target it works for.
    pub(super) towards: Option<Version>,
    /// What was installed when it began.
    pub(super) from: Installed,
    /// What ran of the control plane, and what kubeadm-config named.
    pub(super) ran: BTreeMap<&'static str, Option<Version>>,
    pub(super) config_before: Option<Version>,
    pub(super) kubelet_before: Option<Version>,
    pub(super) files_before: Option<Version>,
    /// The DaemonSets whose pods here were Ready when it began, and since when.
    pub(super) daemon_sets: BTreeMap<String, usize>,
    /// The packages our tools changed since.
    pub(super) changed: BTreeSet<String>,
    /// When our tools last installed kubelet.
    pub(super) kubelet_installed: Option<usize>,
    /// The first cordon of ours, eviction that was asked for, or tool that changes the host.
    pub(super) begun: Option<usize>,
    /// The first tool that changes the host.
    pub(super) staged: Option<usize>,
    /// The first of them for which the node had to be drained.
    pub(super) drained: Option<usize>,
    /// The first eviction.
    pub(super) evicted: Option<usize>,
    /// When an eviction was first asked for.
    pub(super) asked: Option<usize>,
    /// The first tool after which there is no simple way back, unless everything is as before all the same.
    pub(super) past_return: Option<usize>,
    /// All such tools that were begun.
    pub(super) irreversible: BTreeSet<&'static str>,
    /// The last of them that failed, unless it was begun again.
    pub(super) failed: Option<usize>,
    /// What a run of kubeadm that succeeded has taken the control plane to.
    pub(super) ran_to: Option<Version>,
    /// Whether all of it runs there: that is a turn of its own, and kubelet's has another point of no return.
    pub(super) is_at_rest: bool,
    /// The first uncordoning of ours after kubelet was installed.
    pub(super) returned: Option<usize>,
    /// kubeadm's package was already changed when it was last begun to be installed: it may be the way back.
    pub(super) puts_back: bool,
    /// The last time that failed.
    pub(super) not_put_back: Option<usize>,
    /// kubeadm's verb and target, until it succeeded.
    pub(super) command: Option<Since<(KubeadmCommand, Version)>>,
}

impl Tenure {
    /// A control plane whose kubeadm failed has a way back as long as everything but etcd is as before: kubeadm puts that
    /// back itself. One that is whole at its new version needs none.
    pub(super) fn look_back(
        &mut self,
        runs: &BTreeMap<&'static str, Since<Option<Version>>>,
        config: Option<Version>,
    ) {
        let there = |to: Version| runs.values().all(|pod| pod.is == Some(to));
        if !self.irreversible.contains("install-kubelet") && self.ran_to.is_some_and(there) {
            self.is_at_rest = true;
            self.past_return = None;
        }
        let Some(failed) = self.failed.filter(|_| !self.irreversible.contains("install-kubelet")) else {
            return;
        };
        let whole = !self.ran.is_empty() && self.ran.values().all(Option::is_some);
        let as_before =
            self.ran.iter().all(|(component, ran)| runs.get(component).is_some_and(|runs| runs.is == *ran));
        if whole && as_before && config == self.config_before {
            self.past_return = None;
        } else {
            self.past_return = self.past_return.or(Some(failed));
        }
    }
}
