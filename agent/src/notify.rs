//! What systemd is told (`sd_notify(3)`): ready, alive, status.

use std::time::Duration;

use sd_notify::NotifyState;

/// How often the loop shows that it turns when systemd wants no watchdog.
const UNWATCHED: Duration = Duration::from_mins(1);

/// Half of systemd's watchdog time. The sign of life is given by the loop itself, so a loop that hangs is restarted.
pub fn watchdog_pace() -> Duration {
    sd_notify::watchdog_enabled().map_or(UNWATCHED, |timeout| timeout / 2)
}

/// The loop turns.
pub fn ready() {
    send(NotifyState::Ready);
}

/// The loop still turns.
pub fn alive() {
    send(NotifyState::Watchdog);
}

/// The loop ends.
pub fn stopping() {
    send(NotifyState::Stopping);
}

/// One line for `systemctl status`.
pub fn status(text: &str) {
    send(NotifyState::Status(text));
}

/// systemd that does not listen is no reason to stop: the daemon also runs on a terminal.
fn send(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "sd_notify");
    }
}
