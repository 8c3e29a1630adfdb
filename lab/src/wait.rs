//! Waiting for a condition, with a deadline and a word about what is waited for.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Pause between two looks; short, because a lab's steps take tenths of seconds.
const PAUSE: Duration = Duration::from_millis(100);

/// After this long the wait says on standard error what it waits for, so that a hanging test explains itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// Polls `look` until it gives a value.
///
/// `look` returns `Ok(Some(value))` when done, `Ok(None)` or an error to be asked again: while a machine boots or an
/// API server restarts, errors are expected, and the last one is part of the report if time runs out.
///
/// # Errors
/// If `limit` passes first; the message names `what` and the last error seen.
pub fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    let mut said = false;
    loop {
        let last = match look() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if start.elapsed() >= limit {
            let message = format!("waited {} s in vain for: {what}", limit.as_secs());
            return match last {
                Some(error) => Err(error).context(message),
                None => bail!(message),
            };
        }
        if !said && start.elapsed() >= PATIENCE {
            said = true;
            crate::progress(&format!("waiting for: {what} (up to {} s)", limit.as_secs()));
        }
        sleep(PAUSE);
    }
}

/// [`wait_for`] a plain yes.
///
/// # Errors
/// As [`wait_for`].
pub fn wait_until(what: &str, limit: Duration, mut look: impl FnMut() -> Result<bool>) -> Result<()> {
    wait_for(what, limit, || look().map(|yes| yes.then_some(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_again_after_an_error_and_reports_the_last_one() {
        let mut answers = vec![Ok(Some(7)), Ok(None), Err(anyhow::anyhow!("not yet"))];
        let found = wait_for("seven", Duration::from_secs(9), || answers.pop().unwrap());
        assert_eq!(found.unwrap(), 7);
        let error = wait_until("rain", Duration::ZERO, || bail!("drought")).unwrap_err();
        assert_eq!(format!("{error:#}"), "waited 0 s in vain for: rain: drought");
    }
}
