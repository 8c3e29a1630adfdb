//! How a node can stand, and whether it does.

use std::fmt;

use upgrade_core::api::{Phase, Reason, TurnKind, Version};
use upgrade_core::memory::{Direction, Step, Turn};

use crate::setup::Setup;
use crate::world::{Stands, World};

/// What a node without a turn runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    /// What it ran before.
    Old,
    /// Its control plane is at the target, and its kubelet is not: it is at rest between its turns.
    Half,
    /// What others were told to run, or whatever else: it is not asked.
    Any,
}

/// How a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    /// In service at this version, told, and nothing is left of a turn.
    Done(Version),
    /// Nothing is asked of it: in service, nothing left.
    Idle(Runs),
    /// Its target is refused: in service, nothing left, told.
    Refused(Reason, Runs),
    /// It waits before a claim: in service, nothing left, told.
    Waits(Reason, Runs),
    /// Stopped for a person: its Lease is held and marked, its Node too; cordoned where the turn has cordoned it; told.
    Degraded {
        /// In which turn.
        kind: TurnKind,
        /// The furthest step begun.
        step: Step,
        /// Whether it goes back.
        back: bool,
        /// Why.
        reason: Reason,
    },
}

impl fmt::Display for Stand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = |runs: &Runs| if *runs == Runs::Half { " at rest" } else { "" };
        match self {
            Self::Done(version) => write!(f, "done at {version}"),
            Self::Idle(of) => write!(f, "idle{}", runs(of)),
            Self::Refused(reason, of) => write!(f, "refused{}, {reason}", runs(of)),
            Self::Waits(reason, of) => write!(f, "waits{}, {reason}", runs(of)),
            Self::Degraded { kind, step, back, reason } => {
                let turn = if *kind == TurnKind::ControlPlane { 'A' } else { 'B' };
                let way = if *back { "on the way back from " } else { "" };
                write!(f, "degraded in {turn}, {way}{}, {reason}", format!("{step:?}").to_lowercase())
            }
        }
    }
}

impl Stand {
    /// What of it is missing; none where the node stands so.
    pub fn lacks(&self, world: &World, node: &str) -> Option<String> {
        let is = world.stands(node);
        let old = |runs: &Runs| old(&is, *runs, world.setup());
        let facts = match self {
            Self::Done(version) => [in_service(&is), done(&is, *version)].concat(),
            Self::Idle(runs) => {
                [in_service(&is), told(&is, &[Phase::Idle], Reason::Idle), old(runs)].concat()
            }
            Self::Refused(reason, runs) => {
                [in_service(&is), told(&is, &[Phase::Refused], *reason), old(runs)].concat()
            }
            Self::Waits(reason, runs) => {
                let waiting = [Phase::Idle, Phase::Preflight, Phase::Claiming];
                [in_service(&is), told(&is, &waiting, *reason), old(runs)].concat()
            }
            Self::Degraded { kind, step, back, reason } => {
                let turn = (*kind, *step, *back, *reason);
                degraded(&is, turn)
            }
        };
        let missing: Vec<&str> = facts.iter().filter(|(holds, _)| !holds).map(|(_, words)| *words).collect();
        let told = format!("{:?} {:?} {:?}", is.phase.unwrap_or(Phase::Idle), is.reason, is.message);
        let turn = is.turn.as_ref().map(|turn| (turn.kind, turn.reached, turn.is_forward()));
        (!missing.is_empty()).then(|| format!("not: {}; it tells {told}, turn {turn:?}", missing.join(", ")))
    }
}

type Facts = Vec<(bool, &'static str)>;

/// Of a turn nothing is left: not in the journal, not on the Node, no Lease.
fn in_service(is: &Stands) -> Facts {
    vec![
        (is.turn.is_none(), "no turn in the journal"),
        (is.lease.is_none(), "holds no Lease"),
        (!is.in_hand, "no mark on the Node"),
        (!is.cordon_noted, "no note of a cordon"),
        (!is.unschedulable, "schedulable"),
    ]
}

fn done(is: &Stands, version: Version) -> Facts {
    vec![
        (is.phase == Some(Phase::Idle), "says that it is idle"),
        (is.current == Some(version), "`current` says so"),
        (is.kubelet == Some(version), "Ready with its kubelet there"),
        (is.kubeadm == Some(version), "kubeadm's package there"),
        (is.static_pods.is_none_or(|pods| pods == version), "static pods there"),
        (is.refused.is_none(), "nothing refused in the journal"),
    ]
}

fn told(is: &Stands, phases: &[Phase], reason: Reason) -> Facts {
    vec![
        (is.phase.is_some_and(|phase| phases.contains(&phase)), "its phase"),
        (is.reason == Some(reason), "its reason"),
        (!is.message.is_empty(), "a message"),
    ]
}

fn old(is: &Stands, runs: Runs, setup: &Setup) -> Facts {
    let from = setup.from;
    let pods = if runs == Runs::Half { setup.target } else { from };
    let carries = is.static_pods.is_some();
    match runs {
        Runs::Any => Vec::new(),
        Runs::Old | Runs::Half => vec![
            (is.kubelet.is_none_or(|kubelet| kubelet == from), "its old kubelet"),
            (is.current.is_none_or(|current| current == from), "`current` says what it ran"),
            (is.kubeadm == Some(pods), "the kubeadm of what it runs"),
            (runs == Runs::Old && !carries || is.static_pods == Some(pods), "its static pods"),
        ],
    }
}

fn degraded(is: &Stands, (kind, step, back, reason): (TurnKind, Step, bool, Reason)) -> Facts {
    let turn = is.turn.as_ref();
    let cordons = kind == TurnKind::Kubelet && (Step::Cordoning..=Step::Uncordoning).contains(&step);
    let why = turn.and_then(|turn| turn.degraded.as_ref());
    let goes_back = |turn: &Turn| matches!(turn.direction, Direction::Back(_));
    // Whose own API server does not answer it can write nothing on its Node.
    let mute = reason == Reason::Retrying;
    vec![
        (why.is_some_and(|why| why.reason == reason), "degraded for this reason in the journal"),
        (turn.is_some_and(|turn| turn.kind == kind && turn.reached == step), "in this turn and step"),
        (turn.is_some_and(|turn| goes_back(turn) == back), "in this direction"),
        (mute || is.phase == Some(Phase::Degraded), "says that it is degraded"),
        (mute || is.reason == Some(reason), "its reason"),
        (mute || !is.message.is_empty(), "a message"),
        (is.lease.is_some() && is.marked, "holds a marked Lease"),
        (is.in_hand, "its mark on the Node"),
        (
            is.unschedulable == cordons && is.cordon_noted == cordons,
            "cordoned where the turn has cordoned it",
        ),
    ]
}
