//! Inputs that others control, in any form: nothing panics, and what comes of them keeps within its bounds.
//!
//! `PROPTEST_CASES=100000 cargo test -p upgrade-core arbitrary` tries more of them than `make check` does.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use crate::api::{
    Blocked, Explanation, Holder, KubeadmCommand, LeaseName, PackageVersion, PassedOver, Phase, Policy,
    Reason, Report, Request, TurnId, Version, annotations, image, text,
};
use crate::decide::Next;
use crate::decide::report::derive;
use crate::memory::Memory;
use crate::observed::{DrainState, NodeSeen, Observed, Progress};
use crate::time::{Mono, Unix};

/// Any text, and what almost passes: pieces of real samples in any order, with anything between.
fn hostile() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "v1.36.3",
        "1.36.3-1.1",
        "1:",
        "-",
        "--",
        "-o",
        "/",
        "..",
        ".",
        " ",
        "\n",
        "\0",
        "\u{1b}[2J",
        "=",
        "~",
        "+",
        "true",
        "false",
        "0",
        "18446744073709551616",
        "slot-",
        "slot-0",
        "control-plane",
        "n1",
        "n1/uid/job",
        "/uid/job",
        "NodeReady",
        ",",
        "registry.example:5000/",
        "kube-apiserver:",
        "@sha256:00ff",
        "é",
        "\"",
        "{",
        "\u{202e}",
    ]);
    let unit = prop::sample::select(vec!["a", "-", "1", "é", "\u{1b}", ","]);
    prop_oneof![
        4 => any::<String>(),
        8 => vec(prop_oneof![3 => pieces.prop_map(str::to_owned), 1 => any::<String>()], 0..6)
            .prop_map(|pieces| pieces.concat()),
        1 => (unit, 0..10_000_usize).prop_map(|(unit, times)| unit.repeat(times)),
    ]
}

/// What the kernel, systemd and tools take for one plain word.
fn is_argument(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && !text.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control())
}

