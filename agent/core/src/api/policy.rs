//! The fleet's policy: the same for every agent, and changeable while a rollout runs.

use std::collections::BTreeMap;
use std::time::Duration;

use super::text::{self, some_of};

/// What administrators decide for the whole fleet. One slot for now; `maxUnavailable` comes with the fleet issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// No new claims while set; what is under way goes on.
    pub paused: bool,
    /// How long kubelet must have run before its node counts as verified.
    pub min_ready: Duration,
    /// The protocol the policy was written for; an agent never claims under a higher one than its own.
    pub protocol: u32,
    /// What cannot be read, key by key, or that the policy is gone: it bars claims, and the rest applies.
    pub wrong: Vec<String>,
}

/// The name of the ConfigMap it is in.
pub const CONFIG_MAP: &str = "policy";
/// The protocol this agent speaks.
pub const PROTOCOL: u32 = 1;

impl Default for Policy {
    fn default() -> Self {
        Self { paused: false, min_ready: Duration::ZERO, protocol: PROTOCOL, wrong: Vec::new() }
    }
}

/// The most that `minReadySeconds` may be: a node is cordoned meanwhile, and that is bounded.
const LONGEST_MIN_READY: Duration = Duration::from_hours(1);

/// So many keys that cannot be read are named at once; what is told of all together is cut in its middle where it is too long.
const TOLD: usize = 6;

impl Policy {
    /// Reads the `data` of the ConfigMap `policy`; none where there is none, which means the defaults unless one was seen before.
    /// A value that cannot be read is named and bars claims; the others apply, `paused` always: a last good copy would drop a
    /// pause that came together with a typo.
    pub fn read(data: Option<&BTreeMap<String, String>>, seen_before: bool) -> Self {
        let mut policy = Self::default();
        let Some(data) = data else {
            policy.wrong.extend(
                seen_before.then(|| format!("ConfigMap {CONFIG_MAP} was there and is gone: apply it again")),
            );
            return policy;
        };
        for (key, value) in data {
            let (text, told) = (value.as_str(), text::shortened(value, text::WORD));
            let wrong = match key.as_str() {
                "paused" => text.parse().map(|paused| policy.paused = paused).map_err(|_| "true or false"),
                "minReadySeconds" => text
                    .parse()
                    .ok()
                    .map(Duration::from_secs)
                    .filter(|min_ready| *min_ready <= LONGEST_MIN_READY)
                    .map(|min_ready| policy.min_ready = min_ready)
                    .ok_or("a number of seconds from 0 to 3600"),
                "protocol" => text.parse().map(|protocol| policy.protocol = protocol).map_err(|_| "a number"),
                _ => {
                    let known = "known are paused, minReadySeconds, protocol";
                    policy
                        .wrong
                        .push(format!("key {} is unknown; {known}", text::shortened(key, text::WORD)));
                    continue;
                }
            };
            if let Err(expected) = wrong {
                policy.wrong.push(format!("key {key}: {told:?} is not {expected}"));
            }
        }
        policy
    }

    /// Why no new claim may be made now, if so.
    pub fn forbids_claims(&self) -> Option<String> {
        if self.paused {
            Some(format!("the policy pauses the fleet (ConfigMap {CONFIG_MAP}, key paused)"))
        } else if !self.wrong.is_empty() {
            Some(format!(
                "ConfigMap {CONFIG_MAP} bars upgrades until it can be read: {}",
                some_of(TOLD, "; ", &self.wrong)
            ))
        } else if self.protocol > PROTOCOL {
            Some(format!(
                "the policy speaks protocol {}, this agent {PROTOCOL}: upgrade the agent",
                self.protocol
            ))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Explanation, Reason};

    fn read(pairs: &[(&str, &str)]) -> Policy {
        let data = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Policy::read(Some(&data), true)
    }

    #[test]
    fn a_value_that_cannot_be_read_bars_claims_and_is_named() {
        for (key, value) in
            [("paused", "yes"), ("pausd", "true"), ("minReadySeconds", "soon"), ("protocol", "")]
        {
            let why = read(&[(key, value)]).forbids_claims().unwrap_or_else(|| panic!("{key}"));
            assert!(why.contains(key), "{why}");
        }
    }

    #[test]
    fn what_can_be_read_applies_beside_what_cannot() {
        let policy = read(&[("paused", "true"), ("minReadySeconds", "soon")]);
        assert!(policy.paused && policy.forbids_claims().unwrap().contains("paused"));
        let policy = read(&[("paused", "perhaps"), ("minReadySeconds", "7")]);
        assert_eq!(policy.min_ready, Duration::from_secs(7));
    }

    #[test]
    fn nothing_is_claimed_under_a_newer_protocol_or_while_paused() {
        assert!(Policy::default().forbids_claims().is_none());
        assert!(read(&[("paused", "true")]).forbids_claims().is_some());
        assert!(read(&[("protocol", "1")]).forbids_claims().is_none());
        assert!(read(&[("protocol", "2")]).forbids_claims().unwrap().contains("speaks protocol 2"));
    }

    #[test]
    fn a_policy_that_was_never_there_means_the_defaults_and_one_that_is_gone_bars_claims() {
        assert_eq!(Policy::read(None, false), Policy::default());
        assert!(Policy::read(None, true).forbids_claims().unwrap().contains("gone"));
    }

    #[test]
    fn each_key_that_cannot_be_read_is_named_whatever_stands_beside_it() {
        let long = "x\u{9b}".repeat(2000);
        let policy =
            read(&[("paused", &long), ("minReadySeconds", &long), ("protocol", &long), (&long, &long)]);
        let why = Explanation::new(Reason::Paused, policy.forbids_claims().unwrap()).message;
        for key in ["paused", "minReadySeconds", "protocol", "key x x"] {
            assert!(why.contains(key), "{key}: {why}");
        }
        assert!(!why.contains(char::is_control));
        let many: Vec<String> = (0..300).map(|number| format!("key{number}")).collect();
        let many: Vec<_> = many.iter().map(|key| (key.as_str(), "")).collect();
        let why = Explanation::new(Reason::Paused, read(&many).forbids_claims().unwrap()).message;
        assert!(why.contains("key key1 is unknown") && why.ends_with("and 294 more"), "{why}");
    }

    #[test]
    fn a_node_is_kept_cordoned_for_its_proof_for_an_hour_at_most() {
        assert_eq!(read(&[("minReadySeconds", "3600")]).min_ready, Duration::from_hours(1));
        for value in ["3601", "-1", "18446744073709551615", "1.5"] {
            let policy = read(&[("minReadySeconds", value)]);
            let why = policy.forbids_claims().unwrap_or_else(|| panic!("{value}"));
            assert!(why.contains("minReadySeconds") && why.contains("3600"), "{why}");
            assert_eq!(policy.min_ready, Policy::default().min_ready, "{value}");
        }
    }
}
