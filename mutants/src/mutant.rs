//! Mutants, and what identifies one: nothing that an edit elsewhere in its file changes.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

use upgrade_mutants::digest;

/// One mutant as cargo-mutants lists it.
#[derive(Debug, Deserialize)]
struct Listed {
    /// `file:line:column: description`.
    name: String,
    file: String,
    diff: String,
}

/// A mutant of the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mutant {
    /// `file: description`, and for another one like it in the same file `#2` and so on: no line numbers.
    pub(crate) id: String,
    /// What cargo-mutants calls it, with line and column.
    pub(crate) name: String,
    /// What it changes.
    pub(crate) diff: String,
    /// Its place in the list, and how long that is: as `--shard` this is the one way to have cargo-mutants try this one
    /// alone, for its `--re` lets others through.
    pub(crate) place: (usize, usize),
}

impl Mutant {
    /// The lines that it changes, without what stands around them.
    pub(crate) fn change(&self) -> String {
        let changed = |line: &&str| {
            line.starts_with(['-', '+']) && !line.starts_with("---") && !line.starts_with("+++")
        };
        self.diff.lines().filter(changed).fold(String::new(), |text, line| format!("{text}  {line}\n"))
    }
}

/// Reads what `cargo mutants --list --json` prints.
pub(crate) fn read_list(json: &str) -> Result<Vec<Mutant>> {
    let listed: Vec<Listed> = serde_json::from_str(json).context("the list of cargo-mutants")?;
    let count = listed.len();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let identified = listed.into_iter().enumerate().map(|(place, Listed { name, file, diff })| {
        let id = format!("{file}: {}", description(&name, &file));
        let ordinal = seen.entry(id.clone()).and_modify(|count| *count += 1).or_insert(1);
        let id = if *ordinal == 1 { id } else { format!("{id} #{ordinal}") };
        Mutant { id, name, diff, place: (place, count) }
    });
    Ok(identified.collect())
}

/// The name without file, line and column, on one line: what stands in it may be code of several.
fn description(name: &str, file: &str) -> String {
    let rest = name.strip_prefix(file).unwrap_or(name);
    let text = rest.trim_start_matches(|c: char| c == ':' || c.is_ascii_digit());
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// These in an order that the seed draws: the same on every machine, and hardly another when some are added.
pub(crate) fn drawn(mut mutants: Vec<Mutant>, seed: u64) -> Vec<Mutant> {
    mutants.sort_by_cached_key(|mutant| digest([seed.to_string().as_bytes(), mutant.id.as_bytes()]));
    mutants
}

#[cfg(test)]
impl Mutant {
    /// One of which only the identity matters.
    pub(crate) fn called(id: &str) -> Self {
        Self { id: id.to_owned(), name: String::new(), diff: String::new(), place: (0, 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "agent/core/src/slots.rs";

    fn list(names: &[&str]) -> Vec<Mutant> {
        let listed = names.iter().map(|name| serde_json::json!({"name": name, "file": FILE, "diff": ""}));
        read_list(&listed.collect::<serde_json::Value>().to_string()).unwrap()
    }

    fn ids(mutants: &[Mutant]) -> Vec<&str> {
        mutants.iter().map(|mutant| mutant.id.as_str()).collect()
    }

    #[test]
    fn a_mutant_keeps_its_identity_when_lines_are_added_above() {
        let before = list(&["agent/core/src/slots.rs:120:60: replace && with || in is_stuck"]);
        let after = list(&["agent/core/src/slots.rs:131:9: replace && with || in is_stuck"]);
        assert_eq!(ids(&before), ["agent/core/src/slots.rs: replace && with || in is_stuck"]);
        assert_eq!(ids(&before), ids(&after));
    }

    #[test]
    fn those_that_read_alike_are_counted() {
        let alike = list(&[
            "agent/core/src/slots.rs:120:60: replace && with || in is_stuck",
            "agent/core/src/slots.rs:120:35: replace && with || in is_stuck",
            "agent/core/src/slots.rs:120:48: replace != with == in is_stuck",
        ]);
        assert_eq!(
            ids(&alike),
            [
                "agent/core/src/slots.rs: replace && with || in is_stuck",
                "agent/core/src/slots.rs: replace && with || in is_stuck #2",
                "agent/core/src/slots.rs: replace != with == in is_stuck",
            ]
        );
    }

    #[test]
    fn what_a_mutant_changes_is_told_in_few_lines() {
        let diff = "--- a.rs\n+++ delete ! in f\n@@ -1,3 +1,3 @@\n fn f() {\n-    !x\n+     x\n }\n";
        let mutant = Mutant { diff: diff.to_owned(), ..Mutant::called("a.rs: delete ! in f") };
        assert_eq!(mutant.change(), "  -    !x\n  +     x\n");
    }

    #[test]
    fn an_identity_is_one_line() {
        let guard =
            list(&["agent/core/src/slots.rs:9:5: replace match guard a\n    && b with true in standing"]);
        assert_eq!(
            ids(&guard),
            ["agent/core/src/slots.rs: replace match guard a && b with true in standing"]
        );
    }

    #[test]
    fn a_seed_draws_the_same_whatever_order_they_come_in() {
        let names: Vec<String> =
            (0..50).map(|number| format!("agent/core/src/slots.rs:1:1: delete arm {number} in f")).collect();
        let mut mutants = list(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let first = drawn(mutants.clone(), 7);
        mutants.reverse();
        assert_eq!(first, drawn(mutants.clone(), 7));
        assert_ne!(first, drawn(mutants, 8));
        assert!(first[0].id.ends_with("delete arm 21 in f"), "the draw is pinned: {}", first[0].id);
    }
}
