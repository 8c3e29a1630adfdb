//! Own traces that no memory explains (rule 12): a journal that is new, lost or of an older release, a mark that was put back by an
//! etcd restored from a backup, a Lease in this node's name. What they say becomes a turn, and the turn's own rules do the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Next;
use super::context::{Context, Look, wait};
use super::host_first::repair_without_turn;
use super::plan::untold;
use crate::act::{Act, UNIT_PREFIX};
use crate::api::KubeadmCommand;
use crate::api::{Explanation, Reason};
use crate::api::{Holder, LeaseName, TurnId};
use crate::api::{InHand, TurnKind};
use crate::api::{PackageVersion, Version};
use crate::judge::control_plane::{STATIC_PODS, uniform_static_pods};
use crate::judge::service::all_daemon_sets;
use crate::memory::Memory;
use crate::memory::{Direction, Run, Step, Turn};
use crate::memory::{Packages, Plan};
use crate::observed::FleetSeen;
use crate::observed::Ready;
use crate::observed::{HostSeen, ToolState};
use crate::time::{NotBefore, Stopwatch};

/// How old the host and the pods may be from which traces are read.
const AGE: Duration = Duration::from_secs(15);

/// Looks for traces where there may be some, and takes them up.
pub(super) fn traces(cx: &Context<'_>) -> Look<()> {
    let quiet = cx.since.quiet_since;
    let held = |fleet: &FleetSeen| fleet.at >= quiet && ours(cx, fleet).is_some();
    let shown = cx.node.in_hand.is_some()
        || cx.node.cordon_note.is_some()
        || cx.observed.fleet.as_ref().is_some_and(held)
        || cx.observed.host.as_ref().is_some_and(|host| host.at >= quiet && host.runs_a_tool());
    let unseen = cx.since.restored || cx.observed.fleet.as_ref().is_none_or(|fleet| fleet.at < quiet);
    if cx.memory.known && !shown && !cx.since.restored {
        return Ok(());
    }
    // A watch may still show what the last turn took away.
    if cx.since.read_at < quiet || cx.since.read_at == crate::time::Mono::default() {
        return Err(Next::Do(Act::LookAtNode));
    }
    let Some(fleet) = cx.observed.fleet.as_ref().filter(|_| !unseen) else {
        return Err(Next::Do(Act::LookAtFleet));
    };
    let host = cx.host(AGE)?;
    if host.at < quiet {
        return Err(Next::Do(Act::LookAtHost { turn: None }));
    }
    // How a tool that runs will end is not known yet.
    let mut tools = host.tools.iter();
    if let Some((unit, _)) = tools.find(|(_, state)| **state == ToolState::Running) {
        return Err(Next::Do(Act::Await { unit: unit.clone() }));
    }
    cx.pods(AGE)?;
    let turn = Traces::read(cx, fleet, host)?.turn(cx, fleet, host);
    if turn.as_ref().is_some_and(|turn| turn.degraded.is_some()) {
        settled(cx, host)?;
    }
    if turn.is_none() && cx.memory.known {
        return Ok(());
    }
    // What an older journal named may have been set free by its transactions.
    let held = if turn.is_some() { &cx.memory.held | &held_packages(host) } else { BTreeSet::new() };
    Err(Next::Remember(Box::new(Memory { known: true, turn, held, ..cx.memory.clone() })))
}

/// A Node whose status is older than its kubelet's last start says nothing of what runs: etcd was put back, or the host has just
/// booted. For a while it is waited for. One of the future is older too: this host's clock was set back since.
fn settled(cx: &Context<'_>, host: &HostSeen) -> Look<()> {
    let since_start = cx.now.wall(host.kubelet.since)..=cx.now.unix;
    let told =
        untold(cx).is_none() && cx.node.ready == Ready::True && since_start.contains(&cx.node.heartbeat);
    if told || cx.since.waited(cx.now) > cx.settings.verify_timeout {
        return Ok(());
    }
    cx.node(PACE)?;
    let message = "traces of an upgrade that is not remembered: waiting for kubelet to say what it runs";
    Err(wait(Reason::JournalLost, message, Some(cx.in_(PACE))))
}

