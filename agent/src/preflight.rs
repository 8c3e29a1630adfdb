//! Preflight: what the cluster says and what this machine says, in one set of findings.

use upgrade_core::act::Fault;
use upgrade_core::job::{Hop, Verb};
use upgrade_core::preflight::{Check, Finding, Findings, Outcome};
use upgrade_core::version::Version;

use crate::cluster::ClusterPreflight;
use crate::host::HostPreflight;
use crate::world::World;

/// Looks at everything that can be known before anything is touched; changes nothing but the agent's own directory.
///
/// # Errors
/// When something that must be asked did not answer: the API server, the package repository.
pub async fn run(world: &World, target: Version) -> Result<Findings, Fault> {
    let control_plane = world.host.look(None).await?.control_plane;
    let cluster = world.cluster.preflight_findings(control_plane, target, &world.drain).await?;
    let ClusterPreflight { mut findings, daemon_sets, csi_drivers } = cluster;
    // What comes right by itself is asked again soon: the downloads can wait for it.
    let hop = if findings.iter().any(|finding| matches!(finding.outcome, Outcome::Pending(_))) {
        None
    } else {
        // Which control-plane node applies is decided with the Lease in hand; here only the kind matters.
        let verb = if control_plane { Verb::Apply } else { Verb::NodeWorker };
        let HostPreflight { findings: on_host, from, to, way_back } =
            world.host.preflight(target, verb).await?;
        findings.extend(on_host);
        from.zip(to).map(|(from, to)| Hop { from, to, verb, target, way_back, daemon_sets, csi_drivers })
    };
    sort(&mut findings);
    Ok(Findings { target, at: world.clock.now().mono, hop, findings })
}

/// In the order people read them: [`Check::ALL`].
fn sort(findings: &mut [Finding]) {
    findings.sort_by_key(|finding| Check::ALL.iter().position(|check| *check == finding.check));
}
