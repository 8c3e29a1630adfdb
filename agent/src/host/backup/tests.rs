//! Copies and what comes back from them.

use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::*;
use crate::arbitrary::hostile;
use crate::host::tests::{MANIFESTS, Machine};

fn turn(name: &str) -> TurnId {
    TurnId(name.to_owned())
}

#[test]
fn a_missing_manifest_comes_back_and_one_in_its_place_is_not_touched() {
    let machine = Machine::control_plane();
    let (settings, turn) = (&machine.settings, turn("v1.36.3-1"));
    let api_server = "/etc/kubernetes/manifests/kube-apiserver.yaml";
    fs::set_permissions(machine.path(api_server), fs::Permissions::from_mode(0o600)).unwrap();
    back_up(settings, &turn).unwrap();
    machine.write("/etc/kubernetes/manifests/etcd.yaml", "new etcd");
    fs::remove_file(machine.path(api_server)).unwrap();
    let seen = look(settings, Some(&turn)).unwrap();
    assert_eq!(seen.missing_manifests, BTreeSet::from(["kube-apiserver.yaml".to_owned()]));
    assert!(seen.control_plane, "a manifest that is missing for a moment makes no worker of a control plane");
    restore_manifests(settings, &turn).unwrap();
    assert_eq!(machine.read(api_server), "old kube-apiserver.yaml");
    assert_eq!(machine.read("/etc/kubernetes/manifests/etcd.yaml"), "new etcd");
    assert_eq!(fs::metadata(machine.path(api_server)).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(look(settings, Some(&turn)).unwrap().missing_manifests.is_empty());
}

#[test]
fn a_finished_copy_is_never_made_again() {
    let machine = Machine::control_plane();
    let (settings, turn) = (&machine.settings, turn("v1.36.3-1"));
    back_up(settings, &turn).unwrap();
    machine.write("/var/lib/kubelet/config.yaml", "changed by kubeadm");
    fs::remove_file(machine.path("/etc/kubernetes/manifests/etcd.yaml")).unwrap();
    back_up(settings, &turn).unwrap();
    restore_kubelet_config(settings, &turn).unwrap();
    assert_eq!(machine.read("/var/lib/kubelet/config.yaml"), "kind: KubeletConfiguration\n");
    assert_eq!(look(settings, Some(&turn)).unwrap().missing_manifests.len(), 1);
}

#[test]
fn an_unfinished_copy_counts_for_nothing_and_is_replaced() {
    let machine = Machine::control_plane();
    let settings = &machine.settings;
    fs::create_dir_all(settings.backups().join(".v1.36.3-1/manifests")).unwrap();
    fs::write(settings.backups().join(".v1.36.3-1/manifests/etcd.yaml"), "half").unwrap();
    assert_eq!(look(settings, None).unwrap().finished, None);
    back_up(settings, &turn("v1.36.3-1")).unwrap();
    assert_eq!(look(settings, None).unwrap().finished, Some(turn("v1.36.3-1")));
    assert_eq!(entries(&settings.backups()).unwrap().len(), 1);
}

#[test]
fn the_copy_of_another_job_is_not_ours() {
    let machine = Machine::control_plane();
    back_up(&machine.settings, &turn("v1.36.2-1")).unwrap();
    for name in MANIFESTS {
        fs::remove_file(machine.path("/etc/kubernetes/manifests").join(name)).unwrap();
    }
    let other = turn("v1.36.3-1");
    let seen = look(&machine.settings, Some(&other)).unwrap();
    assert_eq!(seen, Copies::default());
    assert!(restore_manifests(&machine.settings, &other).is_err());
}

#[test]
fn a_jobs_name_cannot_lead_out_of_the_directory_of_copies() {
    let machine = Machine::new();
    for name in ["", ".", "..", "../x", "/etc", "a/b", ".hidden", "x/"] {
        assert!(back_up(&machine.settings, &turn(name)).is_err(), "{name:?}");
        assert!(look(&machine.settings, Some(&turn(name))).is_err(), "{name:?}");
    }
}

proptest! {
    #[test]
    fn no_name_of_a_job_leads_out_of_the_directory_of_copies(name in hostile()) {
        let settings = Settings::default();
        let backups = settings.backups();
        if let Ok(path) = directory(&settings, &TurnId(name)) {
            prop_assert_eq!(path.parent(), Some(backups.as_path()));
            prop_assert!(!path.to_string_lossy().contains('\0'));
        }
    }
}
