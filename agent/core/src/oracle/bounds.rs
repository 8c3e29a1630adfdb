//! Rules 8, 9 and 12 and section 8: what must not go on for ever, or be done again and again.
//!
//! Time counts while a node's agent lives: a dead one waits for nobody.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::fleet::Fleet;
use super::record::Node;
use super::{CUT_OFF, Expectations, FLEET, Judged, MEMORY_LOST, Rule, Violation, What, Who};
use crate::api::{Phase, Reason};

const HOUR: u64 = 3_600_000;
/// What one [`What::Requested`] covers.
const MINUTE: u64 = 60_000;

/// Claims within an hour that may lead to nothing: at intervals that grow from seconds to five minutes there are
/// seventeen, and a restart of the agent begins with short ones again.
const CLAIMS_AN_HOUR: usize = 20;

/// A Lease that no turn explains is found by a consistent read at the start or at intervals of up to five minutes; twice
/// that, in milliseconds.
const IDLE_LEASE: u64 = 600_000;

/// Within this time a degraded node has looked at a newer target: a download, and preflight's own limits, in milliseconds.
const WAY_OUT: u64 = 900_000;

/// How long `current` may follow a Lease that was given back, in milliseconds: an outage of some minutes, and what is waited
/// for after it.
const ANNOUNCED: u64 = 1_800_000;

/// Whoever waits looks again at intervals of up to five minutes, in milliseconds: what bars a claim for longer is known.
const LOOKS_AGAIN: u64 = 300_000;

/// Runs of one tool that may fail between two words of people: three tries on each of three ways there, and three back.
const FAILED_RUNS: u32 = 12;

/// Retreats between two words of people: three that the drain gives up, and as many that give way to others.
const RETREATS: u32 = 6;

/// A wait, since when the agent has lived for so long, and the event it began with.
#[derive(Debug, Clone, Copy)]
struct Wait {
    lived: u64,
    by: usize,
}

/// What is counted of one node.
#[derive(Debug, Default)]
struct Counted {
    /// How long its agent lived, and since when it lives.
    lived: u64,
    alive: Option<u64>,
    dead: bool,
    /// Since it was cordoned by its agent, and since something went forward meanwhile.
    cordoned: Option<Wait>,
    progress: Option<Wait>,
    phases: BTreeSet<Phase>,
    idle_lease: Option<Wait>,
    way_out: Option<Wait>,
    unannounced: Option<Wait>,
    is_cut_off: bool,
    /// Whether its agent lost its memory and has said nothing since.
    is_lost: bool,
    claims: VecDeque<u64>,
    failed: BTreeMap<&'static str, u32>,
    retreats: u32,
    requests: VecDeque<(u64, u32)>,
    /// Since when nothing happened that requests are needed for.
    quiet: u64,
}

impl Counted {
    fn lived(&self, at: u64) -> u64 {
        self.lived + self.alive.map_or(0, |alive| at.saturating_sub(alive))
    }

    /// Its agent knows of no turn but from the API, for its memory is lost or an etcd was put back under it, and its kubelet's API
    /// server is gone with its member of etcd, or there is none at all.
    fn cannot_say(&self, fleet: &Fleet<'_>, name: &str) -> bool {
        let knows = |node: &Node| !self.is_lost && !node.is_in(Phase::Idle);
        fleet.nodes.get(name).is_some_and(|node| is_unserved(fleet, node) && !knows(node))
    }

    fn waited(&self, wait: Option<Wait>, at: u64) -> u64 {
        wait.map_or(0, |wait| self.lived(at).saturating_sub(wait.lived))
    }

    fn live(&mut self, at: u64, what: &What) {
        match what {
            What::AgentDied => {
                self.lived = self.lived(at);
                self.alive = None;
                self.dead = true;
            }
            What::AgentStarted => self.dead = false,
            _ => {}
        }
        if !self.dead && self.alive.is_none() {
            self.alive = Some(at);
        }
    }

