//! A turn where everything goes well: its acts and steps, in their order, in a world that does at once what it is told.

use super::*;
use crate::act::Act;
use crate::judge::node_patch;

impl Case {
    /// Does an act.
    fn obey(&mut self, act: &Act) {
        self.now =
            Now { mono: self.now.mono.plus(seconds(1)), unix: self.now.unix.plus(seconds(1)), ..self.now };
        let at = self.now.mono;
        match act {
            Act::LookAtHost { .. } => {}
            Act::LookAtNode => self.seen.node_at = at,
            Act::LookAtPods => self.seen.pods.as_mut().unwrap().at = at,
            Act::LookAtControlPlane => self.seen.local.as_mut().unwrap().at = at,
            Act::LookAtFleet => self.fleet().at = at,
            Act::Claim { .. } | Act::Renew { applied: None, .. } => self.leased(at),
            Act::Renew { applied, .. } => {
                let turn = self.turn().holder.turn.clone();
                self.seen.lease = Some(LeaseSeen::Held { at, turn, applied: *applied });
            }
            Act::Prove { .. } => {
                self.leased(at);
                self.fleet().at = at;
            }
            Act::Release { .. } => self.seen.lease = Some(LeaseSeen::Free),
            Act::Drain { .. } => self.seen.drain = Some(Progress { at, ..progress(DrainState::Drained) }),
            Act::Run { unit, tool } => self.run(unit, tool),
            Act::RestoreKubeletConfig { .. } => self.host().kubelet_config_changed = false,
            Act::BackUp { copy } => self.host().copies.push(copy.clone()),
            Act::RestartKubelet => {
                let unix = self.now.unix;
                self.host().kubelet.invocation = "after".into();
                self.host().kubelet.since = at;
                self.node().kubelet = Some(NEW);
                self.node().heartbeat = unix.plus(seconds(1));
            }
            Act::CleanUp => {
                self.host().copies.clear();
                self.host().tools.clear();
            }
            _ => self.patch(act),
        }
        self.host().at = at;
        let (seen, now) = (self.seen.clone(), self.now);
        self.since.did(act, &seen, now);
        let pods = crate::observed::Observation::Pods(seen.pods.clone().unwrap());
        self.since.observed(&pods, &seen, now);
    }

    fn patch(&mut self, act: &Act) {
        let node = self.node();
        let Some(patch) = node_patch::patch(act, node) else { panic!("nothing to write: {act:?}") };
        node.unschedulable = patch.unschedulable.unwrap_or(node.unschedulable);
        for (key, value) in patch.notes {
            match key {
                crate::api::annotations::FOUND_CORDONED => {
                    node.cordon_note = value.map(|value| value == "true");
                }
                crate::api::annotations::IN_HAND => node.in_hand = value.map(|value| InHand::read(&value)),
                crate::api::annotations::CURRENT => node.current = value.and_then(|value| value.parse().ok()),
                other => panic!("{other} is written"),
            }
        }
    }

    fn run(&mut self, unit: &str, tool: &Tool) {
        self.host().tools.insert(unit.to_owned(), ToolState::Ended(0));
        let installed = |host: &mut HostSeen, name: &str| {
            host.packages.get_mut(name).unwrap().version = packages(NEW).kubeadm;
        };
        match tool {
            Tool::InstallKubeadm { packages, .. } => {
                self.host().packages.get_mut("kubeadm").unwrap().version = packages.kubeadm.clone();
            }
            Tool::InstallKubelet { .. } => {
                installed(self.host(), "kubelet");
                installed(self.host(), "kubectl");
                self.host().packages.get_mut("kubelet").unwrap().held = false;
            }
            Tool::Kubeadm { command: KubeadmCommand::Apply, .. } => {
                self.seen.pods.as_mut().unwrap().pods = static_pods(NEW);
                self.fleet().kubeadm_config = Some(NEW);
            }
            Tool::Hold { packages } => {
                let host = self.host();
                for name in packages {
                    host.packages.get_mut(name).unwrap().held = true;
                }
            }
            Tool::Kubeadm { .. } | Tool::RepairDpkg => {}
        }
    }

