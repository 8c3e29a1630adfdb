//! The five steps of README.md, run as they stand there: whoever changes them changes what is tested.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lab::{Cluster, DEFAULT_AGENT_CONFIG, wait_until};

use crate::fleet::{AGENT, SOON};

const README: &str = include_str!("../../README.md");
const HEADING: &str = "## Install it, in five steps";
/// Where apt's unprivileged user can read a package.
const DOWNLOADS: &str = "/var/tmp";

/// The commands of a step, from 1.
pub(crate) fn step(number: usize) -> Result<&'static str> {
    let section = README.split(HEADING).nth(1).and_then(|rest| rest.split("\n## ").next());
    let blocks = section.context("README.md does not tell how to install")?.split("```sh\n").skip(1);
    let blocks: Vec<&str> = blocks.filter_map(|block| block.split("```").next()).collect();
    ensure!(blocks.len() == 5, "README.md has {} steps: {blocks:?}", blocks.len());
    blocks.get(number.wrapping_sub(1)).copied().with_context(|| format!("there is no step {number}"))
}

/// Runs a step on an administrator's machine, in a checkout of this repository.
pub(crate) fn on_the_host(cluster: &Cluster, number: usize) -> Result<String> {
    let kubectl = cluster.kubectl_program();
    let directory = kubectl.parent().context("kubectl has a directory")?;
    let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new("sh")
        .args(["-e", "-c", step(number)?])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .env("PATH", path)
        .env("KUBECONFIG", cluster.kubeconfig())
        .output()?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "step {number} failed:\n{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(told)
}

/// The first three steps: installed everywhere, and every agent let in.
pub(crate) fn install(cluster: &Cluster, package: &Path) -> Result<()> {
    on_the_host(cluster, 1)?;
    let name = package.file_name().and_then(|name| name.to_str()).context("the package has a name")?;
    let bytes = std::fs::read(package).with_context(|| format!("read {}", package.display()))?;
    for node in cluster.nodes() {
        node.write_file(&format!("{DOWNLOADS}/{name}"), &bytes, 0o644)?;
        node.run(&["sh", "-e", "-c", &format!("cd {DOWNLOADS}\n{}", step(2)?)])?;
        // Nodes of the lab need kubeadm's leniency; a real one keeps the file as it came.
        node.write_file("/etc/node-upgrade-agent/config.toml", DEFAULT_AGENT_CONFIG, 0o644)?;
        node.run(&["systemctl", "restart", AGENT])?;
    }
    wait_until("every agent to ask for a certificate", SOON, || {
        let requests = cluster.kubectl(&["get", "certificatesigningrequests", "--output=name"])?;
        Ok(requests.matches("/node-upgrade-agent-").count() >= cluster.nodes().len())
    })?;
    let told = cluster.control_plane()?.run(&["sh", "-e", "-c", step(3)?])?;
    for node in cluster.nodes() {
        ensure!(told.contains(node.name()), "{} was not let in:\n{told}", node.name());
    }
    Ok(())
}
