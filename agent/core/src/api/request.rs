//! What people ask of a node, read out of its annotations.

use std::collections::{BTreeMap, BTreeSet};

use super::Check;
use super::annotations::{RETRY, SKIP_CHECKS, TARGET};
use super::{NotAVersion, Version};

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

    /// What of `skip-checks` has no effect, or less than its word says; for people.
    pub fn vain_skips(&self) -> impl Iterator<Item = String> {
        let unknown = self.unknown_skips.iter().map(|word| format!("skip-checks: {word:?} names no check"));
        let kept = self.skip.iter().filter(|check| !check.may_be_skipped()).map(|check| match check {
            Check::ApiServers => {
                format!("skip-checks: {check} passes over an API server of unknown version alone")
            }
            _ => format!("skip-checks: {check} cannot be skipped"),
        });
        unknown.chain(kept)
    }

    /// The wanted version, where one is given and can be read.
    pub fn wanted(&self) -> Option<Version> {
        self.target.as_ref().and_then(|target| target.as_ref().ok()).copied()
    }
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
    fn a_skip_without_effect_is_told_whether_misspelt_or_of_a_check_that_cannot_be_skipped() {
        let told = |skips: &str| {
            let request = Request::read(&annotations(&[(SKIP_CHECKS, skips)]));
            request.vain_skips().collect::<Vec<_>>().join("\n")
        };
        for check in Check::ALL {
            let text = told(check.word());
            assert_eq!(text.contains(check.word()), !check.may_be_skipped(), "{check}: {text}");
        }
        assert_eq!(told("nodeready"), "skip-checks: \"nodeready\" names no check");
        assert_eq!(told("ApiServers x").lines().count(), 2);
    }
}
