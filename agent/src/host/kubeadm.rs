//! kubeadm's command lines, and what its preflight phase says.

use std::path::Path;

use upgrade_core::job::Verb;
use upgrade_core::preflight::Outcome;
use upgrade_core::version::Version;

use super::process::{Output, last_lines};

/// Where its package puts it.
pub(super) const PROGRAM: &str = "/usr/bin/kubeadm";

/// Arguments of the upgrade itself.
pub(super) fn upgrade(verb: Verb, target: Version, config: Option<&Path>) -> Vec<String> {
    match verb {
        Verb::Apply => with_config(&["upgrade", "apply", &target.to_string(), "--yes"], config),
        // The target of `node` is what kubeadm-config says: there is no argument for it.
        Verb::NodeControlPlane | Verb::NodeWorker => with_config(&["upgrade", "node"], config),
    }
}

/// Arguments of its preflight phase, which on a control plane also pulls the images.
pub(super) fn preflight(verb: Verb, target: Version, config: Option<&Path>) -> Vec<String> {
    match verb {
        Verb::Apply => {
            with_config(&["upgrade", "apply", "phase", "preflight", &target.to_string(), "--yes"], config)
        }
        Verb::NodeControlPlane | Verb::NodeWorker => {
            with_config(&["upgrade", "node", "phase", "preflight"], config)
        }
    }
}

/// Where kubeadm writes what it would have written, instead of below /etc/kubernetes
/// (`cmd/kubeadm/app/constants/constants.go`).
pub(super) const DRY_RUN_DIRECTORY: &str = "KUBEADM_UPGRADE_DRYRUN_DIR";

/// Arguments of the upgrade itself that change nothing.
pub(super) fn dry_run(verb: Verb, target: Version, config: Option<&Path>) -> Vec<String> {
    let mut args = upgrade(verb, target, config);
    args.push("--dry-run".to_owned());
    args
}

/// An `UpgradeConfiguration` may be given together with a version and `--yes`, and with little else
/// (kubeadm's `ValidateMixedArguments`).
fn with_config(args: &[&str], config: Option<&Path>) -> Vec<String> {
    let mut args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    if let Some(config) = config {
        args.extend(["--config".to_owned(), config.display().to_string()]);
    }
    args
}

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

/// What follows from its preflight phase or its dry run, which `what` names.
pub(super) fn judge(what: &str, output: &Output) -> Outcome {
    if output.succeeded() {
        return Outcome::Passed("kubeadm's own preflight and its dry run passed".to_owned());
    }
    let said = format!("{}\n{}", output.stdout, output.stderr);
    let errors: Vec<&str> = said.lines().map(str::trim).filter(|line| line.starts_with("[ERROR ")).collect();
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

/// From this minor on kubelet takes the cgroup driver from the container runtime alone (KEP-4033).
const RUNTIME_CONFIG_MINOR: u32 = 37;

/// Whether the container runtime answers the CRI's `RuntimeConfig`. The preflight phase of kubeadm asks it, and only
/// warns where it does not; the kubelet of a later minor would not start.
pub(super) fn judge_runtime(phase: &Output, target: Version) -> Outcome {
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
    fn the_verb_decides_the_command_and_the_file_is_handed_through() {
        let target = "v1.36.3".parse().unwrap();
        let file = Some(Path::new("/etc/node-upgrade-agent/kubeadm.yaml"));
        let apply = preflight(Verb::Apply, target, file).join(" ");
        assert_eq!(
            apply,
            "upgrade apply phase preflight v1.36.3 --yes --config /etc/node-upgrade-agent/kubeadm.yaml"
        );
        assert_eq!(preflight(Verb::NodeWorker, target, None), ["upgrade", "node", "phase", "preflight"]);
        assert_eq!(upgrade(Verb::NodeControlPlane, target, None), ["upgrade", "node"]);
        assert_eq!(dry_run(Verb::NodeWorker, target, None), ["upgrade", "node", "--dry-run"]);
    }

    #[test]
    fn an_error_of_kubeadms_preflight_is_for_people_and_is_quoted() {
        let said = "error: error execution phase preflight: [preflight] Some fatal errors occurred:\n\
                    \t[ERROR SystemVerification]: missing required cgroups: cpu\n\
                    [preflight] If you know what you are doing, you can make a check non-fatal with \
                    `--ignore-preflight-errors=...`\n";
        let Outcome::Failed(text) = judge("preflight", &output(1, said)) else { panic!("not failed") };
        assert!(text.contains("[ERROR SystemVerification]: missing required cgroups: cpu"), "{text}");
    }

    #[test]
    fn an_api_server_that_is_away_is_waited_for() {
        let said =
            "error: Get \"https://10.0.0.1:6443/api\": dial tcp 10.0.0.1:6443: connect: connection refused\n";
        assert!(matches!(judge("preflight", &output(1, said)), Outcome::Pending(_)));
        assert!(matches!(judge("preflight", &output(1, "error: unknown flag: --x\n")), Outcome::Failed(_)));
    }

    #[test]
    fn a_runtime_without_runtime_config_stops_the_minor_whose_kubelet_insists_on_it_and_no_other() {
        let warned =
            output(0, "\t[WARNING ContainerRuntimeVersion]: You must update your container runtime\n");
        let judge = |phase: &Output, target: &str| judge_runtime(phase, target.parse().unwrap());
        assert!(matches!(judge(&warned, "v1.36.3"), Outcome::Passed(text) if text.contains("v1.37")));
        assert!(
            matches!(judge(&warned, "v1.37.0"), Outcome::Failed(text) if text.contains("You must update"))
        );
        assert!(matches!(judge(&output(0, ""), "v1.37.0"), Outcome::Passed(_)));
    }
}
