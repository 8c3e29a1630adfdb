//! The upgrade by a script, in one of two orders.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::audit::Outage;
use crate::process::{command, run_command};
use crate::{Cluster, UPGRADE_CONFIG, versions};

const SCRIPT: &str = include_str!("../by-hand.sh");

/// What a script does first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// It drains the node.
    DrainFirst,
    /// It upgrades kubeadm and what kubeadm upgrades, as the Kubernetes documentation says; the node is still in service.
    Documentation,
}

impl Order {
    /// The script's word for it.
    const fn word(self) -> &'static str {
        match self {
            Self::DrainFirst => "drain-first",
            Self::Documentation => "documentation",
        }
    }
}

/// A step of a script, from and until a second of Unix time.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its name: the agent's phase that does the same.
    pub name: String,
    /// When it began.
    pub from: f64,
    /// When the next one began.
    pub until: f64,
}

impl Cluster {
    /// Upgrades a node by the script, which reaches it by `lab`, the lab's program; returns its steps.
    ///
    /// # Errors
    /// If a command of it fails.
    pub fn upgrade_by_script(&self, lab: &Path, name: &str, order: Order) -> Result<Vec<Step>> {
        let target = format!("v{}", versions::KUBERNETES_NEW);
        let verb = if name == "cp1" { format!("apply {target} -y") } else { "node".to_owned() };
        let on = format!("{} exec --name {}", lab.display(), self.name());
        let mut script = script(SCRIPT, order, name, &verb);
        script.env("ON", on).env("KUBECTL", self.kubectl_program()).env("KUBECONFIG", self.kubeconfig());
        let told = run_command(&mut script)
            .with_context(|| format!("the upgrade of {name} by a script, {}, failed", order.word()))?;
        Ok(steps(&told))
    }
}

/// The script with what is the same wherever its node and its cluster are.
fn script(text: &str, order: Order, node: &str, verb: &str) -> Command {
    let mut script = command("sh", &["-c", text]);
    script
        .env("ORDER", order.word())
        .env("NODE", node)
        .env("TARGET", versions::KUBERNETES_NEW)
        .env("PACKAGE", versions::package_version(versions::KUBERNETES_NEW))
        .env("VERB", verb)
        .env("UPGRADE_CONFIG", UPGRADE_CONFIG);
    script
}

/// The steps that a script told as `step TIME NAME`, each until the next one.
fn steps(told: &str) -> Vec<Step> {
    let begins: Vec<(f64, &str)> = told
        .lines()
        .filter_map(|line| line.strip_prefix("step "))
        .filter_map(|step| step.split_once(' '))
        .filter_map(|(time, name)| Some((time.parse().ok()?, name)))
        .collect();
    let pairs = begins.iter().zip(begins.iter().skip(1));
    pairs
        .map(|((from, name), (until, _))| Step { name: (*name).to_owned(), from: *from, until: *until })
        .collect()
}

/// The seconds of each step while the node was out of service, as the phases of an agent are counted.
pub fn phases(steps: &[Step], outage: &Outage) -> Vec<(String, f64)> {
    let [from, until] = [outage.from, outage.until].map(|moment| moment.as_duration().as_secs_f64());
    let within = steps.iter().map(|step| (step.name.clone(), step.until.min(until) - step.from.max(from)));
    within.filter(|(_, seconds)| *seconds > 0.0).collect()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    /// In place of kubectl and of the way to a node: tells what it is asked, where the script tells its steps.
    const RECORDER: &str = "exec 2>&1\nrecorder() { echo \"$@\" >&2; }\n";

    fn run(order: Order, text: &str) -> Result<String> {
        let mut script = script(text, order, "n1", "node");
        let given =
            [("ON", "recorder"), ("KUBECTL", "recorder"), ("TARGET", "1.2.3"), ("PACKAGE", "1.2.3-1")];
        run_command(script.envs(given).env("UPGRADE_CONFIG", "file"))
    }

    /// What a script does, in its order: the names of its steps, and under each of them its commands.
    fn recorded(order: Order) -> Vec<String> {
        let told = run(order, &format!("{RECORDER}{SCRIPT}")).unwrap();
        told.lines().map(short).collect()
    }

    /// A step without its time, a command without what all commands have in common.
    fn short(line: &str) -> String {
        let step = line.strip_prefix("step ").and_then(|step| step.split_once(' '));
        let line = step.map_or_else(|| line.to_owned(), |(_, name)| format!("{name}:"));
        let common = [
            "n1 -- env DEBIAN_FRONTEND=noninteractive ",
            " -y -o Dpkg::Options::=--force-confold --allow-change-held-packages",
            " --ignore-daemonsets --delete-emptydir-data",
            " --timeout=5m",
        ];
        common.iter().fold(line, |line, words| line.replace(words, ""))
    }

    const DRAIN: [&str; 2] = ["draining:", "drain n1"];
    const KUBEADM: [&str; 5] = [
        "staging:",
        "apt-get update",
        "apt-get install kubeadm=1.2.3-1",
        "applying:",
        "kubeadm upgrade node --config file",
    ];
    const KUBELET: [&str; 12] = [
        "installing:",
        "apt-get install kubelet=1.2.3-1 kubectl=1.2.3-1",
        "restarting:",
        "systemctl daemon-reload",
        "systemctl restart kubelet",
        "verifying:",
        "wait node/n1 --for=jsonpath={.status.nodeInfo.kubeletVersion}=v1.2.3",
        "wait node/n1 --for=condition=Ready",
        "uncordoning:",
        "uncordon n1",
        "done:",
        "apt-mark hold kubeadm kubelet kubectl",
    ];

    #[test]
    fn the_drain_first_script_drains_before_it_changes_anything() {
        assert_eq!(recorded(Order::DrainFirst), [&DRAIN[..], &KUBEADM, &KUBELET].concat());
    }

    #[test]
    fn the_documentation_script_drains_between_kubeadms_work_and_the_kubelets_package() {
        assert_eq!(recorded(Order::Documentation), [&KUBEADM[..], &DRAIN, &KUBELET].concat());
    }

    #[test]
    fn a_script_ends_with_the_first_command_that_fails() {
        let failing = format!("recorder() {{ [ \"$1\" != drain ]; }}\n{SCRIPT}");
        assert!(run(Order::DrainFirst, &failing).is_err());
        let told = run(Order::DrainFirst, &format!("trap 'exit 0' EXIT\n{failing}")).unwrap();
        assert_eq!(told.lines().map(short).collect::<Vec<_>>(), ["draining:"]);
    }

    #[test]
    fn a_step_lasts_until_the_next_one() {
        let told = "step 10.5 draining\nnoise\nstep 12.0 staging\nstep 12.25 done\n";
        let step = |name: &str, from, until| Step { name: name.to_owned(), from, until };
        assert_eq!(steps(told), [step("draining", 10.5, 12.0), step("staging", 12.0, 12.25)]);
    }

    #[test]
    fn steps_of_a_node_that_was_still_in_service_are_no_part_of_its_outage() {
        let told = "step 1 staging\nstep 3 applying\nstep 90 draining\nstep 94 installing\nstep 97 uncordoning\nstep 99 done\n";
        let [from, until] = [91, 98].map(|second| Timestamp::from_second(second).unwrap());
        let outage = Outage { node: "n1".to_owned(), from, until, phases: Vec::new() };
        let expected = [("draining", 3.0), ("installing", 3.0), ("uncordoning", 1.0)];
        assert_eq!(phases(&steps(told), &outage), expected.map(|(name, seconds)| (name.to_owned(), seconds)));
    }
}
