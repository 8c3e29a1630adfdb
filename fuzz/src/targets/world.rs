//! An ordinary cluster as node `n1` sees it, and what the rules make of a memory in it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use upgrade_core::act::{Tool, UNIT_PREFIX};
use upgrade_core::api::text::MESSAGE;
use upgrade_core::api::{Holder, InHand, LeaseName, PackageVersion, TurnId, TurnKind, Version, annotations};
use upgrade_core::decide::report::derive;
use upgrade_core::decide::{Next, Settings, decide};
use upgrade_core::drain::DrainOptions;
use upgrade_core::memory::{Memory, Turn};
use upgrade_core::observed::{
    ControlPlanePod, DrainState, FleetLease, FleetNode, FleetSeen, HostSeen, LeaseSeen, LocalControlPlane,
    NodeSeen, Observed, PackageSeen, PodsSeen, PolicySeen, Progress, Ready, ToolState, UnitSeen,
};
use upgrade_core::since::Since;
use upgrade_core::time::{BootId, Mono, Now, Unix};

use super::ensure;

/// When all is seen.
const AT: Mono = Mono(10_000_000);
/// The moment of every decision.
pub(super) const NOW: Now = Now { mono: Mono(10_000_500), boot: BootId(7), unix: Unix(1_790_000_000) };
/// So many memories in a row are followed: each is remembered to go on from.
const FOLLOWED: usize = 12;

/// This node in this life, with this turn.
pub(super) fn me(turn: &str) -> Holder {
    Holder { node: "n1".to_owned(), uid: "u1".to_owned(), turn: TurnId(turn.to_owned()) }
}

/// An ordinary configuration.
pub(super) fn settings() -> Settings {
    Settings {
        node: "n1".to_owned(),
        drain: DrainOptions::default(),
        soak: Duration::from_secs(3),
        verify_timeout: Duration::from_mins(10),
    }
}

/// The node with these annotations, the rest ordinary.
pub(super) fn node(notes: &BTreeMap<String, String>, control_plane: bool) -> NodeSeen {
    let node = NodeSeen {
        name: "n1".to_owned(),
        uid: "u1".to_owned(),
        resource_version: "17".to_owned(),
        ready: Ready::True,
        heartbeat: NOW.unix,
        kubelet: Some(Version::new(1, 36, 2)),
        control_plane,
        ..NodeSeen::default()
    };
    node.with_annotations(notes)
}

/// What is seen of an ordinary cluster around this node, whose turn has this name.
pub(super) fn ordinary(node: NodeSeen, turn: Option<&TurnId>) -> Observed {
    let lease =
        turn.map_or(LeaseSeen::Free, |turn| LeaseSeen::Held { at: AT, turn: turn.clone(), applied: None });
    let fleet = fleet(&node, turn);
    Observed {
        host: Some(host(node.control_plane)),
        pods: Some(PodsSeen { at: AT, pods: Vec::new(), csi_drivers: BTreeSet::new() }),
        lease: Some(lease),
        local: Some(LocalControlPlane { at: AT, api_server_ready: true, ..LocalControlPlane::default() }),
        policy: PolicySeen { at: AT, ..PolicySeen::default() },
        node: Some(node),
        node_at: AT,
        fleet: Some(fleet),
        ..Observed::default()
    }
}

fn host(control_plane: bool) -> HostSeen {
    let version: Option<PackageVersion> = "1.36.2-1.1".parse().ok();
    let seen =
        |version: &PackageVersion| PackageSeen { version: version.clone(), configured: true, held: true };
    let packages =
        ["kubeadm", "kubelet", "kubectl"].map(|name| version.as_ref().map(|at| (name.to_owned(), seen(at))));
    let components = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];
    let manifests = components.map(|name| (name.to_owned(), Version::new(1, 36, 2)));
    HostSeen {
        at: AT,
        packages: packages.into_iter().flatten().collect(),
        kubelet: UnitSeen { active: true, invocation: "a1".to_owned(), since: Mono(5_000_000) },
        control_plane,
        manifests: if control_plane { manifests.into() } else { BTreeMap::new() },
        ..HostSeen::default()
    }
}

