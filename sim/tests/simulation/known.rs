//! What today's core is known to do wrong under random schedules: each kind with the histories that show why. The build counts
//! them; one that no longer arises among a thousand seeds fails it, so that its entry goes together with the fault.

/// A kind of failure ([`upgrade_sim::verdict::Verdict::kinds`]) and the numbers of the histories behind it.
pub(crate) const KNOWN: &[(&str, &str)] = &[];

/// Whether a kind is known.
pub(crate) fn is_known(kind: &str) -> bool {
    KNOWN.iter().any(|(known, _)| *known == kind)
}
