//! Documents and code say the same: every word of the contract stands in the page that explains it.

#![expect(clippy::panic, reason = "a document that is missing fails its test")]

use std::path::Path;

use upgrade_core::api::{Check, Phase, Policy, annotations};
use upgrade_sim::histories::{Standing, all};
use upgrade_tests::permissions::{Identity, rows_of_denials, rows_of_needs};

fn document(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The words in code quotes that begin the rows of the table below this heading.
fn rows(page: &str, heading: &str) -> Vec<String> {
    let section = page.split(heading).nth(1).unwrap_or_else(|| panic!("no heading {heading}"));
    let section = section.split("\n## ").next().unwrap_or_default();
    let first = |line: &str| line.strip_prefix("| `")?.split('`').next().map(str::to_owned);
    section.lines().filter_map(first).collect()
}

fn sorted(words: impl IntoIterator<Item = impl Into<String>>) -> Vec<String> {
    let mut words: Vec<String> = words.into_iter().map(Into::into).collect();
    words.sort();
    words
}

#[test]
fn every_annotation_is_explained() {
    let keys = [
        annotations::TARGET,
        annotations::RETRY,
        annotations::SKIP_CHECKS,
        annotations::IGNORE,
        annotations::CURRENT,
        annotations::PHASE,
        annotations::STATUS,
        annotations::FOUND_CORDONED,
        annotations::IN_HAND,
        annotations::API_SERVER,
    ];
    assert_eq!(sorted(rows(&document("docs/usage.md"), "## Asking for an upgrade")), sorted(keys));
}

#[test]
fn every_check_is_explained_and_says_whether_it_can_be_skipped() {
    let page = document("docs/usage.md");
    let checks = Check::ALL.map(Check::word);
    assert_eq!(sorted(rows(&page, "## Checks before anything is touched")), sorted(checks));
    for check in Check::ALL {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{check}`"))).unwrap();
        assert_eq!(row.contains("Cannot be skipped"), !check.may_be_skipped(), "{row}");
    }
}

#[test]
fn every_reason_is_explained() {
    use upgrade_core::api::Reason;
    let documented = rows(&document("docs/usage.md"), "## Reasons");
    let known = Reason::ALL.map(|reason| reason.to_string());
    assert_eq!(sorted(documented), sorted(known));
}

#[test]
fn every_policy_key_is_explained_at_its_default() {
    let page = document("docs/usage.md");
    let keys = rows(&page, "## Policy for the whole fleet");
    let default = |key: &String| {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{key}`"))).unwrap();
        (key.clone(), row.split('`').nth(3).unwrap().to_owned())
    };
    let documented = keys.iter().map(default).collect();
    assert_eq!(Policy::read(Some(&documented), false), Policy::default());
    assert_eq!(keys.len(), 3);
}

#[test]
fn the_diagram_shows_every_phase_that_is_built() {
    let page = document("docs/architecture.md");
    let diagram = page.split("```mermaid").nth(1).unwrap().split("```").next().unwrap();
    let words: Vec<&str> = diagram.split([' ', ':', '\n']).collect();
    for phase in Phase::ALL.into_iter().filter(|phase| *phase != Phase::RollingBack) {
        assert!(words.contains(&phase.word()), "{phase} is not in the diagram");
    }
}

/// The rows of the table below this heading, without its head.
fn table(page: &str, heading: &str) -> Vec<String> {
    let section = page.split(heading).nth(1).unwrap_or_else(|| panic!("no heading {heading}"));
    let section = section.trim_start_matches('#').split("\n#").next().unwrap_or_default();
    let rows = section.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    rows.take_while(|line| line.starts_with('|')).map(str::to_owned).collect()
}

#[test]
fn what_credentials_can_and_cannot_do_is_what_the_contract_suite_tries() {
    let page = document("docs/security.md");
    let coordination = "### What the coordination identity is granted";
    for (heading, rows) in [
        (coordination, rows_of_needs(Identity::Coordination)),
        ("### What the agent asks for as the kubelet", rows_of_needs(Identity::Kubelet)),
        ("## What a thief of one node's credentials cannot do", rows_of_denials()),
    ] {
        assert_eq!(table(&page, heading), rows, "below {heading} should stand:\n{}", rows.join("\n"));
    }
}

#[test]
fn the_policy_that_is_applied_sets_no_key_and_says_which_there_are_and_their_defaults() {
    let manifest = document("packaging/kubernetes/policy.yaml");
    assert!(!manifest.contains("\ndata:"), "applying again would set a key back");
    let said =
        manifest.split_once("absent:").expect("what the description lists").1.trim().trim_end_matches('.');
    let pairs = said.split(';').filter_map(|pair| pair.trim().split_once(": "));
    let data: std::collections::BTreeMap<_, _> =
        pairs.map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned())).collect();
    assert_eq!(Policy::read(Some(&data), false), Policy::default());
    let keys = rows(&document("docs/usage.md"), "## Policy for the whole fleet");
    assert_eq!(sorted(data.into_keys()), sorted(keys));
}

