//! What a history has shown so far: the state the rules are judged against.

use std::collections::{BTreeMap, BTreeSet};

use super::record::Node;
use super::since::Since;
use super::{ETCD_RESTORED, Event, FLEET, Rule, Violation, What, Who};
use crate::api::{KubeadmCommand, LeaseName, Version};

/// Who holds a Lease, and since which event.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) node: String,
    /// The Node's UID as the holder names it: another Node of that name is somebody else.
    pub(super) uid: String,
    pub(super) by: usize,
    /// The event that marked it.
    pub(super) degraded: Option<usize>,
}

/// All nodes and Leases.
pub(super) struct Fleet<'a> {
    pub(super) history: &'a [Event],
    pub(super) nodes: BTreeMap<String, Node>,
    pub(super) leases: BTreeMap<LeaseName, Held>,
    /// Which node took the control plane to a version with `kubeadm upgrade apply`, and when that was done.
    pub(super) applied: BTreeMap<Version, (String, usize)>,
    /// The versions of which nobody may know that `apply` succeeded.
    pub(super) unnoted: BTreeSet<Version>,
    /// As `applied`, as long as that node has done nothing since that shows that it knows.
    ended: Option<(Version, String)>,
    /// The versions that `kubeadm upgrade apply` was begun for.
    pub(super) tried: BTreeSet<Version>,
    /// The version that kubeadm-config names.
    pub(super) config: Option<Since<Version>>,
    /// When an etcd was last put back to an older state, in milliseconds.
    pub(super) restored: Option<u64>,
    /// Of which version `CoreDNS` and kube-proxy are.
    pub(super) addons: Option<Since<Version>>,
    /// Whether the policy bars claims.
    pub(super) barred: Option<Since<bool>>,
    /// The versions that no repository offers any more.
    pub(super) withdrawn: BTreeSet<Version>,
    nobody: Node,
}

impl<'a> Fleet<'a> {
    /// Whether the event of this index is of an older state that an etcd put back.
    pub(super) fn was_restored_at(&self, index: usize) -> bool {
        let at = self.at(index);
        let before = self.history[..index].iter().rev().take_while(|event| event.at == at);
        before.into_iter().any(|event| matches!(event.what, What::WentWrong { what: ETCD_RESTORED }))
    }

