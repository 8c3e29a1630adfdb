//! What preflight found.

use crate::api::{Check, TurnKind, Version};
use crate::memory::Plan;
use crate::time::Mono;

/// What one check came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing stands in the way; the text says what was seen.
    Passed(String),
    /// Nothing that stops an upgrade; the text says what people should know.
    Noted(String),
    /// It will not go right until a person changes something; the text says what and how.
    Failed(String),
    /// It will come right by itself (another node is not ready yet); asked again later.
    Pending(String),
}

/// A check and what it came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub check: Check,
    /// What was seen.
    pub outcome: Outcome,
}

/// What one run of preflight saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// The target it was run for.
    pub target: Version,
    /// The turn it was run for.
    pub kind: TurnKind,
    /// The value of `retry` when it began.
    pub retry: Option<String>,
    /// When it ended.
    pub at: Mono,
    /// The packages, resolved to exact versions; none where they could not be.
    pub plan: Option<Plan>,
    /// Every check that was made.
    pub findings: Vec<Finding>,
}
