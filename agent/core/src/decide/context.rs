//! What one decision is taken from, and how it asks for what it has not seen.

use std::time::Duration;

use super::{Next, Settings};
use crate::act::Act;
use crate::api::ApiServerNote;
use crate::api::{Explanation, Reason, Version};
use crate::api::{InHand, TurnKind};
use crate::judge::claim::Claimant;
use crate::memory::Memory;
use crate::memory::Turn;
use crate::memory::{Plan, lease_of};
use crate::observed::HostSeen;
use crate::observed::LeaseSeen;
use crate::observed::Observed;
use crate::observed::PodsSeen;
use crate::observed::{FleetSeen, LocalControlPlane};
use crate::observed::{NodeSeen, Ready};
use crate::since::Since;
use crate::time::{Mono, Now};

/// Something that has to be seen before it can be judged: what is to be done first.
pub(crate) type Look<T> = Result<T, Next>;

/// How old the proof of the Lease and of the fleet may be on which a disturbance begins.
pub(crate) const PROOF: Duration = Duration::from_secs(15);
/// How old the proof may grow while a drain goes on; the heartbeat renews every minute beside it.
pub(crate) const PROOF_WHILE_DRAINING: Duration = Duration::from_mins(5);
/// How old the look at the host may be from which a step is judged done.
pub(crate) const HOST_AGE: Duration = Duration::from_secs(30);
/// How old it may be where a tool is started: people install packages too.
pub(crate) const START_AGE: Duration = Duration::from_secs(2);
/// How often what is not pushed to us is looked at while something is awaited; the longer it lasts, the less often.
pub(crate) const PACE: Duration = Duration::from_secs(1);
const SLOWEST_PACE: Duration = Duration::from_secs(10);
/// The same for a degraded node, which may wait for a person for days.
const DEGRADED_PACE: Duration = Duration::from_secs(30);
const SLOWEST_DEGRADED_PACE: Duration = Duration::from_mins(1);

/// What one decision is taken from.
pub(crate) struct Context<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) memory: &'a Memory,
    pub(crate) observed: &'a Observed,
    pub(crate) since: &'a Since,
    pub(crate) node: &'a NodeSeen,
    pub(crate) now: Now,
}

/// What is known of the Lease.
pub(crate) enum Proof<'a> {
    /// It is ours, by an answer not too old, and this is what the fleet showed after it.
    Ours(&'a FleetSeen),
    /// Nobody holds it.
    Free,
    /// Somebody else does.
    Theirs,
}

impl<'a> Context<'a> {
    pub(crate) fn is_fresh(&self, at: Mono, age: Duration) -> bool {
        self.now.mono.since(at) <= age
    }

    /// The moment so long from now.
    pub(crate) fn in_(&self, pause: Duration) -> Mono {
        self.now.mono.plus(pause)
    }

    /// How often what is awaited in a step is looked at.
    pub(crate) fn pace(&self, turn: &Turn) -> Duration {
        let (first, last) = match turn.degraded {
            Some(_) => (DEGRADED_PACE, SLOWEST_DEGRADED_PACE),
            None => (PACE, SLOWEST_PACE),
        };
        (turn.stopwatch.spent(self.now) / 20).clamp(first, last)
    }

