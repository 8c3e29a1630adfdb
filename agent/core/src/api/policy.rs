//! The fleet's policy: the same for every agent, and changeable while a rollout runs.

use core::time::Duration;
use std::collections::BTreeMap;

/// What administrators decide for the whole fleet. One slot for now; `maxUnavailable` comes with the fleet issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// No new claims while set; what is under way goes on.
    pub paused: bool,
    /// How long kubelet must have run before its node counts as verified.
    pub min_ready: Duration,
    /// The protocol the policy was written for; an agent never claims under a higher one than its own.
    pub protocol: u32,
}

/// The name of the ConfigMap it is in.
pub const CONFIG_MAP: &str = "policy";
/// The protocol this agent speaks.
pub const PROTOCOL: u32 = 1;

impl Default for Policy {
    fn default() -> Self {
        Self { paused: false, min_ready: Duration::ZERO, protocol: PROTOCOL }
    }
}

impl Policy {
    /// Reads the `data` of the ConfigMap `policy`.
    ///
    /// # Errors
    /// The key and what is wrong with its value; unknown keys are errors too.
    pub fn read(data: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut policy = Self::default();
        for (key, text) in data {
            let wrong = |expected: &str| format!("policy key {key}: {text:?} is not {expected}");
            match key.as_str() {
                "paused" => policy.paused = text.parse().map_err(|_| wrong("true or false"))?,
                "minReadySeconds" => {
                    let seconds = text.parse().map_err(|_| wrong("a number of seconds"))?;
                    policy.min_ready = Duration::from_secs(seconds);
                }
                "protocol" => policy.protocol = text.parse().map_err(|_| wrong("a number"))?,
                _ => {
                    return Err(format!(
                        "policy key {key} is unknown; known are paused, minReadySeconds, protocol"
                    ));
                }
            }
        }
        Ok(policy)
    }

    /// Why no new claim may be made now, if so.
    pub fn forbids_claims(&self) -> Option<String> {
        if self.paused {
            Some("the policy pauses the fleet (ConfigMap policy, key paused)".to_owned())
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

/// The policy in force, and what is wrong with the one that stands in the cluster, if something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRead {
    /// What holds now: the ConfigMap's, or the last one that could be read.
    pub policy: Policy,
    /// Why the ConfigMap's does not hold.
    pub invalid: Option<String>,
}

/// What holds after a read of the ConfigMap: an absent one means the defaults, an invalid one leaves the last good one
/// in force.
pub fn in_force(last: &Policy, data: Option<&BTreeMap<String, String>>) -> PolicyRead {
    match data.map_or_else(|| Ok(Policy::default()), Policy::read) {
        Ok(policy) => PolicyRead { policy, invalid: None },
        Err(why) => PolicyRead {
            policy: last.clone(),
            invalid: Some(format!("ConfigMap {CONFIG_MAP} is not used, the last good policy stays: {why}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_policy_that_cannot_be_read_names_its_key() {
        assert!(Policy::read(&data(&[("paused", "yes")])).unwrap_err().contains("paused"));
        assert!(Policy::read(&data(&[("pausd", "true")])).unwrap_err().contains("pausd"));
        assert!(Policy::read(&data(&[("paused", "true")])).unwrap().paused);
    }

    #[test]
    fn nothing_is_claimed_under_a_newer_protocol_or_while_paused() {
        assert!(Policy::default().forbids_claims().is_none());
        assert!(Policy { protocol: PROTOCOL + 1, ..Policy::default() }.forbids_claims().is_some());
        assert!(Policy { paused: true, ..Policy::default() }.forbids_claims().is_some());
    }
    #[test]
    fn an_absent_policy_means_the_defaults_whatever_held_before() {
        let last = Policy { paused: true, ..Policy::default() };
        for absent in [None, Some(&data(&[]))] {
            assert_eq!(in_force(&last, absent), PolicyRead { policy: Policy::default(), invalid: None });
        }
    }

    #[test]
    fn a_policy_that_can_be_read_holds_and_one_that_cannot_leaves_the_last_good_one() {
        let last = Policy { min_ready: Duration::from_secs(7), ..Policy::default() };
        let good = in_force(&last, Some(&data(&[("paused", "true")])));
        assert_eq!(good, PolicyRead { policy: Policy { paused: true, ..Policy::default() }, invalid: None });
        let PolicyRead { policy, invalid } =
            in_force(&last, Some(&data(&[("paused", "true"), ("minReadySeconds", "soon")])));
        assert_eq!(policy, last);
        let why = invalid.unwrap();
        assert!(why.starts_with("ConfigMap policy is not used") && why.contains("minReadySeconds"), "{why}");
    }
}
