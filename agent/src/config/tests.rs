use proptest::prelude::*;

use super::*;
use crate::arbitrary::{hostile, mangled};

const EXAMPLE: &str = include_str!("../../../config.example.toml");

fn read(text: &str) -> Result<Settings, ConfigError> {
    Settings::read(Path::new("/etc/x.toml"), text, || Ok("Worker-1.Example\n".to_owned()))
}

fn refusal(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

#[test]
fn the_example_shows_every_key_at_its_default() {
    let example: toml::Table = toml::from_str(EXAMPLE).unwrap();
    let defaults = toml::Table::try_from(RawConfig::default()).unwrap();
    assert_eq!(example, defaults);
}

#[test]
fn every_key_of_the_example_says_what_it_does() {
    let mut before = "";
    for line in EXAMPLE.lines() {
        if line.contains(" = ") && !line.starts_with('#') {
            assert!(before.starts_with("# "), "no comment above {line}");
        }
        before = line;
    }
}

#[test]
fn no_file_and_an_empty_file_mean_the_defaults_and_the_example_too() {
    let defaults = read("").unwrap();
    assert_eq!(defaults, read(EXAMPLE).unwrap());
    assert_eq!(defaults.drain, DrainOptions::default());
    assert_eq!(defaults.drain.timeout, Duration::from_hours(1));
}

#[test]
fn a_file_the_command_line_names_must_be_there() {
    let error = Settings::load(Some(Path::new("/nonexistent/config.toml"))).unwrap_err();
    assert!(
        matches!(error, ConfigError::Read { .. }) && error.to_string().contains("/nonexistent/config.toml")
    );
}

#[test]
fn the_node_is_named_like_the_host_in_lower_case_unless_configured() {
    assert_eq!(read("").unwrap().node, "worker-1.example");
    let unasked = || panic!("the host name is of no interest");
    let named = Settings::read(Path::new("x"), "[node]\nname = \"w7\"", unasked).unwrap();
    assert_eq!(named.node, "w7");
}

#[test]
fn a_host_name_that_cannot_name_a_node_is_an_error_that_says_what_to_set() {
    for name in ["", " \n", "under_score", "-o", "a..b"] {
        let error =
            Settings::read(Path::new("/etc/x.toml"), "", || Ok(name.to_owned())).unwrap_err().to_string();
        assert!(error.contains("set name in [node] of /etc/x.toml"), "{error}");
    }
    let unreadable = || Err(io::Error::from(io::ErrorKind::PermissionDenied));
    assert!(Settings::read(Path::new("x"), "", unreadable).unwrap_err().to_string().contains("permission"));
}

#[test]
fn an_unknown_key_is_named_with_its_file_and_line() {
    let error = refusal("[drain]\nforce = true\n\ntimeouts = \"1h\"\n");
    assert!(error.starts_with("/etc/x.toml:4: timeouts = \"1h\": unknown field `timeouts`"), "{error}");
    assert!(error.contains("`delete-emptydir-data`"), "{error}");
    assert!(refusal("[drian]\n").starts_with("/etc/x.toml:1: [drian]: unknown field `drian`"));
}

#[test]
fn a_value_that_cannot_be_used_is_named_with_its_file_line_and_key() {
    let cases = [
        ("node", "name", "\"Upper\""),
        ("node", "name", "\"-o\""),
        ("node", "name", "\"a/b\""),
        ("cluster", "kubeconfig", "\"\""),
        ("cluster", "kubeconfig", "\"kubelet.conf\""),
        ("cluster", "kubeconfig", "\"--kubeconfig=/x\""),
        ("cluster", "kubeconfig", "\"/etc/../x\""),
        ("cluster", "kubeconfig", "\"/etc/a\\nb\""),
        ("coordination", "kubeconfig", "7"),
        ("coordination", "namespace", "\"\""),
        ("coordination", "namespace", "\"a.b\""),
        ("packages", "sources", "[]"),
        ("packages", "sources", "[\"kubernetes.list\"]"),
        ("packages", "sources", "[\"/etc/apt/kubernetes.list.bak\"]"),
        ("kubeadm", "config", "\"-v=10\""),
        ("drain", "enabled", "\"true\""),
        ("drain", "grace-period", "-2"),
        ("drain", "grace-period", "0"),
        ("drain", "grace-period", "4294967296"),
        ("drain", "timeout", "3600"),
        ("drain", "timeout", "\"0s\""),
        ("drain", "timeout", "\"-1h\""),
        ("drain", "timeout", "\"soon\""),
        ("verify", "timeout", "\"1500ms\""),
        ("state", "directory", "\"state\""),
        ("log", "level", "\"loud\""),
        ("log", "level", "\"INFO\""),
    ];
    for (section, key, value) in cases {
        let error = refusal(&format!("# first\n[{section}]\n\n{key} = {value}\n"));
        assert!(error.starts_with(&format!("/etc/x.toml:4: {key} = {value}: ")), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn text_that_is_not_toml_is_an_error_with_its_line() {
    assert!(refusal("[drain]\nforce = \n").starts_with("/etc/x.toml:2: "));
    assert!(refusal("[drain]\nforce = true\nforce = true\n").starts_with("/etc/x.toml:3: "));
}

#[test]
fn bytes_that_are_no_text_are_an_error_with_their_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.toml");
    std::fs::write(&path, b"# first\n[log]\nlevel = \"\xff\"\n").unwrap();
    let error = Settings::load(Some(&path)).unwrap_err().to_string();
    assert!(error.contains("config.toml:3: level = ") && error.ends_with("this is no UTF-8 text"), "{error}");
}

#[test]
fn an_error_is_short_and_steers_no_terminal_whatever_stands_in_the_file() {
    let odd = format!("\u{9b}2J{}", "x".repeat(10_000));
    for text in [format!("[log]\nlevel = \"{odd}\""), format!("[log]\n\"{odd}\" = 1"), odd] {
        let error = refusal(&text);
        assert!(error.len() < 2048 && !error.contains(|c: char| c.is_control() && c != '\n'), "{error}");
    }
}

#[test]
fn times_are_read_as_people_write_them() {
    let timeout = |text: &str| read(&format!("[drain]\ntimeout = \"{text}\"")).unwrap().drain.timeout;
    let read = [timeout("90s"), timeout("5m"), timeout("1h30m"), timeout("1h 30m")];
    assert_eq!(read, [90, 300, 5400, 5400].map(Duration::from_secs));
}

#[test]
fn a_soak_that_outlasts_the_verification_is_an_error() {
    assert!(refusal("[verify]\ntimeout = \"3s\"\n").contains("[verify] soak must be shorter than timeout"));
}

#[test]
fn grace_is_each_pods_own_or_what_is_configured() {
    let grace = |value: i64| read(&format!("[drain]\ngrace-period = {value}")).unwrap().drain.grace_period;
    assert_eq!([grace(-1), grace(1), grace(30)], [None, Some(1), Some(30)]);
}

proptest! {
    #[test]
    fn a_file_in_any_form_is_read_or_refused(text in prop_oneof![hostile(), mangled(EXAMPLE)], name in hostile()) {
        let path = Path::new("/etc/x.toml");
        let Ok(settings) = Settings::read(path, &text, || Ok(name)) else { return Ok(()) };
        prop_assert!(settings.node.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b)));
        prop_assert!(!settings.node.is_empty() && settings.node.len() <= 253);
    }
}
