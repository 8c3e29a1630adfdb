//! The one place where time is read.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use upgrade_core::time::{Mono, Now, Unix};

/// Reads both clocks; monotonic time counts from the moment it was made, and is the runtime's own, so that waiting and
/// the age of what was seen agree also where a test moves time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    /// How far the wall clock is ahead of the host's.
    ahead: Duration,
}

impl Clock {
    /// Starts counting.
    #[expect(
        clippy::new_without_default,
        reason = "a clock that starts by default would hide when it started"
    )]
    pub fn new() -> Self {
        Self::ahead(Duration::ZERO)
    }

    /// With a wall clock that is ahead of the host's, for tests of what takes months.
    pub fn ahead(by: Duration) -> Self {
        Self { start: Instant::now(), ahead: by }
    }

    /// Both clocks now.
    pub fn now(&self) -> Now {
        let millis = self.start.elapsed().as_millis();
        let unix =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| (since + self.ahead).as_secs());
        Now { mono: Mono(u64::try_from(millis).unwrap_or(u64::MAX)), unix: Unix(unix) }
    }

    /// How long to sleep from now until `then`.
    pub fn until(&self, then: Mono) -> Duration {
        then.since(self.now().mono)
    }
}
