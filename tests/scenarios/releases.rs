//! Agents of two releases: beside each other in one cluster, and one after the other in the middle of a turn.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Node, Options, wait_until};
use upgrade_core::api::annotations::RETRY;
use upgrade_core::api::{LeaseName, Phase, Reason};
use upgrade_core::oracle::{End, Event, Rule, Violation, What, Who};

use crate::drain::{guard, names_guard, relax};
use crate::fleet::{AGENT, Fleet, SOON, UPGRADE, count, new, package};
use crate::hold::{Hold, Point};
use crate::kill::{life, unit_of};
use crate::package::state;
use crate::release;

/// Where apt's unprivileged user can read it.
const PACKAGE: &str = "/var/tmp/node-upgrade-agent-of-another-release.deb";
const NODES: [&str; 3] = ["cp1", "worker1", "worker2"];
/// Longer than systemd pauses between two starts of an agent that fails.
const A_WHILE: Duration = Duration::from_secs(30);

pub(crate) fn e13_two_releases_live_together(_: &Fleet) -> Result<()> {
    let before = release::before()?;
    beside_a_control_plane_of_before(&before)?;
    downgraded_on_the_way(&before)
}

fn beside_a_control_plane_of_before(before: &Path) -> Result<()> {
    Fleet::boot_with(&Options::default(), before)?.explained(beside)
}

fn beside(fleet: &Fleet) -> Result<()> {
    to_this_release(fleet.cluster.node("worker2")?)?;
    fleet.begin();
    for node in NODES {
        fleet.ask(node, &new())?;
    }
    for node in NODES {
        fleet.wait_done(node, &new())?;
    }
    in_order(&fleet.events()?)?;
    fleet.judge_but(&NODES.map(|node| (node, End::Done)), |violation| {
        of_before(violation, &["cp1", "worker1"])
    })
}

/// It cannot read what the later one remembers: it says so and does nothing, and the others wait, until that one is back.
fn downgraded_on_the_way(before: &Path) -> Result<()> {
    let fleet = Fleet::boot_with(&Options::default(), before)?;
    fleet.explained(|fleet| downgraded(fleet, before))
}

fn downgraded(fleet: &Fleet, before: &Path) -> Result<()> {
    let node = fleet.cluster.node("worker2")?;
    to_this_release(fleet.cluster.node("cp1")?)?;
    to_this_release(node)?;
    fleet.begin();
    guard(fleet, "worker2")?;
    for name in ["cp1", "worker2"] {
        fleet.ask(name, &new())?;
    }
    fleet.wait_done("cp1", &new())?;
    fleet.wait_report("worker2", Phase::Draining, names_guard)?;
    fleet.ask("worker1", &new())?;
    install(node, before)?;
    stands_still(fleet, node)?;
    to_this_release(node)?;
    fleet.wait_report("worker2", Phase::Draining, names_guard)?;
    relax(fleet)?;
    for name in ["worker2", "worker1"] {
        fleet.wait_done(name, &new())?;
    }
    let events = fleet.events()?;
    let claims = count(&events, "worker2", |what| matches!(what, What::LeaseTaken { .. }));
    ensure!(claims == 1, "worker2 claimed {claims} times: its turn was lost");
    in_order(&events)?;
    fleet.judge_but(&NODES.map(|node| (node, End::Done)), |violation| of_before(violation, &["worker1"]))
}

/// The agent of before tells on its host what is wrong and what to do; its node stays as it is, and the next one waits for it.
fn stands_still(fleet: &Fleet, node: &Node) -> Result<()> {
    let name = node.name();
    wait_until(&format!("{name} to say what is wrong"), SOON, || {
        Ok(says_what_is_wrong(&node.journal(AGENT)?))
    })?;
    let told = node.exec(&["node-upgrade-agent", "status", "--local"])?;
    let told = String::from_utf8(told.stderr)?;
    ensure!(says_what_is_wrong(&told), "`status --local` tells: {told}");
    fleet.wait_phase("worker1", Phase::Claiming)?;
    let before = fleet.events()?.len();
    std::thread::sleep(A_WHILE);
    let events = fleet.events()?;
    let done = |what: &What| {
        matches!(
            what,
            What::ToolStarted { .. }
                | What::Cordoned { .. }
                | What::Uncordoned { .. }
                | What::LeaseTaken { .. }
                | What::LeaseReleased { .. }
                | What::Evicted { .. }
        )
    };
    let acts: Vec<&Event> = events[before..].iter().filter(|event| done(&event.what)).collect();
    ensure!(acts.is_empty(), "something was done meanwhile: {acts:?}");
    ensure!(fleet.holders()?.contains(&format!("{name}/")), "{name} has lost its Lease");
    ensure!(fleet.node(name)?["spec"]["unschedulable"] == true, "{name} is back in service");
    let report = fleet.report(name)?;
    ensure!(report.phase == Phase::Draining, "{name} reports {}", report.phase);
    Ok(())
}

