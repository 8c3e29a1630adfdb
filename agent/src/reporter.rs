//! Tells people: log, systemd's status line, the Node's annotations and condition, Events.
//!
//! A task of its own, so that an API server that is away never holds up the rules. Only the newest report counts:
//! what was not told yet is replaced.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use upgrade_core::api::{Phase, Reason, Report};
use upgrade_core::backoff::Pauses;

use crate::cluster::{Cluster, EventKind};
use crate::notify;

/// Between two writes of the same phase, so that a drain of many pods costs a handful of writes.
const PACE: Duration = Duration::from_secs(5);
/// Before a write that failed is tried again; an API server that is gone for good is asked ever more seldom.
const AGAIN: Pauses = Pauses { first: Duration::from_secs(5), factor: 2, cap: Duration::from_mins(2) };

/// Takes reports and passes the newest on.
pub struct Reporter {
    newest: watch::Sender<Option<Report>>,
    told: Option<(Phase, Reason)>,
}

impl Reporter {
    /// Starts the task that writes to the cluster; it ends when the reporter is dropped.
    pub fn start(cluster: Cluster) -> Self {
        let (newest, reports) = watch::channel(None);
        tokio::spawn(write(cluster, reports));
        Self { newest, told: None }
    }

    /// Tells a report.
    pub fn tell(&mut self, report: Report) {
        let line = format!("{}: {}", report.phase, report.message);
        notify::status(&line);
        let key = (report.phase, report.reason);
        let Report { phase, reason, ref target, ref slot, .. } = report;
        let (target, slot) = (target.as_deref().unwrap_or("-"), slot.as_deref().unwrap_or("-"));
        if self.told.replace(key) == Some(key) {
            tracing::debug!(%phase, %reason, target, slot, "{line}");
        } else if is_trouble(&report) {
            tracing::warn!(%phase, %reason, target, slot, "{line}");
        } else {
            tracing::info!(%phase, %reason, target, slot, "{line}");
        }
        self.newest.send_replace(Some(report));
    }
}

/// Whether people should look.
fn is_trouble(report: &Report) -> bool {
    matches!(report.phase, Phase::Refused | Phase::Degraded | Phase::BackingOut | Phase::RollingBack)
        || report.drain.as_ref().is_some_and(|drain| !drain.blocked.is_empty())
}

async fn write(cluster: Cluster, mut reports: watch::Receiver<Option<Report>>) {
    let mut written: Option<Report> = None;
    while reports.changed().await.is_ok() {
        let mut failed = 0;
        loop {
            let Some(report) = reports.borrow_and_update().clone() else { break };
            match cluster.report(&report).await {
                Ok(()) => {
                    announce(&cluster, written.as_ref(), &report).await;
                    written = Some(report);
                    break;
                }
                Err(fault) => {
                    tracing::debug!("{}", fault.message);
                    failed += 1;
                    sleep(AGAIN.after(failed)).await;
                }
            }
        }
        pace(&mut reports, written.as_ref()).await;
    }
}

/// Waits a moment, unless the next report is of another phase.
async fn pace(reports: &mut watch::Receiver<Option<Report>>, written: Option<&Report>) {
    let phase = written.map(|report| report.phase);
    let another = reports.wait_for(|report| report.as_ref().map(|report| report.phase) != phase);
    // However it ends: waiting counts as having seen what was told meanwhile, and that is not written yet.
    let _ = tokio::time::timeout(PACE, another).await;
    let newer = reports.borrow().as_ref() != written;
    if newer {
        reports.mark_changed();
    }
}

/// An Event on every transition and every new block, never on a mere retry.
async fn announce(cluster: &Cluster, before: Option<&Report>, report: &Report) {
    let blocks = |report: &Report| -> Vec<String> {
        let blocked = report.drain.iter().flat_map(|drain| &drain.blocked);
        blocked
            .map(|blocked| format!("{} {}", blocked.pod, blocked.budget.as_deref().unwrap_or_default()))
            .collect()
    };
    let same_phase = before.is_some_and(|before| before.phase == report.phase);
    let known = before.map(blocks).unwrap_or_default();
    let new_block = blocks(report).iter().any(|block| !known.contains(block));
    if same_phase && !new_block {
        return;
    }
    // An agent that starts idle has nothing to tell.
    if before.is_none() && report.phase == Phase::Idle {
        return;
    }
    let kind = if is_trouble(report) { EventKind::Warning } else { EventKind::Normal };
    let reason = if new_block { Reason::DrainBlocked.to_string() } else { event_reason(report.phase) };
    cluster.event(kind, &reason, &report.message).await;
}

/// `backing-out` as Events spell reasons: `BackingOut`.
fn event_reason(phase: Phase) -> String {
    let capital = |word: &str| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_uppercase() + rest
    };
    phase.word().split('-').map(capital).collect()
}

#[cfg(test)]
mod tests {
    use upgrade_core::time::Unix;

    use super::*;

    fn report(message: &str) -> Report {
        Report {
            target: None,
            hop: None,
            phase: Phase::Draining,
            since: Unix(0),
            attempts: 0,
            reason: Reason::Progressing,
            message: message.to_owned(),
            drain: None,
            notes: Vec::new(),
            slot: None,
            current: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_told_of_the_same_phase_during_the_pause_is_written_after_it() {
        let written = report("evicting pods");
        let (newest, mut reports) = watch::channel(Some(written.clone()));
        newest.send_replace(Some(report("a budget holds a pod")));
        pace(&mut reports, Some(&written)).await;
        assert!(reports.has_changed().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_written_again_that_was_not_told_anew() {
        let written = report("evicting pods");
        let (_newest, mut reports) = watch::channel(Some(written.clone()));
        pace(&mut reports, Some(&written)).await;
        assert!(!reports.has_changed().unwrap());
    }
}
