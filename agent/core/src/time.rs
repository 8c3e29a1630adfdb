//! The clocks the rules are given; they read none.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment on this host's `CLOCK_BOOTTIME` (`clock_gettime(2)`), in milliseconds: it never jumps, goes on while the host is
/// suspended, and begins anew with each boot, so two moments of one boot can be compared, across lives of the agent too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mono(pub u64);

impl Mono {
    /// This moment and so much more.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// This moment and so much less; the first of all at the earliest.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// How long ago `earlier` was; zero if it is not earlier.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Names one boot of this host (`/proc/sys/kernel/random/boot_id`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(pub u128);

/// Seconds since 1970 on this host's wall clock: for people, and for what other programs of this host wrote. A jump of it changes
/// no time-out (rule 14).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Unix(pub u64);

impl Unix {
    /// This moment and so much more.
    #[must_use]
    pub const fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_secs()))
    }

    /// How long ago `earlier` was; zero if it is not earlier.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }
}

/// The moment at which a decision is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// For durations, deadlines and the age of observations.
    pub mono: Mono,
    /// Which boot `mono` belongs to.
    pub boot: BootId,
    /// For people.
    pub unix: Unix,
}

impl Now {
    /// What this host's wall clock, as it goes now, would have shown at `moment`. At most a second too early: what another
    /// program of this host dated at that moment is not older.
    pub fn wall(self, moment: Mono) -> Unix {
        let age = millis(self.mono.since(moment));
        Unix(self.unix.0.saturating_sub(age.div_ceil(1_000)))
    }
}

/// How long something has lasted, over lives of the agent and boots of its host. What passed between the last note and a reboot
/// is not known and not counted; the boot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stopwatch {
    boot: BootId,
    since: Mono,
    spent: Duration,
}

impl Stopwatch {
    /// One that begins to run now.
    pub const fn started(now: Now) -> Self {
        Self { boot: now.boot, since: now.mono, spent: Duration::ZERO }
    }

    /// How much time has been seen to pass.
    pub fn spent(&self, now: Now) -> Duration {
        let runs = if self.boot == now.boot { now.mono.since(self.since) } else { Duration::ZERO };
        self.spent.saturating_add(runs)
    }

    /// Whether the host was booted since it was last noted.
    pub fn is_of_another_boot(&self, now: Now) -> bool {
        self.boot != now.boot
    }

    /// The same, noted in this boot.
    #[must_use]
    pub fn noted(&self, now: Now) -> Self {
        Self { boot: now.boot, since: now.mono, spent: self.spent(now) }
    }

    /// When it will have run for `limit`, if the host is not booted.
    pub fn reaches(&self, limit: Duration, now: Now) -> Mono {
        now.mono.plus(limit.saturating_sub(self.spent(now)))
    }
}

/// A moment to wait for. A boot ends the wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotBefore {
    boot: BootId,
    at: Mono,
}

impl NotBefore {
    /// So long from now.
    pub fn after(pause: Duration, now: Now) -> Self {
        Self { boot: now.boot, at: now.mono.plus(pause) }
    }

    /// The moment, while it is still to come.
    pub fn pending(&self, now: Now) -> Option<Mono> {
        (self.boot == now.boot && self.at > now.mono).then_some(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(boot: u128, mono: u64) -> Now {
        Now { mono: Mono(mono), boot: BootId(boot), unix: Unix(1_000) }
    }

    #[test]
    fn time_spent_is_summed_up_over_boots() {
        let watch = Stopwatch::started(now(1, 5_000));
        assert_eq!(watch.spent(now(1, 9_000)), Duration::from_secs(4));
        let noted = watch.noted(now(1, 9_000));
        assert_eq!(noted.spent(now(2, 99_000)), Duration::from_secs(4), "another boot's moments say nothing");
        let later = noted.noted(now(2, 1_000));
        assert_eq!(later.spent(now(2, 2_000)), Duration::from_secs(5));
        assert_eq!(later.reaches(Duration::from_secs(7), now(2, 2_000)), Mono(4_000));
    }

    #[test]
    fn a_time_that_was_spent_for_ever_grows_no_more() {
        let watch = Stopwatch { boot: BootId(1), since: Mono(0), spent: Duration::MAX };
        assert_eq!(watch.spent(now(1, 9_000)), Duration::MAX);
        assert_eq!(watch.reaches(Duration::from_secs(1), now(1, 9_000)), Mono(9_000));
    }

    #[test]
    fn a_boot_ends_a_wait() {
        let wait = NotBefore::after(Duration::from_secs(3), now(1, 1_000));
        assert_eq!(wait.pending(now(1, 2_000)), Some(Mono(4_000)));
        assert_eq!(wait.pending(now(1, 4_000)), None);
        assert_eq!(wait.pending(now(2, 0)), None);
    }

    #[test]
    fn a_moment_is_told_by_the_wall_clock_as_it_goes_now() {
        let now = Now { mono: Mono(20_100), unix: Unix(500), ..Now::default() };
        assert_eq!(now.wall(Mono(10_200)), Unix(490));
        assert_eq!(now.wall(Mono(20_100)), Unix(500));
        assert_eq!(now.wall(Mono(30_000)), Unix(500), "not in the future");
    }
}
