//! Output in any form, and whole runs with the real apt on a repository of our own.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::arbitrary::{hostile, mangled};
use crate::host::systemd::tests::{Fake, Restart};
use crate::host::tests::Machine;

fn output(status: i32, stdout: &str, stderr: &str) -> Output {
    Output { status, stdout: stdout.to_owned(), stderr: stderr.to_owned() }
}

#[test]
fn cgroup_v1_is_allowed_by_kubelets_configuration_alone() {
    assert!(allows_cgroup_v1("kind: x\nfailCgroupV1: false\n"));
    assert!(!allows_cgroup_v1("failCgroupV1: true\n"));
    assert!(!allows_cgroup_v1("kind: x\n"));
}

/// Packages shaped like the community's, with programs that say what kubelet and kubeadm would.
fn repository(machine: &Machine, versions: &[&str]) {
    let place = machine.temp.path().join("repository");
    fs::create_dir_all(&place).unwrap();
    for version in versions {
        for (name, depends) in
            [("kubeadm", "cri-tools (>= 1.30.0)"), ("kubelet", "kubernetes-cni (>= 1.2.0)")]
        {
            let tree = machine.temp.path().join("tree");
            let _ = fs::remove_dir_all(&tree);
            fs::create_dir_all(tree.join("DEBIAN")).unwrap();
            fs::create_dir_all(tree.join("usr/bin")).unwrap();
            let control = format!(
                "Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: somebody <s@example.org>\n\
                 Depends: {depends}\nDescription: test\n"
            );
            fs::write(tree.join("DEBIAN/control"), control).unwrap();
            let program = tree.join("usr/bin").join(name);
            fs::write(&program, format!("#!/bin/sh\necho Kubernetes v{version} $*\n")).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
            tool("dpkg-deb", &["--root-owner-group", "-Zgzip", "-b"], &[&tree, &place]);
        }
    }
    let index = Command::new("apt-ftparchive").args(["packages", "."]).current_dir(&place).output().unwrap();
    assert!(index.status.success());
    fs::write(place.join("Packages"), index.stdout).unwrap();
    let source = format!("deb [trusted=yes] file:{} ./\n", place.display());
    machine.write("/etc/apt/sources.list.d/kubernetes.list", &source);
    fs::create_dir_all(machine.path("/sys/fs/cgroup")).unwrap();
}

fn tool(program: &str, args: &[&str], paths: &[&Path]) {
    assert!(Command::new(program).args(args).args(paths).output().unwrap().status.success());
}

fn found(seen: &HostPreflight, check: Check) -> Vec<&Outcome> {
    seen.findings.iter().filter(|finding| finding.check == check).map(|finding| &finding.outcome).collect()
}

#[tokio::test]
async fn with_a_real_apt_a_target_is_resolved_downloaded_and_tried_out() {
    let machine = Machine::new();
    repository(&machine, &["1.36.2-1.1", "1.36.3-1.1", "1.36.3-1.2"]);
    // The test's own file system may be cgroup v1 in a temporary directory's eyes: allowed here.
    machine.write("/var/lib/kubelet/config.yaml", "failCgroupV1: false\n");
    let host = machine.host(&Fake::new(Restart::Hangs));
    let seen = host.preflight("1.36.3".parse().unwrap(), KubeadmCommand::NodeWorker).await.unwrap();
    let failed: Vec<_> =
        seen.findings.iter().filter(|finding| !matches!(finding.outcome, Outcome::Passed(_))).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(seen.to.as_ref().unwrap().kubelet.as_str(), "1.36.3-1.2");
    assert_eq!(seen.from.as_ref().unwrap().kubelet.as_str(), "1.36.2-1.1");
    assert!(seen.can_restore_packages);
    for check in [Check::Packages, Check::Simulation, Check::KubeletFlags, Check::Kubeadm, Check::Dpkg] {
        assert_eq!(found(&seen, check).len(), 1, "{check}");
    }
    for name in ["kubeadm_1.36.3-1.2", "kubelet_1.36.3-1.2", "kubeadm_1.36.2-1.1", "kubelet_1.36.2-1.1"] {
        assert!(machine.settings.archives().join(format!("{name}_amd64.deb")).is_file(), "{name}");
    }
}

#[tokio::test]
async fn with_a_real_apt_packages_that_are_gone_leave_no_way_back_and_refuse_nothing() {
    let machine = Machine::new();
    repository(&machine, &["1.36.3-1.1"]);
    machine.write("/var/lib/kubelet/config.yaml", "failCgroupV1: false\n");
    let host = machine.host(&Fake::new(Restart::Hangs));
    let seen = host.preflight("1.36.3".parse().unwrap(), KubeadmCommand::NodeWorker).await.unwrap();
    assert!(!seen.can_restore_packages);
    assert!(matches!(found(&seen, Check::Packages)[..], [Outcome::Passed(_)]), "{seen:#?}");
    let seen = host.preflight("1.36.9".parse().unwrap(), KubeadmCommand::NodeWorker).await.unwrap();
    let [Outcome::Failed(text)] = found(&seen, Check::Packages)[..] else { panic!("{seen:#?}") };
    assert!(text.contains("newest there is 1.36.3-1.1"), "{text}");
    assert_eq!(seen.to, None);
}

#[tokio::test]
async fn with_a_real_apt_a_repository_that_is_away_is_a_fault() {
    let machine = Machine::new();
    repository(&machine, &["1.36.3-1.1"]);
    machine.write("/etc/apt/sources.list.d/kubernetes.list", "deb [trusted=yes] http://127.0.0.1:9 ./\n");
    let host = machine.host(&Fake::new(Restart::Hangs));
    let fault = host.preflight("1.36.3".parse().unwrap(), KubeadmCommand::NodeWorker).await.unwrap_err();
    assert!(fault.message.contains("could not fetch the package lists"), "{}", fault.message);
}

proptest! {
    #[test]
    fn what_tools_say_in_any_form_is_judged(
        stdout in hostile(), stderr in prop_oneof![hostile(), mangled(FAILED)], status in -1..260_i32,
    ) {
        let said = output(status, &stdout, &stderr);
        let _ = checks::simulation(&apt::simulation(&said));
        prop_assert!(fetched(&said, "fetch").is_err() || said.succeeded());
        prop_assert_eq!(matches!(checks::kubeadm("dry run", &said), Outcome::Passed(_)), said.succeeded());
        prop_assert!(said.last_words().len() <= stdout.len().max(stderr.len()) + 6 * 3);
    }
}

const FAILED: &str = "error: error execution phase preflight: [preflight] Some fatal errors occurred:
\t[ERROR SystemVerification]: missing required cgroups: cpu
E: Failed to fetch http://127.0.0.1:9/InRelease  Could not connect to 127.0.0.1:9 (127.0.0.1).
";
