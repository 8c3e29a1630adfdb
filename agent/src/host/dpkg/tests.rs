//! dpkg's database as files.

use proptest::prelude::*;

use super::*;
use crate::arbitrary::{hostile, mangled};
use crate::host::tests::{Machine, STATUS};

fn judged(text: &str) -> Dpkg {
    judge(std::iter::once(text)).unwrap()
}

#[test]
fn versions_and_holds_are_read_from_their_own_fields() {
    let dpkg = judged(STATUS);
    assert_eq!(dpkg.packages["kubeadm"].version.as_str(), "1.36.2-1.1");
    assert!(dpkg.packages["kubeadm"].held && dpkg.packages["kubeadm"].configured);
    assert!(!dpkg.interrupted && dpkg.broken.is_empty());
}

#[test]
fn every_half_done_state_that_dpkg_can_finish_counts_as_interrupted() {
    for state in ["unpacked", "half-configured", "triggers-pending", "triggers-awaited"] {
        let dpkg = judged(&STATUS.replacen("ok installed", &format!("ok {state}"), 1));
        assert!(dpkg.interrupted && dpkg.broken.is_empty(), "{state}");
        assert!(!dpkg.packages["kubeadm"].configured, "{state}");
    }
}

#[test]
fn a_half_installed_package_of_ours_waits_for_its_installation_and_not_for_a_repair_that_passes_it_over() {
    for state in ["half-installed", "half-configured", "unpacked"] {
        let dpkg = judged(&STATUS.replacen("ok installed", &format!("reinstreq {state}"), 1));
        assert_eq!(dpkg.broken, ["kubeadm"], "{state}");
        assert!(!dpkg.packages["kubeadm"].configured && !dpkg.interrupted, "{state}");
    }
    let foreign =
        "Package: curl\nStatus: install reinstreq half-installed\nArchitecture: amd64\nVersion: 8\n\n";
    assert!(judged(foreign).interrupted, "a repair tells a person what is wrong with it");
}

#[test]
fn a_package_that_was_removed_is_not_installed() {
    for state in ["deinstall ok config-files", "purge ok not-installed"] {
        let dpkg = judged(&STATUS.replacen("hold ok installed", state, 1));
        assert!(!dpkg.packages.contains_key("kubeadm"), "{state}");
        assert!(!dpkg.interrupted);
    }
}

#[test]
fn dpkgs_journal_without_a_dpkg_means_interrupted_and_overrides_the_status_file() {
    let machine = Machine::new();
    let journal = "Package: kubeadm\nStatus: hold ok unpacked\nArchitecture: amd64\nVersion: 1.36.3-1.1\n\n";
    machine.write("/var/lib/dpkg/updates/tmp.i", "scratch");
    assert!(!read(&machine.settings).unwrap().interrupted);
    machine.write("/var/lib/dpkg/updates/0001", journal);
    let dpkg = read(&machine.settings).unwrap();
    assert!(dpkg.interrupted);
    assert_eq!(dpkg.packages["kubeadm"].version.as_str(), "1.36.3-1.1");
}

#[test]
fn a_version_that_is_none_is_an_error_and_not_an_absent_package() {
    assert!(judge(std::iter::once(STATUS.replace("1.36.2-1.1", "$(x)").as_str())).is_err());
}

proptest! {
    #[test]
    fn dpkgs_database_in_any_form_is_read_or_refused(text in prop_oneof![hostile(), mangled(STATUS)]) {
        let Ok(dpkg) = judge(std::iter::once(text.as_str())) else { return Ok(()) };
        prop_assert!(dpkg.packages.len() <= PACKAGES.len());
        for package in dpkg.packages.values() {
            prop_assert!(package.version.as_str().starts_with(|c: char| c.is_ascii_digit()));
        }
    }
}
