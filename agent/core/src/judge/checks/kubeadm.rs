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

/// Checks of kubeadm's own that ask the container runtime, and signs in their lines that it does not answer for the moment: it is
/// being started again or upgraded. What it answers is for people.
const RUNTIME_CHECKS: [&str; 2] = ["CRI]", "ContainerRuntimeVersion]"];
const RUNTIME_AWAY: [&str; 4] = [
    "code = Unavailable",
    "connection refused",
    "connect: no such file or directory",
    "code = DeadlineExceeded",
];

/// What kubeadm says where it had begun to swap manifests and put them back (`rollbackOldManifests` in its
/// `cmd/kubeadm/app/phases/upgrade/staticpods.go`): the next run would end alike, whatever it waited for.
const ROLLED_BACK: &str = "tried to recover everything into the earlier state";

/// From this minor on kubelet takes the cgroup driver from the container runtime alone (KEP-4033).
const RUNTIME_CONFIG_MINOR: u32 = 37;

/// What follows from kubeadm's preflight phase or its dry run, which `what` names.
pub fn kubeadm(what: &str, output: &Output) -> Outcome {
    if output.succeeded() {
        return Outcome::Passed("kubeadm's own preflight and its dry run passed".to_owned());
    }
    let said = format!("{}\n{}", output.stdout, output.stderr);
    let errors: Vec<&str> = said.lines().map(str::trim).filter(|line| line.starts_with("[ERROR ")).collect();
    if !errors.is_empty() && errors.iter().all(|error| passes(error) || runtime_is_away(error)) {
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

/// Whether an error of kubeadm's preflight may pass by itself.
fn passes(error: &str) -> bool {
    PASSING_CHECKS.iter().any(|check| error.contains(check))
}

/// Whether one of its lines says that the container runtime does not answer.
fn runtime_is_away(line: &str) -> bool {
    let check = line.trim().strip_prefix("[ERROR ").or_else(|| line.trim().strip_prefix("[WARNING "));
    check.is_some_and(|check| RUNTIME_CHECKS.iter().any(|name| check.starts_with(name)))
        && RUNTIME_AWAY.iter().any(|sign| line.contains(sign))
}

/// What follows from a run of kubeadm that failed and left everything as it was: `what` says so, and these were its last words.
pub fn failed_run(what: &str, words: &str) -> Explanation {
    let passes = PASSING.iter().chain(&PASSING_CHECKS).any(|sign| words.contains(sign));
    if (passes || words.lines().any(runtime_is_away)) && !words.contains(ROLLED_BACK) {
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
    if runtime_is_away(warning) {
        return Outcome::Pending(format!("the container runtime does not answer: {warning}"));
    }
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

    /// A line of kubeadm 1.36 while containerd was stopped, and one of a runtime that answers.
    const RUNTIME_STOPPED: &str = "\t[ERROR CRI]: could not connect to the container runtime: failed to create new CRI runtime \
        service: validate service connection: validate CRI v1 runtime API for endpoint \
        \"unix:///run/containerd/containerd.sock\": rpc error: code = Unavailable desc = connection error: desc = \
        \"transport: Error while dialing: dial unix /run/containerd/containerd.sock: connect: no such file or directory\"";
    const RUNTIME_TOO_OLD: &str = "\t[ERROR CRI]: could not connect to the container runtime: rpc error: code = Unimplemented desc = \
        unknown service runtime.v1.RuntimeService";

    #[test]
    fn a_container_runtime_that_does_not_answer_for_the_moment_is_waited_for_and_one_that_is_too_old_is_not()
    {
        let judged = |lines: &[&str]| {
            let said = format!("[preflight] Some fatal errors occurred:\n{}\n", lines.join("\n"));
            kubeadm("preflight", &output(1, &said))
        };
        let refused = "\t[ERROR ContainerRuntimeVersion]: dial unix /run/containerd/containerd.sock: connect: connection refused";
        let pulls = "\t[ERROR ImagePull]: failed to pull image registry.k8s.io/pause:3.10";
        for lines in [&[RUNTIME_STOPPED][..], &[refused], &[RUNTIME_STOPPED, refused, pulls]] {
            let Outcome::Pending(text) = judged(lines) else { panic!("not waited for: {lines:?}") };
            assert!(text.contains(lines[0].trim()), "{text}");
        }
        let other = "\t[ERROR FileAvailable]: connect: no such file or directory";
        for lines in [&[RUNTIME_TOO_OLD][..], &[RUNTIME_STOPPED, RUNTIME_TOO_OLD], &[RUNTIME_STOPPED, other]]
        {
            assert!(matches!(judged(lines), Outcome::Failed(_)), "{lines:?}");
        }
    }

    #[test]
    fn a_run_that_ended_for_a_container_runtime_that_was_away_is_made_again() {
        assert_eq!(
            failed_run("kubeadm failed", &format!("x\n{RUNTIME_STOPPED}")).reason,
            Reason::ToolPending
        );
        assert_eq!(failed_run("kubeadm failed", RUNTIME_TOO_OLD).reason, Reason::ToolFailed);
    }

    #[test]
    fn a_run_that_failed_for_what_may_pass_is_tried_again_and_any_other_is_for_people() {
        for (words, reason) in [
            ("[ERROR CreateJob]: Job upgrade-health-check did not complete", Reason::ToolPending),
            ("dial tcp 10.0.0.1:6443: connect: connection refused", Reason::ToolPending),
            ("[ERROR SystemVerification]: missing required cgroups: cpu", Reason::ToolFailed),
            ("", Reason::ToolFailed),
        ] {
            assert_eq!(failed_run("kubeadm failed", words).reason, reason, "{words}");
        }
    }

    #[test]
    fn kubeadms_words_of_a_roll_back_are_no_passing_error_whatever_it_waited_for() {
        let words = "couldn't upgrade control plane. kubeadm has tried to recover everything into the earlier state. \
                     Errors faced: timed out waiting for the condition";
        let why = failed_run("kubeadm failed", words);
        assert_eq!(why.reason, Reason::ToolFailed);
        assert!(why.message.contains("retry"), "{why:?}");
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
        let away = output(0, "[WARNING ContainerRuntimeVersion]: rpc error: code = Unavailable\n");
        assert!(matches!(judged(&away, "v1.37.0"), Outcome::Pending(_)));
    }
}