#[test]
fn the_admission_policy_knows_the_protocol_and_the_bounds_that_agents_keep() {
    let manifest = document("packaging/kubernetes/admission.yaml");
    let protocol =
        format!("'node-upgrade-agent/protocol'].orValue('') in ['{}']", upgrade_core::api::policy::PROTOCOL);
    assert!(manifest.contains(&protocol), "{protocol}");
    let mark = format!("'node-upgrade-agent/degraded'].size() <= {})", upgrade_core::api::text::NOTE);
    assert!(manifest.contains(&mark), "{mark}");
}

#[test]
fn the_package_has_the_version_of_the_program() {
    let changelog = document("packaging/debian/changelog");
    let version = concat!("node-upgrade-agent (", env!("CARGO_PKG_VERSION"), "-");
    assert!(changelog.starts_with(version), "{changelog}");
    let page = document("docs/usage.md");
    let package = changelog.split(['(', ')']).nth(1).unwrap();
    assert!(
        page.contains(&format!("node-upgrade-agent_{package}_")),
        "docs/usage.md installs another version"
    );
}

/// The cells of a row of a table.
fn cells(row: &str) -> Vec<&str> {
    row.trim_matches('|').split('|').map(str::trim).collect()
}

/// The numbers that begin the rows of the table below this heading.
fn numbers(page: &str, heading: &str) -> Vec<usize> {
    table(page, heading).iter().map(|row| cells(row)[0].parse().unwrap_or_default()).collect()
}

#[test]
fn every_row_about_drains_stands_once_and_names_tests_that_exist() {
    let page = document("docs/drain.md");
    let (kubectl, faults) = ("## Row by row: what kubectl does", "## Row by row: where drains go wrong");
    assert_eq!(numbers(&page, kubectl), (1..=26).collect::<Vec<_>>());
    assert_eq!(numbers(&page, faults), (1..=13).collect::<Vec<_>>());
    let files = table(&page, "## The tests");
    let files: std::collections::BTreeMap<_, _> =
        files.iter().map(|row| (cells(row)[0], document(cells(row)[1].trim_matches('`')))).collect();
    for row in table(&page, kubectl).iter().chain(&table(&page, faults)) {
        let shown = cells(row)[3].to_owned();
        for test in shown.split(", ") {
            let (short, name) = test.split_once(' ').unwrap_or_else(|| panic!("no test: {row}"));
            let name = name.trim_matches('`');
            let file = files.get(short).unwrap_or_else(|| panic!("no file for {short}: {row}"));
            assert!(file.contains(&format!("fn {name}(")), "no test {name} in the file for {short}");
        }
    }
}

#[test]
fn every_option_of_a_drain_is_explained_at_its_default() {
    let example = document("config.example.toml");
    let section = example.split("\n[drain]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let keys =
        section.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = "));
    let known = keys.map(|(key, value)| format!("`{key}` `{value}`"));
    let rows = table(&document("docs/drain.md"), "## Options");
    let documented = rows.iter().map(|row| cells(row)[..2].join(" "));
    assert_eq!(sorted(documented), sorted(known));
}

#[test]
fn every_history_stands_in_the_list_as_it_stands_in_the_code() {
    let page = document("docs/internals/histories.md");
    for (heading, letter) in [("## Known defects", 'A'), ("## Histories that must be survived", 'E')] {
        let of_it = all().into_iter().filter(|history| history.number.starts_with(letter));
        let rows: Vec<_> = of_it.map(|history| history.row()).collect();
        assert_eq!(table(&page, heading), rows, "below {heading} should stand:\n{}", rows.join("\n"));
    }
}

#[test]
fn every_history_that_another_test_shows_has_that_test_and_its_mark() {
    for history in all() {
        let Standing::Shown { file, test, red } = history.standing else { continue };
        let text = document(file);
        let before = text.split(&format!("fn {test}(")).next().filter(|before| before.len() < text.len());
        let before = before.unwrap_or_else(|| panic!("{}: no test {test} in {file}", history.number));
        let marks = before.rsplit("#[test]").next().unwrap_or_default();
        assert_eq!(marks.contains("#[should_panic"), red, "{}: {test} in {file}", history.number);
    }
}
