//! What this process did and noticed since it began, and observations may not show, or not yet. It is gone with the process, and
//! nothing but time is lost with it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::act::Act;
use crate::api::Reason;
use crate::judge::control_plane::{lacks, uniform_static_pods};
use crate::observed::{FleetNode, NodeSeen, Observation, Observed};
use crate::time::{Mono, Now};

/// A control plane that was not looked at for so long is not known to have been whole, or dead, all the time.
const LOOK_GAP: Duration = Duration::from_secs(10);
const DEAD_GAP: Duration = Duration::from_mins(2);
/// Seconds by which two clocks may differ that are read at once, one of them in whole seconds.
const CLOCK_GRAIN: u64 = 2;
/// An API that did not tell of the pods for so long may have been away.
const TOLD_GAP: Duration = Duration::from_mins(1);

/// Something that has been so for a while, by observations that followed each other closely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lasting {
    since: Mono,
    last: Mono,
}

impl Lasting {
    /// What becomes of it by an observation at `at`.
    fn observed(before: Option<Self>, is_so: bool, at: Mono, gap: Duration) -> Option<Self> {
        let goes_on = before.filter(|lasting| at.since(lasting.last) <= gap);
        is_so.then(|| Self { since: goes_on.map_or(at, |lasting| lasting.since), last: at })
    }
}

/// The bookkeeping of this process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Since {
    /// The resourceVersion our last cordon made: a lagging watch may still show the Node before it.
    cordon_version: Option<String>,
    /// When somebody was seen to have lifted our cordon while its note stood: what stands since then is not ours.
    pub cordon_lifted: Option<Mono>,
    /// When we cordoned last.
    pub cordoned_at: Mono,
    /// When a Lease was claimed last.
    pub claimed_at: Mono,
    /// When the mark was written last.
    pub marked_at: Mono,
    /// Whether the present turn has cleaned up behind itself: what stands on the host since then is not its own.
    pub cleaned_up: bool,
    /// When a tool was last seen to have ended.
    pub tool_ended_at: Mono,
    /// When the own Node was last read directly.
    pub read_at: Mono,
    /// When the last turn ended: what was observed before may show what it has taken away since.
    pub quiet_since: Mono,
    /// Whether the API server was seen put back to an older state, or the Node made anew, and no look at the fleet has followed.
    pub restored: bool,
    /// When that was seen last.
    pub restored_at: Option<Mono>,
    /// When another node of the control plane was last seen to go down, while one is.
    pub peer_down_at: Option<Mono>,
    peers_down: BTreeSet<String>,
    /// Since when there has been no Node of this name.
    pub node_gone_since: Option<Mono>,
    /// When a turn last gave way before it had done anything, and how often in a row.
    pub gave_way: Option<(Mono, u32)>,
    /// When this host's clock was last seen to be set.
    pub clock_set_at: Option<Mono>,
    last: Option<Now>,
    /// What is waited for, and since when.
    waiting: Option<(Reason, Mono)>,
    newest_version: u64,
    whole: Option<Lasting>,
    told: Option<Lasting>,
    dead: Option<Lasting>,
}

impl Since {
    /// How long the same has been waited for.
    pub fn waited(&self, now: Now) -> Duration {
        self.waiting.map(|(_, since)| now.mono.since(since)).unwrap_or_default()
    }

    /// For how long the control plane on this host has been seen whole, each time it was looked at.
    pub fn whole_for(&self, now: Now) -> Duration {
        self.whole
            .filter(|whole| now.mono.since(whole.last) <= LOOK_GAP)
            .map(|whole| whole.last.since(whole.since))
            .unwrap_or_default()
    }

    /// For how long the API has told of the pods here, each time it was asked; zero where it has not for a while.
    pub fn told_for(&self, now: Now) -> Duration {
        let told = self.told.filter(|told| now.mono.since(told.last) <= TOLD_GAP);
        told.map(|told| told.last.since(told.since)).unwrap_or_default()
    }

    /// For how long the API server on this host has been seen not to be ready; none where it is, or is not known.
    pub fn api_server_dead_for(&self, now: Now) -> Option<Duration> {
        self.dead.filter(|dead| now.mono.since(dead.last) <= DEAD_GAP).map(|dead| dead.last.since(dead.since))
    }

    /// Time has gone by: by both clocks alike, or the wall clock was set.
    pub fn passed(&mut self, now: Now) {
        if let Some(last) = self.last {
            let by_mono = now.mono.since(last.mono);
            let expected = last.unix.plus(by_mono).0;
            if now.unix.0.abs_diff(expected) > CLOCK_GRAIN {
                self.clock_set_at = Some(now.mono);
            }
        }
        self.last = Some(now);
    }

    /// What was last waited for.
    pub fn waits_for(&self) -> Option<Reason> {
        self.waiting.map(|(reason, _)| reason)
    }

    /// This is waited for now; none: nothing is.
    pub fn waits(&mut self, reason: Option<Reason>, now: Now) {
        self.waiting = reason.map(|reason| match self.waiting {
            Some((known, since)) if known == reason => (known, since),
            _ => (reason, now.mono),
        });
    }

