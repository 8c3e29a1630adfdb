//! Where faults were placed: each act and each observation, at each of its points, with each fault.

use std::collections::BTreeMap;

use crate::random::FAULTS;
use crate::schedule::Point;
use crate::world::World;

/// What a node's agent carries out: [`upgrade_core::act::Act::word`], the tools' words in the place of `run`, and `store`.
pub const ACTS: [&str; 32] = [
    "store",
    "look-at-host",
    "look-at-node",
    "look-at-pods",
    "look-at-control-plane",
    "look-at-fleet",
    "preflight",
    "claim",
    "renew",
    "prove",
    "release",
    "cordon",
    "uncordon",
    "forget-cordon",
    "mark",
    "unmark",
    "drain",
    "install-kubeadm",
    "install-kubelet",
    "kubeadm-upgrade",
    "repair-dpkg",
    "hold",
    "await",
    "back-up",
    "restore-manifests",
    "roll-back-manifests",
    "restore-kubelet-config",
    "restart-kubelet",
    "clean-up",
    "publish-current",
    "publish-api-server",
    "note-cri-socket",
];

/// What it observes without asking.
pub const OBSERVATIONS: [&str; 4] = ["observed-node", "observed-turn", "observed-drain", "observed-lease"];

/// An act or observation, a fault, and where they meet.
pub type Place = (&'static str, &'static str, Point);

/// Every place.
pub fn places() -> Vec<Place> {
    let acts = ACTS.into_iter().flat_map(|act| Point::ALL.map(|point| (act, point)));
    let seen =
        OBSERVATIONS.into_iter().flat_map(|fact| [Point::Before, Point::Answered].map(|point| (fact, point)));
    let all = acts.chain(seen);
    all.flat_map(|(what, point)| FAULTS.map(|fault| (what, fault, point))).collect()
}

/// How often faults struck at each place.
#[derive(Debug, Clone, Default)]
pub struct Coverage(BTreeMap<Place, usize>);

impl Coverage {
    /// Adds a run.
    pub fn add(&mut self, world: &World) {
        for place in &world.struck {
            *self.0.entry(*place).or_default() += 1;
        }
    }

    /// How many places were visited.
    pub fn visited(&self) -> usize {
        self.0.len()
    }

    /// Places that were never visited and have no reason for it.
    pub fn never(&self) -> Vec<Place> {
        places().into_iter().filter(|place| !self.0.contains_key(place) && reason(place).is_none()).collect()
    }

    /// Reasons that are none: the places they excuse were all visited.
    pub fn stale(&self) -> Vec<&'static str> {
        let missing = |unvisited: &&Unvisited| {
            places().iter().any(|place| unvisited.excuses(place) && !self.0.contains_key(place))
        };
        UNVISITED.iter().filter(|unvisited| !missing(unvisited)).map(|unvisited| unvisited.why).collect()
    }
}

/// Why some places are not visited.
struct Unvisited {
    what: Option<&'static str>,
    fault: Option<&'static str>,
    point: Option<Point>,
    why: &'static str,
}

impl Unvisited {
    fn excuses(&self, (what, fault, point): &Place) -> bool {
        self.what.is_none_or(|is| is == *what)
            && self.fault.is_none_or(|is| is == *fault)
            && self.point.is_none_or(|is| is == *point)
    }
}

/// Why a place is not visited, where there is a reason.
pub fn reason(place: &Place) -> Option<&'static str> {
    UNVISITED.iter().find(|unvisited| unvisited.excuses(place)).map(|unvisited| unvisited.why)
}

/// The list of places that ten thousand seeds do not visit.
const UNVISITED: &[Unvisited] = &[Unvisited {
    what: Some("roll-back-manifests"),
    fault: None,
    point: None,
    why: "it wants a kubeadm that was cut before its API server was Ready, and one that stays dead for six minutes since",
}];
