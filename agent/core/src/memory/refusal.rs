//! Targets that are left alone: for good, until a person changes something, or for a while.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::count;
use crate::api::{Explanation, Version};
use crate::time::NotBefore;

/// A target that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// The target as it was asked for.
    pub target: String,
    /// The value of `retry` that was answered.
    pub retry: Option<String>,
    /// The value of `skip-checks` at that time, as sorted words.
    pub skip: BTreeSet<String>,
    /// Why.
    pub why: Explanation,
}

/// Leaving the node alone after a retreat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    /// The target that was retreated from.
    pub target: Version,
    /// How often in a row.
    #[serde(deserialize_with = "count::one")]
    pub retreats: u32,
    /// When the wait is over.
    pub until: NotBefore,
    /// The value of `retry` that was answered; a new one ends the wait.
    pub retry: Option<String>,
    /// Why the last retreat was made.
    pub why: Explanation,
}

/// After so many retreats in a row a target is refused until `retry` (design rule 8).
pub const MAX_RETREATS: u32 = 3;
