use std::time::Duration;

use super::*;
use crate::act::Tool;
use crate::api::{Check, Holder, InHand, KubeadmCommand, TurnId, Version};
use crate::judge::tests::{
    NEW, NEWER, NEXT_MINOR, OLD, at_work, fleet, fleet_pods, held, holder, host, local, packages, plan,
    static_pods,
};
use crate::memory::{Direction, Plan, Run};
use crate::observed::{
    Copy, DrainState, Finding, Findings, FleetSeen, HostSeen, LocalControlPlane, Outcome, PodsSeen, Progress,
    Ready, ToolState,
};
use crate::time::{BootId, NotBefore, Stopwatch, Unix};

mod adopting;
mod changing;
mod degraded;
mod ending;
mod first;
mod gates;
mod going_back;
mod idle;
mod replan;
mod walk;

const NOW: Now = Now { mono: Mono(10_000_000), boot: BootId(1), unix: Unix(50_000) };
/// When kubelet was started that runs.
const STARTED: Mono = Mono(9_000_000);

/// What one decision is taken from.
#[derive(Clone)]
struct Case {
    settings: Settings,
    memory: Memory,
    seen: Observed,
    since: Since,
    now: Now,
}

fn ago(duration: Duration) -> Mono {
    NOW.mono.minus(duration)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn settings(node: &str) -> Settings {
    Settings {
        node: node.into(),
        drain: DrainOptions::default(),
        soak: seconds(5),
        verify_timeout: Duration::from_mins(10),
    }
}

fn turn_of(kind: TurnKind, control_plane: bool, reached: Step) -> Turn {
    let before = if kind == TurnKind::ControlPlane { OLD } else { NEW };
    let command = match (kind, control_plane) {
        (TurnKind::ControlPlane, _) => KubeadmCommand::Apply,
        (TurnKind::Kubelet, true) => KubeadmCommand::NodeKubelet,
        (TurnKind::Kubelet, false) => KubeadmCommand::NodeWorker,
    };
    let plan = Plan {
        kubeadm_config: Some(before),
        static_pods: control_plane.then_some(before),
        ..plan(control_plane)
    };
    Turn {
        holder: holder(if control_plane { "cp1" } else { "w1" }),
        kind,
        lease: plan.lease(),
        plan,
        reached,
        direction: Direction::Forward,
        degraded: None,
        run: (reached > Step::Applying).then_some(Run { command, succeeded: true }),
        attempts: [].into(),
        unit_serial: 7,
        stopwatch: Stopwatch::started(NOW),
        not_before: NotBefore::default(),
        kubelet_before: (reached >= Step::Restarting && kind == TurnKind::Kubelet)
            .then(|| "before".to_owned()),
        changed: false,
        skipped: [].into(),
        retry: None,
        since: Unix(49_000),
    }
}

/// The mark of a turn as it stands on the Node.
fn mark(turn: &Turn) -> InHand {
    InHand {
        id: Some(turn.holder.turn.clone()),
        from: Some(OLD),
        since: turn.since,
        ..at_work(turn.kind, turn.plan.target)
    }
}

fn findings(kind: TurnKind, plan: Plan, outcome: Outcome) -> Findings {
    let findings = vec![Finding { check: Check::KubeletFlags, outcome }];
    Findings { target: plan.target, kind, retry: None, at: NOW.mono, plan: Some(plan), findings }
}

impl Case {
    /// A worker that has begun this step of its turn and not ended it; everything was seen just now.
    fn worker(reached: Step) -> Self {
        Self::at(turn_of(TurnKind::Kubelet, false, reached))
    }

    /// A control-plane node in turn A.
    fn plane(reached: Step) -> Self {
        Self::at(turn_of(TurnKind::ControlPlane, true, reached))
    }

    /// A control-plane node in turn B.
    fn plane_b(reached: Step) -> Self {
        Self::at(turn_of(TurnKind::Kubelet, true, reached))
    }

    /// A node with a target and no turn.
    fn idle(control_plane: bool) -> Self {
        let kind = if control_plane { TurnKind::ControlPlane } else { TurnKind::Kubelet };
        let mut case = Self::at(turn_of(kind, control_plane, Step::Claiming));
        case.memory = Memory { known: true, ..Memory::default() };
        case.seen.lease = None;
        case
    }

    fn at(turn: Turn) -> Self {
        let (reached, is_b) = (turn.reached, turn.kind == TurnKind::Kubelet);
        let runs = if is_b || reached > Step::Applying { NEW } else { OLD };
        let mut seen = Observed {
            node: Some(node_at(&turn)),
            node_at: NOW.mono,
            host: Some(host_at(&turn)),
            lease: Some(LeaseSeen::Held { at: NOW.mono, turn: turn.holder.turn.clone(), applied: None }),
            fleet: Some(fleet_at(runs)),
            local: Some(LocalControlPlane { at: NOW.mono, ..local() }),
            preflight: Some(findings(turn.kind, turn.plan.clone(), Outcome::Passed(String::new()))),
            ..Observed::default()
        };
        let pods = if turn.plan.control_plane { static_pods(runs) } else { Vec::new() };
        seen.pods = Some(PodsSeen { at: NOW.mono, pods, ..PodsSeen::default() });
        if is_b && reached >= Step::Staging {
            seen.drain = Some(progress(DrainState::Drained));
        }
        let settings = settings(&turn.holder.node);
        let memory = Memory { known: true, turn: Some(turn), ..Memory::default() };
        let mut case = Self { settings, memory, seen, since: Since::default(), now: NOW };
        case.since.read_at = NOW.mono;
        case
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn turn(&mut self) -> &mut Turn {
        self.memory.turn.as_mut().unwrap()
    }

    fn node(&mut self) -> &mut NodeSeen {
        self.seen.node.as_mut().unwrap()
    }

    fn host(&mut self) -> &mut HostSeen {
        self.seen.host.as_mut().unwrap()
    }

    fn fleet(&mut self) -> &mut FleetSeen {
        self.seen.fleet.as_mut().unwrap()
    }

    fn target(&mut self, target: Option<Version>) {
        self.node().request.target = target.map(Ok);
    }

    fn leased(&mut self, at: Mono) {
        let turn = self.turn().holder.turn.clone();
        self.seen.lease = Some(LeaseSeen::Held { at, turn, applied: None });
    }

    /// The unit of the present turn's tool ended so, or runs.
    fn ran(&mut self, tool: &Tool, state: ToolState) -> String {
        let turn = self.turn();
        let unit = tool.unit(&turn.holder.turn, turn.unit_serial);
        self.host().tools.insert(unit.clone(), state);
        unit
    }

    /// So much later, with everything seen again.
    fn later(mut self, duration: Duration) -> Self {
        self.now = Now { mono: self.now.mono.plus(duration), unix: self.now.unix.plus(duration), ..self.now };
        let at = self.now.mono;
        self.seen.node_at = at;
        self.since.read_at = at;
        self.host().at = at;
        self.fleet().at = at;
        self.seen.pods.as_mut().unwrap().at = at;
        self.seen.local.as_mut().unwrap().at = at;
        if let Some(LeaseSeen::Held { at: proven, .. }) = &mut self.seen.lease {
            *proven = at;
        }
        self
    }

    fn next(&self) -> Next {
        decide(&self.settings, &self.memory, &self.seen, &self.since, self.now)
    }

    /// The decision in a few words.
    fn says(&self) -> String {
        match self.next() {
            Next::Do(Act::Run { tool, .. }) => format!("run {}", tool.word()),
            Next::Do(act) => act.word().to_owned(),
            Next::Wait { why, .. } => format!("wait {}", why.reason),
            Next::Remember(memory) => match &memory.turn {
                None => "over".to_owned(),
                Some(Turn { degraded: Some(why), .. }) => format!("degraded {}", why.reason),
                Some(Turn { direction: Direction::Back(why), .. }) => format!("back {}", why.reason),
                Some(turn) => format!("{:?}", turn.reached),
            },
        }
    }

    #[track_caller]
    fn does(&self) -> Act {
        match self.next() {
            Next::Do(act) => act,
            other => panic!("nothing is done: {other:?}"),
        }
    }

    #[track_caller]
    fn remembers(&self) -> Memory {
        match self.next() {
            Next::Remember(memory) => *memory,
            other => panic!("nothing is remembered: {other:?}"),
        }
    }

    #[track_caller]
    fn becomes(&self) -> Turn {
        self.remembers().turn.expect("a turn")
    }

    #[track_caller]
    fn waits(&self) -> Explanation {
        match self.next() {
            Next::Wait { why, .. } => why,
            other => panic!("nothing is waited for: {other:?}"),
        }
    }
}

fn node_at(turn: &Turn) -> NodeSeen {
    let (reached, is_b) = (turn.reached, turn.kind == TurnKind::Kubelet);
    let cordoned = is_b && (Step::Draining..=Step::Uncordoning).contains(&reached);
    let marked = reached >= if is_b { Step::Draining } else { Step::Applying };
    let mut node = NodeSeen {
        name: turn.holder.node.clone(),
        uid: turn.holder.uid.clone(),
        current: Some(OLD),
        ready: Ready::True,
        heartbeat: Unix(49_999),
        kubelet: Some(if is_b && reached >= Step::Verifying { NEW } else { OLD }),
        control_plane: turn.plan.control_plane,
        unschedulable: cordoned,
        cordon_note: cordoned.then_some(false),
        in_hand: marked.then(|| mark(turn)),
        ..NodeSeen::default()
    };
    node.request.target = Some(Ok(NEW));
    node
}

fn host_at(turn: &Turn) -> HostSeen {
    let (reached, is_b) = (turn.reached, turn.kind == TurnKind::Kubelet);
    let kubeadm = if reached >= Step::Applying { NEW } else { OLD };
    let kubelet = if is_b && reached >= Step::Restarting { NEW } else { OLD };
    let mut host =
        HostSeen { at: NOW.mono, control_plane: turn.plan.control_plane, ..host(kubeadm, kubelet) };
    host.kubelet.since = STARTED;
    if reached >= Step::Verifying {
        host.kubelet.invocation = "after".into();
    }
    if reached >= Step::Applying {
        host.copies = vec![Copy { turn: turn.holder.turn.clone(), run: turn.unit_serial }];
    }
    host
}

/// The fleet whose control plane runs this version.
fn fleet_at(runs: Version) -> FleetSeen {
    let mut fleet = FleetSeen {
        at: NOW.mono,
        pods: [fleet_pods("cp1", runs), fleet_pods("cp2", runs)].concat(),
        kubeadm_config: Some(runs),
        ..fleet()
    };
    for node in fleet.nodes.iter_mut().filter(|node| node.control_plane) {
        node.kubelet = Some(runs);
    }
    fleet
}

fn progress(state: DrainState) -> Progress {
    Progress { at: NOW.mono, left: 0, blocked: Vec::new(), passed_over: Vec::new(), evicted: true, state }
}

fn why(reason: Reason) -> Explanation {
    Explanation::new(reason, "why")
}
