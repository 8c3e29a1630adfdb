//! The agent's Debian package: installed, upgraded, removed and purged on a node that is in use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::slice::from_ref;

use anyhow::{Context, Result, ensure};
use lab::{DEFAULT_AGENT_CONFIG, Node, wait_until};
use upgrade_core::api::Phase;
use upgrade_core::oracle::{End, What};

use crate::drain::{guard, names_guard, relax};
use crate::fleet::{AGENT, Fleet, SOON, count, new, old, package};
use crate::hold::{Hold, Point};
use crate::kill::{life, unit_of};

const NAME: &str = "node-upgrade-agent";
const FORCE: &str = "NODE_UPGRADE_AGENT_REMOVE=force";
/// The most that `systemd-analyze security` may find.
const EXPOSURE: f64 = 4.0;

pub(crate) fn exposure(fleet: &Fleet) -> Result<()> {
    let told = fleet.cluster.control_plane()?.run(&["systemd-analyze", "security", "--no-pager", AGENT])?;
    let figure =
        told.rsplit_once(&format!("level for {AGENT}: ")).and_then(|(_, rest)| rest.split(' ').next());
    let figure: f64 = figure.context("systemd-analyze gives no figure")?.parse()?;
    println!("  exposure {figure}");
    ensure!(figure <= EXPOSURE, "the unit's exposure is {figure}:\n{told}");
    Ok(())
}

pub(crate) fn installed(fleet: &Fleet) -> Result<()> {
    let name = "worker1";
    let node = fleet.old_worker(name)?;
    purge(node)?;
    node.install_package(&package()?)?;
    node.run(&["systemctl", "is-enabled", AGENT])?;
    wait_idle(node)?;
    fleet.check_in_service(name, &old())?;
    let touched = |what: &What| {
        matches!(what, What::Cordoned { .. } | What::LeaseTaken { .. } | What::ToolStarted { .. })
    };
    ensure!(count(&fleet.events()?, name, touched) == 0, "{name} was touched");
    install_again(fleet, node)
}

pub(crate) fn upgraded_on_the_way(fleet: &Fleet) -> Result<()> {
    let name = "worker1";
    let node = fleet.old_worker(name)?;
    let next = relabelled(&package()?, &fleet.cluster.kubeconfig().with_file_name("next-package"), "+next")?;
    let hold = Hold::set(node, Point::Unit, "kubeadm-upgrade")?;
    fleet.ask(name, &new())?;
    hold.wait_reached()?;
    let (agent, unit) = (life(node, AGENT)?, unit_of(node, "kubeadm-upgrade")?);
    let tool = life(node, &unit)?;
    node.install_package(&next)?;
    ensure!(state(node)?.ends_with("+next installed"), "the package is {}", state(node)?);
    ensure!(life(node, AGENT)? != agent, "the old agent runs on");
    ensure!(
        unit_of(node, "kubeadm-upgrade")? == unit && life(node, &unit)? == tool,
        "kubeadm was begun again"
    );
    hold.release();
    fleet.wait_done(name, &new())?;
    let runs = count(&fleet.events()?, name, |what| {
        matches!(what, What::ToolStarted { tool: "kubeadm-upgrade", .. })
    });
    ensure!(runs == 1, "kubeadm ran {runs} times");
    fleet.judge(&[(name, End::Done)])?;
    node.install_package(&package()?).map(drop)
}

/// To a package that knows of the refusal too; one that does not is let in by dpkg.
pub(crate) fn downgraded_on_the_way(fleet: &Fleet) -> Result<()> {
    let name = "worker1";
    let node = fleet.old_worker(name)?;
    let next = relabelled(&package()?, &fleet.cluster.kubeconfig().with_file_name("next-package"), "+next")?;
    node.install_package(&next)?;
    guard(fleet, name)?;
    fleet.ask(name, &new())?;
    fleet.wait_report(name, Phase::Draining, names_guard)?;
    let refusal = node.install_package(&package()?).err().context("the package was downgraded")?;
    let told = format!("{refusal:#}");
    for words in ["an upgrade to v1.36.3 is under way", "Wait for its end", "then downgrade", FORCE] {
        ensure!(told.contains(words), "the refusal does not say {words}:\n{told}");
    }
    ensure!(state(node)?.ends_with("+next installed"), "the package is {}", state(node)?);
    relax(fleet)?;
    fleet.wait_done(name, &new())?;
    fleet.judge(&[(name, End::Done)])?;
    node.install_package(&package()?).map(drop)
}

pub(crate) fn removed_on_the_way(fleet: &Fleet) -> Result<()> {
    let name = "worker1";
    let node = fleet.old_worker(name)?;
    guard(fleet, name)?;
    fleet.ask(name, &new())?;
    fleet.wait_report(name, Phase::Draining, names_guard)?;
    refused(node, &["an upgrade to v1.36.3 is under way", "Wait for its end"])?;
    node.run(&["systemctl", "is-active", AGENT])?;
    fleet.ask_no_more(name)?;
    fleet.wait_done(name, &old())?;
    fleet.judge(&[(name, End::BackedOut)])
}

