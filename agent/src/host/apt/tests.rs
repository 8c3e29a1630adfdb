//! Captured output of apt 2.6, and the real apt on a repository of our own.

use proptest::prelude::*;
use upgrade_core::judge::checks::packages::resolve;

use super::*;
use crate::arbitrary::{hostile, mangled};
use crate::host::resolve::listed;

fn said(stdout: &str) -> Output {
    Output { stdout: stdout.to_owned(), ..Output::default() }
}

#[test]
fn a_simulation_is_read_with_what_goes_and_what_comes() {
    let text = "NOTE: This is only a simulation!
Reading package lists...
Remv kubernetes-cni [1.8.0-1.1]
Inst cri-tools [1.35.0-1.1] (1.36.0-1.1 localhost [amd64])
Inst kubeadm [1.36.2-1.1] (1.36.3-1.2 localhost [amd64]) []
Inst conntrack:amd64 (1:1.4.7-1 Debian:12/stable [amd64])
Conf kubeadm (1.36.3-1.2 localhost [amd64])
";
    let read = simulation(&said(text));
    let installs: Vec<_> = read.installs.iter().map(|(name, version)| format!("{name} {version}")).collect();
    assert_eq!(installs, ["cri-tools 1.36.0-1.1", "kubeadm 1.36.3-1.2", "conntrack 1:1.4.7-1"]);
    assert_eq!(read.removals, ["kubernetes-cni"]);
}

#[test]
fn an_archive_is_found_by_its_exact_version() {
    let temp = tempfile::tempdir().unwrap();
    let settings = Settings { state: temp.path().to_owned(), ..Settings::default() };
    fs::create_dir_all(settings.archives()).unwrap();
    for name in [
        "kubelet_1.36.3-1.10_amd64.deb",
        "kubelet_1%3a1.36.3-1.1_amd64.deb",
        "kubelet_1.36.3-1.1_amd64.deb.part",
    ] {
        fs::write(settings.archives().join(name), "").unwrap();
    }
    let find = |version: &str| archived(&settings, "kubelet", &version.parse().unwrap());
    assert!(find("1.36.3-1.1").is_err());
    assert!(find("1:1.36.3-1.1").unwrap().ends_with("kubelet_1%3a1.36.3-1.1_amd64.deb"));
}

#[test]
fn a_copied_source_can_be_read_by_no_more_than_the_original() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("root");
    let settings = Settings { state: temp.path().join("state"), root, ..Settings::default() };
    let sources = settings.on_host("/etc/apt/sources.list.d");
    fs::create_dir_all(&sources).unwrap();
    for (name, mode) in [("kubernetes.list", 0o600), ("kubernetes.sources", 0o644)] {
        fs::write(sources.join(name), "deb https://user:password@repo.example/ ./\n").unwrap();
        fs::set_permissions(sources.join(name), Permissions::from_mode(mode)).unwrap();
    }
    prepare(&settings).unwrap();
    let mode = |name: &str| {
        settings.apt().join("sources").join(name).metadata().unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode("00-kubernetes.list"), mode("01-kubernetes.sources")), (0o600, 0o644));
}

#[test]
fn a_source_that_was_taken_away_does_not_live_on() {
    let temp = tempfile::tempdir().unwrap();
    let source = temp.path().join("root/etc/apt/sources.list.d/kubernetes.list");
    fs::create_dir_all(source.parent().unwrap()).unwrap();
    fs::write(&source, "deb [trusted=yes] file:/srv ./\n").unwrap();
    let settings =
        Settings { root: temp.path().join("root"), state: temp.path().join("state"), ..Settings::default() };
    assert_eq!(prepare(&settings).unwrap(), std::slice::from_ref(&source));
    fs::remove_file(&source).unwrap();
    assert!(prepare(&settings).unwrap().is_empty());
    assert_eq!(fs::read_dir(settings.apt().join("sources")).unwrap().count(), 0);
}

#[test]
fn packages_of_a_repository_on_this_host_are_copied_like_any_other() {
    let list = "deb [trusted=yes] file:/srv/repo ./\ndeb mirror+file:/etc/mirrors.txt ./\n";
    assert_eq!(fetched(list), list.replace(" file:/", " copy:/"));
    assert_eq!(fetched("URIs: file:///srv/repo\n"), "URIs: copy:///srv/repo\n");
}

proptest! {
    #[test]
    fn what_apt_says_in_any_form_is_read(text in prop_oneof![hostile(), mangled(SIMULATED)]) {
        let read = simulation(&said(&text));
        prop_assert!(read.installs.len() + read.removals.len() <= text.lines().count());
        prop_assert_eq!(fetched(&text).replace("copy:/", "file:/"), text.replace("copy:/", "file:/"));
    }

    #[test]
    fn whatever_a_repository_lists_no_argument_of_apt_is_an_option_or_a_path(
        madison in prop_oneof![hostile(), mangled(MADISON)], back: bool,
    ) {
        let resolved = resolve(&listed(&madison), "1.36.3".parse().unwrap(), true);
        let Ok(packages) = resolved else { return Ok(()) };
        let settings = Settings::default();
        for args in [install(&settings, &all(&packages), back), simulate(&settings, &kubelet(&packages))] {
            let at = args.iter().position(|arg| arg == "install").unwrap();
            for arg in &args[at + 1..] {
                prop_assert!(arg.starts_with("kube") && !arg.contains(['/', ' ', '\0']), "{arg:?}");
                prop_assert!(!arg.contains(|c: char| c.is_control() || c.is_whitespace()), "{arg:?}");
                prop_assert_eq!(arg.matches('=').count(), 1);
            }
        }
    }
}

const SIMULATED: &str = "Remv kubernetes-cni [1.8.0-1.1]
Inst cri-tools [1.35.0-1.1] (1.36.0-1.1 localhost [amd64])
Inst conntrack:amd64 (1:1.4.7-1 Debian:12/stable [amd64])
deb file:/srv/repo ./
";
const MADISON: &str = "   kubeadm | 1.36.3-1.2 | file:/srv/repo ./ Packages
   kubelet | 1.36.3-1.1 | file:/srv/repo ./ Packages
   kubectl | 1.36.3-1.1 | file:/srv/repo ./ Packages
";
