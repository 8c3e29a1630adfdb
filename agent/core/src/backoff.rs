//! Pauses that grow with each failure.

use core::time::Duration;

/// How long to wait before something that failed is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pauses {
    /// The pause after the first failure.
    pub first: Duration,
    /// By how much each pause is longer than the one before.
    pub factor: u32,
    /// The longest pause.
    pub cap: Duration,
}

impl Pauses {
    /// The pause after so many failures in a row; the first one's where there was none.
    pub fn after(&self, failures: u32) -> Duration {
        let growth = self.factor.saturating_pow(failures.saturating_sub(1));
        self.first.saturating_mul(growth).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_the_first_to_the_cap_and_no_further() {
        let pauses = Pauses { first: Duration::from_secs(1), factor: 2, cap: Duration::from_secs(30) };
        let seconds: Vec<_> = (0..8).map(|failures| pauses.after(failures).as_secs()).collect();
        assert_eq!(seconds, [1, 1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(pauses.after(u32::MAX), pauses.cap);
    }
}