    /// The waits that are over by this time; each is told once.
    fn overdue(&mut self, fleet: &Fleet<'_>, name: &str, at: u64, wanted: &Expectations) -> Vec<Violation> {
        let mut broken = Vec::new();
        let waits = [self.progress, self.cordoned, self.idle_lease, self.way_out, self.unannounced];
        let [progress, cordoned, idle, way_out, unannounced] = waits.map(|wait| self.waited(wait, at));
        let mut tell = |rule, waited: u64, wait: Option<Wait>, what: &str| {
            let message = format!("for {} min {what}", waited / MINUTE);
            broken.push(fleet.violation(rule, (name, at), message, wait.map(|wait| wait.by)));
        };
        if self.is_cut_off || self.cannot_say(fleet, name) {
            // Nobody can uncordon it meanwhile, or say so.
        } else if progress > wanted.cordoned_idle {
            tell(Rule::CordonedTime, progress, self.progress.take(), "it was cordoned and nothing went on");
        } else if cordoned > wanted.cordoned {
            tell(Rule::CordonedTime, cordoned, self.cordoned.take(), "it was cordoned");
        }
        // What it does while it is cut off it cannot tell.
        if idle > IDLE_LEASE && !self.is_cut_off && !self.cannot_say(fleet, name) {
            tell(Rule::OrphanGivenBack, idle, self.idle_lease, "it held a Lease and did nothing");
            // Looked at again when that Lease is gone.
            self.idle_lease = Some(Wait { lived: u64::MAX, by: 0 });
        }
        // A target that it cannot read is not answered.
        if way_out > WAY_OUT && !fleet.nodes.get(name).is_some_and(|node| is_unserved(fleet, node)) {
            tell(
                Rule::WayOut,
                way_out,
                self.way_out.take(),
                "it was degraded and did not answer a newer target",
            );
        }
        if unannounced > ANNOUNCED {
            let what = "it was back in service and `current` did not say so";
            tell(Rule::CurrentLast, unannounced, self.unannounced.take(), what);
        }
        broken
    }
}

/// Whether no API server answers this node: there is none, or its kubelet's own is gone with its member of etcd.
fn is_unserved(fleet: &Fleet<'_>, node: &Node) -> bool {
    let stopped = |node: &Node| node.static_pods.get("kube-apiserver").is_some_and(|pod| pod.is.is_none());
    let nobody = fleet.nodes.values().filter(|node| node.control_plane).all(stopped);
    nobody || node.own_server.is_some() && node.etcd.is_some_and(|etcd| !etcd.is)
}

/// What is counted of all nodes.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    nodes: BTreeMap<String, Counted>,
    /// When people last changed the policy.
    policy: u64,
}

impl Bounds {
    /// What was waited for too long by the time of an event.
    pub(super) fn overdue(&mut self, judged: &Judged<'_>) -> Vec<Violation> {
        let (name, at) = (&judged.event.node, judged.event.at);
        let counted = self.nodes.get_mut(name);
        counted.map_or_else(Vec::new, |node| node.overdue(judged.fleet, name, at, judged.expectations))
    }

    /// Judges an event before it is taken in.
    pub(super) fn judge(&mut self, judged: &Judged<'_>) -> Vec<Violation> {
        let event = judged.event;
        if event.node == FLEET {
            if matches!(event.what, What::PolicySet { .. }) {
                self.policy = event.at;
            }
            return Vec::new();
        }
        if !self.nodes.contains_key(&event.node) {
            self.nodes.insert(event.node.clone(), Counted::default());
        }
        let Some(counted) = self.nodes.get_mut(&event.node) else { return Vec::new() };
        counted.live(event.at, &event.what);
        match event.what {
            What::WentWrong { what: CUT_OFF } => counted.is_cut_off = true,
            What::PutRight { what: CUT_OFF } => {
                counted.is_cut_off = false;
                counted.idle_lease = None;
            }
            What::WentWrong { what: MEMORY_LOST } => counted.is_lost = true,
            What::Reported { .. } => counted.is_lost = false,
            _ => {}
        }
        cordoned(counted, judged);
        way_out(counted, judged);
        unannounced(counted, judged);
        let mut broken: Vec<_> = claims(counted, judged).into_iter().collect();
        broken.extend(barred(judged));
        broken.extend(attempts(counted, judged));
        broken.extend(requests(counted, judged, self.policy));
        broken
    }