    /// This host as seen at most `age` ago.
    pub(crate) fn host(&self, age: Duration) -> Look<&'a HostSeen> {
        let turn = self.memory.turn.as_ref().map(|turn| turn.holder.turn.clone());
        match &self.observed.host {
            Some(host) if self.is_fresh(host.at, age) => Ok(host),
            _ => Err(Next::Do(Act::LookAtHost { turn })),
        }
    }

    /// The own Node as told or read at most `age` ago: a watch can be quiet for hours without being well.
    pub(crate) fn node(&self, age: Duration) -> Look<&'a NodeSeen> {
        let told = self.is_fresh(self.observed.node_at, age);
        if told { Ok(self.node) } else { Err(Next::Do(Act::LookAtNode)) }
    }

    /// The pods of this node as listed at most `age` ago.
    pub(crate) fn pods(&self, age: Duration) -> Look<&'a PodsSeen> {
        let pods = self.observed.pods.as_ref().filter(|pods| self.is_fresh(pods.at, age));
        pods.ok_or(Next::Do(Act::LookAtPods))
    }

    /// The control plane on this host as asked at most `age` ago.
    pub(crate) fn local(&self, age: Duration) -> Look<&'a LocalControlPlane> {
        let local = self.observed.local.as_ref().filter(|local| self.is_fresh(local.at, age));
        local.ok_or(Next::Do(Act::LookAtControlPlane))
    }

    /// The fleet as read at most `age` ago.
    pub(crate) fn fleet(&self, age: Duration) -> Look<&'a FleetSeen> {
        let fleet = self.observed.fleet.as_ref().filter(|fleet| self.is_fresh(fleet.at, age));
        fleet.ok_or(Next::Do(Act::LookAtFleet))
    }

    /// The Lease compared and swapped at most [`PROOF`] ago, and the fleet on a consistent read made after that: one act does
    /// both, so that a slow API server does not make the one stale while the other is awaited.
    pub(crate) fn proof(&self, turn: &Turn) -> Look<Proof<'a>> {
        let prove = || Next::Do(prove(turn));
        match &self.observed.lease {
            Some(LeaseSeen::Held { at, turn: held, .. }) if *held == turn.holder.turn => {
                let fleet = self.observed.fleet.as_ref().filter(|fleet| fleet.at >= *at);
                fleet.filter(|_| self.is_fresh(*at, PROOF)).map(Proof::Ours).ok_or_else(prove)
            }
            Some(LeaseSeen::Free) => Ok(Proof::Free),
            Some(LeaseSeen::Other(_)) => Ok(Proof::Theirs),
            Some(LeaseSeen::Held { .. }) | None => Err(prove()),
        }
    }

    /// Whether people still ask for what the turn goes to; if not, how that came about.
    pub(crate) fn cancelled(&self, turn: &Turn) -> Option<Explanation> {
        let wanted = self.node.request.wanted();
        if wanted == Some(turn.plan.target) {
            return None;
        }
        let now_asks = wanted.map_or_else(|| "removed".to_owned(), |target| format!("changed to {target}"));
        let message = format!("the target {} was {now_asks}", turn.plan.target);
        Some(Explanation::new(Reason::Cancelled, message))
    }

    /// This node as one that wants a Lease.
    pub(crate) fn claimant(&self, kind: TurnKind, plan: &Plan) -> Claimant<'a> {
        self.claimant_for(kind, plan.target, plan.control_plane, plan.own_server)
    }

    /// The same where there is no plan yet.
    pub(crate) fn claimant_for(
        &self,
        kind: TurnKind,
        target: Version,
        control_plane: bool,
        own_server: bool,
    ) -> Claimant<'a> {
        Claimant {
            node: &self.settings.node,
            kind,
            control_plane,
            serves: self.node.ready == Ready::True,
            lease: lease_of(control_plane),
            target,
            drains: self.settings.drain.enabled,
            own_server,
            skip: &self.node.request.skip,
        }
    }

    /// kubeadm finds the container runtime's socket. Up to 1.36 a run of it takes its own note away.
    pub(crate) fn cri_socket_is_noted(&self, host: &HostSeen) -> Look<()> {
        match &host.cri_socket {
            Some(socket) if !host.instance_config && !self.node.has_cri_socket => {
                Err(Next::Do(Act::NoteCriSocket { socket: socket.clone() }))
            }
            _ => Ok(()),
        }
    }

    /// What this node's API server answers stands on the Node: other nodes go by it, and so does the skew of this one.
    pub(crate) fn api_server_is_noted(&self, age: Duration) -> Look<()> {
        let local = self.local(age)?;
        match ApiServerNote::of(local.version, local.hash.as_deref()) {
            Some(note) if self.node.api_server.as_ref() != Some(&note) => {
                Err(Next::Do(Act::PublishApiServer { note }))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn remember(&self, turn: Turn) -> Next {
        Next::Remember(Box::new(Memory { turn: Some(turn), ..self.memory.clone() }))
    }

    /// The mark of a turn, as it has to stand on the Node.
    pub(crate) fn mark(&self, turn: &Turn) -> InHand {
        mark(turn, self.observed.lease.as_ref())
    }
}

/// The mark of a turn, with what is known of its Lease.
pub(crate) fn mark(turn: &Turn, lease: Option<&LeaseSeen>) -> InHand {
    let lost = !matches!(lease, Some(LeaseSeen::Held { .. }));
    InHand {
        turn: Some(turn.kind),
        id: Some(turn.holder.turn.clone()),
        from: turn.plan.from.kubelet.kubernetes(),
        to: Some(turn.plan.target),
        since: turn.since,
        degraded: turn.degraded.as_ref().filter(|_| lost).map(|why| why.message.clone()),
    }
}

pub(crate) fn wait(reason: Reason, message: impl Into<String>, until: Option<Mono>) -> Next {
    Next::Wait { why: Explanation::new(reason, message), until }
}

/// Proves the Lease and reads the fleet after it.
pub(crate) fn prove(turn: &Turn) -> Act {
    Act::Prove {
        lease: turn.lease,
        holder: turn.holder.clone(),
        mark: lease_mark(turn),
        control_plane: turn.plan.control_plane,
    }
}

/// Proves the Lease, with the mark that belongs to the turn.
pub(crate) fn renew(turn: &Turn) -> Act {
    Act::Renew { lease: turn.lease, holder: turn.holder.clone(), mark: lease_mark(turn), applied: None }
}

fn lease_mark(turn: &Turn) -> Option<crate::observed::LeaseMark> {
    turn.degraded
        .as_ref()
        .map(|why| crate::observed::LeaseMark { target: Some(turn.plan.target), why: why.message.clone() })
}

pub(crate) fn lease_lost(turn: &Turn) -> Explanation {
    let message =
        format!("the Lease {} no longer names this node's turn; somebody released or took it", turn.lease);
    Explanation::new(Reason::LeaseLost, message)
}
