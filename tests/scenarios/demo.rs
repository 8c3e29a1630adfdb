//! The demo's upgrade.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{Options, wait_until};
use upgrade_core::api::annotations::CURRENT;
use upgrade_core::api::{KubeadmCommand, LeaseName};
use upgrade_core::oracle::{End, Event, What};
use upgrade_tests::permissions::granted;

use crate::fleet::{Fleet, count, new};
use crate::readme;

pub(crate) fn three_nodes(fleet: &Fleet) -> Result<()> {
    readme::on_the_host(&fleet.cluster, 4)?;
    readme::on_the_host(&fleet.cluster, 5)?;
    for node in ["cp1", "worker1", "worker2"] {
        fleet.wait_done(node, &new())?;
    }
    let holders = fleet.holders()?;
    ensure!(holders.trim().is_empty(), "Leases are held: {holders}");
    let pods = fleet.pods_by_node("hello")?;
    ensure!(pods.len() == 10, "ten web servers should run: {pods:?}");
    in_turn(&fleet.events()?)?;
    nothing_is_granted_that_is_not_used(fleet)?;
    fleet.judge(&[("cp1", End::Done), ("worker1", End::Done), ("worker2", End::Done)])
}

/// A whole upgrade asks with the coordination identity for exactly what RBAC grants it.
fn nothing_is_granted_that_is_not_used(fleet: &Fleet) -> Result<()> {
    let rules = fleet.kubectl(&[
        "get",
        "roles,rolebindings,clusterroles,clusterrolebindings",
        "--all-namespaces",
        "--output=json",
    ])?;
    let granted = granted::granted(&serde_json::from_str(&rules)?)?;
    let log = std::fs::read_to_string(fleet.cluster.audit_log()?)?;
    let differences = granted::differences(&granted, &granted::asked(&log));
    ensure!(differences.is_empty(), "granted and asked differ:\n{}", differences.join("\n"));
    Ok(())
}

/// The oracle says that nobody disturbed anybody; this says that everybody had a turn, and which.
fn in_turn(events: &[Event]) -> Result<()> {
    let turns: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.what {
            What::LeaseTaken { lease, .. } => Some((event.node.as_str(), *lease, true)),
            What::LeaseReleased { lease, .. } => Some((event.node.as_str(), *lease, false)),
            _ => None,
        })
        .collect();
    let whole = |pair: &[(&str, LeaseName, bool)]| matches!(pair, [(a, taken, true), (b, given, false)] if a == b && taken == given);
    ensure!(turns.chunks(2).all(whole), "turns overlap: {turns:?}");
    ensure!(turns.len() == 8, "the control plane has two turns, the workers one each: {turns:?}");
    let first =
        turns.iter().take(4).all(|(node, lease, _)| (*node, *lease) == ("cp1", LeaseName::ControlPlane));
    ensure!(first, "cp1 is not first: {turns:?}");
    for (node, command) in [
        ("cp1", KubeadmCommand::Apply),
        ("cp1", KubeadmCommand::NodeKubelet),
        ("worker1", KubeadmCommand::NodeWorker),
        ("worker2", KubeadmCommand::NodeWorker),
    ] {
        let ran = |what: &What| matches!(what, What::ToolStarted { kubeadm: Some((ran, _)), .. } if *ran == command);
        ensure!(count(events, node, ran) == 1, "{node} should have run kubeadm once, as {command:?}");
        ensure!(
            count(events, node, |what| *what == What::KubeletRestarted) > 0,
            "kubelet of {node} still runs"
        );
    }
    let api_server = |what: &What| matches!(what, What::StaticPod { component: "kube-apiserver", version: Some(version) } if version.to_string() == new());
    ensure!(count(events, "cp1", api_server) == 1, "the new API server was not seen");
    Ok(())
}

/// One after the other, a control-plane node in two turns, on a machine that is shared with all the others.
const FOUR_UPGRADES: Duration = Duration::from_mins(30);

/// Each API server logs what it was asked itself, so the history of several is put together from all of their logs.
pub(crate) fn several_control_planes(_: &Fleet) -> Result<()> {
    let fleet = Fleet::boot_another(&Options { control_planes: 3, workers: 1, ..Options::default() })?;
    let nodes = ["cp1", "cp2", "cp3", "worker1"];
    for node in nodes {
        fleet.ask(node, &new())?;
    }
    wait_until("all four nodes to say that they are in service", FOUR_UPGRADES, || {
        let current = |node: &str| {
            fleet.node(node).map(|seen| seen["metadata"]["annotations"][CURRENT] == new().as_str())
        };
        nodes.iter().try_fold(true, |all, node| Ok(all && current(node)?))
    })?;
    for node in nodes {
        fleet.wait_done(node, &new())?;
    }
    let events = fleet.events()?;
    let verbs = |command: KubeadmCommand| {
        let ran = |event: &&Event| matches!(event.what, What::ToolStarted { kubeadm: Some((ran, _)), .. } if ran == command);
        events.iter().filter(ran).count()
    };
    ensure!(
        (verbs(KubeadmCommand::Apply), verbs(KubeadmCommand::NodeControlPlane)) == (1, 2),
        "not one `apply` and two `node`"
    );
    for node in ["cp1", "cp2", "cp3"] {
        let claims = count(&events, node, |what| matches!(what, What::LeaseTaken { .. }));
        let ends =
            |what: &What| matches!(what, What::CurrentWritten { version } if version.to_string() == new());
        let says = count(&events, node, ends);
        ensure!((claims, says) == (2, 1), "{node} is seen to claim {claims} times and to end {says} times");
        let api_server = |what: &What| matches!(what, What::StaticPod { component: "kube-apiserver", version: Some(version) } if version.to_string() == new());
        ensure!(count(&events, node, api_server) == 1, "the new API server of {node} was not seen");
    }
    fleet.judge(&nodes.map(|node| (node, End::Done)))
}
