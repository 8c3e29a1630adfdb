//! kubeadm's command lines.

use std::path::Path;

use upgrade_core::api::{KubeadmCommand, Version};

/// Where its package puts it.
pub(super) const PROGRAM: &str = "/usr/bin/kubeadm";

/// Arguments of the upgrade itself.
pub(super) fn upgrade(command: KubeadmCommand, target: Version, config: Option<&Path>) -> Vec<String> {
    match command {
        KubeadmCommand::Apply => with_config(&["upgrade", "apply", &target.to_string(), "--yes"], config),
        // The target of `node` is what kubeadm-config says: there is no argument for it.
        KubeadmCommand::NodeControlPlane | KubeadmCommand::NodeWorker => {
            with_config(&["upgrade", "node"], config)
        }
    }
}

/// Arguments of its preflight phase, which on a control plane also pulls the images.
pub(super) fn preflight(command: KubeadmCommand, target: Version, config: Option<&Path>) -> Vec<String> {
    match command {
        KubeadmCommand::Apply => {
            with_config(&["upgrade", "apply", "phase", "preflight", &target.to_string(), "--yes"], config)
        }
        KubeadmCommand::NodeControlPlane | KubeadmCommand::NodeWorker => {
            with_config(&["upgrade", "node", "phase", "preflight"], config)
        }
    }
}

/// Where kubeadm writes what it would have written, instead of below /etc/kubernetes
/// (`cmd/kubeadm/app/constants/constants.go`).
pub(super) const DRY_RUN_DIRECTORY: &str = "KUBEADM_UPGRADE_DRYRUN_DIR";

/// Arguments of the upgrade itself that change nothing.
pub(super) fn dry_run(command: KubeadmCommand, target: Version, config: Option<&Path>) -> Vec<String> {
    let mut args = upgrade(command, target, config);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verb_decides_the_command_and_the_file_is_handed_through() {
        let target = "v1.36.3".parse().unwrap();
        let file = Some(Path::new("/etc/node-upgrade-agent/kubeadm.yaml"));
        let apply = preflight(KubeadmCommand::Apply, target, file).join(" ");
        assert_eq!(
            apply,
            "upgrade apply phase preflight v1.36.3 --yes --config /etc/node-upgrade-agent/kubeadm.yaml"
        );
        assert_eq!(
            preflight(KubeadmCommand::NodeWorker, target, None),
            ["upgrade", "node", "phase", "preflight"]
        );
        assert_eq!(upgrade(KubeadmCommand::NodeControlPlane, target, None), ["upgrade", "node"]);
        assert_eq!(dry_run(KubeadmCommand::NodeWorker, target, None), ["upgrade", "node", "--dry-run"]);
    }
}
