//! The own Node: read, and patched with the resourceVersion of the Node a patch was decided from.

use upgrade_core::act::{Act, ActResult};
use upgrade_core::judge::node_patch::{NodePatch, TRIES, patch};
use upgrade_core::observed::Observation;

use super::{Caller, Write};
use crate::fault::Identity;
use crate::world::api::Node;
use crate::world::process::{TRAVEL, transient};
use crate::world::{Happening, World};

/// A fenced patch on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::world) struct Patch {
    act: Act,
    uid: String,
    version: String,
    change: NodePatch,
    tries: u32,
}

impl World {
    pub(super) fn node_act(&mut self, caller: &Caller, act: &Act) {
        self.decide_patch(caller, act, TRIES);
    }

    fn decide_patch(&mut self, caller: &Caller, act: &Act, tries: u32) {
        self.requests(&caller.node, 1);
        if !self.reaches(&caller.node, Identity::Kubelet) {
            return self.reply(caller, transient("the API server does not answer"));
        }
        let Some(seen) = self.api.stored.nodes.get(&caller.node).map(Node::seen) else {
            return self.reply(caller, transient("the Node does not exist"));
        };
        let Some(change) = patch(act, &seen) else {
            let fact = self.read_node(caller);
            return self.reply(caller, ActResult::ok(vec![fact]));
        };
        let (uid, version) = (seen.uid, seen.resource_version);
        let patch = Patch { act: act.clone(), uid, version, change, tries };
        let (caller, write) = (caller.clone(), Box::new(Write::Node(patch)));
        self.later(self.now + TRAVEL, Happening::Writes { caller, write });
    }

    pub(super) fn patch_written(&mut self, caller: &Caller, patch: &Patch) {
        if !self.reaches(&caller.node, Identity::Kubelet) {
            return self.reply(caller, transient("the API server does not answer"));
        }
        let Some(seen) = self.api.stored.nodes.get(&caller.node) else {
            return self.reply(caller, transient("the Node does not exist"));
        };
        if seen.uid == patch.uid && seen.resource_version == patch.version {
            self.patch_node(&caller.node, &patch.change);
            self.own_write(&caller.node, caller.life);
            let node = self.api.stored.nodes.get(&caller.node).map(Node::seen);
            self.reply(caller, ActResult::ok(vec![Observation::Node(node)]));
        } else if patch.tries > 1 {
            self.decide_patch(caller, &patch.act, patch.tries - 1);
        } else {
            self.reply(caller, transient("somebody else writes the Node again and again"));
        }
    }

    /// A direct read; one that shows an API server put back to an older state makes the watch begin anew.
    pub(super) fn read_node(&mut self, caller: &Caller) -> Observation {
        let seen = self.api.stored.nodes.get(&caller.node).map(Node::seen);
        let Some(life) = self.life(&caller.node, caller.life) else { return Observation::Node(seen) };
        let before = life.mark.before();
        match &seen {
            None => life.mark.found_none(before),
            Some(seen) if life.mark.is_restored(before, &seen.resource_version) => {
                self.watch_broke(&caller.node, caller.life);
            }
            Some(_) => {}
        }
        Observation::Node(seen)
    }

    /// An answer to a write of the Node.
    pub(in crate::world) fn own_write(&mut self, node: &str, life: u64) {
        let Some(version) = self.api.stored.nodes.get(node).map(|node| node.resource_version.clone()) else {
            return;
        };
        if let Some(life) = self.life(node, life) {
            life.mark.wrote(&version);
        }
    }
}
