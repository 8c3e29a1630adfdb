//! Copies and what comes back from them.

use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::*;
use crate::arbitrary::hostile;
use crate::host::tests::Machine;

const PLACE: &str = "/etc/kubernetes/manifests";

fn turn(name: &str) -> TurnId {
    TurnId(name.to_owned())
}

fn copy(name: &str, run: u32) -> Copy {
    Copy { turn: turn(name), run }
}

fn manifest(component: &str) -> String {
    format!("{PLACE}/{component}.yaml")
}

fn remove_manifest(machine: &Machine, component: &str) {
    fs::remove_file(machine.path(&manifest(component))).unwrap();
}

fn names(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn a_missing_manifest_comes_back_and_one_in_its_place_is_not_touched() {
    let machine = Machine::control_plane();
    let (settings, turn) = (&machine.settings, turn("v1.36.3-1"));
    let api_server = manifest("kube-apiserver");
    fs::set_permissions(machine.path(&api_server), fs::Permissions::from_mode(0o600)).unwrap();
    back_up(settings, &copy("v1.36.3-1", 3)).unwrap();
    machine.write(&manifest("etcd"), "new etcd");
    remove_manifest(&machine, "kube-apiserver");
    let seen = look(settings, Some(&turn)).unwrap();
    assert_eq!(seen.missing_manifests, names(&["kube-apiserver.yaml"]));
    assert!(seen.control_plane, "a manifest that is missing for a moment makes no worker of a control plane");
    restore_manifests(settings, &turn).unwrap();
    assert_eq!(machine.read(&api_server), "old kube-apiserver.yaml");
    assert_eq!(machine.read(&manifest("etcd")), "new etcd");
    assert_eq!(fs::metadata(machine.path(&api_server)).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(look(settings, Some(&turn)).unwrap().missing_manifests.is_empty());
}

#[test]
fn each_run_has_its_own_copy_and_the_oldest_is_told_first() {
    let machine = Machine::control_plane();
    let settings = &machine.settings;
    for run in [2, 11, 4] {
        back_up(settings, &copy("v1.36.3-1", run)).unwrap();
    }
    let finished = look(settings, Some(&turn("v1.36.3-1"))).unwrap().finished;
    assert_eq!(finished, [copy("v1.36.3-1", 2), copy("v1.36.3-1", 4), copy("v1.36.3-1", 11)]);
}

#[test]
fn a_finished_copy_is_never_made_again() {
    let machine = Machine::control_plane();
    let (settings, of) = (&machine.settings, copy("v1.36.3-1", 1));
    back_up(settings, &of).unwrap();
    machine.write("/var/lib/kubelet/config.yaml", "changed by kubeadm");
    remove_manifest(&machine, "etcd");
    back_up(settings, &of).unwrap();
    restore_kubelet_config(settings, &of.turn).unwrap();
    assert_eq!(machine.read("/var/lib/kubelet/config.yaml"), "kind: KubeletConfiguration\n");
    assert_eq!(look(settings, Some(&of.turn)).unwrap().missing_manifests.len(), 1);
}

#[test]
fn a_missing_manifest_comes_from_the_newest_copy_that_has_it() {
    let machine = Machine::control_plane();
    let (settings, turn) = (&machine.settings, turn("v1.36.3-1"));
    back_up(settings, &copy("v1.36.3-1", 1)).unwrap();
    machine.write(&manifest("etcd"), "etcd of the newer version");
    back_up(settings, &copy("v1.36.3-1", 2)).unwrap();
    remove_manifest(&machine, "etcd");
    remove_manifest(&machine, "kube-scheduler");
    back_up(settings, &copy("v1.36.3-1", 3)).unwrap();
    restore_manifests(settings, &turn).unwrap();
    assert_eq!(
        machine.read(&manifest("etcd")),
        "etcd of the newer version",
        "its data may be the newer version's"
    );
    assert_eq!(machine.read(&manifest("kube-scheduler")), "old kube-scheduler.yaml");
}

#[test]
fn what_has_changed_is_told_against_the_first_copy_of_the_turn() {
    let machine = Machine::control_plane();
    let (settings, turn) = (&machine.settings, turn("v1.36.3-1"));
    back_up(settings, &copy("v1.36.3-1", 1)).unwrap();
    let seen = look(settings, Some(&turn)).unwrap();
    assert!(seen.changed_manifests.is_empty() && !seen.kubelet_config_changed);
    for component in ["etcd", "kube-apiserver"] {
        machine.write(&manifest(component), "new");
    }
    machine.write("/var/lib/kubelet/config.yaml", "new");
    back_up(settings, &copy("v1.36.3-1", 2)).unwrap();
    remove_manifest(&machine, "kube-scheduler");
    for of in [Some(&turn), None] {
        let seen = look(settings, of).unwrap();
        assert_eq!(seen.changed_manifests, names(&["kube-apiserver"]), "neither etcd's nor what is missing");
        assert!(seen.kubelet_config_changed);
    }
    let another = look(settings, Some(&TurnId("v1.36.4-1".to_owned()))).unwrap();
    assert!(another.changed_manifests.is_empty() && !another.kubelet_config_changed);
}

#[test]
fn rolling_back_puts_the_three_manifests_of_the_first_copy_back_and_never_etcds() {
    let machine = Machine::control_plane();
    let (settings, turn) = (&machine.settings, turn("v1.36.3-1"));
    back_up(settings, &copy("v1.36.3-1", 1)).unwrap();
    for component in ["etcd", "kube-apiserver", "kube-controller-manager"] {
        machine.write(&manifest(component), "new");
    }
    back_up(settings, &copy("v1.36.3-1", 2)).unwrap();
    roll_back_manifests(settings, &turn).unwrap();
    for component in STATIC_PODS {
        assert_eq!(machine.read(&manifest(component)), format!("old {component}.yaml"));
    }
    assert_eq!(machine.read(&manifest("etcd")), "new");
    assert!(look(settings, Some(&turn)).unwrap().changed_manifests.is_empty());
    assert!(roll_back_manifests(settings, &TurnId("v1.36.4-1".to_owned())).is_err());
}

#[test]
fn an_unfinished_copy_counts_for_nothing_and_is_replaced() {
    let machine = Machine::control_plane();
    let settings = &machine.settings;
    let half = settings.backups().join(UNFINISHED).join("manifests");
    fs::create_dir_all(&half).unwrap();
    fs::write(half.join("kube-vip.yaml"), "half").unwrap();
    assert_eq!(look(settings, None).unwrap(), Copies { control_plane: true, ..Copies::default() });
    back_up(settings, &copy("v1.36.3-1", 1)).unwrap();
    assert_eq!(look(settings, None).unwrap().finished, [copy("v1.36.3-1", 1)]);
    assert_eq!(entries(&settings.backups()).unwrap(), names(&["v1.36.3-1"]));
    let copied = entries(&settings.backups().join("v1.36.3-1/1/manifests")).unwrap();
    assert_eq!(copied.len(), 4);
}

#[test]
fn what_other_people_keep_beside_kubeadms_manifests_is_theirs_to_take_away() {
    let machine = Machine::control_plane();
    machine.write(&manifest("kube-vip"), "theirs");
    back_up(&machine.settings, &copy("v1.36.3-1", 1)).unwrap();
    remove_manifest(&machine, "kube-vip");
    assert!(look(&machine.settings, None).unwrap().missing_manifests.is_empty());
}

#[test]
fn copies_of_other_turns_go_except_for_those_that_hold_what_is_missing() {
    let machine = Machine::control_plane();
    let settings = &machine.settings;
    back_up(settings, &copy("v1.36.2-1", 1)).unwrap();
    remove_manifest(&machine, "kube-scheduler");
    back_up(settings, &copy("v1.36.2-1", 2)).unwrap();
    back_up(settings, &copy("v1.36.3-1", 1)).unwrap();
    let turn = turn("v1.36.3-1");
    let seen = look(settings, Some(&turn)).unwrap();
    assert_eq!(seen.finished, [copy("v1.36.2-1", 1), copy("v1.36.3-1", 1)]);
    assert_eq!(seen.missing_manifests, names(&["kube-scheduler.yaml"]));
    restore_manifests(settings, &turn).unwrap();
    assert_eq!(machine.read(&manifest("kube-scheduler")), "old kube-scheduler.yaml");
    back_up(settings, &copy("v1.36.3-1", 2)).unwrap();
    assert_eq!(entries(&settings.backups()).unwrap(), names(&["v1.36.3-1"]));
}

#[test]
fn a_copy_of_the_first_edition_counts_as_the_first_of_its_turn() {
    let machine = Machine::control_plane();
    let settings = &machine.settings;
    let old = settings.backups().join("v1.36.3-1/manifests");
    fs::create_dir_all(&old).unwrap();
    fs::write(old.join("kube-apiserver.yaml"), "of the first edition").unwrap();
    remove_manifest(&machine, "kube-apiserver");
    let seen = look(settings, None).unwrap();
    assert_eq!(seen.finished, [copy("v1.36.3-1", 0)]);
    restore_manifests(settings, &turn("v1.36.3-1")).unwrap();
    assert_eq!(machine.read(&manifest("kube-apiserver")), "of the first edition");
    back_up(settings, &copy("v1.36.4-1", 1)).unwrap();
    assert_eq!(look(settings, None).unwrap().finished, [copy("v1.36.4-1", 1)]);
}

#[test]
fn a_file_that_is_put_back_is_as_old_as_it_was() {
    let machine = Machine::control_plane();
    let config = machine.path("/var/lib/kubelet/config.yaml");
    let long_ago = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    File::options().write(true).open(&config).unwrap().set_modified(long_ago).unwrap();
    back_up(&machine.settings, &copy("v1.36.3-1", 1)).unwrap();
    fs::write(&config, "changed by kubeadm").unwrap();
    restore_kubelet_config(&machine.settings, &turn("v1.36.3-1")).unwrap();
    assert_eq!(fs::metadata(&config).unwrap().modified().unwrap(), long_ago);
}

#[test]
fn a_jobs_name_cannot_lead_out_of_the_directory_of_copies() {
    let machine = Machine::new();
    for name in ["", ".", "..", "../x", "/etc", "a/b", ".hidden", "x/"] {
        assert!(back_up(&machine.settings, &copy(name, 1)).is_err(), "{name:?}");
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