    pub(super) fn new(history: &'a [Event]) -> Self {
        Self {
            history,
            nodes: BTreeMap::new(),
            leases: BTreeMap::new(),
            applied: BTreeMap::new(),
            unnoted: BTreeSet::new(),
            ended: None,
            tried: BTreeSet::new(),
            config: None,
            restored: None,
            addons: None,
            barred: None,
            withdrawn: BTreeSet::new(),
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

    /// The Lease this node holds.
    pub(super) fn held_by(&self, name: &str) -> Option<(&LeaseName, &Held)> {
        self.leases.iter().find(|(_, held)| held.node == name)
    }

    /// The same, but for one that came back with an etcd whose copy of the holder's Node is the very one that was there: an agent without
    /// a turn, which watches its Node alone, has nothing to see it by. People free it (usage.md).
    pub(super) fn seen_held_by(&self, name: &str) -> Option<(&LeaseName, &Held)> {
        let shows = |by: usize| {
            let (at, first) = (self.at(by), self.history[..by].iter().rposition(|event| event.node == FLEET));
            let restored =
                self.history[first.unwrap_or_default()..].iter().take_while(|event| event.at == at);
            restored.into_iter().any(|event| {
                event.node == name
                    && !matches!(event.what, What::LeaseTaken { .. } | What::LeaseMarked { .. })
            })
        };
        self.held_by(name).filter(|(_, held)| !self.was_restored_at(held.by) || shows(held.by))
    }

    /// Since when this node is degraded: the mark on its Lease, or what it reports.
    pub(super) fn degraded(&self, name: &str) -> Option<usize> {
        let marked = self.held_by(name).and_then(|(_, held)| held.degraded);
        let reported = self.node(name).reports_degraded();
        marked.into_iter().chain(reported).min()
    }

    /// When the event of this index happened.
    pub(super) fn at(&self, index: usize) -> u64 {
        self.history.get(index).map_or(0, |event| event.at)
    }

    /// A violation, shown by these events.
    pub(super) fn violation(
        &self,
        rule: Rule,
        (node, at): (&str, u64),
        message: impl Into<String>,
        shown_by: impl IntoIterator<Item = usize>,
    ) -> Violation {
        let mut indices: Vec<usize> = shown_by.into_iter().collect();
        indices.sort_unstable();
        indices.dedup();
        let events = indices.iter().filter_map(|&index| self.history.get(index)).cloned().collect();
        Violation { rule, node: node.to_owned(), at, message: message.into(), events }
    }

    /// Takes one event in.
    pub(super) fn take(&mut self, index: usize, event: &Event) {
        if event.node == FLEET {
            self.take_fleet(index, &event.what);
            return;
        }
        self.take_lease(index, event);
        self.take_apply(index, event);
        if let Some(node) = self.nodes.get_mut(&event.node) {
            node.take(index, &event.what);
        } else {
            let config = self.config.map(|config| config.is);
            let node = Node { config, ..Node::default() };
            self.nodes.entry(event.node.clone()).or_insert(node).take(index, &event.what);
        }
    }

    fn take_fleet(&mut self, index: usize, what: &What) {
        match what {
            What::KubeadmConfig { version } => {
                // Older than before: etcd was restored from a backup, and what was applied since is undone.
                self.applied.retain(|applied, _| {
                    applied <= version || self.config.is_none_or(|before| before.is <= *version)
                });
                self.config = Some(Since { is: *version, by: index });
                self.nodes.values_mut().for_each(|node| node.take_config(*version));
            }
            What::Addons { version } => self.addons = Some(Since { is: *version, by: index }),
            What::PolicySet { bars } => self.barred = Some(Since { is: *bars, by: index }),
            What::LeaseGiven { lease, holder } => self.take_gift(index, *lease, holder),
            // The note went with what was written since.
            What::WentWrong { what: ETCD_RESTORED } => {
                self.restored = Some(self.at(index));
                self.unnoted.extend(std::mem::take(&mut self.applied).into_keys());
            }
            What::Withdrawn { version } => {
                self.withdrawn.insert(*version);
            }
            _ => {}
        }
    }

    fn take_gift(&mut self, index: usize, lease: LeaseName, holder: &str) {
        let held = Held { node: holder.to_owned(), uid: String::new(), by: index, degraded: None };
        let before = self.leases.insert(lease, held);
        if let Some(node) = before.and_then(|before| self.nodes.get_mut(&before.node)) {
            node.lose(index, lease);
        }
    }

    fn take_apply(&mut self, index: usize, event: &Event) {
        if let What::ToolStarted { kubeadm: Some((KubeadmCommand::Apply, target)), .. } = &event.what {
            self.tried.insert(*target);
        }
        let command = self.node(&event.node).tenure.as_ref().and_then(|tenure| tenure.command);
        if let (What::ToolEnded { tool: "kubeadm-upgrade", ok: true }, Some(command)) = (&event.what, command)
            && let (KubeadmCommand::Apply, target) = command.is
            && !self.applied.contains_key(&target)
        {
            if self.node(&event.node).causes.lost_memory() {
                self.unnoted.insert(target);
            } else {
                self.applied.insert(target, (event.node.clone(), index));
                self.ended = Some((target, event.node.clone()));
            }
        }
        self.take_note(event);
    }

    /// Whoever dies, or loses its Lease, before it noted its `apply` has left nobody word of it.
    fn take_note(&mut self, event: &Event) {
        let Some((target, node)) = self.ended.take_if(|(_, node)| *node == event.node) else { return };
        match &event.what {
            What::WentWrong { what: super::MEMORY_LOST }
            | What::AgentDied
            | What::Booted
            | What::Deleted
            | What::LeaseReleased { by: Who::Person, .. } => {
                self.applied.remove(&target);
                self.unnoted.insert(target);
            }
            What::ToolStarted { tool, .. } if super::host::changes(tool) => {}
            What::LeaseReleased { .. } | What::Uncordoned { .. } => {}
            _ => self.ended = Some((target, node)),
        }
    }

    fn take_lease(&mut self, index: usize, event: &Event) {
        match &event.what {
            What::LeaseTaken { lease, uid, .. } => {
                let held = Held { node: event.node.clone(), uid: uid.clone(), by: index, degraded: None };
                let before = self.leases.insert(*lease, held).filter(|before| before.node != event.node);
                if let Some(node) = before.and_then(|before| self.nodes.get_mut(&before.node)) {
                    node.lose(index, *lease);
                }
            }
            What::LeaseReleased { lease, .. } => {
                self.leases.remove(lease);
            }
            What::LeaseMarked { lease, degraded } => {
                if let Some(held) = self.leases.get_mut(lease) {
                    held.degraded = degraded.then_some(index);
                }
            }
            _ => {}
        }
    }
}
