//! The lab itself: what scenario tests rely on. Needs root and minutes, so it runs only when asked for:
//! `cargo test -p lab -- --ignored`.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab::{Cluster, HostControlPlane, Options, UPGRADE_CONFIG, versions, wait_until};

#[test]
#[ignore = "boots a cluster: needs root, and minutes the first time"]
fn a_cluster_boots_is_upgraded_by_hand_and_leaves_nothing() -> Result<()> {
    let cluster = Cluster::boot(&Options { workers: 1, ..Options::default() })?;
    let state = cluster.kubeconfig().parent().context("the kubeconfig has no directory")?.to_owned();
    cluster.deploy_tutorial()?;
    power_is_cut_and_comes_back(&cluster)?;
    packages_can_be_withdrawn_and_slowed_down(&cluster)?;
    a_package_is_installed_with_its_service(&cluster)?;
    an_administrator_upgrades(&cluster)?;
    cluster.down()?;
    assert!(!state.exists(), "{} is left", state.display());
    let mounts = std::fs::read_to_string("/proc/mounts")?;
    assert!(!mounts.contains(&state.display().to_string()), "mounts are left");
    Ok(())
}

fn power_is_cut_and_comes_back(cluster: &Cluster) -> Result<()> {
    let worker = cluster.node("worker1")?;
    worker.write_file("/etc/evidence", "written before the cut", 0o600)?;
    worker.power_cut()?;
    assert!(!worker.is_running());
    assert!(worker.run(&["true"]).is_err());
    assert!(worker.journal("kubelet")?.contains("Started"), "the journal is readable while the power is off");
    worker.power_on()?;
    assert_eq!(worker.run(&["cat", "/etc/evidence"])?, "written before the cut");
    assert_eq!(worker.run(&["systemctl", "--failed", "--no-legend"])?, "");
    cluster.wait_ready()
}

fn packages_can_be_withdrawn_and_slowed_down(cluster: &Cluster) -> Result<()> {
    let worker = cluster.node("worker1")?;
    let offered = || -> Result<bool> {
        worker.run(&["apt-get", "update"])?;
        Ok(worker.run(&["apt-cache", "madison", "kubeadm"])?.contains(versions::KUBERNETES_NEW))
    };
    assert!(offered()?);
    cluster.repository().remove_version(versions::KUBERNETES_NEW)?;
    assert!(!offered()?);
    cluster.repository().restore()?;
    assert!(offered()?);

    cluster.repository().set_rate(Some(5_000_000))?;
    let start = Instant::now();
    let kubelet = format!("kubelet={}", versions::package_version(versions::KUBERNETES_NEW));
    worker.run(&["apt-get", "download", &kubelet])?;
    assert!(start.elapsed() > Duration::from_secs(1), "the limit is not kept: {:?}", start.elapsed());
    cluster.repository().set_rate(None)
}

fn a_package_is_installed_with_its_service(cluster: &Cluster) -> Result<()> {
    let package = stand_in(&cluster.kubeconfig().with_file_name("stand-in"))?;
    for node in cluster.nodes() {
        node.install_package(&package)?;
        node.run(&["systemctl", "is-active", "node-upgrade-agent.service"])?;
        node.run(&["systemctl", "disable", "--now", "node-upgrade-agent.service"])?;
    }
    Ok(())
}

/// In place of the agent's package, whose own tests need a lab that works.
fn stand_in(directory: &Path) -> Result<PathBuf> {
    let control = "Package: node-upgrade-agent\nVersion: 0\nArchitecture: all\nMaintainer: the lab\n\
                   Description: waits\n";
    let unit = "[Service]\nExecStart=sleep infinity\n[Install]\nWantedBy=multi-user.target\n";
    let postinst = "#!/bin/sh\nexec systemctl enable --now node-upgrade-agent.service\n";
    for (path, text, mode) in [
        ("DEBIAN/control", control, 0o644),
        ("DEBIAN/postinst", postinst, 0o755),
        ("usr/lib/systemd/system/node-upgrade-agent.service", unit, 0o644),
    ] {
        let path = directory.join(path);
        std::fs::create_dir_all(path.parent().context("a file has a directory")?)?;
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, Permissions::from_mode(mode))?;
    }
    let package = directory.with_extension("deb");
    let built = Command::new("dpkg-deb")
        .args(["--build", "--root-owner-group"])
        .arg(directory)
        .arg(&package)
        .output()?;
    anyhow::ensure!(built.status.success(), "dpkg-deb: {}", String::from_utf8_lossy(&built.stderr));
    Ok(package)
}

/// The documented procedure, command by command.
fn an_administrator_upgrades(cluster: &Cluster) -> Result<()> {
    let version = format!("v{}", versions::KUBERNETES_NEW);
    for node in cluster.nodes() {
        install(node, &["kubeadm"])?;
        if node.name() == "cp1" {
            node.run(&["kubeadm", "upgrade", "apply", &version, "-y", "--config", UPGRADE_CONFIG])?;
        } else {
            node.run(&["kubeadm", "upgrade", "node", "--config", UPGRADE_CONFIG])?;
        }
        install(node, &["kubelet", "kubectl"])?;
        node.run(&["systemctl", "daemon-reload"])?;
        node.run(&["systemctl", "restart", "kubelet"])?;
        let query = ["get", "node", node.name(), "-o", "jsonpath={.status.nodeInfo.kubeletVersion}"];
        wait_until(&format!("{} to run {version}", node.name()), Duration::from_mins(1), || {
            Ok(cluster.kubectl(&query)? == version)
        })?;
    }
    let audit = std::fs::read_to_string(cluster.audit_log()?)?;
    assert!(audit.contains("\"resource\":\"nodes\""), "writes to nodes are in the audit log");
    cluster.wait_ready()
}

fn install(node: &lab::Node, packages: &[&str]) -> Result<()> {
    let version = versions::package_version(versions::KUBERNETES_NEW);
    let wanted: Vec<String> = packages.iter().map(|package| format!("{package}={version}")).collect();
    let mut argv = vec!["apt-get", "install", "-y", "--allow-change-held-packages"];
    argv.extend(wanted.iter().map(String::as_str));
    node.run(&argv).map(drop)
}

#[test]
#[ignore = "starts etcd and an API server, which the first time must be built"]
fn a_control_plane_without_nodes_confines_a_kubelet_to_its_node() -> Result<()> {
    let control_plane = HostControlPlane::start()?;
    control_plane.apply_rbac()?;
    let kubelet = control_plane.kubelet_kubeconfig("worker1")?;
    let agent = control_plane.coordination_kubeconfig("worker1")?;
    let may = |kubeconfig: &Path, arguments: &[&str]| {
        let kubeconfig = format!("--kubeconfig={}", kubeconfig.display());
        control_plane.kubectl(&[&["auth", "can-i", &kubeconfig], arguments].concat()).is_ok()
    };
    assert!(may(&kubelet, &["patch", "node/worker1"]));
    assert!(!may(&kubelet, &["list", "nodes"]));
    assert!(may(&agent, &["update", "leases", "-n", "node-upgrade-agent"]));
    assert!(!may(&agent, &["delete", "leases", "-n", "node-upgrade-agent"]));
    assert!(!may(&agent, &["update", "leases", "-n", "kube-node-lease"]));
    assert!(!may(&agent, &["patch", "node/worker1"]));
    let directory = kubelet.parent().context("the kubeconfig has no directory")?.to_owned();
    drop(control_plane);
    assert!(!directory.exists(), "{} is left", directory.display());
    Ok(())
}
