//! The command line of each tool. Nothing goes through a shell, and every argument that came from elsewhere is of
//! a type that can be nothing but an argument.

use std::time::Duration;

use upgrade_core::act::Tool;
use upgrade_core::api::KubeadmCommand;

use super::fault::Failed;
use super::{Settings, apt, kubeadm};

/// A tool as its unit runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CommandLine {
    /// Absolute path.
    pub(super) program: &'static str,
    /// Its arguments, without the program's name.
    pub(super) args: Vec<String>,
    /// For `systemctl status`.
    pub(super) description: String,
    /// After so long it is stopped; none: never.
    pub(super) limit: Option<Duration>,
    /// How long it may go on when the host shuts down.
    pub(super) grace: Duration,
    /// Whether it needs dpkg's lock.
    pub(super) locks_dpkg: bool,
}

/// Long enough for 300 s of waiting for dpkg's lock and the slowest disk; dpkg can be repaired if it is not.
const APT_LIMIT: Duration = Duration::from_mins(30);
const APT_GRACE: Duration = Duration::from_mins(5);
/// kubeadm gives each component of a control plane five minutes: etcd, API server, controller manager, scheduler.
const KUBEADM_GRACE: Duration = Duration::from_mins(20);

/// How to run `tool` on this host.
pub(super) fn command_line(tool: &Tool, settings: &Settings) -> Result<CommandLine, Failed> {
    let apt = |program, args, what: String| CommandLine {
        program,
        args,
        description: format!("node-upgrade-agent: {what}"),
        limit: Some(APT_LIMIT),
        grace: APT_GRACE,
        locks_dpkg: true,
    };
    let install = |wanted: &[apt::Wanted<'_>], back: bool| {
        let what = wanted.iter().map(|(name, version)| format!("{name} {version}")).collect::<Vec<_>>();
        apt(apt::APT_GET, apt::install(settings, wanted, back), format!("install {}", what.join(", ")))
    };
    Ok(match tool {
        Tool::InstallKubeadm { packages, back } => install(&[("kubeadm", &packages.kubeadm)], *back),
        Tool::InstallKubelet { packages } => install(&apt::kubelet(packages), false),
        Tool::RepairDpkg => apt(apt::DPKG, apt::repair(), "finish an interrupted dpkg".to_owned()),
        Tool::Hold { packages } => {
            let mut args = vec!["hold".to_owned()];
            for package in packages {
                args.push(package_name(package)?);
            }
            apt(apt::APT_MARK, args, "hold the packages that were held".to_owned())
        }
        Tool::Kubeadm { command, target } => CommandLine {
            program: kubeadm::PROGRAM,
            args: {
                let config = settings.kubeadm_config.as_deref().map(kubeadm::Config::read).transpose()?;
                kubeadm::upgrade(*command, *target, config.as_ref())
            },
            description: format!("node-upgrade-agent: kubeadm upgrade {} to {target}", verb(*command)),
            limit: None,
            grace: KUBEADM_GRACE,
            locks_dpkg: false,
        },
    })
}

/// As people and the reader of histories (`tests/history`) find it in the journal.
const fn verb(command: KubeadmCommand) -> &'static str {
    match command {
        KubeadmCommand::Apply => "apply",
        KubeadmCommand::NodeControlPlane => "node (control plane)",
        KubeadmCommand::NodeKubelet => "node (kubelet)",
        KubeadmCommand::NodeWorker => "node",
    }
}

/// A name of Debian policy 5.6.1, which can be neither an option nor a path.
fn package_name(name: &str) -> Result<String, Failed> {
    let fits = name.len() > 1
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
    if fits {
        Ok(name.to_owned())
    } else {
        Err(Failed::new(format!("{name:?} is not the name of a package")))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use upgrade_core::memory::Packages;

    use super::*;

    fn line(tool: &Tool) -> CommandLine {
        command_line(tool, &Settings::default()).unwrap()
    }

    fn packages(kubectl: bool) -> Packages {
        Packages {
            kubeadm: "1.36.3-1.1".parse().unwrap(),
            kubelet: "1.36.3-1.2".parse().unwrap(),
            kubectl: kubectl.then(|| "1.36.3-1.3".parse().unwrap()),
        }
    }

    #[test]
    fn staging_installs_kubeadm_alone_and_from_our_own_archive() {
        let line = line(&Tool::InstallKubeadm { packages: packages(true), back: false });
        assert_eq!(line.program, "/usr/bin/apt-get");
        assert_eq!(line.args.last().unwrap(), "kubeadm=1.36.3-1.1");
        assert!(!line.args.iter().any(|arg| arg.starts_with("kubelet")));
        for wanted in [
            "--no-download",
            "--no-remove",
            "-y",
            "Dir::Cache::Archives=/var/lib/node-upgrade-agent/apt/archives",
            "Dpkg::Options::=--force-confold",
        ] {
            assert!(line.args.iter().any(|arg| arg == wanted), "{wanted} in {:?}", line.args);
        }
    }

    #[test]
    fn a_version_goes_down_only_where_our_own_upgrade_is_taken_back() {
        for (back, expected) in [(false, false), (true, true)] {
            let line = line(&Tool::InstallKubeadm { packages: packages(true), back });
            assert_eq!(line.args.iter().any(|arg| arg == "--allow-downgrades"), expected, "{:?}", line.args);
        }
    }

    #[test]
    fn kubectl_is_installed_only_where_it_is_installed_already() {
        let with = line(&Tool::InstallKubelet { packages: packages(true) });
        assert_eq!(with.args[with.args.len() - 2..], ["kubelet=1.36.3-1.2", "kubectl=1.36.3-1.3"]);
        let without = line(&Tool::InstallKubelet { packages: packages(false) });
        assert_eq!(without.args[without.args.len() - 2..], ["install", "kubelet=1.36.3-1.2"]);
    }

    #[test]
    fn kubeadm_is_given_all_the_time_it_wants() {
        let tool = Tool::Kubeadm { command: KubeadmCommand::Apply, target: "v1.36.3".parse().unwrap() };
        assert_eq!(line(&tool).limit, None);
        assert_eq!(line(&tool).args[..4], ["upgrade", "apply", "v1.36.3", "--yes"]);
    }

    #[test]
    fn the_journal_tells_each_command_of_kubeadm_from_the_others() {
        let told = |command| {
            let target = "v1.36.3".parse().unwrap();
            line(&Tool::Kubeadm { command, target }).description
        };
        for (command, words) in [
            (KubeadmCommand::Apply, "kubeadm upgrade apply to v1.36.3"),
            (KubeadmCommand::NodeControlPlane, "kubeadm upgrade node (control plane) to v1.36.3"),
            (KubeadmCommand::NodeKubelet, "kubeadm upgrade node (kubelet) to v1.36.3"),
            (KubeadmCommand::NodeWorker, "kubeadm upgrade node to v1.36.3"),
        ] {
            assert_eq!(told(command), format!("node-upgrade-agent: {words}"));
        }
    }

    #[test]
    fn what_is_no_package_name_is_never_an_argument() {
        for name in ["-o", "a", "kubelet=1", "../kubelet", "kube let", "Kubelet", ""] {
            let tool = Tool::Hold { packages: BTreeSet::from([name.to_owned()]) };
            assert!(command_line(&tool, &Settings::default()).is_err(), "{name:?}");
        }
        let tool = Tool::Hold { packages: BTreeSet::from(["cri-tools".to_owned()]) };
        assert_eq!(line(&tool).args, ["hold", "cri-tools"]);
    }
}
