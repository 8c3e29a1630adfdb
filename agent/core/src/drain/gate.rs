//! A disruption budget as a drain meets it: once it has refused a pod, its pods ask one after another.
//!
//! What it says to one it says to all that are as ready, so one asks for all, and as soon as one is let go the next asks.
//! The longer the budget is shut the more seldom it is asked, so a drain loses no more than a sixteenth of the time it
//! has to wait anyway, and a budget that is shut for hours costs a request every ten seconds, however many pods wait
//! for it (`docs/adr/0012-budgets.md`).

use core::time::Duration;

use crate::time::Mono;

/// The shortest pause between two tries.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// The longest of our own; the server may ask for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The pause is this part of the time for which the budget has been shut.
const PART: u32 = 16;

/// One budget.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate {
    /// Since when it has let no pod go.
    shut: Option<Mono>,
    due: Mono,
}

impl Gate {
    /// It refused a pod.
    pub(super) fn refused(&mut self, now: Mono, retry_after: Option<Duration>) {
        let shut = *self.shut.get_or_insert(now);
        let pause = (now.since(shut) / PART).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        self.due = self.due.max(now.plus(pause.max(retry_after.unwrap_or_default())));
    }

    /// It let a pod go that it had refused before: perhaps it lets another one.
    pub(super) fn let_go(&mut self, now: Mono) {
        *self = Self { shut: None, due: now };
    }

    /// When it is to be asked again.
    pub(super) fn due(&self) -> Mono {
        self.due
    }
}
