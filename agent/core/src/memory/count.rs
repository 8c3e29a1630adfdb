//! Counters of failures and runs, read with room above them.

use std::collections::BTreeMap;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::Step;

/// No agent counts so far: a higher number was not counted by one, and to count on from it must not overflow.
const HIGHEST: u32 = u32::MAX / 2;

/// A counter.
pub(super) fn one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let count = u32::deserialize(deserializer)?;
    bounded(count).map_err(D::Error::custom)
}

/// A counter for each step.
pub(super) fn by_step<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<Step, u32>, D::Error> {
    let counts = BTreeMap::<Step, u32>::deserialize(deserializer)?;
    counts.values().try_for_each(|count| bounded(*count).map(drop)).map_err(D::Error::custom)?;
    Ok(counts)
}

fn bounded(count: u32) -> Result<u32, String> {
    if count <= HIGHEST { Ok(count) } else { Err(format!("{count} is no count: it is above {HIGHEST}")) }
}

#[cfg(test)]
mod tests {
    use crate::memory::Backoff;

    #[test]
    fn a_counter_that_could_not_be_counted_on_is_refused() {
        let backoff = |retreats: u32| {
            let json = format!(
                r#"{{"target":"v1.36.3","retreats":{retreats},"until":{{"boot":0,"at":0}},"retry":null,
                    "why":{{"reason":"DrainTimedOut","message":""}}}}"#
            );
            serde_json::from_str::<Backoff>(&json).map_err(|error| error.to_string())
        };
        assert_eq!(backoff(super::HIGHEST).unwrap().retreats, super::HIGHEST);
        assert!(backoff(u32::MAX).unwrap_err().contains("4294967295 is no count"));
    }
}
