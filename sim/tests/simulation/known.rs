//! Known failures of today's core under random schedules, by kind, each with an upper limit for a thousand seeds. From a
//! thousand seeds on the test fails if a kind exceeds its limit, from ten thousand on also if one no longer occurs: then its
//! entry goes, together with the fault. Which histories show a kind, the histories say; where none does, a few words say why
//! it arises.

use upgrade_sim::histories::all;

/// A kind of failure ([`upgrade_sim::verdict::Verdict::kinds`]).
pub(crate) struct Known {
    /// Its name.
    pub(crate) kind: &'static str,
    /// At most this many of a thousand seeds show it.
    pub(crate) in_a_thousand: usize,
    /// Why it arises where no history shows it.
    note: &'static str,
}

const fn known(kind: &'static str, in_a_thousand: usize) -> Known {
    Known { kind, in_a_thousand, note: "" }
}

const fn alone(kind: &'static str, in_a_thousand: usize, note: &'static str) -> Known {
    Known { kind, in_a_thousand, note }
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
    known("Attempts", 3),
    alone("Budget", 16, "`ignore` of a control-plane node takes it out of the budget"),
    known("Cancel", 7),
    known("CauseOfDegraded", 89),
    known("CauseOfRefused", 219),
    alone("ChangedInService", 3, "a watch that goes quiet hides an uncordon"),
    known("ClaimsWithoutProgress", 66),
    alone("ConfigNeverBack", 2, "somebody applies a newer version in the middle of a run"),
    alone(
        "ControlPlaneAlone",
        2,
        "`ignore` opens a gate, and nothing but the Lease says that a control plane is at work",
    ),
    alone("ControlPlaneFirst", 12, "`ignore` opens a gate"),
    alone(
        "ControlPlaneWholeAfter",
        4,
        "a control plane that was upgraded by hand is announced by its kubelet; a kubelet of a new minor restarts the static \
         pods when its turn is over",
    ),
    known("ControlPlaneWholeBefore", 48),
    known("CordonedTime", 52),
    alone("CurrentLast", 3, "a node that is refused next does not say what it runs"),
    known("Drain", 2),
    alone("HaltOnDegraded", 3, "nothing but the Lease says that a degraded node halts"),
    alone("KubeletNotNewer", 3, "a retry in a retreat goes forward, past the API server"),
    alone("KubeletFilesBack", 3, "memory lost in a retreat"),
    known("LeaseHeld", 6),
    alone("LeaseIdentity", 3, "a watch that goes quiet hides that the Node is another one"),
    known("OrphanGivenBack", 6),
    alone("PackageBack", 3, "memory lost in a retreat"),
    known("Paused", 36),
    alone("ReadyBeforeService", 2, "a watch that goes quiet hides that the Node is not Ready"),
    alone("RefusedUntouched", 7, "etcd restored: a Lease and a cordon come back that no turn explains"),
    alone("ReleaseLast", 3, "etcd restored: a cordon comes back that no turn explains"),
    known("RequestsPerHour", 74),
    known("StaticPodsAtOneVersion", 4),
    known("Unfinished", 156),
    known("Verb", 3),
    known("VerifiedBeforeService", 129),
    known("WayOut", 4),
];

#[test]
fn every_known_failure_is_shown_by_a_history_or_says_why_it_arises() {
    for known in KNOWN {
        assert!(!known.why().is_empty(), "{}", known.kind);
    }
}
