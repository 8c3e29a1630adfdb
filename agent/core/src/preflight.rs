//! What can be known before anything is touched (design section 5), and what follows from it.

use std::collections::BTreeSet;

use crate::api::Check;
use crate::memory::Hop;
use crate::observed::{Finding, Findings, Outcome};

/// What follows from a run of preflight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Go on with these packages; `skipped` failed but were asked to be passed over.
    Go {
        /// The resolved packages.
        hop: Box<Hop>,
        /// Failed checks that `skip-checks` named.
        skipped: Vec<Check>,
    },
    /// A person must act: the first failed check and everything that failed.
    Refuse {
        /// The check whose word becomes the reason.
        check: Check,
        /// All failures in one text.
        message: String,
    },
    /// Ask again later.
    NotYet(String),
}

/// Judges findings: failures refuse unless skipped, pending ones wait, and only a resolved hop goes on.
pub fn judge(findings: &Findings, skip: &BTreeSet<Check>) -> Verdict {
    let mut failures: Vec<(Check, &str)> = Vec::new();
    let mut pending: Vec<&str> = Vec::new();
    let mut skipped = Vec::new();
    for Finding { check, outcome } in &findings.findings {
        let skips = skip.contains(check) && check.may_be_skipped();
        match outcome {
            Outcome::Passed(_) => {}
            Outcome::Failed(_) | Outcome::Pending(_) if skips => skipped.push(*check),
            Outcome::Failed(text) => failures.push((*check, text)),
            Outcome::Pending(text) => pending.push(text),
        }
    }
    if let Some(&(check, _)) = failures.first() {
        let message =
            failures.iter().map(|(check, text)| format!("{check}: {text}")).collect::<Vec<_>>().join("; ");
        return Verdict::Refuse { check, message };
    }
    if !pending.is_empty() {
        return Verdict::NotYet(pending.join("; "));
    }
    match &findings.hop {
        Some(hop) => Verdict::Go { hop: Box::new(hop.clone()), skipped },
        None => Verdict::Refuse {
            check: Check::Packages,
            message: format!("Packages: no packages for {} were resolved", findings.target),
        },
    }
}