proptest! {
    #[test]
    fn what_becomes_an_argument_can_be_neither_an_option_nor_a_path(text in hostile()) {
        if let Ok(version) = text.parse::<PackageVersion>() {
            prop_assert!(is_argument(version.as_str()) && version.as_str().len() <= 128);
            prop_assert!(version.kubernetes().is_none_or(|version| is_argument(&version.to_string())));
        }
        match text.parse::<Version>() {
            Ok(version) => prop_assert_eq!(version.to_string().parse(), Ok(version)),
            Err(why) => prop_assert!(why.to_string().len() < 1024),
        }
        if let Some(version) = image::version(&text) {
            prop_assert!(text.contains(version.to_string().trim_start_matches('v')));
        }
    }

    #[test]
    fn a_journal_yields_no_version_that_could_not_be_parsed(text in hostile()) {
        let json = serde_json::to_string(&text).unwrap();
        prop_assert_eq!(serde_json::from_str::<PackageVersion>(&json).ok(), text.parse().ok());
        prop_assert_eq!(serde_json::from_str::<Version>(&json).ok(), text.parse().ok());
    }

    #[test]
    fn a_holder_that_is_read_is_written_back_as_it_stood(text in hostile()) {
        if let Some(holder) = Holder::parse(&text) {
            prop_assert_eq!(holder.to_string(), text);
        }
    }

    #[test]
    fn a_lost_jobs_name_fits_into_units_and_paths(turn in hostile(), run: u32) {
        let Some(holder) = Holder::parse(&format!("n1/uid/{turn}")) else { return Ok(()) };
        let tool = crate::act::Tool::Kubeadm { command: KubeadmCommand::Apply, target: Version::new(1, 36, 3) };
        let unit = tool.unit(&holder.turn, run);
        // systemd.unit(5): "valid unit names".
        prop_assert!(unit.len() < 256);
        prop_assert!(unit.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_.\\".contains(&b)), "{unit}");
        prop_assert!(is_argument(&holder.turn.0) && !holder.turn.0.starts_with('.'));
    }

    #[test]
    fn a_job_of_ours_can_be_read_from_its_lease(
        node in "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?){0,3}",
        uid in "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        (major, minor, patch, since) in any::<(u32, u32, u32, u64)>(),
    ) {
        let turn = TurnId::new(Version::new(major, minor, patch), Unix(since));
        let holder = Holder { node, uid, turn };
        prop_assert_eq!(Holder::parse(&holder.to_string()), Some(holder));
    }

    #[test]
    fn a_lease_is_ours_only_under_the_name_we_would_give_it(name in hostile()) {
        if let Some(lease) = LeaseName::parse(&name) {
            prop_assert_eq!(lease.to_string(), name);
        }
    }

    #[test]
    fn what_cannot_be_read_of_a_policy_is_named_by_its_key(
        data in btree_map(prop_oneof![Just("paused".to_owned()), Just("protocol".to_owned()), hostile()], hostile(), 0..4),
    ) {
        let policy = Policy::read(Some(&data), true);
        for wrong in &policy.wrong {
            prop_assert!(data.keys().any(|key| wrong.contains(&text::shortened(key, text::WORD))), "{wrong}");
        }
        if let Some(why) = policy.forbids_claims() {
            prop_assert!(Explanation::new(Reason::Paused, why).message.len() <= text::MESSAGE);
        }
    }

    #[test]
    fn a_target_people_write_is_read_or_told_and_never_dropped(target in hostile(), skips in hostile()) {
        let annotations = BTreeMap::from([
            (annotations::TARGET.to_owned(), target.clone()),
            (annotations::SKIP_CHECKS.to_owned(), skips.clone()),
        ]);
        let request = Request::read(&annotations);
        prop_assert_eq!(request.target.is_none(), target.is_empty());
        let words = skips.split([',', ' ']).filter(|word| !word.is_empty()).count();
        prop_assert!(request.skip.len() + request.unknown_skips.len() <= words);
    }

    #[test]
    fn a_report_fits_onto_the_node_whatever_it_is_about(
        (target, skips, said) in (hostile(), hostile(), hostile()),
        blocked in vec((hostile(), prop::option::of(hostile()), hostile()), 0..30),
        passed_over in vec((hostile(), hostile()), 0..30),
    ) {
        let annotations = BTreeMap::from([
            (annotations::TARGET.to_owned(), target),
            (annotations::SKIP_CHECKS.to_owned(), skips),
            (annotations::FOUND_CORDONED.to_owned(), "false".to_owned()),
        ]);
        let blocked: Vec<_> =
            blocked.into_iter().map(|(pod, budget, message)| Blocked { pod, budget, message }).collect();
        let passed_over: Vec<_> = passed_over.into_iter().map(|(pod, why)| PassedOver { pod, why }).collect();
        let (left, state) = (blocked.len(), DrainState::Draining);
        let progress = Progress { at: Mono(0), left, blocked, passed_over, evicted: left > 0, state };
        let node = NodeSeen::default().with_annotations(&annotations);
        let seen = Observed { node: Some(node), drain: Some(progress), ..Observed::default() };
        let next = Next::Wait { why: Explanation::new(Reason::Retrying, said.clone()), until: None };
        for next in [next, Next::Do(crate::act::Act::Uncordon)] {
            let report = derive(&Memory::default(), &seen, &next, Some(&said)).unwrap();
            let json = serde_json::to_string(&report).unwrap();
            // Escaping at most doubles it: a control character would take six bytes, and only line feeds are left.
            prop_assert!(json.len() <= 128 * 1024, "{} bytes", json.len());
            prop_assert!(report.message.len() <= text::MESSAGE);
            prop_assert!(report.target.iter().all(|target| target.len() <= text::WORD));
            prop_assert!(report.notes.len() <= 20 && report.notes.iter().all(|note| note.len() <= 2 * text::WORD));
            if let Some(drain) = &report.drain {
                prop_assert!(drain.blocked.len() <= 20 && drain.passed_over.len() <= 20);
                prop_assert!(drain.blocked.iter().all(|blocked| blocked.message.len() <= text::NOTE));
            }
            prop_assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
        }
    }

    #[test]
    fn a_status_that_somebody_wrote_is_read_or_refused(
        text in hostile(), phase in prop::sample::select(Phase::ALL.to_vec()), since: i128,
    ) {
        let json = serde_json::json!({"phase": phase, "since": since.to_string(), "message": text, "reason": text});
        let _ = serde_json::from_str::<Report>(&json.to_string());
        let _ = serde_json::from_str::<Report>(&text);
    }
}