    /// An observation was taken in.
    pub fn observed(&mut self, observation: &Observation, observed: &Observed, now: Now) {
        match observation {
            Observation::Node(node) => self.look(node.as_ref(), now),
            Observation::Fleet(fleet) => {
                self.restored = false;
                self.look_at_peers(&fleet.nodes, fleet.at);
            }
            Observation::Turn(turn) => self.look_at_peers(&turn.control_planes, turn.at),
            Observation::Local(local) => {
                self.dead = Lasting::observed(self.dead, !local.api_server_ready, local.at, DEAD_GAP);
                self.look_at_control_plane(observed, local.at);
            }
            Observation::Pods(pods) => {
                self.told = Lasting::observed(self.told, true, pods.at, TOLD_GAP);
                self.look_at_control_plane(observed, pods.at);
            }
            _ => {}
        }
    }

    fn look_at_peers(&mut self, nodes: &[FleetNode], at: Mono) {
        // What is not Ready while one is at work may be its doing; afterwards it is asked anew.
        let at_work = nodes.iter().any(|node| node.control_plane && node.in_hand.is_some());
        let down = nodes.iter().filter(|node| node.control_plane && !node.ready && !at_work);
        let down: BTreeSet<String> = down.map(|node| node.name.clone()).collect();
        if down.difference(&self.peers_down).next().is_some() {
            self.peer_down_at = Some(at);
        }
        self.peer_down_at = self.peer_down_at.filter(|_| !down.is_empty());
        self.peers_down = down;
    }

    fn look_at_control_plane(&mut self, observed: &Observed, at: Mono) {
        let Some((pods, local)) = observed.pods.as_ref().zip(observed.local.as_ref()) else { return };
        let whole = uniform_static_pods(&pods.pods)
            .is_some_and(|version| lacks(&pods.pods, local, version).is_none());
        self.whole = Lasting::observed(self.whole, whole, at, LOOK_GAP);
    }

    /// Looks at the own Node as it was just told.
    fn look(&mut self, node: Option<&NodeSeen>, now: Now) {
        // An etcd that was put back may have no Node: with one that is made anew nothing else shows it.
        self.restored |= node.is_some() && self.node_gone_since.is_some();
        self.node_gone_since = match node {
            Some(_) => None,
            None => self.node_gone_since.or(Some(now.mono)),
        };
        let noted = node.filter(|node| node.cordon_note.is_some());
        let lifted = |node| self.cordon_lifted.or_else(|| self.is_lifted(node).then_some(now.mono));
        self.cordon_lifted = noted.and_then(lifted);
        // A watch never goes back; what shows an older state is another one, put back from a backup.
        if let Some(version) = node.and_then(|node| node.resource_version.parse().ok()) {
            let restored = version < self.newest_version;
            self.newest_version = version;
            if restored {
                self.put_back(now);
            }
        }
    }

    /// The API server was seen put back to an older state: nothing of what was written since stands, nor what people did.
    pub fn put_back(&mut self, now: Now) {
        self.restored = true;
        self.restored_at = Some(now.mono);
        self.cordon_lifted = None;
        self.cordon_version = None;
    }

    /// An act failed, and may have done what it says.
    pub fn may_have_done(&mut self, act: &Act) {
        // A cordon that stands after it may be ours.
        if matches!(act, Act::Cordon { .. }) {
            self.cordon_lifted = None;
            self.cordon_version = None;
        }
    }

    /// Whether this Node, seen with our note, shows that somebody lifted our cordon.
    fn is_lifted(&self, node: &NodeSeen) -> bool {
        let number = |version: &str| version.parse::<u64>().ok();
        let ours = self.cordon_version.as_deref().and_then(number);
        let before_ours = number(&node.resource_version).zip(ours).is_some_and(|(seen, ours)| seen < ours);
        !node.unschedulable && !before_ours
    }

    /// An act did what it says; what was observed on the way is taken in already.
    pub fn did(&mut self, act: &Act, observed: &Observed, now: Now) {
        match act {
            Act::LookAtNode => self.read_at = now.mono,
            Act::Claim { .. } => self.claimed_at = now.mono,
            Act::Mark { .. } => self.marked_at = now.mono,
            Act::Cordon { .. } => {
                self.cordon_lifted = None;
                self.cordon_version = observed.node.as_ref().map(|node| node.resource_version.clone());
                self.cordoned_at = now.mono;
                self.marked_at = now.mono;
            }
            Act::Run { .. } | Act::Await { .. } => self.tool_ended_at = now.mono,
            Act::CleanUp => self.cleaned_up = true,
            _ => {}
        }
    }

    /// A turn ended: having given way before anything was done, or not.
    pub fn turn_ended(&mut self, gave_way: bool, now: Now) {
        self.quiet_since = now.mono;
        self.cleaned_up = false;
        let count = self.gave_way.map_or(0, |(_, count)| count);
        self.gave_way = gave_way.then_some((now.mono, count + 1));
    }
}

#[cfg(test)]
mod tests;
