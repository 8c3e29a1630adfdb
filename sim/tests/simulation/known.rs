//! What today's core is known to do wrong under random schedules: each kind with the histories that show why. The build counts
//! them; one that no longer arises among a thousand seeds fails it, so that its entry goes together with the fault.

/// A kind of failure ([`upgrade_sim::verdict::Verdict::kinds`]) and the numbers of the histories behind it.
pub(crate) const KNOWN: &[(&str, &str)] = &[
    ("Attempts", "holding packages is tried again without a pause"),
    ("Cancel", "A5"),
    ("CauseOfDegraded", "A12, A24"),
    ("CauseOfRefused", "A23, A28"),
    ("ClaimsWithoutProgress", "A8, A13, A14"),
    ("ControlPlaneFirst", "A14"),
    ("ControlPlaneWholeBefore", "E19"),
    ("CordonedTime", "A11, A16"),
    ("Drain", "E5"),
    ("OrphanGivenBack", "A9"),
    ("Paused", "A1"),
    ("RefusedUntouched", "E5"),
    ("ReleaseLast", "E5"),
    ("RequestsPerHour", "A13"),
    ("Unfinished", "A2, A9"),
    ("VerifiedBeforeService", "a pod keeps its Ready over a restart of kubelet"),
];

/// Whether a kind is known.
pub(crate) fn is_known(kind: &str) -> bool {
    KNOWN.iter().any(|(known, _)| *known == kind)
}
