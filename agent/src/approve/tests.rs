use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequestCondition, CertificateSigningRequestSpec, CertificateSigningRequestStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use upgrade_core::enrol::{SIGNER, USAGES, kubelet};

use super::*;
use crate::enrol::key::Key;

fn request(name: &str, node: &str, created: i64) -> CertificateSigningRequest {
    CertificateSigningRequest {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            creation_timestamp: Some(Time(Timestamp::from_second(created).unwrap())),
            ..ObjectMeta::default()
        },
        spec: CertificateSigningRequestSpec {
            request: ByteString(Key::generate().unwrap().request(node).unwrap().into_bytes()),
            signer_name: SIGNER.to_owned(),
            usages: Some(USAGES.map(str::to_owned).to_vec()),
            username: Some(kubelet(node)),
            groups: Some(vec!["system:nodes".to_owned()]),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    }
}

/// Of another node's kubelet.
fn forged(name: &str, node: &str) -> CertificateSigningRequest {
    let mut forged = request(name, node, 1);
    forged.spec.username = Some(kubelet("worker9"));
    forged
}

fn steps(requests: &[CertificateSigningRequest], wanted: &Wanted) -> Vec<(String, Step)> {
    let exist = nodes(requests).into_iter().filter(|node| node != "gone").collect();
    let verdicts = judge(requests, &exist, wanted);
    verdicts.into_iter().map(|verdict| (verdict.name, verdict.step)).collect()
}

fn these(words: &[&str]) -> Wanted {
    Wanted::These(words.iter().map(|&word| word.to_owned()).collect())
}

fn is_refused(step: &Step, why: &str) -> bool {
    matches!(step, Step::Refuse(said) if said.contains(why))
}

#[test]
fn without_being_asked_nothing_is_approved() {
    let requests = [request("node-upgrade-agent-a", "a", 1), forged("node-upgrade-agent-b", "b")];
    let steps = steps(&requests, &Wanted::List);
    assert_eq!(steps[0].1, Step::Leave);
    assert!(is_refused(&steps[1].1, "only its own kubelet"));
}

#[test]
fn all_means_every_one_that_fits_and_names_those_that_do_not() {
    let requests = [
        request("node-upgrade-agent-a", "a", 1),
        request("other-name", "b", 1),
        forged("node-upgrade-agent-c", "c"),
        request("node-upgrade-agent-d", "gone", 1),
    ];
    let steps = steps(&requests, &Wanted::All);
    assert_eq!([&steps[0].1, &steps[1].1], [&Step::Approve, &Step::Approve]);
    assert!(is_refused(&steps[2].1, "only its own kubelet"));
    assert!(is_refused(&steps[3].1, "no Node gone"));
}

#[test]
fn only_what_was_named_is_approved_by_node_or_by_request() {
    let requests = [
        request("node-upgrade-agent-a", "a", 1),
        request("node-upgrade-agent-b", "b", 1),
        request("node-upgrade-agent-c", "c", 1),
    ];
    let approve = |name: &str| (name.to_owned(), Step::Approve);
    let wanted = these(&["a", "node-upgrade-agent-b"]);
    assert_eq!(steps(&requests, &wanted), [approve("node-upgrade-agent-a"), approve("node-upgrade-agent-b")]);
}

#[test]
fn a_name_without_a_request_that_waits_is_refused() {
    let mut done = request("node-upgrade-agent-a", "a", 1);
    let condition = CertificateSigningRequestCondition {
        type_: "Denied".to_owned(),
        ..CertificateSigningRequestCondition::default()
    };
    done.status =
        Some(CertificateSigningRequestStatus { conditions: Some(vec![condition]), certificate: None });
    for word in ["a", "node-upgrade-agent-a", "nobody"] {
        let steps = steps(std::slice::from_ref(&done), &these(&[word]));
        assert!(steps.len() == 1 && is_refused(&steps[0].1, "waits for approval"), "{steps:?}");
    }
}

#[test]
fn of_a_nodes_requests_only_the_newest_is_approved() {
    let requests = [request("node-upgrade-agent-old", "a", 1), request("node-upgrade-agent-new", "a", 2)];
    for wanted in [Wanted::All, these(&["a"])] {
        let steps = steps(&requests, &wanted);
        assert_eq!([&steps[0].1, &steps[1].1], [&Step::Superseded, &Step::Approve]);
    }
    let steps = steps(&requests, &these(&["node-upgrade-agent-old"]));
    assert!(steps.len() == 1 && is_refused(&steps[0].1, "newer"), "{steps:?}");
}

#[test]
fn a_forged_newer_request_does_not_stand_in_the_way_of_the_true_one() {
    let mut newer = forged("node-upgrade-agent-forged", "a");
    newer.metadata.creation_timestamp = Some(Time(Timestamp::from_second(9).unwrap()));
    let steps = steps(&[request("node-upgrade-agent-a", "a", 1), newer], &Wanted::All);
    assert_eq!(steps[0].1, Step::Approve);
}

#[test]
fn other_peoples_requests_are_left_alone_unless_they_are_named() {
    let mut alien = forged("developer-jane", "a");
    alien.spec.usages = Some(vec!["client auth".to_owned()]);
    let alien = [alien];
    assert_eq!(steps(&alien, &Wanted::All), []);
    assert_eq!(steps(&alien, &Wanted::List), []);
    assert!(is_refused(&steps(&alien, &these(&["developer-jane"]))[0].1, "usages"));
}
