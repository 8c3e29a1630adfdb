//! kubeadm's command lines.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use upgrade_core::api::{KubeadmCommand, Version};

use super::fault::{Doing, Failed};

/// Where its package puts it.
pub(super) const PROGRAM: &str = "/usr/bin/kubeadm";

/// What turn A leaves to turn B: kubelet's own files, with the clean-up that belongs to them.
const OF_THE_KUBELET: [&str; 2] = ["kubelet-config", "post-upgrade"];
/// What turn B does not touch.
const OF_THE_CONTROL_PLANE: [&str; 1] = ["control-plane"];

/// The user's own `UpgradeConfiguration` file, as far as it is read here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Config {
    path: PathBuf,
    /// The phases that it skips in `upgrade apply`, and in `upgrade node`.
    apply: Vec<String>,
    node: Vec<String>,
}

/// A document of that file.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Document {
    apply: Option<Skips>,
    node: Option<Skips>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Skips {
    skip_phases: Option<Vec<String>>,
}

impl Config {
    /// Reads the file that kubeadm will be given.
    pub(super) fn read(path: &Path) -> Result<Self, Failed> {
        let doing = || format!("read the UpgradeConfiguration file {}", path.display());
        let text = std::fs::read_to_string(path).doing(doing)?;
        let documents: Vec<Document> = serde_saphyr::from_multiple(&text).doing(doing)?;
        let mut config = Self { path: path.to_owned(), ..Self::default() };
        let skipped = |of: Option<Skips>| of.and_then(|skips| skips.skip_phases).unwrap_or_default();
        for Document { apply, node } in documents {
            config.apply.extend(skipped(apply));
            config.node.extend(skipped(node));
        }
        Ok(config)
    }
}

/// Arguments of the upgrade itself.
pub(super) fn upgrade(command: KubeadmCommand, target: Version, config: Option<&Config>) -> Vec<String> {
    let mut args = match command {
        KubeadmCommand::Apply => with_config(&["upgrade", "apply", &target.to_string(), "--yes"], config),
        // The target of `node` is what kubeadm-config says: there is no argument for it.
        KubeadmCommand::NodeControlPlane | KubeadmCommand::NodeKubelet | KubeadmCommand::NodeWorker => {
            with_config(&["upgrade", "node"], config)
        }
    };
    let skipped = skipped(command, config);
    if !skipped.is_empty() {
        args.extend(["--skip-phases".to_owned(), skipped.join(",")]);
    }
    args
}

/// The phases to skip, none where the file's own list stands. The flag replaces that list, so it names both.
fn skipped(command: KubeadmCommand, config: Option<&Config>) -> Vec<String> {
    let (ours, theirs): (&[&str], _) = match command {
        KubeadmCommand::Apply => (&OF_THE_KUBELET, config.map(|config| &config.apply)),
        KubeadmCommand::NodeControlPlane => (&OF_THE_KUBELET, config.map(|config| &config.node)),
        KubeadmCommand::NodeKubelet => (&OF_THE_CONTROL_PLANE, config.map(|config| &config.node)),
        KubeadmCommand::NodeWorker => return Vec::new(),
    };
    let mut skipped: Vec<String> = theirs.into_iter().flatten().cloned().collect();
    for phase in ours {
        if !skipped.iter().any(|known| known == phase) {
            skipped.push((*phase).to_owned());
        }
    }
    skipped
}

/// Arguments of its preflight phase, which on a control plane also pulls the images. A single phase has nothing to skip, and does
/// not know the flag.
pub(super) fn preflight(command: KubeadmCommand, target: Version, config: Option<&Config>) -> Vec<String> {
    match command {
        KubeadmCommand::Apply => {
            with_config(&["upgrade", "apply", "phase", "preflight", &target.to_string(), "--yes"], config)
        }
        KubeadmCommand::NodeControlPlane | KubeadmCommand::NodeKubelet | KubeadmCommand::NodeWorker => {
            with_config(&["upgrade", "node", "phase", "preflight"], config)
        }
    }
}

/// Where kubeadm writes what it would have written, instead of below /etc/kubernetes
/// (`cmd/kubeadm/app/constants/constants.go`).
pub(super) const DRY_RUN_DIRECTORY: &str = "KUBEADM_UPGRADE_DRYRUN_DIR";

