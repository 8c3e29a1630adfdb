//! What today's core is known to do wrong under random schedules: each kind with the histories that show why, and how many of
//! a thousand seeds show it at the most. The build counts them; one that arises more often fails it, and so does one that
//! no longer arises among ten thousand seeds, so that its entry goes together with the fault.

/// A kind of failure ([`upgrade_sim::verdict::Verdict::kinds`]).
pub(crate) struct Known {
    /// Its name.
    pub(crate) kind: &'static str,
    /// So many of a thousand seeds show it at the most.
    pub(crate) in_a_thousand: usize,
    /// The numbers of the histories behind it, or why in a few words.
    pub(crate) why: &'static str,
}

const fn known(kind: &'static str, in_a_thousand: usize, why: &'static str) -> Known {
    Known { kind, in_a_thousand, why }
}

/// All of them.
pub(crate) const KNOWN: &[Known] = &[
    known("Attempts", 5, "holding packages is tried again without a pause"),
    known("Cancel", 9, "A4, A5"),
    known("CauseOfDegraded", 100, "A12, A20, A24"),
    known("CauseOfRefused", 260, "A23, A28 and minors of several control-plane nodes"),
    known("ChangedInService", 2, "a watch that goes quiet hides an uncordon"),
    known("ClaimsWithoutProgress", 70, "A8, A13, A14"),
    known("ConfigNeverBack", 3, "A10"),
    known("ControlPlaneAlone", 3, "A14"),
    known("ControlPlaneFirst", 14, "A14"),
    known("ControlPlaneWholeAfter", 3, "A17"),
    known("ControlPlaneWholeBefore", 8, "E19"),
    known("CordonedTime", 50, "A11, A16"),
    known("CurrentLast", 6, "E5"),
    known("Drain", 6, "E5"),
    known("HaltOnDegraded", 2, "nothing but the Lease says that a degraded node halts"),
    known("KubeletFilesBack", 4, "E3"),
    known("LeaseHeld", 4, "A6"),
    known("LeaseIdentity", 2, "A16"),
    known("OrphanGivenBack", 9, "A9"),
    known("PackageBack", 5, "E3"),
    known("Paused", 35, "A1, E23"),
    known("ReadyBeforeService", 2, "a watch that goes quiet hides that the Node is not Ready"),
    known("RefusedUntouched", 8, "E5"),
    known("ReleaseLast", 6, "E5"),
    known("RequestsPerHour", 100, "A13"),
    known("StaticPodsAtOneVersion", 3, "A5"),
    known("Unfinished", 160, "A2, A9, A16, A18, E6, E26, E33, E34"),
    known("VerifiedBeforeService", 170, "A12, and a pod keeps its Ready over a restart of kubelet"),
    known("WayOut", 4, "E21"),
];

/// Whether a kind is known.
pub(crate) fn is_known(kind: &str) -> bool {
    KNOWN.iter().any(|known| known.kind == kind)
}