/// How often the Node is read meanwhile.
const PACE: Duration = Duration::from_secs(5);

fn held_packages(host: &HostSeen) -> BTreeSet<String> {
    host.packages.iter().filter(|(_, package)| package.held).map(|(name, _)| name.clone()).collect()
}

/// A Lease in the name of this node. One of an earlier life, of a Node that was deleted, is a trace too: nobody else will give it
/// back.
fn ours(cx: &Context<'_>, fleet: &FleetSeen) -> Option<(LeaseName, Holder)> {
    fleet.leases.iter().find_map(|lease| {
        let holder = lease.holder.as_deref().and_then(Holder::parse)?;
        (holder.node == cx.settings.node).then_some((lease.name, holder))
    })
}

/// The one version of the static pods here. Their mirrors may be older than their manifests: for a while it is waited until they
/// agree.
fn static_pods(cx: &Context<'_>, host: &HostSeen) -> Look<Option<Version>> {
    let running = uniform_static_pods(&cx.pods(AGE)?.pods);
    let mut manifests = host.manifests.values();
    let first = manifests.next();
    let uniform = first
        .filter(|first| host.manifests.len() == STATIC_PODS.len() && manifests.all(|other| other == *first));
    if running == uniform.copied() || cx.since.waited(cx.now) > cx.settings.verify_timeout {
        return Ok(running.filter(|_| uniform.is_some()));
    }
    cx.pods(PACE)?;
    let message = "traces of an upgrade that is not remembered: waiting until the static pods run what their manifests say";
    Err(wait(Reason::JournalLost, message, Some(cx.in_(PACE))))
}

/// What stands there.
struct Traces {
    lease: Option<(LeaseName, Holder)>,
    mark: Option<InHand>,
    cordoned: bool,
    /// The one version of the static pods here; none on a worker, or where they differ.
    static_pods: Option<Version>,
    /// The unit of a tool, with its turn and serial.
    unit: Option<(TurnId, u32)>,
    /// The turn whose copies are there.
    copied: Option<TurnId>,
    /// Whether the last run of kubeadm that is seen ended well.
    kubeadm_ended: bool,
    /// Whether kubelet's package was installed, or was about to be: turn B.
    installs: bool,
}

impl Traces {
    fn read(cx: &Context<'_>, fleet: &FleetSeen, host: &HostSeen) -> Look<Self> {
        let static_pods = if host.control_plane { static_pods(cx, host)? } else { None };
        let units = host.tools.keys().filter(|unit| **unit != repair_without_turn());
        Ok(Self {
            lease: ours(cx, fleet),
            mark: cx.node.in_hand.clone(),
            cordoned: cx.node.cordon_note.is_some(),
            static_pods,
            unit: units.filter_map(|unit| unit_parts(unit)).max_by_key(|(_, serial)| *serial),
            copied: host.copies.last().map(|copy| copy.turn.clone()),
            kubeadm_ended: last(host, "kubeadm-upgrade") == Some(ToolState::Ended(0)),
            installs: last(host, "install-kubelet").is_some(),
        })
    }

    /// The turn they are left of; none where there are none.
    fn turn(self, cx: &Context<'_>, fleet: &FleetSeen, host: &HostSeen) -> Option<Turn> {
        let none = self.lease.is_none() && self.mark.is_none() && !self.cordoned;
        if none && self.unit.is_none() && self.copied.is_none() {
            return None;
        }
        let kind = self.kind(host);
        let target = self.target(cx, host, kind)?;
        let begun = self.begun(cx, fleet, host, kind, target)?;
        Some(self.at(cx, begun))
    }

    /// `found-cordoned` alone reads as turn B; a control plane of two versions is one of turn A, whatever a mark says.
    fn kind(&self, host: &HostSeen) -> TurnKind {
        let marked = self.mark.as_ref().and_then(|mark| mark.turn);
        if !host.control_plane {
            return TurnKind::Kubelet;
        }
        let mixed = self.static_pods.is_none();
        match marked {
            _ if mixed => TurnKind::ControlPlane,
            Some(kind) => kind,
            None if self.cordoned || self.installs => TurnKind::Kubelet,
            None => TurnKind::ControlPlane,
        }
    }

