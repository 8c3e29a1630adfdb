//! The fleet's policy: the same for every agent, and changeable while a rollout runs.

use std::collections::BTreeMap;

/// What administrators decide for the whole fleet. One slot for now; `maxUnavailable` comes with the fleet issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// No new claims while set; what is under way goes on.
    pub paused: bool,
    /// How long a node must be Ready before it counts as verified, in seconds.
    pub min_ready_seconds: u64,
    /// The protocol the policy was written for; an agent never claims under a higher one than its own.
    pub protocol: u32,
}

/// The protocol this agent speaks.
pub const PROTOCOL: u32 = 1;

impl Default for Policy {
    fn default() -> Self {
        Self { paused: false, min_ready_seconds: 0, protocol: PROTOCOL }
    }
}

impl Policy {
    /// Reads the `data` of the ConfigMap `policy`.
    ///
    /// # Errors
    /// The key and what is wrong with its value; unknown keys are errors too. The caller keeps the last good one.
    pub fn read(data: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut policy = Self::default();
        for (key, text) in data {
            let wrong = |expected: &str| format!("policy key {key}: {text:?} is not {expected}");
            match key.as_str() {
                "paused" => policy.paused = text.parse().map_err(|_| wrong("true or false"))?,
                "minReadySeconds" => {
                    policy.min_ready_seconds = text.parse().map_err(|_| wrong("a number of seconds"))?;
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
}
