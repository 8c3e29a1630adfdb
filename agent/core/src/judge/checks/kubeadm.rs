//! What the new kubeadm says of this node before it is let do anything.

use super::Output;
use crate::api::text::last_lines;
use crate::api::{Explanation, Reason, Version};
use crate::observed::Outcome;

/// Signs of an API server that is away for the moment, or whose node authorizer has not caught up after a restart.
const PASSING: [&str; 9] = [
    "connection refused",
    "connection reset",
    "i/o timeout",
    "context deadline exceeded",
    "TLS handshake timeout",
    "no route to host",
    "unexpected EOF",
    "no relationship found between node",
    "etcdserver: leader changed",
];

/// Checks of kubeadm's own that may pass by themselves: another node that is not Ready for a moment, a Job that found none, an
/// image that could not be pulled.
const PASSING_CHECKS: [&str; 5] = [
    "ControlPlaneNodesReady",
    "CreateJob",
    "ImagePull",
    "APIServerHealth",
    "timed out waiting for the condition",
];

/// From this minor on kubelet takes the cgroup driver from the container runtime alone (KEP-4033).
const RUNTIME_CONFIG_MINOR: u32 = 37;

/// What follows from kubeadm's preflight phase or its dry run, which `what` names.
pub fn kubeadm(what: &str, output: &Output) -> Outcome {
    if output.succeeded() {
        return Outcome::Passed("kubeadm's own preflight and its dry run passed".to_owned());
    }
    let said = format!("{}\n{}", output.stdout, output.stderr);
    let errors: Vec<&str> = said.lines().map(str::trim).filter(|line| line.starts_with("[ERROR ")).collect();
    if !errors.is_empty()
        && errors.iter().all(|error| PASSING_CHECKS.iter().any(|check| error.contains(check)))
    {
        return Outcome::Pending(format!("kubeadm's {what} found: {}", errors.join(" ")));
    }
    if !errors.is_empty() {
        let told = "put the check's name below ignorePreflightErrors of the UpgradeConfiguration file to pass over it";
        return Outcome::Failed(format!("kubeadm's {what} found: {}; {told}", errors.join(" ")));
    }
    let text =
        format!("kubeadm's {what} ended with status {}: {}", output.status, last_lines(&said, 4).join(" / "));
    if PASSING.iter().any(|sign| said.contains(sign)) {
        Outcome::Pending(text)
    } else {
        Outcome::Failed(text)
    }
}

/// What follows from a run of kubeadm that failed and left everything as it was: `what` says so, and these were its last words.
pub fn failed_run(what: &str, words: &str) -> Explanation {
    if PASSING.iter().chain(&PASSING_CHECKS).any(|sign| words.contains(sign)) {
        return Explanation::new(
            Reason::ToolPending,
            format!("{what}; that may pass by itself and is tried again"),
        );
    }
    let told = "everything but etcd was put back as it was. Find out why, then set a new value of the annotation \
                node-upgrade-agent/retry";
    Explanation::new(Reason::ToolFailed, format!("{what}; {told}"))
}

/// Whether the container runtime answers the CRI's `RuntimeConfig`. The preflight phase of kubeadm asks it, and only
/// warns where it does not; the kubelet of a later minor would not start.
pub fn container_runtime(phase: &Output, target: Version) -> Outcome {
    let said = phase.stdout.lines().chain(phase.stderr.lines()).map(str::trim);
    let Some(warning) = said.into_iter().find(|line| line.starts_with("[WARNING ContainerRuntimeVersion]"))
    else {
        return Outcome::Passed("the container runtime tells its cgroup driver".to_owned());
    };
    if target.minor < RUNTIME_CONFIG_MINOR {
        return Outcome::Passed(format!(
            "the container runtime does not tell its cgroup driver (RuntimeConfig), without which the kubelet of \
             v1.{RUNTIME_CONFIG_MINOR} does not start: upgrade it before then"
        ));
    }
    Outcome::Failed(format!(
        "the kubelet of {target} would not start: the container runtime does not tell its cgroup driver; upgrade \
         it (containerd from 2.0 on does). kubeadm says: {warning}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(status: i32, stderr: &str) -> Output {
        Output {
            status,
            stdout: "[upgrade/preflight] Running preflight checks\n".to_owned(),
            stderr: stderr.to_owned(),
        }
    }

    #[test]
    fn only_an_exit_status_of_0_passes() {
        let told = "[ERROR X]: not believed where the status is 0\n";
        assert!(matches!(kubeadm("dry run", &output(0, told)), Outcome::Passed(_)));
        let Outcome::Failed(text) = kubeadm("dry run", &output(137, "Killed\n")) else {
            panic!("not failed")
        };
        assert!(text.starts_with("kubeadm's dry run ended with status 137: "), "{text}");
    }

    #[test]
    fn an_error_of_kubeadms_preflight_is_for_people_and_is_quoted() {
        let said = "error: error execution phase preflight: [preflight] Some fatal errors occurred:\n\
                    \t[ERROR SystemVerification]: missing required cgroups: cpu\n\
                    [preflight] If you know what you are doing, you can make a check non-fatal with \
                    `--ignore-preflight-errors=...`\n";
        let Outcome::Failed(text) = kubeadm("preflight", &output(1, said)) else { panic!("not failed") };
        assert!(text.contains("[ERROR SystemVerification]: missing required cgroups: cpu"), "{text}");
    }

    #[test]
    fn an_api_server_that_is_away_is_waited_for() {
        let said =
            "error: Get \"https://10.0.0.1:6443/api\": dial tcp 10.0.0.1:6443: connect: connection refused\n";
        assert!(matches!(kubeadm("preflight", &output(1, said)), Outcome::Pending(_)));
        assert!(matches!(kubeadm("preflight", &output(1, "error: unknown flag: --x\n")), Outcome::Failed(_)));
    }

    #[test]
    fn a_runtime_without_runtime_config_stops_the_minor_whose_kubelet_insists_on_it_and_no_other() {
        let warned =
            output(0, "\t[WARNING ContainerRuntimeVersion]: You must update your container runtime\n");
        let judged = |phase: &Output, target: &str| container_runtime(phase, target.parse().unwrap());
        assert!(matches!(judged(&warned, "v1.36.3"), Outcome::Passed(text) if text.contains("v1.37")));
        assert!(
            matches!(judged(&warned, "v1.37.0"), Outcome::Failed(text) if text.contains("You must update"))
        );
        assert!(matches!(judged(&output(0, ""), "v1.37.0"), Outcome::Passed(_)));
    }
}
