//! A host's wall clock, which may be wrong, run fast, and be set by people.

use upgrade_core::time::Unix;

use super::EPOCH;

/// A wall clock.
#[derive(Debug, Clone, Default)]
pub(super) struct Clock {
    /// Milliseconds it is ahead.
    ahead: i64,
    /// By how many parts in a million it runs fast, and since when.
    drift: (i64, u64),
}

impl Clock {
    /// What it shows, in seconds since 1970.
    pub(super) fn shows(&self, now: u64) -> Unix {
        let true_time = i64::try_from(EPOCH * 1_000 + now).unwrap_or(i64::MAX);
        let shown = true_time.saturating_add(self.ahead).saturating_add(self.drifted(now));
        Unix(u64::try_from(shown / 1_000).unwrap_or_default())
    }

    fn drifted(&self, now: u64) -> i64 {
        let (ppm, since) = self.drift;
        let passed = i64::try_from(now.saturating_sub(since)).unwrap_or(i64::MAX);
        passed.saturating_mul(ppm) / 1_000_000
    }

    /// Somebody sets it so many seconds ahead, or back.
    pub(super) fn jump(&mut self, seconds: i64) {
        self.ahead = self.ahead.saturating_add(seconds.saturating_mul(1_000));
    }

    /// From now on it runs fast by so many parts in a million.
    pub(super) fn drift(&mut self, ppm: i64, now: u64) {
        self.ahead = self.ahead.saturating_add(self.drifted(now));
        self.drift = (ppm, now);
    }
}
