//! Rules 6 and 9: each refusal and each degraded end has a cause that the history shows.

use std::collections::BTreeSet;

use super::record::Node;
use super::since::Since;
use super::{Judged, Rule, Violation, What, Who};
use crate::api::{PackageVersion, Phase, Reason, Version};

/// Stands in `What::WentWrong` for a disk that lost the agent's memory.
pub const MEMORY_LOST: &str = "memory lost";

/// Stands there for a disk that lost the agent's copies of what its tools change: nobody can put that back any more.
pub const COPIES_LOST: &str = "copies lost";

/// Stands there for a host that no request of kubelet's identity leaves: nobody can take its cordon back meanwhile.
pub const CUT_OFF: &str = "cut off";

/// Of the time that verification waits, how many tenths must have gone by before a node is degraded for not serving: clocks
/// drift, and a host may be slow to see that a tool has ended, from which the agent counted.
const WAITED_TENTHS: u64 = 9;

/// So many boots within a turn stop it as a tool does that fails so often.
const BOOTS: u32 = 3;

/// What only a person can take away, or what keeps a node from its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// A tool failed or died with its host, or the host was booted again and again.
    Tool,
    /// An eviction was refused, or pods stayed until the drain was given up.
    Drain,
    /// A person installed packages.
    ByHand,
    /// A person took the Lease away.
    LeaseTaken,
    /// The Node was deleted.
    Deleted,
    /// Its kubelet was not Ready; no cause to refuse anything.
    NotReady,
    /// The agent's memory was lost.
    Memory,
    /// Something from outside that no other event shows.
    WentWrong,
    /// No target that can be read.
    NoTarget,
    /// The target cannot be reached from what runs, or is older than that or than kubeadm-config.
    Unreachable,
    /// Another control-plane node is dead: a person removes it or brings it back.
    DeadControlPlane,
    /// There is no other node to take the pods, or pods are never moved and the hop needs that.
    Nowhere,
    /// The node did not serve, for as long as verification waits.
    Unserving,
}

impl Cause {
    /// The causes that a reason can have; none where any of them will do.
    const fn of(reason: Reason) -> Option<&'static [Self]> {
        Some(match reason {
            Reason::InvalidTarget => &[Self::NoTarget],
            Reason::ToolFailed => &[Self::Tool, Self::WentWrong],
            Reason::DrainGivenUp | Reason::DrainBlocked | Reason::DrainTimedOut => &[Self::Drain],
            Reason::LeaseLost => &[Self::LeaseTaken, Self::Deleted],
            Reason::JournalLost => &[Self::Memory],
            Reason::NotVerified | Reason::NotReady => &[Self::Unserving],
            _ => return None,
        })
    }
}

/// What happened to a node since people last asked something of it, or since its turn began.
#[derive(Debug, Clone, Default)]
pub(super) struct Causes {
    now: BTreeSet<Cause>,
    /// What it was before each question: what answers that may come after the next one.
    before: Vec<Since<BTreeSet<Cause>>>,
    asked: Option<usize>,
    /// How often its host was booted since.
    boots: u32,
    /// Whether no agent lives that could answer.
    nobody: bool,
    /// What went wrong outside and was not put right since.
    lasting: BTreeSet<&'static str>,
}

impl Causes {
    pub(super) fn take(&mut self, index: usize, what: &What, in_tenure: bool) {
        let cause = match what {
            What::TargetSet(_) | What::Asked | What::Skips(_) => {
                self.boots = 0;
                if !in_tenure {
                    let lost = self.nobody && self.lost_memory();
                    self.before.push(Since { is: std::mem::take(&mut self.now), by: index });
                    // The agent that comes finds out what was lost before anything was asked.
                    self.now.extend(lost.then_some(Cause::Memory));
                    // What went wrong outside is not put right by asking again.
                    self.now.extend((!self.lasting.is_empty()).then_some(Cause::WentWrong));
                }
                self.asked = Some(index);
                return;
            }
            What::AgentDied | What::AgentStarted => {
                self.nobody = matches!(what, What::AgentDied);
                return;
            }
            What::Booted => {
                self.boots += 1;
                if self.boots < BOOTS {
                    return;
                }
                Cause::Tool
            }
            What::ToolEnded { ok: false, .. } => Cause::Tool,
            What::EvictionRefused { .. } => Cause::Drain,
            What::PackageInstalled { by: Who::Person, .. } => Cause::ByHand,
            What::LeaseReleased { by: Who::Person, .. } => Cause::LeaseTaken,
            What::Deleted => Cause::Deleted,
            What::Ready { ready: false, .. } => Cause::NotReady,
            What::WentWrong { what } if *what == MEMORY_LOST => Cause::Memory,
            What::WentWrong { what: CUT_OFF | COPIES_LOST } => return,
            What::WentWrong { what } => {
                self.lasting.insert(what);
                Cause::WentWrong
            }
            What::PutRight { what } => {
                self.lasting.remove(what);
                return;
            }
            _ => return,
        };
        self.now.insert(cause);
    }