    fn target(&self, cx: &Context<'_>, host: &HostSeen, kind: TurnKind) -> Option<Version> {
        let marked = self.mark.as_ref().and_then(|mark| mark.to).or(self.claimed_for());
        let package = if kind == TurnKind::Kubelet { "kubelet" } else { "kubeadm" };
        let installed = host.version(package).and_then(PackageVersion::kubernetes);
        marked.or_else(|| cx.node.request.wanted()).or(installed).or(cx.node.kubelet)
    }

    /// Whether anybody says what it goes to; what is installed may be a person's.
    fn is_asked(&self, cx: &Context<'_>) -> bool {
        self.mark.is_some() || self.claimed_for().is_some() || cx.node.request.wanted().is_some()
    }

    /// What its Lease was claimed for: mark, cordon and target go with a Node that is deleted, the Lease stays.
    fn claimed_for(&self) -> Option<Version> {
        self.lease.as_ref().and_then(|(_, holder)| holder.turn.target())
    }

    /// How far it had come, by what is whole.
    fn begun(
        &self,
        cx: &Context<'_>,
        fleet: &FleetSeen,
        host: &HostSeen,
        kind: TurnKind,
        target: Version,
    ) -> Option<Begun> {
        let packages = Packages {
            kubeadm: host.version("kubeadm")?.clone(),
            kubelet: host.version("kubelet")?.clone(),
            kubectl: host.version("kubectl").cloned(),
        };
        let stage = match kind {
            TurnKind::ControlPlane => self.control_plane_stage(cx, fleet, host, target, &packages),
            TurnKind::Kubelet => self.kubelet_stage(cx, host, target, &packages),
        };
        Some(Begun { kind, target, packages, stage })
    }

    fn control_plane_stage(
        &self,
        cx: &Context<'_>,
        fleet: &FleetSeen,
        host: &HostSeen,
        target: Version,
        packages: &Packages,
    ) -> Stage {
        let config_is_new = fleet.kubeadm_config.is_some_and(|config| config >= target);
        let over = config_is_new && packages.kubelet.kubernetes() == Some(target);
        let begun = self.unit.is_some() || !host.copies.is_empty();
        let marked = !(config_is_new && self.kubeadm_ended) && (self.mark.is_some() && !over || begun);
        match self.static_pods {
            Some(version) if version < target => Stage::Back,
            Some(version) if version >= target && !marked => Stage::Back,
            // Static pods of one version are at rest where nobody asks for more.
            Some(_) if !self.is_asked(cx) => Stage::Back,
            _ if packages.kubeadm.kubernetes() == Some(target) => Stage::Applying,
            _ => Stage::Degraded,
        }
    }

    fn kubelet_stage(
        &self,
        cx: &Context<'_>,
        host: &HostSeen,
        target: Version,
        packages: &Packages,
    ) -> Stage {
        let package = packages.kubelet.kubernetes();
        let whole = cx.node.kubelet.is_some()
            && cx.node.kubelet == package
            && host.packages.get("kubelet").is_some_and(|kubelet| kubelet.configured);
        let touched = self.cordoned || self.unit.is_some();
        if (self.is_asked(cx) || self.installs)
            && whole
            && package == Some(target)
            && packages.kubeadm.kubernetes() >= Some(target)
        {
            Stage::Verifying
        } else if whole && (cx.node.ready == Ready::True || !touched) {
            Stage::Back
        } else {
            Stage::Degraded
        }
    }

