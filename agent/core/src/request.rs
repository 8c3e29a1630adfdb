//! The Node's annotations: what people ask for. The one place where the keys stand.

use std::collections::{BTreeMap, BTreeSet};

use crate::preflight::Check;
use crate::version::{NotAVersion, Version};

/// What every annotation of ours begins with.
pub const PREFIX: &str = "node-upgrade-agent/";
/// Written by people: the version this node shall run.
pub const TARGET: &str = "node-upgrade-agent/target";
/// Written by people: any new value makes a degraded or refused node try again.
pub const RETRY: &str = "node-upgrade-agent/retry";
/// Written by people: names of preflight checks to pass over, separated by commas or spaces.
pub const SKIP_CHECKS: &str = "node-upgrade-agent/skip-checks";
/// Written by people: this node counts in no gate and no budget.
pub const IGNORE: &str = "node-upgrade-agent/ignore";
/// Written by the agent: the version last verified to run in service.
pub const CURRENT: &str = "node-upgrade-agent/current";
/// Written by the agent: the phase it is in.
pub const PHASE: &str = "node-upgrade-agent/phase";
/// Written by the agent: one JSON object, see [`crate::report::Report`].
pub const STATUS: &str = "node-upgrade-agent/status";
/// Written by the agent together with its cordon: whether somebody else had cordoned the node before.
pub const FOUND_CORDONED: &str = "node-upgrade-agent/found-cordoned";
/// Type of the Node condition the agent keeps.
pub const CONDITION: &str = "Upgraded";

/// What people ask of this node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// The wanted version, or why the annotation cannot be read.
    pub target: Option<Result<Version, NotAVersion>>,
    /// Any value; a new one asks for another try.
    pub retry: Option<String>,
    /// Checks to pass over.
    pub skip: BTreeSet<Check>,
    /// Words in `skip-checks` that name no check.
    pub unknown_skips: Vec<String>,
}

impl Request {
    /// Reads the request out of a Node's annotations; a value that cannot be read is kept as such, never dropped.
    pub fn read(annotations: &BTreeMap<String, String>) -> Self {
        let mut request = Self {
            target: annotations.get(TARGET).filter(|text| !text.is_empty()).map(|text| text.trim().parse()),
            retry: annotations.get(RETRY).cloned(),
            ..Self::default()
        };
        let words = annotations.get(SKIP_CHECKS).map(String::as_str).unwrap_or_default();
        for word in words.split([',', ' ']).filter(|word| !word.is_empty()) {
            match Check::from_word(word) {
                Some(check) => {
                    request.skip.insert(check);
                }
                None => request.unknown_skips.push(word.to_owned()),
            }
        }
        request
    }

    /// The wanted version, where one is given and can be read.
    pub fn wanted(&self) -> Option<Version> {
        self.target.as_ref().and_then(|target| target.as_ref().ok()).copied()
    }
}

/// Whether a switch-like annotation is on: present, and not `false`.
pub fn is_on(annotations: &BTreeMap<String, String>, key: &str) -> bool {
    annotations.get(key).is_some_and(|value| value != "false")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_target_that_cannot_be_read_is_an_error_and_not_an_absent_target() {
        let request = Request::read(&annotations(&[(TARGET, "1.36")]));
        assert!(matches!(request.target, Some(Err(_))));
        assert_eq!(request.wanted(), None);
        assert_eq!(Request::read(&annotations(&[(TARGET, "")])).target, None);
    }

    #[test]
    fn skipped_checks_are_named_and_misspelt_ones_are_kept_to_be_told() {
        let request = Request::read(&annotations(&[(SKIP_CHECKS, "NodeReady, nodeready DiskSpace")]));
        assert_eq!(request.skip, BTreeSet::from([Check::NodeReady, Check::DiskSpace]));
        assert_eq!(request.unknown_skips, ["nodeready"]);
    }

    #[test]
    fn a_switch_is_on_with_any_value_but_false() {
        assert!(is_on(&annotations(&[(IGNORE, "")]), IGNORE));
        assert!(!is_on(&annotations(&[(IGNORE, "false")]), IGNORE));
        assert!(!is_on(&annotations(&[]), IGNORE));
    }
}