pub(crate) fn removed_with_a_broken_journal(fleet: &Fleet) -> Result<()> {
    let node = fleet.cluster.node("worker2")?;
    node.write_file("/var/lib/node-upgrade-agent/journal/memory.json", "not what was stored", 0o600)?;
    refused(node, &["cannot tell whether an upgrade", "memory.json"])?;
    let forced = ["env", FORCE, "apt-get", "purge", "--yes", NAME];
    node.run(&forced)?;
    install_again(fleet, node)
}

pub(crate) fn purged(fleet: &Fleet) -> Result<()> {
    const KUBELET_CONFIG: &str = "/var/lib/kubelet/config.yaml";
    let name = "worker1";
    let node = fleet.old_worker(name)?;
    let (kubelet, config) = (life(node, "kubelet.service")?, node.read_file(KUBELET_CONFIG)?);
    purge(node)?;
    let left = node.run(&[
        "find",
        "/",
        "-xdev",
        "-path",
        "/proc",
        "-prune",
        "-o",
        "-name",
        "*node-upgrade-agent*",
        "-print",
    ])?;
    let left: Vec<&str> = left.lines().filter(|path| !path.starts_with("/var/tmp/")).collect();
    ensure!(left.is_empty(), "the purge left {left:?}");
    ensure!(life(node, "kubelet.service")? == kubelet, "kubelet was restarted");
    ensure!(node.read_file(KUBELET_CONFIG)? == config, "kubelet's configuration is another one");
    fleet.check_in_service(name, &old())?;
    install_again(fleet, node)
}

pub(crate) fn before_the_join(fleet: &Fleet) -> Result<()> {
    const CREDENTIAL: &str = "/etc/kubernetes/kubelet.conf";
    const ASIDE: &str = "/etc/kubernetes/kubelet.conf.aside";
    let node = fleet.cluster.node("worker2")?;
    // kubelet has read it; the agent finds a host that has not joined.
    node.run(&["mv", CREDENTIAL, ASIDE])?;
    node.run(&["systemctl", "restart", AGENT])?;
    let waits = node.run(&["systemctl", "show", "--property=StatusText", "--value", AGENT]);
    node.run(&["mv", ASIDE, CREDENTIAL])?;
    let waits = waits?;
    ensure!(waits.contains(&format!("waiting for {CREDENTIAL}")), "it says {waits}");
    wait_idle(node)?;
    // Once, to go on as on a node; a failure would count here as well.
    let restarts = node.run(&["systemctl", "show", "--property=NRestarts", "--value", AGENT])?;
    ensure!(restarts.trim() == "1", "systemd started it {restarts} times");
    Ok(())
}

fn wait_idle(node: &Node) -> Result<()> {
    wait_until(&format!("the agent of {} to find nothing to do", node.name()), SOON, || {
        let text = node.run(&["systemctl", "show", "--property=StatusText", "--value", AGENT])?;
        Ok(text.starts_with(Phase::Idle.word()))
    })
}

fn purge(node: &Node) -> Result<()> {
    node.run(&["apt-get", "purge", "--yes", NAME])?;
    let state = node.run(&["systemctl", "show", "--property=LoadState", "--value", AGENT])?;
    ensure!(state.trim() == "not-found", "systemd still knows the unit: {state}");
    Ok(())
}

/// The purge took configuration and credential as well.
fn install_again(fleet: &Fleet, node: &Node) -> Result<()> {
    fleet.cluster.install_agent_on(from_ref(node), &package()?, DEFAULT_AGENT_CONFIG)
}

/// Tries to remove the package, which is refused with `words` and with what to do.
fn refused(node: &Node, words: &[&str]) -> Result<()> {
    let before = state(node)?;
    let removal = node.exec(&["apt-get", "remove", "--yes", NAME])?;
    let told = [removal.stdout, removal.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    ensure!(!removal.status.success(), "the package was removed:\n{told}");
    for word in words.iter().chain(&[FORCE]) {
        ensure!(told.contains(word), "the refusal does not say {word}:\n{told}");
    }
    ensure!(state(node)? == before, "the package is now {}", state(node)?);
    Ok(())
}

/// Version and state of the package, as dpkg has them.
pub(crate) fn state(node: &Node) -> Result<String> {
    node.run(&["dpkg-query", "--show", "--showformat=${Version} ${db:Status-Status}", NAME])
}

/// The same package under another version: its own with `suffix`. It is unpacked in `directory` and ends beside it.
pub(crate) fn relabelled(package: &Path, directory: &Path, suffix: &str) -> Result<PathBuf> {
    let deb = directory.with_extension("deb");
    if directory.exists() {
        fs::remove_dir_all(directory).context("cannot remove an unpacked package")?;
    }
    dpkg_deb(&["--raw-extract".as_ref(), package, directory])?;
    let control = directory.join("DEBIAN/control");
    let text = fs::read_to_string(&control)?;
    let version = text.lines().find(|line| line.starts_with("Version: ")).context("no version")?;
    fs::write(&control, text.replace(version, &format!("{version}{suffix}")))?;
    dpkg_deb(&["-Znone".as_ref(), "--root-owner-group".as_ref(), "--build".as_ref(), directory, &deb])?;
    Ok(deb)
}

fn dpkg_deb(arguments: &[&Path]) -> Result<()> {
    let output = Command::new("dpkg-deb").args(arguments).output().context("cannot run dpkg-deb")?;
    ensure!(output.status.success(), "dpkg-deb: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
