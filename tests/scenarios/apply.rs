//! `kubeadm upgrade apply` fails, and the API server is away for longer than the five minutes that kubeadm gives it.

use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::{Node, Options, versions, wait_until};
use upgrade_core::api::annotations::{CURRENT, IN_HAND, RETRY};
use upgrade_core::api::{KubeadmCommand, Phase};
use upgrade_core::oracle::{End, What};

use crate::fleet::{AGENT, Fleet, count, new, old};
use crate::hold::{Hold, Point};
use crate::kill::{life, unit_of};

const NODE: &str = "cp1";
const WORKER: &str = "worker1";
/// What kubeadm gives a static pod before it puts the old manifests back.
const KUBEADM_WAITS: Duration = Duration::from_mins(5);
/// Our own roll-back comes a minute later, and the old API server takes some time.
const BACK: Duration = Duration::from_mins(9);
/// For so long the host is asked again and again.
const TOLD: Duration = Duration::from_mins(4);
const PORT: u16 = 6443;
const PACE: Duration = Duration::from_secs(5);
/// kubeadm wants the controllers, which an API server that was away for so long has thrown back: where its next run is too early
/// for them, another one follows after five minutes.
const GOES_ON: Duration = Duration::from_mins(25);
const AWAY: Duration = Duration::from_mins(2);
const TOOL: Duration = Duration::from_mins(1);
/// Under the name of the new API server's image stands something else.
const NAME: &str = "kube-apiserver";
const OTHER: &str = "httpd";
const ASIDE: &str = "set-aside";

/// kubeadm puts the old manifests back: the node is as before, says why, and waits for people.
pub(crate) fn rolled_back_by_kubeadm(_: &Fleet) -> Result<()> {
    let fleet = Fleet::boot_another(&Options { workers: 1, ..Options::default() })?;
    fleet.explained(|fleet| {
        let node = fleet.cluster.node(NODE)?;
        let agent = away_for_long(fleet, node, |_| Ok(()))?;
        refused_as_before(fleet, node)?;
        ensure!(life(node, AGENT)? == agent, "the agent did not live through it");
        retag(node, ASIDE, NAME)?;
        fleet.kubectl(&["annotate", "node", NODE, &format!("{RETRY}=mended")])?;
        done(fleet)
    })
}

/// Nobody but the agent is there to put the manifests back; then it runs kubeadm again.
pub(crate) fn killed_before_it_rolls_back(_: &Fleet) -> Result<()> {
    let fleet = Fleet::boot_another(&Options { workers: 1, ..Options::default() })?;
    fleet.explained(|fleet| {
        let node = fleet.cluster.node(NODE)?;
        let agent = away_for_long(fleet, node, kill_kubeadm)?;
        ensure!(!manifest(node)?.contains(&image(NAME)), "the manifest of {NAME} is the new one");
        retag(node, ASIDE, NAME)?;
        wait_until(&format!("{NODE} to go on by itself"), GOES_ON, || {
            Ok(fleet.node(NODE)?["metadata"]["annotations"][CURRENT] == new().as_str())
        })?;
        done(fleet)?;
        ensure!(life(node, AGENT)? == agent, "the agent did not live through it");
        let ran =
            |what: &What| matches!(what, What::ToolStarted { kubeadm: Some((KubeadmCommand::Apply, _)), .. });
        let runs = count(&fleet.events()?, NODE, ran);
        ensure!(runs >= 2, "`kubeadm upgrade apply` ran {runs} times");
        Ok(())
    })
}

fn kill_kubeadm(node: &Node) -> Result<()> {
    let unit = unit_of(node, "kubeadm-upgrade")?;
    node.run(&["systemctl", "kill", "--signal=KILL", &unit])?;
    wait_until("kubeadm to be dead", TOOL, || {
        let state = node.run(&["systemctl", "show", "--property=ActiveState", "--value", &unit])?;
        Ok(state.trim() == "failed")
    })
}