fn fleet(node: &NodeSeen, turn: Option<&TurnId>) -> FleetSeen {
    let version = Version::new(1, 36, 3);
    let own = FleetNode {
        name: node.name.clone(),
        uid: node.uid.clone(),
        ready: true,
        control_plane: node.control_plane,
        kubelet: node.kubelet,
        ..FleetNode::default()
    };
    let peer = |name: &str, control_plane| FleetNode {
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        control_plane,
        kubelet: Some(version),
        current: Some(version),
        ..own.clone()
    };
    let name = if node.control_plane { LeaseName::ControlPlane } else { LeaseName::Slot(0) };
    let holder = turn.map(|turn| me(&turn.0).to_string());
    FleetSeen {
        at: AT,
        nodes: vec![own.clone(), peer("cp", true), peer("n2", false)],
        leases: vec![FleetLease { name, holder, mark: None, applied: None }],
        pods: vec![ControlPlanePod {
            node: "cp".to_owned(),
            component: "kube-apiserver".to_owned(),
            version: Some(version),
            ready: true,
            hash: None,
        }],
        kubeadm_config: Some(version),
        policy: PolicySeen { at: AT, ..PolicySeen::default() },
    }
}

/// The same in the middle of a turn: cordoned and marked by it, and each of its tools has failed.
pub(super) fn failing(seen: Observed, turn: &Turn) -> Observed {
    let mark = InHand {
        turn: Some(turn.kind),
        id: Some(turn.holder.turn.clone()),
        from: turn.plan.from.kubelet.kubernetes(),
        to: Some(turn.plan.target),
        since: turn.since,
        degraded: None,
    };
    let unit = |word| format!("{UNIT_PREFIX}{}-{}-{word}.service", turn.holder.turn.0, turn.unit_serial);
    let tools = Tool::WORDS.map(|word| (unit(word), ToolState::Ended(1)));
    let cordons = turn.kind == TurnKind::Kubelet;
    let node = seen.node.map(|node| NodeSeen {
        in_hand: Some(mark),
        unschedulable: cordons,
        cordon_note: cordons.then_some(false),
        ..node
    });
    let drain = Progress {
        at: AT,
        left: 0,
        blocked: Vec::new(),
        passed_over: Vec::new(),
        evicted: true,
        state: DrainState::Drained,
    };
    let host = seen.host.map(|host| HostSeen { tools: tools.into(), ..host });
    Observed { node, host, drain: Some(drain), ..seen }
}

/// The word for what the rules make of a memory: each that is to be remembered is followed, and each report has to fit.
pub(super) fn followed(settings: &Settings, memory: &Memory, seen: &Observed) -> Result<String, String> {
    let mut memory = memory.clone();
    for _ in 0..FOLLOWED {
        let next = decide(settings, &memory, seen, &Since::default(), NOW);
        if let Some(report) = derive(&memory, seen, &next, None) {
            let json = serde_json::to_string(&report).map_err(|error| error.to_string())?;
            ensure(json.len() <= 128 * 1024, || format!("a report of {} bytes", json.len()))?;
            ensure(report.message.len() <= MESSAGE, || {
                format!("a message of {} bytes", report.message.len())
            })?;
            let steers = report.message.contains(|c: char| c.is_control() && c != '\n');
            ensure(!steers, || format!("a report steers terminals: {:?}", report.message))?;
        }
        match next {
            Next::Do(act) => return Ok(act.word().to_owned()),
            Next::Wait { why, .. } => return Ok(why.reason.to_string()),
            Next::Remember(next) => memory = *next,
        }
    }
    // Failed attempts and the like may take longer, and the same again and again would be told by the simulator.
    Ok("remembers".to_owned())
}

/// The annotation `target` alone.
pub(super) fn asked() -> BTreeMap<String, String> {
    BTreeMap::from([(annotations::TARGET.to_owned(), "v1.36.3".to_owned())])
}
