//! systemd's lines in a host's journal and dpkg's log: tools, packages, restarts, lives of the agent.

use anyhow::{Context, Result};
use serde_json::Value;
use upgrade_core::act::UNIT_PREFIX;
use upgrade_core::api::{KubeadmCommand, PackageVersion, Version};
use upgrade_core::oracle::{What, Who};

use super::{HostRecords, Moment, micros};

/// journald began to write: the first entry of every boot.
pub(super) const JOURNAL_STARTED_MATCH: &str = "MESSAGE_ID=f77379a8490b408bbe5f6940505a777b";
// Message ids of systemd's catalogue (systemd/sd-messages.h).
const JOURNAL_STARTED: &str = "f77379a8490b408bbe5f6940505a777b";
const UNIT_STARTING: &str = "7d4958e842da4a758f6c1cdc7b36dcc5";
const UNIT_STARTED: &str = "39f53479d3a045ac8e11786248231fbf";
const UNIT_FAILED: &str = "be02cf6855d2428ba40df7e9d022f03d";
const UNIT_PROCESS_EXIT: &str = "98e322203f7a4ed290d09fe03c09fe15";
const UNIT_STOPPED: &str = "9d1aaa27d60140bd96365438aad20286";

const AGENT: &str = "node-upgrade-agent.service";
const KUBELET: &str = "kubelet.service";
const TOOLS: [&str; 5] = ["install-kubeadm", "install-kubelet", "kubeadm-upgrade", "repair-dpkg", "hold"];
const PACKAGES: [&str; 3] = ["kubeadm", "kubelet", "kubectl"];
const SECOND: u64 = 1_000_000;

/// Everything that happened on one host, in the order of time.
pub(super) fn read(records: &HostRecords) -> Result<Vec<Moment>> {
    let mut host = Host { node: &records.node, ..Host::default() };
    for line in records.journal.lines() {
        let entry: Value = serde_json::from_str(line).with_context(|| format!("journal: {line}"))?;
        host.take(&entry).with_context(|| format!("journal: {line}"))?;
    }
    for line in records.dpkg_log.lines() {
        host.take_package(line).with_context(|| format!("dpkg's log: {line}"))?;
    }
    let mut moments = host.moments;
    moments.sort_by_key(|moment| moment.at);
    Ok(moments)
}

#[derive(Debug, Default)]
struct Host<'a> {
    node: &'a str,
    moments: Vec<Moment>,
    runs: Vec<Run>,
    agent_lives: bool,
    booted: bool,
}

/// One run of a tool of ours; one that is not over has no end.
#[derive(Debug)]
struct Run {
    tool: &'static str,
    from: u64,
    to: u64,
}

