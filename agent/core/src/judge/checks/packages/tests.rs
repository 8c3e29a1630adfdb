use super::*;

fn output(status: i32, stderr: &str) -> Output {
    Output { status, stderr: stderr.to_owned(), ..Output::default() }
}

fn version(text: &str) -> PackageVersion {
    text.parse().unwrap()
}

fn package(text: &str) -> PackageSeen {
    PackageSeen { version: version(text), configured: true, held: true }
}

/// Two revisions of kubeadm 1.36.3.
fn listed() -> BTreeMap<String, Vec<PackageVersion>> {
    let versions = |all: &[&str]| all.iter().map(|text| version(text)).collect();
    BTreeMap::from([
        ("kubeadm".to_owned(), versions(&["1.36.3-1.2", "1.36.3-1.1", "1.36.2-1.1"])),
        ("kubelet".to_owned(), versions(&["1.36.3-1.1", "1.36.2-1.1"])),
    ])
}

fn lacks(target: &str, kubectl: bool) -> String {
    match resolve(&listed(), target.parse().unwrap(), kubectl) {
        Err(Outcome::Failed(why)) => why,
        other => panic!("not lacking: {other:?}"),
    }
}

#[test]
fn kubeadm_and_kubelet_have_to_be_packages_and_kubectl_need_not() {
    let mut packages = BTreeMap::new();
    for name in ["kubectl", "kubelet"] {
        packages.insert(name.to_owned(), package("1.36.2-1.1"));
        assert!(matches!(installed(&packages), Err(Outcome::Failed(text)) if text.contains("not both")));
    }
    packages.insert("kubeadm".to_owned(), package("1.36.2-1.1"));
    assert_eq!(installed(&packages).unwrap().kubectl, Some(version("1.36.2-1.1")));
    packages.remove("kubectl");
    assert_eq!(installed(&packages).unwrap().kubectl, None);
}

#[test]
fn sources_that_do_not_exist_are_named() {
    let Outcome::Failed(text) = no_sources(&["/a".to_owned(), "/b".to_owned()]) else { panic!("passed") };
    assert!(text.ends_with(": /a, /b"), "{text}");
}

#[test]
fn a_repository_that_does_not_answer_is_a_fault_and_one_that_cannot_be_trusted_a_finding() {
    let away = "E: Failed to fetch http://127.0.0.1:9/InRelease  Could not connect to 127.0.0.1:9 (127.0.0.1). - \
                connect (111: Connection refused)\nE: Some index files failed to download. They have been ignored, \
                or old ones used instead.\n";
    assert!(matches!(fetch(&output(100, away), "x"), Fetch::Fault(_)));
    assert!(matches!(fetch(&output(0, &away.replace("E:", "W:")), "x"), Fetch::Fault(_)));
    for lasting in [
        "E: The repository 'http://127.0.0.1/ ./ Release' is not signed.\n",
        "E: You don't have enough free space in /var/cache/apt/archives/.\n",
    ] {
        let Fetch::Finding(Outcome::Failed(text)) = fetch(&output(100, lasting), "fetch the lists") else {
            panic!("no finding: {lasting}")
        };
        assert!(text.starts_with("could not fetch the lists: E: "), "{text}");
    }
    assert_eq!(fetch(&output(0, "W: a warning\n"), "x"), Fetch::Fetched);
}

/// What apt 2.6.2 said of repositories that were away, on its standard output and standard error.
const AWAY: [(&str, &str); 4] = [
    (
        "Err:1 http://127.0.0.1:9 ./ InRelease\n  Could not connect to 127.0.0.1:9 (127.0.0.1). - connect (111: \
         Connection refused)\nReading package lists...\n",
        "E: The repository 'http://127.0.0.1:9 ./ Release' does not have a Release file.\n",
    ),
    (
        "Err:1 http://no-such.invalid ./ InRelease\n  Could not resolve 'no-such.invalid'\nReading package lists...\n",
        "E: The repository 'http://no-such.invalid ./ InRelease' is not signed.\n",
    ),
    (
        "Err:1 http://127.0.0.1/503 ./ InRelease\n  503  Service Unavailable [IP: 127.0.0.1 80]\n",
        "E: Failed to fetch http://127.0.0.1/503/./InRelease  503  Service Unavailable [IP: 127.0.0.1 80]\n\
         E: The repository 'http://127.0.0.1/503 ./ InRelease' is not signed.\n",
    ),
    (
        "Err:1 http://127.0.0.1/429 ./ InRelease\n  429  Too Many Requests [IP: 127.0.0.1 80]\n",
        "E: Failed to fetch http://127.0.0.1/429/./InRelease  429  Too Many Requests [IP: 127.0.0.1 80]\n\
         E: The repository 'http://127.0.0.1/429 ./ InRelease' is not signed.\n",
    ),
];