fn says_what_is_wrong(told: &str) -> bool {
    let words = ["was written by another version of node-upgrade-agent", "install that version"];
    words.iter().all(|words| told.contains(words))
}

/// A journal of the release before is not read: what its turn has left on the Node, its Lease and the host decides.
pub(crate) fn upgraded_on_the_way(_: &Fleet) -> Result<()> {
    let before = release::before()?;
    let fleet = Fleet::boot_with(&Options { workers: 3, ..Options::default() }, &before)?;
    fleet.explained(|fleet| {
        fleet.begin();
        kubeadm_is_awaited(fleet, "cp1")?;
        backs_out(fleet, "worker1")?;
        cannot_tell(fleet, "worker2")?;
        finishes(fleet, "worker3")?;
        in_order(&fleet.events()?)?;
        let nodes = ["cp1", "worker1", "worker2", "worker3"];
        fleet.judge_but(&nodes.map(|node| (node, End::Done)), |violation| of_before(violation, &nodes))
    })
}

/// A control-plane node whose kubeadm runs.
fn kubeadm_is_awaited(fleet: &Fleet, name: &str) -> Result<()> {
    let node = fleet.cluster.node(name)?;
    let hold = Hold::set(node, Point::Unit, "kubeadm-upgrade")?;
    fleet.ask(name, &new())?;
    fleet.wait_phase(name, Phase::Applying)?;
    hold.wait_reached()?;
    taken_up(node, hold, "kubeadm-upgrade")?;
    fleet.wait_done(node.name(), &new())
}

/// A worker that is drained: nothing of it has changed, so it goes back, and begins anew.
fn backs_out(fleet: &Fleet, name: &str) -> Result<()> {
    guard(fleet, name)?;
    fleet.ask(name, &new())?;
    fleet.wait_report(name, Phase::Draining, names_guard)?;
    to_this_release(fleet.cluster.node(name)?)?;
    wait_until(&format!("{name} to go back into service, and give its Lease back"), SOON, || {
        let events = fleet.events()?;
        let mine: Vec<&What> =
            events.iter().filter(|event| event.node == name).map(|event| &event.what).collect();
        let at = |is: fn(&What) -> bool| mine.iter().position(|what| is(what));
        let back = at(|what| matches!(what, What::Uncordoned { by: Who::Agent(_) }));
        let given = at(|what| matches!(what, What::LeaseReleased { by: Who::Agent(_), .. }));
        Ok(back.is_some() && back < given)
    })?;
    let begun = count(&fleet.events()?, name, |what| matches!(what, What::ToolStarted { .. }));
    ensure!(begun == 0, "{name} was changed before it went back");
    relax(fleet)?;
    fleet.wait_done(name, &new())
}

/// A worker whose kubelet is installed and not yet started: nobody knows any more what else was wanted, so a person has a look.
fn cannot_tell(fleet: &Fleet, name: &str) -> Result<()> {
    let node = fleet.cluster.node(name)?;
    let hold = Hold::set(node, Point::Unit, "install-kubelet")?;
    fleet.ask(name, &new())?;
    fleet.wait_phase(name, Phase::Installing)?;
    hold.wait_reached()?;
    taken_up(node, hold, "install-kubelet")?;
    let report = fleet.wait_report(name, Phase::Degraded, |report| report.reason == Reason::JournalLost)?;
    ensure!(report.message.contains(RETRY), "it does not say what to do: {}", report.message);
    ensure!(fleet.holders()?.contains(&format!("{name}/")), "{name} is degraded without its Lease");
    ensure!(fleet.node(name)?["spec"]["unschedulable"] == true, "{name} is degraded and in service");
    fleet.kubectl(&["annotate", "node", name, &format!("{RETRY}=looked-at")])?;
    fleet.wait_done(node.name(), &new())?;
    installed_once(fleet, name)
}