    /// It was uncordoned before its host was changed.
    pub(super) fn retreated(&mut self, drained: bool) {
        if !drained {
            self.now.insert(Cause::Drain);
        }
    }

    pub(super) fn lost_memory(&self) -> bool {
        self.now.contains(&Cause::Memory)
    }

    pub(super) fn was_by_hand(&self) -> bool {
        self.now.contains(&Cause::ByHand)
    }

    pub(super) fn went_wrong(&self) -> bool {
        self.now.contains(&Cause::WentWrong)
    }
}

pub(super) fn judge(judged: &Judged<'_>) -> Vec<Violation> {
    let What::Reported { phase, reason } = &judged.event.what else { return Vec::new() };
    let rule = match phase {
        Phase::Refused => Rule::CauseOfRefused,
        // What it says later is a new word for the same end.
        Phase::Degraded if !judged.node().is_in(Phase::Degraded) => Rule::CauseOfDegraded,
        _ => return Vec::new(),
    };
    if !judged.expectations.tells_causes {
        return Vec::new();
    }
    judged.arose(rule);
    let causes = found(judged, *phase);
    let explained = match Cause::of(*reason) {
        _ if *phase == Phase::Degraded && is_to_retreat(judged, *reason) => false,
        Some(wanted) => wanted.iter().any(|cause| causes.contains(cause)),
        None => !causes.is_empty(),
    };
    if explained {
        return Vec::new();
    }
    let asked = judged.node().target.map(|target| target.by);
    let message = format!("{phase} because of {reason}, and the history shows no cause for that");
    vec![judged.broken(rule, message, &[asked, judged.node().causes.asked])]
}

/// A drain that cannot finish is taken back where the host is unchanged: nothing is broken by it.
fn is_to_retreat(judged: &Judged<'_>, reason: Reason) -> bool {
    let drain = matches!(reason, Reason::DrainGivenUp | Reason::DrainBlocked | Reason::DrainTimedOut);
    drain && judged.node().tenure.as_ref().is_none_or(|tenure| tenure.staged.is_none())
}

/// Every cause that the history shows at this moment.
fn found(judged: &Judged<'_>, phase: Phase) -> BTreeSet<Cause> {
    let node = judged.node();
    let mut causes = node.causes.now.clone();
    let before = node.causes.before.iter().rev().take_while(|before| judged.unnoticed(before.by));
    causes.extend(before.flat_map(|before| &before.is));
    let mut targets = vec![node.asks_for()];
    let before = node.targets_before.iter().rev().take_while(|before| judged.unnoticed(before.by));
    targets.extend(before.filter(|before| before.is.is_some()).map(|before| before.is));
    let unreachable = |target: &Version| is_unreachable(judged, node, *target);
    let states = [
        (Cause::WentWrong, targets.iter().flatten().any(|target| is_withdrawn(judged, node, *target))),
        (Cause::NoTarget, targets.contains(&None)),
        (Cause::Unreachable, targets.iter().flatten().any(unreachable)),
        (Cause::NotReady, node.ready.is_some_and(|ready| !ready.is.0)),
        (Cause::DeadControlPlane, node.control_plane && has_dead_peer(judged)),
        (Cause::Nowhere, targets.iter().flatten().any(|target| has_nowhere(judged, node, *target))),
        (Cause::Unserving, phase == Phase::Degraded && is_unserving(judged, node)),
    ];
    causes.extend(states.into_iter().filter(|(_, holds)| *holds).map(|(cause, _)| cause));
    // A node that is not Ready may become so by itself, and waits.
    if phase == Phase::Refused {
        causes.remove(&Cause::NotReady);
    }
    // Where a target is set, the lack of one explains no refusal.
    if phase == Phase::Refused && node.asks_for().is_some() {
        causes.remove(&Cause::NoTarget);
    }
    causes
}