    /// Notes what an event left behind, once it was taken in.
    pub(super) fn look(&mut self, judged: &Judged<'_>) {
        let Some(counted) = self.nodes.get_mut(&judged.event.node) else { return };
        let node = judged.node();
        let held = judged.fleet.seen_held_by(&judged.event.node).map(|(_, held)| held.by);
        let at_rest = node.phase.is_none_or(|phase| matches!(phase.is, Phase::Idle | Phase::Refused));
        let same = node
            .tenure
            .as_ref()
            .is_none_or(|tenure| node.uid.as_ref().is_none_or(|uid| uid.is == tenure.uid));
        let idle = at_rest && same && node.deleted.is_none() && node.tool.is_none();
        let held = held.filter(|_| idle && node.cordoned_by_agent().is_none());
        if held.is_some() && counted.idle_lease.is_none() {
            judged.arose(Rule::OrphanGivenBack);
        }
        let lived = counted.lived(judged.event.at);
        counted.idle_lease = held.and_then(|_| counted.idle_lease.or(Some(Wait { lived, by: judged.index })));
    }

    /// What still waits when the watching ends.
    pub(super) fn end(&mut self, fleet: &Fleet<'_>, until: u64, wanted: &Expectations) -> Vec<Violation> {
        let nodes = self.nodes.iter_mut();
        nodes.flat_map(|(name, counted)| counted.overdue(fleet, name, until, wanted)).collect()
    }
}

/// A person's word, or something from outside, begins a wait anew.
fn is_word(what: &What) -> bool {
    matches!(
        what,
        What::TargetSet(_)
            | What::Asked
            | What::Skips(_)
            | What::Deleted
            | What::Joined { .. }
            | What::WentWrong { .. }
            | What::PutRight { .. }
            | What::LeaseReleased { by: Who::Person, .. }
            | What::PackageInstalled { by: Who::Person, .. }
    )
}

fn is_progress(counted: &mut Counted, what: &What) -> bool {
    match what {
        What::ToolStarted { .. }
        | What::ToolEnded { .. }
        | What::PackageInstalled { .. }
        | What::PodGone { .. }
        | What::KubeletRestarted => true,
        // Told in turns, phases are no progress.
        What::Reported { phase, .. } => counted.phases.insert(*phase),
        _ => false,
    }
}

fn cordoned(counted: &mut Counted, judged: &Judged<'_>) {
    let what = &judged.event.what;
    let now = Some(Wait { lived: counted.lived(judged.event.at), by: judged.index });
    let stands = judged.node().cordoned_by_agent().is_some();
    match what {
        What::Cordoned { by: Who::Agent(_) } if !stands => {
            judged.arose(Rule::CordonedTime);
            counted.phases.clear();
            (counted.cordoned, counted.progress) = (now, now);
        }
        What::Uncordoned { .. }
        | What::Deleted
        | What::Reported { phase: Phase::Degraded, .. }
        | What::LeaseMarked { degraded: true, .. } => {
            (counted.cordoned, counted.progress) = (None, None);
        }
        _ if !stands => {}
        What::Reported { .. } if judged.node().is_in(Phase::Degraded) => {
            (counted.cordoned, counted.progress) = (now, now);
        }
        what if is_word(what) && counted.cordoned.is_some() => {
            (counted.cordoned, counted.progress) = (now, now);
        }
        what if counted.progress.is_some() && is_progress(counted, what) => counted.progress = now,
        _ => {}
    }
}

