//! What decides about an outcome: minutes that were run count for this source alone.

use std::path::Path;

use anyhow::Result;
use upgrade_mutants::files;

/// The rules, the daemon's readers and what they stand on, and how inputs are made and judged. The corpus is what comes of it.
const DECIDING: [&str; 10] = [
    "agent/core/src",
    "agent/src/cluster",
    "agent/src/config",
    "agent/src/config.rs",
    "agent/src/journal",
    "agent/src/journal.rs",
    "agent/src/durable.rs",
    "agent/src/show.rs",
    "fuzz/src",
    "Cargo.lock",
];

/// The hash of the files that decide, as they stand, committed or not.
pub(crate) fn hash(root: &Path) -> Result<String> {
    upgrade_mutants::hash(root, &files(root)?, &DECIDING)
}
