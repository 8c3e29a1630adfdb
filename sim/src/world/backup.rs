//! etcd put back as it was: objects with smaller resourceVersions, and everything forgotten that was written since.

use upgrade_core::api::annotations::{CURRENT, IGNORE, STATUS, TARGET, is_on};
use upgrade_core::api::{Report, Request};
use upgrade_core::observed::Ready;
use upgrade_core::oracle::{ETCD_RESTORED, FLEET, What, Who};

use super::api::{Lease, Node, POD_STARTS, Pod, Stored};
use super::ports::drain::GRACE;
use super::{Happening, World};

impl World {
    /// The API is back after the restore; the difference is what others see.
    pub(super) fn restored(&mut self) {
        let Some(before) = self.api.restore() else { return };
        self.record(FLEET, What::WentWrong { what: ETCD_RESTORED });
        self.record_difference(&before);
        for name in self.names() {
            self.lists_node(&name);
            self.api.heard.insert(name.clone(), self.now);
            self.kubelet_changed(&name);
        }
        self.tell_turn();
        self.tell_policy();
        self.pods_go_on();
        // Its servers were stopped for it, and no connection has outlived that.
        self.machines.values_mut().for_each(|machine| machine.silent_until = 0);
        self.later(self.now, Happening::Schedules);
    }

    /// Kubelets end the pods that were being deleted when etcd was copied, and tell of those that have become Ready since.
    fn pods_go_on(&mut self) {
        for (pod, Pod { seen, .. }) in self.api.stored.pods.clone() {
            let (takes, happens) = match seen.deletion {
                Some(_) => (GRACE, Happening::PodGone { pod }),
                None if !seen.ready => (POD_STARTS, Happening::PodReady { pod }),
                None => continue,
            };
            self.later(self.now + takes, happens);
        }
    }

    fn record_difference(&mut self, before: &Stored) {
        let after = self.api.stored.clone();
        for (name, node) in &after.nodes {
            self.record_node(name, before.nodes.get(name), node);
        }
        for name in before.nodes.keys().filter(|name| !after.nodes.contains_key(*name)) {
            self.record(name, What::Deleted);
        }
        for (uid, pod) in &before.pods {
            if after.pods.get(uid).is_none_or(|other| other.node != pod.node) {
                self.record(&pod.node, What::PodGone { pod: uid.clone() });
            }
        }
        for (uid, pod) in &after.pods {
            if before.pods.get(uid).is_none_or(|other| other.node != pod.node) {
                self.record(&pod.node, What::PodBound { pod: uid.clone() });
            }
        }
        let names = before.leases.keys().chain(after.leases.keys());
        let names: std::collections::BTreeSet<_> = names.copied().collect();
        for name in names {
            let state = |leases: &std::collections::BTreeMap<_, Lease>| {
                leases.get(&name).map(|lease: &Lease| lease.state.clone()).unwrap_or_default()
            };
            self.record_lease(name, &state(&before.leases), &state(&after.leases), &Who::Person);
        }
        if before.kubeadm_config != after.kubeadm_config {
            self.record(FLEET, What::KubeadmConfig { version: after.kubeadm_config });
        }
        if before.addons != after.addons {
            self.record(FLEET, What::Addons { version: after.addons });
        }
        self.record_policy();
    }

    fn record_node(&mut self, name: &str, before: Option<&Node>, after: &Node) {
        let nothing = Node::default();
        if before.is_none_or(|before| before.uid != after.uid) {
            let (control_plane, uid) = (after.control_plane, after.uid.clone());
            self.record(name, What::Joined { control_plane, uid });
        }
        let before = before.unwrap_or(&nothing);
        let version = |node: &Node, key: &str| node.annotations.get(key).and_then(|text| text.parse().ok());
        if version(before, TARGET) != version(after, TARGET) {
            self.record(name, What::TargetSet(version(after, TARGET)));
        }
        if is_on(&before.annotations, IGNORE) != is_on(&after.annotations, IGNORE) {
            self.record(name, What::Ignored(is_on(&after.annotations, IGNORE)));
        }
        let skips = |node: &Node| Request::read(&node.annotations).skip;
        if skips(before) != skips(after) {
            self.record(name, What::Skips(skips(after)));
        }
        if let Some(version) = version(after, CURRENT).filter(|now| version(before, CURRENT) != Some(*now)) {
            self.record(name, What::CurrentWritten { version });
        }
        if before.unschedulable != after.unschedulable {
            // The note beside it tells whose it is.
            let ours = after.seen().cordon_note == Some(false);
            let by = if ours { Who::Agent(name.to_owned()) } else { Who::Person };
            let what = if after.unschedulable { What::Cordoned { by } } else { What::Uncordoned { by } };
            self.record(name, what);
        }
        let told = |node: &Node| {
            let report =
                node.annotations.get(STATUS).and_then(|text| serde_json::from_str::<Report>(text).ok());
            report.map(|report| (report.phase, report.reason))
        };
        if let Some((phase, reason)) = told(after).filter(|now| told(before) != Some(*now)) {
            self.record(name, What::Reported { phase, reason });
        }
        if let Some(kubelet) = after.kubelet
            && (before.ready == Ready::True, before.kubelet) != (after.ready == Ready::True, after.kubelet)
        {
            self.record(name, What::Ready { ready: after.ready == Ready::True, kubelet });
        }
    }
}