/// A worker whose new kubelet runs: it is proven and goes back into service.
fn finishes(fleet: &Fleet, name: &str) -> Result<()> {
    let minimum = |seconds: &str| {
        let patch = format!(r#"{{"data":{{"minReadySeconds":{seconds}}}}}"#);
        let policy =
            ["-n", "node-upgrade-agent", "patch", "configmap", "policy", "--type=merge", "-p", &patch];
        fleet.kubectl(&policy).map(drop)
    };
    // So that there is time to install a package meanwhile.
    minimum(r#""60""#)?;
    fleet.ask(name, &new())?;
    wait_until(&format!("{name} to be verified"), UPGRADE, || {
        Ok(fleet.report(name)?.phase == Phase::Verifying)
    })?;
    to_this_release(fleet.cluster.node(name)?)?;
    let cordoned = fleet.node(name)?["spec"]["unschedulable"] == true;
    ensure!(cordoned, "{name} was back in service before its agent was another one: nothing is shown");
    minimum("null")?;
    fleet.wait_done(name, &new())?;
    installed_once(fleet, name)
}

/// And the node went back into service once.
fn installed_once(fleet: &Fleet, name: &str) -> Result<()> {
    let events = fleet.events()?;
    let installs = |what: &What| matches!(what, What::ToolStarted { tool: "install-kubelet", .. });
    let back = |what: &What| matches!(what, What::Uncordoned { by: Who::Agent(_) });
    let counted = (count(&events, name, installs), count(&events, name, back));
    ensure!(counted == (1, 1), "kubelet was installed and {name} back in service {counted:?} times");
    Ok(())
}

/// Upgrades the agent while a tool of the one before is held: the tool's run is awaited, and nothing is begun beside it.
fn taken_up(node: &Node, hold: Hold<'_>, tool: &str) -> Result<()> {
    let unit = unit_of(node, tool)?;
    let run = life(node, &unit)?;
    to_this_release(node)?;
    std::thread::sleep(A_WHILE);
    ensure!(unit_of(node, tool)? == unit && life(node, &unit)? == run, "{tool} was begun again");
    hold.release();
    Ok(())
}

/// Installs this release's agent over the one that is there, which apt has to take for an upgrade or a reinstallation.
fn to_this_release(node: &Node) -> Result<()> {
    let before = life(node, AGENT).unwrap_or_default();
    install(node, &package()?)?;
    ensure!(state(node)?.ends_with(" installed"), "the package is {}", state(node)?);
    wait_until(&format!("this release's agent to run on {}", node.name()), SOON, || {
        let active = node.run(&["systemctl", "is-active", AGENT]).is_ok();
        Ok(active && life(node, AGENT)? != before)
    })
}

/// As an administrator does where a later package has another configuration than the one that was edited.
fn install(node: &Node, package: &Path) -> Result<()> {
    node.write_file(PACKAGE, fs::read(package)?, 0o644)?;
    let keep = ["-o", "Dpkg::Options::=--force-confold"];
    let install = ["apt-get", "install", "--yes", "--allow-downgrades"];
    node.run(&[install.as_slice(), &keep, &[PACKAGE]].concat()).map(drop)
}

/// The control plane first, and never two nodes out of service.
fn in_order(events: &[Event]) -> Result<()> {
    let mut out = BTreeSet::new();
    for event in events {
        match event.what {
            What::Cordoned { .. } => out.insert(event.node.as_str()),
            What::Uncordoned { .. } => out.remove(event.node.as_str()),
            _ => false,
        };
        ensure!(out.len() <= 1, "two nodes are out of service: {out:?}");
    }
    let control_plane = events.iter().rposition(|event| {
        matches!(event.what, What::LeaseReleased { lease: LeaseName::ControlPlane, by: Who::Agent(_) })
    });
    let control_plane = control_plane.context("the control plane was not upgraded")?;
    let worker = events.iter().position(|event| {
        event.node != "cp1" && matches!(event.what, What::Cordoned { .. } | What::ToolStarted { .. })
    });
    ensure!(
        worker.is_none_or(|worker| control_plane < worker),
        "a worker was begun before the control plane"
    );
    Ok(())
}

/// What the release before did by its own rules, on its own nodes: it drained a control-plane node for kubeadm, and wrote `current`
/// when it had given its Lease back.
fn of_before(violation: &Violation, nodes: &[&str]) -> bool {
    let changed = [Rule::ControlPlaneInService, Rule::CurrentLast];
    nodes.contains(&violation.node.as_str()) && changed.contains(&violation.rule)
}
