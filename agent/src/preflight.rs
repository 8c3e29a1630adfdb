//! Preflight: what the cluster says and what this machine says, in one set of findings.

use upgrade_core::act::Fault;
use upgrade_core::api::Version;
use upgrade_core::judge::preflight;
use upgrade_core::observed::Findings;

use crate::world::World;

/// Looks at everything that can be known before anything is touched; changes nothing but the agent's own directory.
///
/// # Errors
/// When something that must be asked did not answer: the API server, the package repository.
pub async fn run(world: &World, target: Version) -> Result<Findings, Fault> {
    let control_plane = world.host.look(None).await?.control_plane;
    let cluster = world.cluster.preflight_findings(control_plane, target, &world.drain).await?;
    let verb = preflight::verb(control_plane);
    let host = if preflight::asks_host(&cluster.findings) {
        Some(world.host.preflight(target, verb).await?)
    } else {
        None
    };
    Ok(preflight::findings(target, verb, world.clock.now().mono, cluster, host))
}
