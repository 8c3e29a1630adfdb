//! Flags, and stand-ins for kubelets that refuse them in the words of pflag.

use std::path::PathBuf;

use proptest::collection::vec;
use proptest::prelude::*;
use upgrade_core::judge::checks::kubelet_flags;
use upgrade_core::observed::Outcome;

use super::*;
use crate::arbitrary::{hostile, mangled};
use crate::host::tests::Machine;

/// A kubelet that knows every flag but `--pod-infra-container-image` and `--network-plugin`.
const KUBELET: &str = r#"#!/bin/sh
for arg; do case $arg in
--pod-infra-container-image*|--network-plugin*) f=${arg#--}
  echo "E1122 run.go:72] \"command failed\" err=\"failed to parse kubelet flag: unknown flag: --${f%%=*}\"" >&2; exit 1;;
--max-pods=many) echo 'Error: failed to parse kubelet flag: invalid argument "many" for "--max-pods" flag: no number' >&2; exit 1;;
--*) ;;
*) echo "unknown command $arg" >&2; exit 1;;
esac; done
echo Kubernetes v1.36.3
"#;

fn kubelet(machine: &Machine) -> PathBuf {
    machine.write("/usr/bin/kubelet.text", KUBELET);
    let (text, path) = (machine.path("/usr/bin/kubelet.text"), machine.path("/usr/bin/kubelet"));
    // Another process writes the program: one that this process had open for writing while another test forked could
    // not be executed (ETXTBSY).
    let installed = std::process::Command::new("install").args(["-m", "755"]).args([&text, &path]).status();
    assert!(installed.unwrap().success());
    path
}

async fn outcome(kubeadm: &str, extra: &str, running: &str, target: &str) -> Outcome {
    let machine = Machine::new();
    machine.write(KUBEADM_FLAGS, &format!("KUBELET_KUBEADM_ARGS=\"{kubeadm}\"\n"));
    machine.write(EXTRA_FLAGS, &format!("# extra\nKUBELET_EXTRA_ARGS={extra}\n"));
    machine.write("/proc/7/cmdline", &format!("/usr/bin/kubelet\0{}", running.replace(' ', "\0")));
    let flags = read(&machine.settings, Some(7)).unwrap();
    let trial = try_out(&kubelet(&machine), &flags).await;
    kubelet_flags(&flags, &trial, target.parse().unwrap())
}

fn failure(outcome: Outcome) -> String {
    let Outcome::Failed(text) = outcome else { panic!("not failed: {outcome:?}") };
    text
}

#[tokio::test]
async fn flags_the_new_kubelet_knows_pass() {
    let seen = outcome("--node-ip=10.0.0.1", "", "--config=/var/lib/kubelet/config.yaml", "1.36.3").await;
    assert!(matches!(seen, Outcome::Passed(_)), "{seen:?}");
}

#[tokio::test]
async fn a_refused_flag_is_told_with_the_file_it_stands_in() {
    let text = failure(outcome("", "--network-plugin=cni", "--network-plugin=cni", "1.36.3").await);
    assert!(text.contains("--network-plugin stands in /etc/default/kubelet"), "{text}");
    let text = failure(outcome("", "", "--network-plugin cni", "1.36.3").await);
    assert!(text.contains("stands in neither") && text.contains("systemctl cat kubelet"), "{text}");
}

#[tokio::test]
async fn every_refused_flag_is_told_at_once() {
    let text = failure(outcome("--network-plugin=cni", "--max-pods=many", "", "1.36.3").await);
    assert!(text.contains("--network-plugin stands in /var/lib/kubelet/kubeadm-flags.env"), "{text}");
    assert!(text.contains("--max-pods stands in /etc/default/kubelet"), "{text}");
}

#[tokio::test]
async fn what_kubeadm_takes_out_itself_is_forgiven_where_and_when_it_does() {
    let pause = "--pod-infra-container-image=registry.example/pause:3.10";
    let seen = outcome(pause, "", pause, "1.35.4").await;
    assert!(matches!(seen, Outcome::Passed(_)), "{seen:?}");
    let text = failure(outcome(pause, "", pause, "1.36.3").await);
    assert!(text.contains("kubeadm-flags.env"), "kubeadm 1.36 does not take it out any more: {text}");
    let text = failure(outcome("", pause, pause, "1.35.4").await);
    assert!(text.contains("/etc/default/kubelet"), "{text}");
}

#[tokio::test]
async fn a_kubelet_that_fails_for_another_reason_is_quoted() {
    let text = failure(outcome("stray", "", "", "1.36.3").await);
    assert!(text.contains("unknown command stray"), "{text}");
}

#[test]
fn environment_files_are_read_as_systemd_reads_them() {
    let text =
        "# KUBELET_EXTRA_ARGS=--a\nKUBELET_EXTRA_ARGS=--b\n KUBELET_EXTRA_ARGS='--c \\\n--d=\"x y\"'\n";
    let value = variable(text, "KUBELET_EXTRA_ARGS").unwrap();
    assert_eq!(words(&value), ["--c", "--d=x y"]);
    assert_eq!(variable(text, "KUBELET"), None);
    assert_eq!(words(" a  '' \"b c\"d "), ["a", "", "b cd"]);
}

proptest! {
    #[test]
    fn an_environment_file_in_any_form_yields_words(text in prop_oneof![hostile(), mangled(FLAGS_ENV)]) {
        let value = variable(&text, "KUBELET_KUBEADM_ARGS").unwrap_or_default();
        prop_assert!(value.len() <= text.len());
        let words = words(&value);
        prop_assert!(words.iter().map(String::len).sum::<usize>() <= value.len());
    }

    #[test]
    fn whatever_a_kubelet_says_each_round_takes_an_argument_away(
        stderr in prop_oneof![hostile(), mangled(COMPLAINT)], stdout in hostile(), args in vec(hostile(), 0..8),
    ) {
        let Some(flag) = refused(&Output { status: 1, stdout, stderr }) else { return Ok(()) };
        prop_assert!(flag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
        let mut left = args.clone();
        prop_assert_eq!(take_out(&mut left, &flag), left.len() < args.len());
    }
}

const FLAGS_ENV: &str = "# kubeadm writes it\nKUBELET_KUBEADM_ARGS=\"--container-runtime-endpoint=unix:///run/c.sock \\\n --v=2\"\n";
const COMPLAINT: &str = "Error: failed to parse kubelet flag: invalid argument \"--x\" for \"-v, --v\" flag: no number\n\
    E1122 run.go:72] \"command failed\" err=\"failed to parse kubelet flag: unknown flag: --network-plugin\"\n";