/// By the skew rules from what runs here, or older than what runs, is installed or, on a control plane, than
/// kubeadm-config.
fn is_unreachable(judged: &Judged<'_>, node: &Node, target: Version) -> bool {
    let runs = node.kubelet().into_iter().chain(node.api_server.map(|server| server.is));
    let installed = ["kubeadm", "kubelet"].into_iter().filter_map(|package| node.installed.get(package));
    let minor = |version: Version| (version.major, version.minor);
    let older =
        |config: Version| if node.control_plane { target < config } else { minor(target) < minor(config) };
    let past = judged.fleet.config.is_some_and(|config| older(config.is));
    let mut newer = installed.filter_map(PackageVersion::kubernetes);
    past || newer.any(|version| target < version)
        || runs.into_iter().any(|running| node.cannot_reach(running, target))
}

/// A refusal that could not be written is told when the API answers, after a pause of at most this long, in milliseconds.
const TOLD_LATE: u64 = 120_000;

/// Whether a refusal that is told now may have been judged before this event.
fn told_late(judged: &Judged<'_>, by: usize) -> bool {
    judged.age(by) <= judged.expectations.notice + TOLD_LATE
}

/// A version on the way there, or the one to go back to, is offered no more.
fn is_withdrawn(judged: &Judged<'_>, node: &Node, target: Version) -> bool {
    let from = node.kubelet();
    judged
        .fleet
        .withdrawn
        .iter()
        .any(|version| *version <= target && from.is_none_or(|from| from <= *version))
}

/// Not Ready, or without a Node, and its member of etcd does not answer; where nothing is told of etcd it may be so.
fn has_dead_peer(judged: &Judged<'_>) -> bool {
    let peers =
        judged.fleet.nodes.iter().filter(|(name, peer)| **name != judged.event.node && peer.control_plane);
    peers.into_iter().any(|(_, peer)| {
        let back = peer.ready.is_some_and(|ready| ready.is.0 && !told_late(judged, ready.by));
        let gone = !back || peer.deleted.is_some();
        gone && peer.etcd.is_none_or(|etcd| !etcd.is || judged.unnoticed(etcd.by))
    })
}

fn has_nowhere(judged: &Judged<'_>, node: &Node, target: Version) -> bool {
    if judged.expectations.drain {
        let mut others = judged.fleet.others(&judged.event.node);
        return others.all(|(_, other)| other.ready.is_none_or(|ready| told_late(judged, ready.by)));
    }
    node.kubelet().is_some_and(|kubelet| target.minors_ahead_of(kubelet) > 0)
}

/// Something that verification wants is missing, or came too late to be noticed, and it was waited for as long as is
/// said: since the last tool at least, where there was one.
fn is_unserving(judged: &Judged<'_>, node: &Node) -> bool {
    let waited = judged.expectations.verify / 10 * WAITED_TENTHS;
    if node.tool_at.is_some_and(|tool| judged.age(tool) < waited) {
        return false;
    }
    let fresh = |by: usize| judged.unnoticed(by);
    let towards = node.tenure.as_ref().and_then(|tenure| tenure.towards);
    let changed = node.tenure.as_ref().is_none_or(|tenure| tenure.staged.is_some());
    let kubelet = node.ready.is_none_or(|ready| !ready.is.0 || fresh(ready.by))
        || changed && towards.is_some() && node.kubelet() != towards
        || node.restarted.is_some_and(|at| fresh(at) || judged.age(at) <= judged.expectations.soak);
    let etcd = node.etcd.is_some_and(|etcd| !etcd.is || fresh(etcd.by));
    let pods = node
        .static_pods
        .values()
        .any(|pod| pod.is.is_none() || changed && pod.is != towards || fresh(pod.by));
    let versions: BTreeSet<_> = node.static_pods.values().map(|pod| pod.is).collect();
    let mixed = versions.len() > 1;
    let daemons = node.daemon_pods.values().any(|pod| {
        let told = pod.ready_by >= node.restarted;
        pod.is.is_some() && (pod.is == Some(false) || !told || fresh(pod.by))
    });
    let other = node.causes.now.contains(&Cause::ByHand) || node.causes.now.contains(&Cause::Deleted);
    kubelet || etcd || pods || mixed || daemons || other
}
