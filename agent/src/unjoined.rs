//! A host that is no node of a cluster yet: the package may be installed before `kubeadm join`.

use std::path::Path;
use std::time::Duration;

use tokio::time::sleep;

use crate::notify;

/// Nobody is in a hurry: whoever joins a node sets its target later.
const PACE: Duration = Duration::from_secs(5);

/// Waits until the kubelet's credential appears, telling systemd that all is well; false at once where it is there.
///
/// After true the process should end, for systemd to start it anew: the sandbox was made when directories of a node
/// did not exist, and would keep them read-only.
pub async fn wait_for(kubeconfig: &Path) -> bool {
    if kubeconfig.exists() {
        return false;
    }
    let path = kubeconfig.display();
    tracing::info!(%path, "this host is no node of a cluster yet; waiting until kubeadm makes it one");
    notify::ready();
    notify::status(&format!("no node of a cluster yet: waiting for {path}"));
    let pace = PACE.min(notify::watchdog_pace());
    while !kubeconfig.exists() {
        notify::alive();
        sleep(pace).await;
    }
    tracing::info!(%path, "this host has become a node; starting anew");
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_host_with_a_credential_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!wait_for(directory.path()).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_without_a_credential_is_waited_for_until_it_has_one() {
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = directory.path().join("kubelet.conf");
        let joined = async {
            sleep(PACE * 100).await;
            std::fs::write(&kubeconfig, "").unwrap();
        };
        let start = tokio::time::Instant::now();
        let (waited, ()) = tokio::join!(wait_for(&kubeconfig), joined);
        assert!(waited);
        assert!(start.elapsed() >= PACE * 100);
    }
}