/// Lets kubeadm replace the API server by one that never comes up, and returns when the old one is back, with the agent's life.
fn away_for_long(fleet: &Fleet, node: &Node, disturb: impl Fn(&Node) -> Result<()>) -> Result<String> {
    let agent = life(node, AGENT)?;
    // After preflight, which might see it.
    let hold = Hold::set(node, Point::Unit, "kubeadm-upgrade")?;
    for name in [NODE, WORKER] {
        fleet.ask(name, &new())?;
    }
    fleet.wait_phase(NODE, Phase::Applying)?;
    hold.wait_reached()?;
    retag(node, NAME, ASIDE)?;
    retag(node, OTHER, NAME)?;
    hold.release();

    let listens = || TcpStream::connect_timeout(&SocketAddr::from((node.address(), PORT)), PACE).is_ok();
    wait_until("kubeadm to write the new manifest", AWAY, || Ok(manifest(node)?.contains(&image(NAME))))?;
    wait_until("the API server to be away", AWAY, || Ok(!listens()))?;
    let gone = Instant::now();
    disturb(node)?;
    while gone.elapsed() < TOLD {
        told_on_the_host(node)?;
        ensure!(!listens(), "the API server was away for {} s only", gone.elapsed().as_secs());
        sleep(PACE);
    }
    let answers = || fleet.kubectl(&["get", "--raw", "/readyz", "--request-timeout=2s"]).is_ok();
    wait_until("the API server to be back", BACK, || Ok(answers()))?;
    let away = gone.elapsed();
    println!("  the API server was away for {:.0} s", away.as_secs_f64());
    ensure!(away > KUBEADM_WAITS, "it was away for {} s only", away.as_secs());
    Ok(agent)
}

fn done(fleet: &Fleet) -> Result<()> {
    for name in [NODE, WORKER] {
        fleet.wait_done(name, &new())?;
    }
    fleet.judge(&[(NODE, End::Done), (WORKER, End::Done)])
}

/// Gives the image of the new version another name, or another image its name.
fn retag(node: &Node, from: &str, to: &str) -> Result<()> {
    node.run(&["ctr", "-n", "k8s.io", "images", "tag", "--force", &image(from), &image(to)]).map(drop)
}

fn image(name: &str) -> String {
    let tag = if name == OTHER { versions::HTTPD_IMAGE_TAG.to_owned() } else { new() };
    versions::image(name, &tag)
}

/// The API server's.
fn manifest(node: &Node) -> Result<String> {
    Ok(String::from_utf8(node.read_file(&format!("/etc/kubernetes/manifests/{NAME}.yaml"))?)?)
}

/// While nothing answers, systemd and the agent's program say on the host what is at work and to which version.
fn told_on_the_host(node: &Node) -> Result<()> {
    let text = node.run(&["systemctl", "show", "--property=StatusText", "--value", AGENT])?;
    ensure!(text.starts_with(Phase::Applying.word()), "systemd is told: {text}");
    let expected = format!("an upgrade to {} is under way: {}", new(), Phase::Applying);
    for arguments in [&["status", "--local"][..], &["status"]] {
        let told = node.exec(&[&["node-upgrade-agent"], arguments].concat())?;
        let told = String::from_utf8([told.stdout, told.stderr].concat())?;
        ensure!(told.contains(&expected), "{arguments:?} tells: {told}");
    }
    Ok(())
}

/// The node says what failed and what to do; nothing of the turn is left, and the worker was not begun.
fn refused_as_before(fleet: &Fleet, node: &Node) -> Result<()> {
    // The old control plane has to be whole for a while before the turn is over.
    wait_until(&format!("{NODE} to be refused"), BACK, || Ok(fleet.report(NODE)?.phase == Phase::Refused))?;
    let report = fleet.report(NODE)?;
    println!("  {}: {}", report.reason, report.message);
    for word in ["kubeadm-upgrade failed", NAME, RETRY] {
        ensure!(report.message.contains(word), "the reason does not name {word}: {}", report.message);
    }
    fleet.check_in_service(NODE, &old())?;
    fleet.cluster.wait_ready()?;
    let seen = fleet.node(NODE)?;
    ensure!(seen["metadata"]["annotations"].get(IN_HAND).is_none(), "{NODE} is still marked");
    ensure!(!manifest(node)?.contains(&image(NAME)), "the manifest of {NAME} is the new one");
    let events = fleet.events()?;
    let touched = |what: &What| {
        matches!(what, What::Cordoned { .. } | What::LeaseTaken { .. } | What::ToolStarted { .. })
    };
    ensure!(count(&events, WORKER, touched) == 0, "{WORKER} was begun before its control plane");
    let cordoned = count(&events, NODE, |what| matches!(what, What::Cordoned { .. }));
    ensure!(cordoned == 0, "{NODE} was taken out of service");
    fleet.judge(&[(NODE, End::Refused), (WORKER, End::Untouched)])
}
