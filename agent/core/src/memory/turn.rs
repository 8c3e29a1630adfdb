//! One turn of this node, as far as it cannot be seen again.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Plan, count};
use crate::api::Check;
use crate::api::Explanation;
use crate::api::KubeadmCommand;
use crate::api::TurnKind;
use crate::api::{Holder, LeaseName};
use crate::time::{NotBefore, Now, Stopwatch, Unix};

/// One turn, from the claim of a Lease to its release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// Who holds the Lease: this node in this life, for this turn.
    pub holder: Holder,
    /// Which of the two.
    pub kind: TurnKind,
    /// The Lease it needs.
    pub lease: LeaseName,
    /// What is installed and how; resolved once.
    pub plan: Plan,
    /// The furthest step that was ever begun. It only ratchets.
    pub reached: Step,
    /// Whether the steps are walked to the target or back.
    pub direction: Direction,
    /// Why a person has to look, if one has to: the turn keeps its step and direction meanwhile.
    pub degraded: Option<Explanation>,
    /// The run of kubeadm that was begun last.
    pub run: Option<Run>,
    /// Failed attempts by step: they outlive all but a new `retry`.
    #[serde(deserialize_with = "count::by_step")]
    pub attempts: BTreeMap<Step, u32>,
    /// Counts steps entered and tools that failed; a number in unit names, so that no two runs share a name.
    #[serde(deserialize_with = "count::one")]
    pub unit_serial: u32,
    /// How long the present step has lasted.
    pub stopwatch: Stopwatch,
    /// The tool of the present step is not tried again before this.
    pub not_before: NotBefore,
    /// systemd's invocation ID of kubelet when it was about to be restarted.
    pub kubelet_before: Option<String>,
    /// Whether the host was past its point of no return when the turn was planned anew or tried again.
    pub changed: bool,
    /// Failed checks that `skip-checks` asked to pass over; reported as long as the turn goes on.
    pub skipped: BTreeSet<Check>,
    /// The value of `retry` this turn has already answered.
    pub retry: Option<String>,
    /// When it was taken up, for people.
    pub since: Unix,
}

/// The steps of both turns, in their order. The words are those of the phases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Step {
    /// Taking the Lease.
    Claiming,
    /// Making the node unschedulable.
    Cordoning,
    /// Evicting pods.
    Draining,
    /// The kubeadm package.
    Staging,
    /// `kubeadm upgrade`.
    Applying,
    /// The kubelet and kubectl packages.
    Installing,
    /// Restarting kubelet.
    Restarting,
    /// Waiting until the node serves at the target.
    Verifying,
    /// Making the node schedulable again.
    Uncordoning,
    /// Proving the control plane, taking the marks away, giving the Lease back.
    Releasing,
}

/// Which way the steps are walked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// To the target.
    Forward,
    /// Back to where the turn began, because of this.
    Back(Explanation),
}

/// A run of kubeadm. That it ended with 0 is the one thing that no observation proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// What was run.
    pub command: KubeadmCommand,
    /// Whether it ended with 0.
    pub succeeded: bool,
}

/// Turn A.
const CONTROL_PLANE: &[Step] = &[Step::Claiming, Step::Staging, Step::Applying, Step::Releasing];
/// Turn B.
const KUBELET: &[Step] = &[
    Step::Claiming,
    Step::Cordoning,
    Step::Draining,
    Step::Staging,
    Step::Applying,
    Step::Installing,
    Step::Restarting,
    Step::Verifying,
    Step::Uncordoning,
    Step::Releasing,
];

impl Turn {
    /// Its steps, in order.
    pub const fn steps(&self) -> &'static [Step] {
        match self.kind {
            TurnKind::ControlPlane => CONTROL_PLANE,
            TurnKind::Kubelet => KUBELET,
        }
    }

    /// Failed attempts of the present step.
    pub fn attempts(&self) -> u32 {
        self.attempts_in(self.reached)
    }

    /// Failed attempts of a step.
    pub fn attempts_in(&self, step: Step) -> u32 {
        self.attempts.get(&step).copied().unwrap_or_default()
    }

    /// Whether it goes to its target.
    pub const fn is_forward(&self) -> bool {
        matches!(self.direction, Direction::Forward)
    }

    /// The same with the present step begun anew: its time counts from now, and its tools' units get other names.
    #[must_use]
    pub fn entered(self, now: Now) -> Self {
        Self {
            unit_serial: self.unit_serial.saturating_add(1),
            stopwatch: Stopwatch::started(now),
            not_before: NotBefore::default(),
            ..self
        }
    }

    /// The same, going on where it is, with its time counted from now: what its tools' units say still holds.
    #[must_use]
    pub fn resumed(self, now: Now) -> Self {
        Self { stopwatch: Stopwatch::started(now), not_before: NotBefore::default(), ..self }
    }

    /// The same at a step that begins now.
    #[must_use]
    pub fn at(self, reached: Step, now: Now) -> Self {
        Self { reached, ..self }.entered(now)
    }

    /// The same, walked back because of this. Failures on the way back are counted anew.
    #[must_use]
    pub fn back(self, why: Explanation, now: Now) -> Self {
        Self { direction: Direction::Back(why), attempts: BTreeMap::new(), ..self }.entered(now)
    }

    /// The same with one more failed attempt of the present step.
    #[must_use]
    pub fn failed(self, pause: std::time::Duration, now: Now) -> Self {
        let step = self.reached;
        self.failed_in(step, pause, now)
    }

    /// One more failed attempt of a step that need not be the present one.
    #[must_use]
    pub fn failed_in(mut self, step: Step, pause: std::time::Duration, now: Now) -> Self {
        let attempts = self.attempts.entry(step).or_default();
        *attempts = attempts.saturating_add(1);
        Self {
            // One that was found on the host may have any number.
            unit_serial: self.unit_serial.saturating_add(1),
            not_before: NotBefore::after(pause, now),
            ..self
        }
    }
}