/// Arguments of the upgrade itself that change nothing.
pub(super) fn dry_run(command: KubeadmCommand, target: Version, config: Option<&Config>) -> Vec<String> {
    let mut args = upgrade(command, target, config);
    args.push("--dry-run".to_owned());
    args
}

/// An `UpgradeConfiguration` may be given together with a version, `--yes`, `--dry-run` and flags that begin with `--skip-`, and with
/// little else (kubeadm's `ValidateMixedArguments`).
fn with_config(args: &[&str], config: Option<&Config>) -> Vec<String> {
    let mut args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    if let Some(config) = config {
        args.extend(["--config".to_owned(), config.path.display().to_string()]);
    }
    args
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::arbitrary::{hostile, mangled};

    const FILE: &str = "# mine
apiVersion: kubeadm.k8s.io/v1beta4
kind: UpgradeConfiguration
apply:
  certificateRenewal: false
  skipPhases: [addon/kube-proxy, kubelet-config]
node:
  skipPhases:
  - addon
---
";

    fn read(text: &str) -> Result<Config, Failed> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kubeadm.yaml");
        std::fs::write(&path, text).unwrap();
        Config::read(&path)
    }

    fn target() -> Version {
        "v1.36.3".parse().unwrap()
    }

    #[test]
    fn the_verb_decides_the_command_and_the_file_is_handed_through() {
        let file = Config { path: "/etc/node-upgrade-agent/kubeadm.yaml".into(), ..Config::default() };
        let apply = preflight(KubeadmCommand::Apply, target(), Some(&file)).join(" ");
        assert_eq!(
            apply,
            "upgrade apply phase preflight v1.36.3 --yes --config /etc/node-upgrade-agent/kubeadm.yaml"
        );
        assert_eq!(
            preflight(KubeadmCommand::NodeWorker, target(), None),
            ["upgrade", "node", "phase", "preflight"]
        );
        assert_eq!(dry_run(KubeadmCommand::NodeWorker, target(), None), ["upgrade", "node", "--dry-run"]);
    }

    #[test]
    fn a_control_planes_two_turns_divide_kubeadms_phases_between_them() {
        for (command, expected) in [
            (KubeadmCommand::Apply, "upgrade apply v1.36.3 --yes --skip-phases kubelet-config,post-upgrade"),
            (KubeadmCommand::NodeControlPlane, "upgrade node --skip-phases kubelet-config,post-upgrade"),
            (KubeadmCommand::NodeKubelet, "upgrade node --skip-phases control-plane"),
            (KubeadmCommand::NodeWorker, "upgrade node"),
        ] {
            assert_eq!(upgrade(command, target(), None).join(" "), expected);
        }
    }

    #[test]
    fn what_the_users_file_skips_stays_skipped() {
        let file = read(FILE).unwrap();
        let skips = |command| skipped(command, Some(&file)).join(",");
        assert_eq!(skips(KubeadmCommand::Apply), "addon/kube-proxy,kubelet-config,post-upgrade");
        assert_eq!(skips(KubeadmCommand::NodeControlPlane), "addon,kubelet-config,post-upgrade");
        assert_eq!(skips(KubeadmCommand::NodeKubelet), "addon,control-plane");
        assert_eq!(skips(KubeadmCommand::NodeWorker), "", "the file's own list stands");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_an_error_that_names_it() {
        for text in ["apply: [", "apply: {skipPhases: none}\n"] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains("kubeadm.yaml"), "{error}");
        }
        assert!(
            Config::read(Path::new("/nonexistent/kubeadm.yaml"))
                .unwrap_err()
                .to_string()
                .contains("/nonexistent")
        );
        assert_eq!(read("").unwrap().apply, Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn a_file_in_any_form_is_read_or_refused(text in prop_oneof![hostile(), mangled(FILE)]) {
            if let Ok(config) = read(&text) {
                let args = upgrade(KubeadmCommand::NodeKubelet, target(), Some(&config));
                prop_assert!(args.last().unwrap().ends_with("control-plane") || config.node.contains(&"control-plane".to_owned()));
            }
        }
    }
}
