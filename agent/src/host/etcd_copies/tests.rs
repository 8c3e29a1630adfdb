use std::collections::BTreeSet;
use std::fs::{File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::time::Duration;

use upgrade_core::api::TurnId;
use upgrade_core::observed::Copy;

use super::*;
use crate::host::systemd::tests::{Fake, Restart};
use crate::host::tests::Machine;

/// A control plane in the middle of a turn that has copied its manifests.
async fn in_a_turn() -> (Machine, crate::host::Host) {
    let machine = Machine::control_plane();
    let host = machine.host(&Fake::new(Restart::Hangs));
    let copy = Copy { turn: TurnId("v1.36.3-1".into()), run: 1 };
    assert_eq!(host.back_up(&copy).await.fault, None);
    fs::create_dir_all(machine.path(DIRECTORY)).unwrap();
    fs::set_permissions(machine.path(DIRECTORY), Permissions::from_mode(0o700)).unwrap();
    (machine, host)
}

/// A copy of etcd, as kubeadm leaves it, so many seconds after the turn's first copy.
fn copied(machine: &Machine, name: &str, seconds: i64) -> PathBuf {
    let path = machine.path(DIRECTORY).join(name);
    fs::create_dir_all(path.join("etcd/member/wal")).unwrap();
    fs::write(path.join("etcd/member/wal/0.wal"), "wal").unwrap();
    let began = backup::newest_turn_began(&machine.settings).unwrap().unwrap().modified().unwrap();
    let by = Duration::from_secs(seconds.unsigned_abs());
    let made = if seconds < 0 { began - by } else { began + by };
    File::open(&path).unwrap().set_modified(made).unwrap();
    path
}

fn left(machine: &Machine) -> BTreeSet<String> {
    backup::entries(&machine.path(DIRECTORY)).unwrap()
}

#[tokio::test]
async fn of_the_copies_of_etcd_that_a_turn_left_only_the_newest_stays() {
    let (machine, host) = in_a_turn().await;
    for (name, seconds) in
        [("kubeadm-backup-etcd-2", 5), ("kubeadm-backup-etcd-3", 9), ("kubeadm-backup-etcd-1", 400)]
    {
        copied(&machine, name, seconds);
    }
    copied(&machine, "kubeadm-backup-etcd-before", -3600);
    copied(&machine, "kubeadm-backup-manifests-1", 5);
    copied(&machine, "my-kubeadm-backup-etcd-1", 5);
    fs::write(machine.path(DIRECTORY).join("kubeadm-backup-etcd-file"), "a person's").unwrap();
    assert_eq!(host.clean_up().await.fault, None);
    let stays = [
        "kubeadm-backup-etcd-1",
        "kubeadm-backup-etcd-before",
        "kubeadm-backup-etcd-file",
        "kubeadm-backup-manifests-1",
        "my-kubeadm-backup-etcd-1",
    ];
    assert_eq!(left(&machine), stays.map(str::to_owned).into());
    copied_without_a_turn(&machine);
    assert_eq!(host.clean_up().await.fault, None);
    assert_eq!(left(&machine).len(), 6, "without a copy of ours nothing is known to be ours");
}

fn copied_without_a_turn(machine: &Machine) {
    fs::create_dir(machine.path(DIRECTORY).join("kubeadm-backup-etcd-4")).unwrap();
}

#[tokio::test]
async fn what_is_somebody_elses_or_a_link_is_not_taken_for_a_copy_of_etcd() {
    let (machine, host) = in_a_turn().await;
    let elsewhere = machine.path("/var/lib/etcd");
    fs::create_dir_all(elsewhere.join("member")).unwrap();
    symlink(&elsewhere, machine.path(DIRECTORY).join("kubeadm-backup-etcd-1")).unwrap();
    let old = copied(&machine, "kubeadm-backup-etcd-2", 5);
    symlink(&elsewhere, old.join("etcd/link")).unwrap();
    File::open(&old).unwrap().set_modified(SystemTime::now() + Duration::from_secs(1)).unwrap();
    let theirs = copied(&machine, "kubeadm-backup-etcd-3", 6);
    // Only root can give a file away.
    let given = chown(&theirs, Some(65_534), None).is_ok();
    copied(&machine, "kubeadm-backup-etcd-9", 900);
    assert_eq!(host.clean_up().await.fault, None);
    assert!(elsewhere.join("member").is_dir() && left(&machine).contains("kubeadm-backup-etcd-1"));
    assert_eq!(left(&machine).contains("kubeadm-backup-etcd-3"), given);
    assert!(!left(&machine).contains("kubeadm-backup-etcd-2"));
}

#[tokio::test]
async fn copies_of_etcd_that_cannot_be_taken_away_are_told_and_do_not_hold_the_turn_up() {
    let (machine, host) = in_a_turn().await;
    copied(&machine, "kubeadm-backup-etcd-1", 5);
    copied(&machine, "kubeadm-backup-etcd-2", 6);
    fs::set_permissions(machine.path(DIRECTORY), Permissions::from_mode(0o777)).unwrap();
    let why = drop_superseded(&machine.settings).map_err(|failed| crate::chain::chain(&failed)).unwrap_err();
    assert!(why.contains("root alone"), "{why}");
    assert_eq!(host.clean_up().await.fault, None);
    assert_eq!(left(&machine).len(), 2);
    assert!(!machine.settings.backups().exists());
    let (machine, _) = in_a_turn().await;
    copied(&machine, "kubeadm-backup-etcd-1", 5);
    copied(&machine, "kubeadm-backup-etcd-2", 6);
    fs::rename(machine.path(DIRECTORY), machine.path("/etc/kubernetes/other")).unwrap();
    symlink(machine.path("/etc/kubernetes/other"), machine.path(DIRECTORY)).unwrap();
    assert!(drop_superseded(&machine.settings).is_err());
    assert_eq!(left(&machine).len(), 2);
}
