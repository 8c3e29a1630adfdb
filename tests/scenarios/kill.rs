//! The agent is killed; whatever it had begun goes on.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{Node, Options, wait_until};
use upgrade_core::act::UNIT_PREFIX;
use upgrade_core::api::Phase;
use upgrade_core::oracle::{End, What};

use crate::drain::{guard, names_guard, relax};
use crate::fleet::{AGENT, Fleet, count, new};
use crate::hold::{Hold, Point};

const BACK: Duration = Duration::from_secs(30);
/// kubeadm changes etcd first, which takes half a minute.
const APPLYING: Duration = Duration::from_mins(3);
const TOOL: Duration = Duration::from_mins(1);

/// An agent's life: systemd's invocation ID of its unit.
pub(crate) fn life(node: &Node, unit: &str) -> Result<String> {
    node.run(&["systemctl", "show", "--property=InvocationID", "--value", unit])
}

fn kill(node: &Node) -> Result<String> {
    let was = life(node, AGENT)?;
    node.run(&["systemctl", "kill", "--signal=KILL", AGENT])?;
    Ok(was)
}

/// Waits until systemd has started the agent again and it says that it is in `phase`.
///
/// systemd forgets a unit's status text when it starts it, so this is the new life's own word.
fn wait_back(node: &Node, was: &str, phase: Phase) -> Result<()> {
    wait_until(&format!("the agent of {} to be back in {phase}", node.name()), BACK, || {
        let text = node.run(&["systemctl", "show", "--property=StatusText", "--value", AGENT])?;
        Ok(life(node, AGENT)? != was && text.starts_with(phase.word()))
    })
}

/// The one unit of `tool`.
pub(crate) fn unit_of(node: &Node, tool: &str) -> Result<String> {
    let pattern = format!("{UNIT_PREFIX}*-{tool}.service");
    let list = node.run(&["systemctl", "list-units", "--all", "--plain", "--no-legend", &pattern])?;
    let units: Vec<&str> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    ensure!(units.len() == 1, "one unit should run {tool}: {units:?}");
    Ok(units.concat())
}

/// Kills the agent while the tool is held, then lets the tool go on: with `adopted` when the agent is back, else while
/// it is dead.
fn kill_while_held(node: &Node, hold: Hold<'_>, tool: &str, phase: Phase, adopted: bool) -> Result<()> {
    hold.wait_reached()?;
    let unit = unit_of(node, tool)?;
    let run = life(node, &unit)?;
    let was = kill(node)?;
    if adopted {
        wait_back(node, &was, phase)?;
        ensure!(unit_of(node, tool)? == unit && life(node, &unit)? == run, "{tool} was begun again");
        drop(hold);
        return Ok(());
    }
    drop(hold);
    wait_until(&format!("{tool} to end without its agent"), TOOL, || {
        let state = node.run(&["systemctl", "show", "--property=SubState,Result", "--value", &unit])?;
        Ok(state.split_whitespace().collect::<Vec<_>>() == ["success", "exited"])
    })?;
    ensure!(life(node, AGENT)? == was, "the agent was back before {tool} ended: nothing is shown");
    ensure!(life(node, &unit)? == run, "{tool} was begun again");
    Ok(())
}

pub(crate) fn in_every_phase(fleet: &Fleet) -> Result<()> {
    let name = "worker1";
    let node = fleet.old_worker(name)?;
    guard(fleet, name)?;
    let kubeadm = Hold::set(node, Point::Apt, "install-kubeadm")?;
    let apply = Hold::set(node, Point::Unit, "kubeadm-upgrade")?;
    let kubelet = Hold::set(node, Point::Apt, "install-kubelet")?;

    fleet.ask(name, &new())?;
    fleet.wait_phase(name, Phase::Preflight)?;
    let was = kill(node)?;
    wait_back(node, &was, Phase::Preflight)?;

    fleet.wait_report(name, Phase::Draining, names_guard)?;
    let was = kill(node)?;
    wait_back(node, &was, Phase::Draining)?;
    relax(fleet)?;

    kill_while_held(node, kubeadm, "install-kubeadm", Phase::Staging, true)?;
    kill_while_held(node, apply, "kubeadm-upgrade", Phase::Applying, false)?;
    kill_while_held(node, kubelet, "install-kubelet", Phase::Installing, true)?;

    fleet.wait_phase(name, Phase::Verifying)?;
    let was = kill(node)?;
    // While it was dead kubelet may have run for all of its soak time: then nothing is left to verify.
    wait_until("the agent to be back", BACK, || Ok(life(node, AGENT)? != was))?;

    fleet.wait_done(name, &new())?;
    let events = fleet.events()?;
    let deaths = count(&events, name, |what| *what == What::AgentDied);
    ensure!(deaths == 6, "the agent should have died six times, not {deaths}");
    for word in ["install-kubeadm", "kubeadm-upgrade", "install-kubelet"] {
        let runs =
            count(&events, name, |what| matches!(what, What::ToolStarted { tool, .. } if *tool == word));
        ensure!(runs == 1, "{word} ran {runs} times");
    }
    fleet.judge(&[(name, End::Done)])
}

/// A cluster of its own: the one that is shared has its control plane upgraded already.
pub(crate) fn while_the_control_plane_is_away(_: &Fleet) -> Result<()> {
    let fleet = Fleet::boot_another(&Options { workers: 1, ..Options::default() })?;
    let name = "cp1";
    let node = fleet.cluster.node(name)?;
    fleet.ask(name, &new())?;
    fleet.wait_phase(name, Phase::Applying)?;
    wait_until("kubeadm to take the API server away", APPLYING, || {
        Ok(fleet.kubectl(&["get", "--raw", "/livez"]).is_err())
    })?;
    let unit = unit_of(node, "kubeadm-upgrade")?;
    let run = life(node, &unit)?;
    let was = kill(node)?;
    wait_until("the agent to be back", BACK, || Ok(life(node, AGENT)? != was))?;
    ensure!(
        unit_of(node, "kubeadm-upgrade")? == unit && life(node, &unit)? == run,
        "kubeadm was begun again"
    );
    fleet.wait_done(name, &new())?;
    let events = fleet.events()?;
    let runs = count(&events, name, |what| matches!(what, What::ToolStarted { tool: "kubeadm-upgrade", .. }));
    ensure!(runs == 1, "kubeadm ran {runs} times");
    fleet.judge(&[(name, End::Done)])
}