    /// Goes on until the turn is over: what is done and remembered on the way, looks left out.
    fn walk(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        for _ in 0..200 {
            let said = self.says();
            match self.next() {
                Next::Do(act) => {
                    if !said.starts_with("look-at") {
                        told.push(said);
                    }
                    self.obey(&act);
                }
                Next::Remember(memory) => {
                    let entered = self.turn().reached
                        != memory.turn.as_ref().map_or(Step::Claiming, |turn| turn.reached);
                    if entered {
                        told.push(said);
                    }
                    self.memory = *memory;
                    if self.memory.turn.is_none() {
                        return told;
                    }
                }
                Next::Wait { until, .. } => {
                    self.now.unix = self.now.unix.plus(seconds(1));
                    self.now.mono = until.expect("a wait with an end");
                }
            }
        }
        panic!("no end: {told:?}")
    }
}

/// A case before its claim, with a held kubelet.
fn before_the_claim(kind: TurnKind, control_plane: bool) -> Case {
    let mut case = Case::at(turn_of(kind, control_plane, Step::Claiming));
    case.seen.lease = None;
    case.memory.held = ["kubelet".to_owned()].into();
    case
}

const TURN_B: [&str; 25] = [
    "claim",
    // Swap and gate, the cordon with its mark, swap and gate again, the drain.
    "prove",
    "Cordoning",
    "cordon",
    "prove",
    "Draining",
    "drain",
    "Staging",
    "run install-kubeadm",
    "Applying",
    "back-up",
    "run kubeadm-upgrade",
    "Installing",
    "run install-kubelet",
    "Restarting",
    "restart-kubelet",
    "Verifying",
    "Uncordoning",
    "uncordon",
    "Releasing",
    "unmark",
    "release",
    "run hold",
    "clean-up",
    "over",
];

const TURN_A: [&str; 15] = [
    "claim",
    "prove",
    "mark",
    "prove",
    "Staging",
    "run install-kubeadm",
    "Applying",
    "back-up",
    "run kubeadm-upgrade",
    // The note that `apply` has ended with 0.
    "renew",
    "Releasing",
    "unmark",
    "release",
    "clean-up",
    "over",
];

#[test]
fn a_worker_takes_the_steps_of_turn_b_in_their_order() {
    let mut case = before_the_claim(TurnKind::Kubelet, false);
    assert_eq!(case.walk(), TURN_B);
    assert_eq!((case.node().current, case.node().in_hand.clone()), (Some(NEW), None));
    assert_eq!(case.memory, Memory { known: true, ..Memory::default() });
}

#[test]
fn a_control_plane_node_takes_the_steps_of_turn_a_without_cordon_and_leaves_current_alone() {
    let mut case = before_the_claim(TurnKind::ControlPlane, true);
    assert_eq!(case.walk(), TURN_A);
    assert_eq!((case.node().current, case.node().in_hand.clone()), (Some(OLD), None));
    assert!(case.now.mono.since(NOW.mono) >= seconds(10), "its control plane was whole for a soak");
}

#[test]
fn the_kubelet_of_a_control_plane_takes_the_same_steps_as_a_workers() {
    let mut case = before_the_claim(TurnKind::Kubelet, true);
    assert_eq!(case.walk(), TURN_B);
    assert_eq!(case.node().current, Some(NEW));
}

#[test]
fn a_node_that_goes_back_is_put_back_in_order_and_its_lease_is_given_back_last() {
    let mut case = Case::worker(Step::Applying);
    case.host().kubelet_config_changed = true;
    case.turn().direction = Direction::Back(why(Reason::Cancelled));
    let order = [
        "restore-kubelet-config",
        "run install-kubeadm",
        "uncordon",
        "unmark",
        "release",
        "clean-up",
        "over",
    ];
    assert_eq!(case.walk(), order);
    assert_eq!(case.node().current, Some(OLD));
    assert_eq!(case.host().version("kubeadm"), Some(&packages(OLD).kubeadm));
    assert_eq!(case.memory, Memory { known: true, ..Memory::default() });
}

#[test]
fn a_control_plane_that_kubeadm_put_back_is_proven_before_its_turn_ends() {
    let mut case = Case::plane(Step::Applying);
    let run = Run { command: KubeadmCommand::Apply, succeeded: false };
    case.turn().run = Some(run);
    case.turn().direction = Direction::Back(why(Reason::ToolFailed));
    assert_eq!(case.walk(), ["run install-kubeadm", "unmark", "release", "clean-up", "over"]);
    assert!(case.now.mono.since(NOW.mono) >= seconds(10));
    assert!(case.memory.refused.is_some());
}