impl Host<'_> {
    fn tell(&mut self, at: u64, what: What) {
        self.moments.push(Moment { at, node: self.node.to_owned(), what });
    }

    fn take(&mut self, entry: &Value) -> Result<()> {
        let field = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
        let sent = field("_SOURCE_REALTIME_TIMESTAMP");
        let at = if sent.is_empty() { field("__REALTIME_TIMESTAMP") } else { sent };
        let at: u64 = at.parse().context("an entry without a time")?;
        let (id, unit) = (field("MESSAGE_ID"), field("UNIT"));
        if id == JOURNAL_STARTED {
            self.boot(at);
        } else if unit == AGENT {
            self.take_agent(at, id);
        } else if unit == KUBELET && id == UNIT_STARTED && field("JOB_RESULT") == "done" {
            self.tell(at, What::KubeletRestarted);
        } else if let Some(name) = unit.strip_prefix(UNIT_PREFIX) {
            self.take_tool(at, id, name, field("MESSAGE"))?;
        }
        Ok(())
    }

    /// The first boot is where the history begins.
    fn boot(&mut self, at: u64) {
        self.close(at);
        self.agent_lives = false;
        if std::mem::replace(&mut self.booted, true) {
            self.tell(at, What::Booted);
        }
    }

    /// Whatever ran, runs no more.
    fn close(&mut self, at: u64) {
        for run in self.runs.iter_mut().filter(|run| run.to == u64::MAX) {
            run.to = at;
        }
    }

    fn take_agent(&mut self, at: u64, id: &str) {
        match id {
            UNIT_STARTING => {
                self.agent_lives = true;
                self.tell(at, What::AgentStarted);
            }
            UNIT_PROCESS_EXIT | UNIT_STOPPED if self.agent_lives => {
                self.agent_lives = false;
                self.tell(at, What::AgentDied);
            }
            _ => {}
        }
    }

    /// Tools are units that count as starting while they run.
    fn take_tool(&mut self, at: u64, id: &str, name: &str, message: &str) -> Result<()> {
        let tool = TOOLS
            .into_iter()
            .find(|tool| name.ends_with(&format!("-{tool}.service")))
            .with_context(|| format!("{name} runs none of our tools"))?;
        match id {
            UNIT_STARTING => {
                self.runs.push(Run { tool, from: at, to: u64::MAX });
                let kubeadm = (tool == "kubeadm-upgrade").then(|| kubeadm(message)).transpose()?;
                self.tell(at, What::ToolStarted { tool, kubeadm });
            }
            UNIT_STARTED | UNIT_FAILED => {
                self.close(at);
                self.tell(at, What::ToolEnded { tool, ok: id == UNIT_STARTED });
            }
            _ => {}
        }
        Ok(())
    }

    /// `2026-11-22 03:32:15 status installed kubelet:amd64 1.36.3-1.1`
    fn take_package(&mut self, line: &str) -> Result<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [day, time, "status", "installed", package, version] = words.as_slice() else { return Ok(()) };
        let package = package.split(':').next().unwrap_or_default();
        if !PACKAGES.contains(&package) {
            return Ok(());
        }
        let second = micros(&format!("{day}T{time}Z"))?;
        let version: PackageVersion = version.parse().context("not a version of a package")?;
        let run = self.runs.iter().find(|run| run.installs(package) && run.covers(second));
        // dpkg tells whole seconds; what our tool installed was installed while it ran.
        let (at, by) = match run {
            Some(run) => (second.clamp(run.from + 1, run.to - 1), Who::Agent(self.node.to_owned())),
            None => (second, Who::Person),
        };
        self.tell(at, What::PackageInstalled { package: package.to_owned(), version, by });
        Ok(())
    }
}

impl Run {
    fn installs(&self, package: &str) -> bool {
        match self.tool {
            "install-kubeadm" => package == "kubeadm",
            "install-kubelet" => package != "kubeadm",
            tool => tool == "repair-dpkg",
        }
    }

    /// Whether it ran at some time of the second that begins here.
    fn covers(&self, second: u64) -> bool {
        self.from < second + SECOND && second < self.to
    }
}

/// `Starting UNIT - node-upgrade-agent: kubeadm upgrade apply to v1.36.3...`
fn kubeadm(message: &str) -> Result<(KubeadmCommand, Version)> {
    let (_, words) = message.split_once("kubeadm upgrade ").context("no command line of kubeadm")?;
    let (command, target) = words.split_once(" to ").context("no target of kubeadm")?;
    let command = match command {
        "apply" => KubeadmCommand::Apply,
        "node (control plane)" => KubeadmCommand::NodeControlPlane,
        "node (kubelet)" => KubeadmCommand::NodeKubelet,
        "node" => KubeadmCommand::NodeWorker,
        other => anyhow::bail!("kubeadm has no verb {other}"),
    };
    Ok((command, target.trim_end_matches("...").parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_of_kubeadm_is_told_from_the_others() {
        for (words, command) in [
            ("apply", KubeadmCommand::Apply),
            ("node (control plane)", KubeadmCommand::NodeControlPlane),
            ("node (kubelet)", KubeadmCommand::NodeKubelet),
            ("node", KubeadmCommand::NodeWorker),
        ] {
            let message =
                format!("Starting x.service - node-upgrade-agent: kubeadm upgrade {words} to v1.36.3...");
            assert_eq!(kubeadm(&message).unwrap(), (command, Version::new(1, 36, 3)), "{words}");
        }
        assert!(kubeadm("node-upgrade-agent: kubeadm upgrade plan to v1.36.3").is_err());
    }
}