#[test]
fn a_repository_that_lacks_something_only_because_it_is_away_is_tried_again_and_apts_reason_is_told() {
    let reasons =
        ["Err:1 http://127.0.0.1:9 ./ InRelease: Could not connect", "Could not resolve", "503  S", "429  T"];
    for ((stdout, stderr), reason) in AWAY.into_iter().zip(reasons) {
        let said = Output { stdout: stdout.to_owned(), ..output(100, stderr) };
        let Fetch::Fault(text) = fetch(&said, "fetch the package lists") else { panic!("refused: {stderr}") };
        assert!(text.contains(reason) && text.contains("E: "), "{text}");
        assert_eq!(text.matches(reason).count(), 1, "{text}");
    }
}

#[test]
fn a_repository_that_answers_and_lacks_something_is_for_people() {
    for (answer, lacks) in [
        (
            "404  Not Found [IP: 127.0.0.1 80]",
            "http://127.0.0.1/500  ./ Release' does not have a Release file.",
        ),
        ("403  Forbidden [IP: 127.0.0.1 80]", "http://127.0.0.1/1503 ./ InRelease' is not signed."),
    ] {
        let said = Output {
            stdout: format!(
                "Ign:1 http://127.0.0.1/ ./ InRelease\nErr:2 http://127.0.0.1/ ./ Release\n  {answer}\n"
            ),
            ..output(100, &format!("E: The repository '{lacks}\n"))
        };
        assert!(matches!(fetch(&said, "x"), Fetch::Finding(Outcome::Failed(_))), "{answer}");
    }
    let key = "W: GPG error: NO_PUBKEY 1\nE: The repository 'x' is not signed.\n";
    let said = Output { stdout: AWAY[0].0.to_owned(), ..output(100, key) };
    assert!(matches!(fetch(&said, "x"), Fetch::Finding(_)), "a missing key stays missing");
}

#[test]
fn the_newest_revision_of_each_package_is_taken() {
    let packages = resolve(&listed(), "1.36.3".parse().unwrap(), false).unwrap();
    assert_eq!(packages.kubeadm.as_str(), "1.36.3-1.2");
    assert_eq!(packages.kubelet.as_str(), "1.36.3-1.1");
    assert_eq!(packages.kubectl, None);
}

#[test]
fn what_the_repository_lacks_is_told_with_what_it_has() {
    let why = lacks("1.37.0", false);
    assert!(
        why.starts_with("the repository does not have kubeadm v1.37.0; newest there is 1.36.3-1.2"),
        "{why}"
    );
    assert_eq!(lacks("1.36.3", true), "the repository does not have kubectl at all");
}

#[test]
fn a_target_that_is_the_beginning_of_a_version_does_not_match_it() {
    let listed = ["kubeadm", "kubelet"].map(|name| (name.to_owned(), vec![version("1.36.30-1.1")]));
    assert!(resolve(&BTreeMap::from(listed), "1.36.3".parse().unwrap(), false).is_err());
}

#[test]
fn installed_packages_that_are_gone_leave_no_way_back_and_refuse_nothing() {
    let to = resolve(&listed(), "1.36.3".parse().unwrap(), false).unwrap();
    assert_eq!(downloaded(&to, true), Outcome::Passed("kubelet 1.36.3-1.1 is downloaded".to_owned()));
    assert!(
        matches!(downloaded(&to, false), Outcome::Passed(text) if text.ends_with("there is no way back"))
    );
}

#[test]
fn apt_may_change_our_packages_alone_and_remove_nothing() {
    let installs = |name: &str| Simulation {
        installs: vec![("kubelet".to_owned(), "2".to_owned()), (name.to_owned(), "2".to_owned())],
        ..Simulation::default()
    };
    assert!(matches!(simulation(&installs("kubernetes-cni")), Outcome::Passed(_)));
    let removes = Simulation { removals: vec!["kubectl".to_owned()], ..Simulation::default() };
    let failed = Simulation { failed: Some("status text".to_owned()), ..Simulation::default() };
    for (step, told) in [
        (installs("containerd"), "also change containerd"),
        (removes, "remove kubectl"),
        (failed, "status text"),
    ] {
        let Outcome::Failed(text) = simulation(&step) else { panic!("passed: {step:?}") };
        assert!(text.contains(told), "{text}");
    }
}
