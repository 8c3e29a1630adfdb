//! Restarting kubelet, with proof.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use upgrade_core::act::ActResult;

use super::fault::{Doing, Failed};
use super::systemd::{Jobs, answered};
use super::{Host, KUBELET};

/// A restart ends when the new kubelet has been started; the old one is given 90 s by systemd to go.
const LIMIT: Duration = Duration::from_mins(2);
const PAUSE: Duration = Duration::from_secs(1);

impl Host {
    /// daemon-reload (the kubeadm package owns kubelet's drop-in), then a restart whose job must end as `done`.
    pub async fn restart_kubelet(&self) -> ActResult {
        self.restart_kubelet_within(LIMIT).await
    }

    async fn restart_kubelet_within(&self, limit: Duration) -> ActResult {
        let done = match timeout(limit, self.restart()).await {
            Ok(done) => done,
            Err(_) => Err(Failed::new(format!("{KUBELET} was not restarted within {limit:?}"))),
        };
        self.end(None, done).await
    }

    async fn restart(&self) -> Result<(), Failed> {
        let systemd = self.systemd();
        let before = systemd.unit(KUBELET).await.doing(|| format!("read the state of {KUBELET}"))?.invocation;
        systemd.reload().await.doing(|| "have systemd read its units again (daemon-reload)")?;
        let mut jobs = systemd.jobs().await.doing(|| "listen to systemd")?;
        let job = match systemd.restart(KUBELET).await {
            Ok(job) => job,
            Err(error) if answered(&error) => return Err(error).doing(|| format!("restart {KUBELET}")),
            // The call may have arrived.
            Err(_) => return self.await_restarted(&before).await,
        };
        match result(&mut jobs, &job).await {
            Some(result) if result == "done" => Ok(()),
            Some(result) => Err(Failed::new(format!(
                "the job that restarts {KUBELET} ended as {result:?}; see journalctl --unit {KUBELET}"
            ))),
            None => self.await_restarted(&before).await,
        }
    }

    /// The bus went away, and with it the news of our job: kubelet itself shows whether it was restarted.
    async fn await_restarted(&self, before: &str) -> Result<(), Failed> {
        loop {
            if let Ok(unit) = self.systemd().unit(KUBELET).await {
                if unit.is_active() && unit.invocation != before {
                    return Ok(());
                }
                if unit.active_state == "failed" {
                    return Err(Failed::new(format!("{KUBELET} failed; see journalctl --unit {KUBELET}")));
                }
            }
            sleep(PAUSE).await;
        }
    }
}

/// How our job ended; other people's jobs are passed over. None when the bus is gone.
async fn result(jobs: &mut Jobs, job: &zbus::OwnedObjectPath) -> Option<String> {
    loop {
        let end = jobs.next().await?;
        if end.job == *job {
            return Some(end.result);
        }
    }
}

#[cfg(test)]
#[path = "restart/tests.rs"]
mod tests;
