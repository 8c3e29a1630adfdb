//! Known failures of today's core under random schedules, by kind: how many of the first thousand seeds show each, and an
//! upper limit for a thousand of any other number. A thousand seeds fail the test if a kind arises more or less often than
//! it did, for then the core does something else; ten thousand if one no longer occurs: then its entry goes, together with
//! the fault. Which histories show a kind, the histories say; where none does, a few words say why
//! it arises.

use upgrade_sim::histories::all;

/// A kind of failure ([`upgrade_sim::verdict::Verdict::kinds`]).
pub(crate) struct Known {
    /// Its name.
    pub(crate) kind: &'static str,
    /// So many of the first thousand seeds show it.
    pub(crate) of_the_first: usize,
    /// At most this many of a thousand seeds show it.
    pub(crate) in_a_thousand: usize,
    /// Why it arises where no history shows it.
    note: &'static str,
}

const fn known(kind: &'static str, of_the_first: usize, in_a_thousand: usize) -> Known {
    alone(kind, of_the_first, in_a_thousand, "")
}

const fn alone(kind: &'static str, of_the_first: usize, in_a_thousand: usize, note: &'static str) -> Known {
    Known { kind, of_the_first, in_a_thousand, note }
}

impl Known {
    /// The histories that show it, or why it arises.
    pub(crate) fn why(&self) -> String {
        let numbers: Vec<&str> = all()
            .iter()
            .filter(|history| history.pinned().iter().copied().flatten().any(|kind| *kind == self.kind))
            .map(|history| history.number)
            .collect();
        if numbers.is_empty() { self.note.to_owned() } else { numbers.join(", ") }
    }
}

/// All of them.
pub(crate) const KNOWN: &[Known] = &[
    known("AddonsLast", 2, 4),
    known("Attempts", 0, 3),
    alone("Budget", 14, 16, "`ignore` of a control-plane node takes it out of the budget"),
    known("Cancel", 42, 47),
    known("CauseOfDegraded", 79, 89),
    known("CauseOfRefused", 207, 219),
    alone("ChangedInService", 1, 3, "a watch that goes quiet hides an uncordon"),
    known("ClaimsWithoutProgress", 57, 64),
    alone("ConfigNeverBack", 0, 2, "somebody applies a newer version in the middle of a run"),
    alone(
        "ControlPlaneAlone",
        1,
        4,
        "`ignore` opens a gate, and nothing but the Lease says that a control plane is at work",
    ),
    alone("ControlPlaneFirst", 4, 6, "`ignore` opens a gate"),
    alone(
        "ControlPlaneWholeAfter",
        1,
        3,
        "a control plane that was upgraded by hand is announced by its kubelet; a kubelet of a new minor restarts the static \
         pods when its turn is over",
    ),
    known("ControlPlaneWholeBefore", 44, 48),
    known("CordonedTime", 47, 51),
    alone("CurrentLast", 1, 3, "a node that is refused next does not say what it runs"),
    known("Drain", 2, 4),
    alone("HaltOnDegraded", 1, 3, "nothing but the Lease says that a degraded node halts"),
    alone("KubeletNotNewer", 1, 3, "a retry in a retreat goes forward, past the API server"),
    alone("KubeletFilesBack", 1, 3, "memory lost in a retreat"),
    known("LeaseHeld", 22, 25),
    alone("LeaseIdentity", 2, 4, "a watch that goes quiet hides that the Node is another one"),
    known("OrphanGivenBack", 4, 6),
    alone("PackageBack", 1, 3, "memory lost in a retreat"),
    known("Paused", 33, 36),
    alone("ReadyBeforeService", 2, 4, "a watch that goes quiet hides that the Node is not Ready"),
    alone("RefusedUntouched", 3, 6, "etcd restored: a Lease and a cordon come back that no turn explains"),
    alone("ReleaseLast", 1, 3, "etcd restored: a cordon comes back that no turn explains"),
    known("RequestsPerHour", 65, 74),
    known("StaticPodsAtOneVersion", 2, 4),
    known("Unfinished", 146, 155),
    known("Verb", 2, 4),
    known("VerifiedBeforeService", 130, 139),
    known("WayOut", 2, 4),
];

#[test]
fn every_known_failure_is_shown_by_a_history_or_says_why_it_arises() {
    for known in KNOWN {
        assert!(!known.why().is_empty(), "{}", known.kind);
    }
}
