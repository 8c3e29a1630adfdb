//! The one place where time is read.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use tokio::time::Instant;
use upgrade_core::time::{BootId, Mono, Now, Unix};

/// Where the kernel names the present boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// This host cannot say which boot this is, and no moment that is remembered could be compared with the present.
#[derive(Debug, thiserror::Error)]
#[error("read {BOOT_ID}, which names the present boot of this host")]
pub struct NoBootId(#[source] io::Error);

/// Reads this host's clocks.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    boot: BootId,
    source: Source,
    /// How far the wall clock is ahead of the host's.
    ahead: Duration,
}

/// What durations are taken from.
#[derive(Debug, Clone, Copy)]
enum Source {
    /// `CLOCK_BOOTTIME`, which goes on while the host is suspended.
    Host,
    /// The runtime's own time since this moment.
    Runtime(Instant),
}

impl Clock {
    /// This host's clocks.
    ///
    /// # Errors
    /// When the kernel does not name the present boot.
    pub fn host() -> Result<Self, NoBootId> {
        let boot = boot_id(Path::new(BOOT_ID)).map_err(NoBootId)?;
        Ok(Self { boot, source: Source::Host, ahead: Duration::ZERO })
    }

    /// Time as the runtime has it, counted from now, so that waiting and the age of what was seen agree where a test moves time.
    pub fn of_runtime() -> Self {
        Self { boot: BootId::default(), source: Source::Runtime(Instant::now()), ahead: Duration::ZERO }
    }

    /// The same with a wall clock that is ahead of the host's, for tests of what takes months.
    #[must_use]
    pub fn ahead(self, by: Duration) -> Self {
        Self { ahead: by, ..self }
    }

    /// All clocks now.
    pub fn now(&self) -> Now {
        let mono = match self.source {
            Source::Host => read(ClockId::CLOCK_BOOTTIME),
            Source::Runtime(start) => start.elapsed(),
        };
        let unix =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| (since + self.ahead).as_secs());
        Now { mono: Mono::default().plus(mono), boot: self.boot, unix: Unix(unix) }
    }

    /// The moment that systemd dated so, in microseconds of `CLOCK_MONOTONIC`. That clock stands still while the host is suspended, so
    /// a moment before that is told as a later one; never as an earlier one.
    pub fn at_monotonic(&self, micros: u64) -> Mono {
        let age = read(ClockId::CLOCK_MONOTONIC).saturating_sub(Duration::from_micros(micros));
        self.now().mono.minus(age)
    }

    /// How long to sleep from now until `then`.
    pub fn until(&self, then: Mono) -> Duration {
        then.since(self.now().mono)
    }
}

/// A clock that every Linux has: reading it does not fail.
fn read(clock: ClockId) -> Duration {
    clock_gettime(clock).map(Duration::from).unwrap_or_default()
}

/// A UUID in the form the kernel writes it.
fn boot_id(path: &Path) -> io::Result<BootId> {
    let text = std::fs::read_to_string(path)?;
    let digits = text.trim().replace('-', "");
    let plain = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let read = u128::from_str_radix(&digits, 16).ok().filter(|_| plain);
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, format!("{:?} is no UUID", text.trim()));
    read.map(BootId).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_boot_has_a_name_and_its_clock_goes() {
        let clock = Clock::host().unwrap();
        let (before, after) = (clock.now(), clock.now());
        assert_ne!(before.boot, BootId::default());
        assert_eq!(before.boot, after.boot);
        assert!(before.mono > Mono(0) && after.mono >= before.mono);
    }

    #[test]
    fn what_is_no_boot_id_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("boot_id");
        for (text, expected) in [
            ("6f1c0d38-0000-4000-8000-00000000002a\n", Some(0x6f1c_0d38_0000_4000_8000_0000_0000_002a)),
            ("", None),
            ("6f1c0d38", None),
            ("+f1c0d3800004000800000000000002a", None),
        ] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(boot_id(&file).ok(), expected.map(BootId), "{text:?}");
        }
        assert!(boot_id(&directory.path().join("absent")).is_err());
    }

    #[test]
    fn a_moment_of_the_monotonic_clock_is_told_by_its_age() {
        let clock = Clock::host().unwrap();
        let stamp = read(ClockId::CLOCK_MONOTONIC).saturating_sub(Duration::from_millis(5));
        let told = clock.at_monotonic(u64::try_from(stamp.as_micros()).unwrap());
        let age = clock.now().mono.since(told);
        assert!(age >= Duration::from_millis(4) && age < Duration::from_secs(5), "{age:?}");
    }
}
