//! Preflight: what the cluster says and what this machine says, in one set of findings.

use upgrade_core::act::Fault;
use upgrade_core::api::Version;
use upgrade_core::judge::preflight;
use upgrade_core::observed::Findings;

use crate::adapters::Adapters;

/// Looks at everything that can be known before anything is touched; changes nothing but the agent's own directory.
///
/// # Errors
/// When something that must be asked did not answer: the API server, the package repository.
pub async fn run(adapters: &Adapters, target: Version) -> Result<Findings, Fault> {
    let control_plane = adapters.host.look(None).await?.control_plane;
    let cluster = adapters.cluster.preflight_findings(control_plane, target, &adapters.drain).await?;
    let command = preflight::command(control_plane);
    let host = if preflight::asks_host(&cluster.findings) {
        Some(adapters.host.preflight(target, command).await?)
    } else {
        None
    };
    Ok(preflight::findings(target, command, adapters.clock.now().mono, cluster, host))
}