/// A newer target that can be reached is answered: another phase, another reason or a tool.
fn way_out(counted: &mut Counted, judged: &Judged<'_>) {
    let node = judged.node();
    match &judged.event.what {
        What::TargetSet(Some(target)) if node.is_in(Phase::Degraded) => {
            let newer = node.failed_at.is_some_and(|failed_at| failed_at < *target);
            // Where an earlier new target waits or was refused, the answer to this one may read the same.
            let answered = matches!(
                node.reason,
                Some(Reason::PreflightFailed | Reason::PreflightPending | Reason::Retrying)
            );
            let open = node.kubelet().is_some_and(|from| !node.cannot_reach(from, *target));
            counted.way_out = None;
            if newer && open && !answered && node.deleted.is_none() {
                judged.arose(Rule::WayOut);
                counted.way_out = Some(Wait { lived: counted.lived(judged.event.at), by: judged.index });
            }
        }
        What::TargetSet(_)
        | What::Deleted
        | What::Reported { .. }
        | What::ToolStarted { .. }
        | What::LeaseReleased { .. } => counted.way_out = None,
        _ => {}
    }
}

/// A node that went back into service with another kubelet says so.
fn unannounced(counted: &mut Counted, judged: &Judged<'_>) {
    let node = judged.node();
    match &judged.event.what {
        What::LeaseReleased { by: Who::Agent(_), .. }
            if node.is_back_with_another_kubelet()
                && node.current != node.kubelet()
                && node.current != node.runs() =>
        {
            counted.unannounced = Some(Wait { lived: counted.lived(judged.event.at), by: judged.index });
        }
        What::CurrentWritten { .. }
        | What::Deleted
        | What::LeaseTaken { .. }
        | What::Cordoned { .. }
        | What::Ready { ready: false, .. }
        | What::Reported { phase: Phase::Degraded, .. }
        | What::PackageInstalled { by: Who::Person, .. } => counted.unannounced = None,
        _ => {}
    }
}

/// A degraded node claims a Lease that it has lost to put its mark there.
fn only_to_mark(judged: &Judged<'_>) -> bool {
    let after =
        judged.fleet.history[judged.index + 1..].iter().filter(|event| event.node == judged.event.node);
    let next = after.map(|event| &event.what).find(|what| {
        use What::{Cordoned, Evicted, LeaseMarked, LeaseReleased, ToolStarted};
        matches!(
            what,
            LeaseMarked { .. } | LeaseReleased { .. } | Cordoned { .. } | Evicted { .. } | ToolStarted { .. }
        )
    });
    matches!(next, Some(What::LeaseMarked { degraded: true, .. }))
}

/// A Lease is claimed anew for a turn under way, because somebody took it away or etcd was put back: whether it may, other rules say.
fn is_known(judged: &Judged<'_>, claimed: &str) -> bool {
    let before = judged.fleet.history[..judged.index].iter().filter(|event| event.node == judged.event.node);
    before
        .map(|event| &event.what)
        .any(|what| matches!(what, What::LeaseTaken { turn, .. } if turn == claimed))
}

/// Whoever could not go does not claim: what stood in its way for so long was seen before the claim.
fn barred(judged: &Judged<'_>) -> Option<Violation> {
    let What::LeaseTaken { turn, .. } = &judged.event.what else { return None };
    let past_return = judged.node().tenure.as_ref().is_some_and(|tenure| tenure.past_return.is_some());
    if past_return || is_known(judged, turn) || only_to_mark(judged) {
        return None;
    }
    let patient = Expectations { notice: LOOKS_AGAIN, ..*judged.expectations };
    let premises = RefCell::default();
    let patient = Judged { expectations: &patient, premises: &premises, ..*judged };
    let bar = super::begin::bar(&patient)?;
    Some(Violation {
        rule: Rule::ClaimsWithoutProgress,
        message: format!("it claimed, though {}", bar.message),
        ..bar
    })
}