    fn at(self, cx: &Context<'_>, begun: Begun) -> Turn {
        let Begun { kind, target, packages, stage } = begun;
        let may_have_run = stage != Stage::Back || self.unit.is_some() || self.copied.is_some();
        let message = "the journal was lost in the middle of an upgrade: check the node, then set a new value of the annotation \
                       node-upgrade-agent/retry, or bring the node to its target by hand";
        let why = Explanation::new(Reason::JournalLost, message);
        let id = self.unit.as_ref().map(|(id, _)| id.clone());
        let id = id.or_else(|| self.mark.as_ref().and_then(|mark| mark.id.clone())).or(self.copied);
        let holder = self.lease.as_ref().map_or_else(
            || Holder {
                node: cx.settings.node.clone(),
                uid: cx.node.uid.clone(),
                turn: id.unwrap_or_else(|| TurnId("lost".to_owned())),
            },
            |(_, holder)| holder.clone(),
        );
        let plan = plan(cx, target, packages, self.static_pods);
        let lease = self.lease.map_or_else(|| plan.lease(), |(name, _)| name);
        let (reached, changed) = match stage {
            Stage::Back => (Step::Applying, false),
            Stage::Verifying => (Step::Verifying, true),
            Stage::Degraded if kind == TurnKind::Kubelet => (Step::Installing, true),
            Stage::Applying | Stage::Degraded => (Step::Applying, true),
        };
        let begun = Run { command: KubeadmCommand::Apply, succeeded: false };
        Turn {
            holder,
            kind,
            lease,
            plan,
            reached,
            direction: if stage == Stage::Back { Direction::Back(why.clone()) } else { Direction::Forward },
            degraded: (stage == Stage::Degraded).then_some(why),
            run: (kind == TurnKind::ControlPlane && may_have_run).then_some(begun),
            attempts: BTreeMap::new(),
            unit_serial: self.unit.map_or(0, |(_, serial)| serial),
            stopwatch: Stopwatch::started(cx.now),
            not_before: NotBefore::default(),
            kubelet_before: None,
            changed,
            skipped: BTreeSet::new(),
            retry: cx.node.request.retry.clone(),
            since: cx.now.unix,
        }
    }
}

/// A turn that was begun.
struct Begun {
    kind: TurnKind,
    target: Version,
    packages: Packages,
    stage: Stage,
}

/// How the last run of a tool stands that is seen, by its serial.
fn last(host: &HostSeen, word: &str) -> Option<ToolState> {
    let runs = host.tools.iter().filter(|(unit, _)| unit.ends_with(&format!("-{word}.service")));
    runs.max_by_key(|(unit, _)| unit_parts(unit).map(|(_, serial)| serial)).map(|(_, state)| *state)
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing has changed for good: back.
    Back,
    /// kubeadm runs once more.
    Applying,
    /// Kubelet is at the target: proven, then back into service.
    Verifying,
    /// Nobody can say.
    Degraded,
}

/// A plan as far as the host tells it. Nobody knows any more who installed which package: all stay as they are.
fn plan(cx: &Context<'_>, target: Version, installed: Packages, static_pods: Option<Version>) -> Plan {
    Plan {
        from: installed.clone(),
        to: installed,
        target,
        can_restore_packages: false,
        daemon_sets: cx.observed.pods.as_ref().map_or_else(BTreeSet::new, |pods| all_daemon_sets(&pods.pods)),
        csi_drivers: BTreeSet::new(),
        control_plane: cx.node.control_plane,
        static_pods,
        kubeadm_config: cx.observed.fleet.as_ref().and_then(|fleet| fleet.kubeadm_config),
        found_down: cx.node.ready != Ready::True,
        own_server: cx.observed.host.as_ref().is_some_and(|host| host.own_server),
    }
}

/// The turn and the serial in a unit's name: `PREFIX` `TURN` `-` `SERIAL` `-` `WORD` `.service`.
fn unit_parts(unit: &str) -> Option<(TurnId, u32)> {
    let name = unit.strip_prefix(UNIT_PREFIX)?.strip_suffix(".service")?;
    let words = crate::act::Tool::WORDS;
    let rest = words.iter().find_map(|word| name.strip_suffix(word)?.strip_suffix('-'))?;
    let (turn, serial) = rest.rsplit_once('-')?;
    let turn = Some(TurnId(turn.to_owned())).filter(TurnId::is_plain)?;
    Some((turn, serial.parse().ok()?))
}
