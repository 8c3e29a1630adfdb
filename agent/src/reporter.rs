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

/// What of a report is worth a line in the log where it is another one.
type Logged = (Phase, Reason, Option<String>);

/// Takes reports and passes the newest on.
pub struct Reporter {
    newest: watch::Sender<Option<Report>>,
    told: Option<Logged>,
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
        let answer = report.answer().map(|(_, message)| message.to_owned());
        let key = Some((report.phase, report.reason, answer));
        let known = self.told == key;
        self.told = key;
        let Report { phase, reason, ref target, ref slot, .. } = report;
        let (target, slot) = (target.as_deref().unwrap_or("-"), slot.as_deref().unwrap_or("-"));
        if known {
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
    let mut announced = Announced::default();
    while reports.changed().await.is_ok() {
        let mut failed = 0;
        loop {
            let Some(report) = reports.borrow_and_update().clone() else { break };
            match cluster.report(&report).await {
                Ok(()) => {
                    if let Some((kind, reason)) = announced.take(&report) {
                        cluster.event(kind, &reason, &report.message).await;
                    }
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

/// So many answers of one phase are known apart.
const ANSWERS: usize = 20;

/// What Events have told.
#[derive(Default)]
struct Announced {
    phase: Option<Phase>,
    /// The answers in this phase: one that comes again after another is no news.
    answers: Vec<(Reason, String)>,
    /// Pods, each with its budget, that the last report named.
    blocks: Vec<String>,
}

impl Announced {
    /// The Event of a report: on every transition, every new answer and every new block, never on a mere retry.
    fn take(&mut self, report: &Report) -> Option<(EventKind, String)> {
        let started = self.phase.is_none();
        let same_phase = self.phase.replace(report.phase) == Some(report.phase);
        if !same_phase {
            self.answers.clear();
        }
        let new_answer = self.is_new(report.answer());
        let blocked = report.drain.iter().flat_map(|drain| &drain.blocked);
        let blocks: Vec<_> = blocked
            .map(|blocked| format!("{} {}", blocked.pod, blocked.budget.as_deref().unwrap_or_default()))
            .collect();
        let new_block = blocks.iter().any(|block| !self.blocks.contains(block));
        self.blocks = blocks;
        // An agent that starts idle has nothing to tell.
        let silent = started && report.phase == Phase::Idle;
        if silent || same_phase && !new_block && !new_answer {
            return None;
        }
        let kind = if is_trouble(report) { EventKind::Warning } else { EventKind::Normal };
        Some((kind, if new_block { Reason::DrainBlocked.to_string() } else { event_reason(report.phase) }))
    }

    fn is_new(&mut self, answer: Option<(Reason, &str)>) -> bool {
        let Some((reason, message)) = answer else { return false };
        if self.answers.iter().any(|(known, told)| (*known, told.as_str()) == (reason, message)) {
            return false;
        }
        if self.answers.len() == ANSWERS {
            self.answers.remove(0);
        }
        self.answers.push((reason, message.to_owned()));
        true
    }
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

    /// The reason of the Event that each report in turn is worth.
    fn events(reports: &[(Phase, Reason, &str)]) -> Vec<Option<String>> {
        let mut announced = Announced::default();
        let report =
            |&(phase, reason, message): &(Phase, Reason, &str)| Report { phase, reason, ..report(message) };
        reports.iter().map(|told| announced.take(&report(told)).map(|(_, reason)| reason)).collect()
    }

    #[test]
    fn a_second_refusal_has_an_event_of_its_own_and_the_same_one_has_not() {
        let refused = |message| (Phase::Refused, Reason::PreflightFailed, message);
        let invalid = (Phase::Refused, Reason::InvalidTarget, "target: x is no version");
        let told =
            events(&[refused("no v1.36.3"), refused("no v1.36.3"), refused("no v1.36.4"), invalid, invalid]);
        let event = Some("Refused".to_owned());
        assert_eq!(told, [event.clone(), None, event.clone(), event, None]);
    }

    #[test]
    fn a_second_end_of_a_degraded_node_has_an_event_and_what_goes_to_and_fro_has_one() {
        let end = |message| (Phase::Degraded, Reason::NotVerified, message);
        let waits = |message| (Phase::Degraded, Reason::WaitingForTurn, message);
        let away = (Phase::Degraded, Reason::Retrying, "the API server does not answer");
        let told = events(&[
            end("not Ready"),
            waits("cp1 goes first"),
            end("not Ready"),
            away,
            waits("cp2 goes first"),
            end("DaemonSet pods"),
        ]);
        let event = Some("Degraded".to_owned());
        assert_eq!(told, [event.clone(), event.clone(), None, None, None, event]);
    }

    #[test]
    fn what_counts_seconds_has_no_event_in_any_phase() {
        let counts = |phase| {
            events(&[
                (phase, Reason::Progressing, "3 s of 20 s"),
                (phase, Reason::Progressing, "4 s of 20 s"),
            ])
        };
        for phase in [Phase::Releasing, Phase::Verifying, Phase::Degraded, Phase::Claiming] {
            assert_eq!(counts(phase)[1], None, "{phase}");
        }
        assert_eq!(events(&[(Phase::Idle, Reason::Idle, "")]), [None]);
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
