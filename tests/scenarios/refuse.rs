//! Refused before anything is touched.

use anyhow::{Result, ensure};
use lab::versions;
use upgrade_core::api::Phase;
use upgrade_core::oracle::{End, What};

use crate::fleet::{Fleet, count, new, old};

const FLAG: &str = "--pod-infra-container-image";
const FLAGS_FILE: &str = "/etc/default/kubelet";

pub(crate) fn unknown_target(fleet: &Fleet) -> Result<()> {
    fleet.old_worker("worker1")?;
    fleet.withdraw_new()?;
    refused(
        fleet,
        "worker1",
        &[versions::KUBERNETES_NEW, &versions::package_version(versions::KUBERNETES_OLD)],
    )
}

pub(crate) fn obsolete_flag(fleet: &Fleet) -> Result<()> {
    let node = fleet.old_worker("worker1")?;
    // The kubelet that runs need not know it yet: the next start would.
    node.write_file(FLAGS_FILE, format!("KUBELET_EXTRA_ARGS={FLAG}=x\n"), 0o644)?;
    refused(fleet, "worker1", &[FLAG, FLAGS_FILE])
}

/// Asks for the new version, which is refused with all of `words` in the reason, and nothing was touched.
fn refused(fleet: &Fleet, node: &str, words: &[&str]) -> Result<()> {
    fleet.ask(node, &new())?;
    let report = fleet.wait_report(node, Phase::Refused, |_| true)?;
    for word in words {
        ensure!(report.message.contains(word), "the reason does not name {word}: {}", report.message);
    }
    fleet.check_in_service(node, &old())?;
    let events = fleet.events()?;
    let touched = |what: &What| {
        matches!(what, What::Cordoned { .. } | What::LeaseTaken { .. } | What::ToolStarted { .. })
    };
    ensure!(count(&events, node, touched) == 0, "{node} was touched");
    fleet.judge(&[(node, End::Refused)])
}