fn claims(counted: &mut Counted, judged: &Judged<'_>) -> Option<Violation> {
    let at = judged.event.at;
    match &judged.event.what {
        What::LeaseTaken { .. } => {
            judged.arose(Rule::ClaimsWithoutProgress);
            counted.claims.push_back(at);
            while counted.claims.front().is_some_and(|first| at - first > HOUR) {
                counted.claims.pop_front();
            }
            let claims = counted.claims.len();
            (claims > CLAIMS_AN_HOUR).then(|| {
                counted.claims.clear();
                let message = format!("{claims} claims within an hour led to nothing");
                judged.broken(Rule::ClaimsWithoutProgress, message, &[])
            })
        }
        // The last one led to something.
        What::Cordoned { by: Who::Agent(_) } | What::ToolStarted { .. } => {
            let begun = judged.node().tenure.as_ref().is_none_or(|tenure| tenure.begun.is_some());
            if !begun {
                counted.claims.pop_back();
            }
            None
        }
        What::TargetSet(_) | What::Asked | What::Skips(_) | What::Deleted => {
            counted.claims.clear();
            None
        }
        _ => None,
    }
}

fn attempts(counted: &mut Counted, judged: &Judged<'_>) -> Option<Violation> {
    let what = &judged.event.what;
    if is_word(what) || matches!(what, What::CurrentWritten { .. }) {
        counted.failed.clear();
        counted.retreats = 0;
        return None;
    }
    match what {
        What::ToolEnded { tool, ok: false } => {
            judged.arose(Rule::Attempts);
            let failed = counted.failed.entry(tool).or_default();
            *failed += 1;
            (*failed == FAILED_RUNS + 1).then(|| {
                let message = format!("{tool} failed {failed} times, and nobody asked for another try");
                judged.broken(Rule::Attempts, message, &[])
            })
        }
        What::LeaseReleased { by: Who::Agent(_), .. } => {
            let tenure = judged.node().tenure.as_ref()?;
            if tenure.begun.is_none() || tenure.past_return.is_some() || tenure.is_at_rest {
                return None;
            }
            judged.arose(Rule::Attempts);
            counted.retreats += 1;
            (counted.retreats == RETREATS + 1).then(|| {
                let message =
                    format!("it went back {} times, and nobody asked for another try", counted.retreats);
                judged.broken(Rule::Attempts, message, &[])
            })
        }
        _ => None,
    }
}

/// Counted while the node holds no Lease, is not at work, and people change nothing.
fn requests(counted: &mut Counted, judged: &Judged<'_>, policy: u64) -> Option<Violation> {
    let (at, what) = (judged.event.at, &judged.event.what);
    let What::Requested { requests } = what else {
        let begins = matches!(
            what,
            What::LeaseTaken { .. }
                | What::LeaseReleased { .. }
                | What::Cordoned { .. }
                | What::Uncordoned { .. }
                | What::ToolEnded { .. }
                | What::AgentStarted
                | What::Booted
                | What::Ignored(_)
        );
        if begins || is_word(what) {
            counted.quiet = at;
            counted.requests.clear();
        }
        return None;
    };
    let node = judged.node();
    // A turn whose Lease was taken away has still to come to its end.
    let at_work = judged.fleet.held_by(&judged.event.node).is_some()
        || node.tenure.is_some()
        || node.cordoned_by_agent().is_some()
        || node.tool.is_some();
    if at_work || at.saturating_sub(MINUTE) < counted.quiet.max(policy) {
        counted.requests.clear();
        return None;
    }
    judged.arose(Rule::RequestsPerHour);
    counted.requests.push_back((at, *requests));
    while counted.requests.front().is_some_and(|(first, _)| at - first >= HOUR) {
        counted.requests.pop_front();
    }
    let sum: u32 = counted.requests.iter().map(|(_, requests)| requests).sum();
    (sum > judged.expectations.requests_an_hour).then(|| {
        counted.requests.clear();
        let message = format!("{sum} requests within an hour in which it had nothing to do");
        judged.broken(Rule::RequestsPerHour, message, &[])
    })
}
