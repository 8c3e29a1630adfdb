use std::str::FromStr;

use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::CertificateSigningRequestSpec;
use x509_cert::attr::{Attribute, Attributes};
use x509_cert::der::Decode;
use x509_cert::der::asn1::{Any, ObjectIdentifier, SetOfVec};
use x509_cert::name::Name;

use super::*;
use crate::enrol::key::Key;

const NODE: &str = "worker1";

fn good() -> CertificateSigningRequest {
    with_request(&Key::generate().unwrap().request(NODE).unwrap())
}

fn with_request(pem: &str) -> CertificateSigningRequest {
    CertificateSigningRequest {
        spec: CertificateSigningRequestSpec {
            request: ByteString(pem.as_bytes().to_vec()),
            signer_name: SIGNER.to_owned(),
            usages: Some(USAGES.map(str::to_owned).to_vec()),
            username: Some(kubelet(NODE)),
            groups: Some(vec!["system:nodes".to_owned(), "system:authenticated".to_owned()]),
            ..CertificateSigningRequestSpec::default()
        },
        ..CertificateSigningRequest::default()
    }
}

fn with_subject(subject: &str) -> CertificateSigningRequest {
    let subject = Name::from_str(subject).unwrap();
    with_request(&Key::generate().unwrap().request_for(subject).unwrap())
}

fn changed(change: impl FnOnce(&mut CertificateSigningRequestSpec)) -> CertificateSigningRequest {
    let mut csr = good();
    change(&mut csr.spec);
    csr
}

#[track_caller]
fn refused(csr: &CertificateSigningRequest, why: &str) {
    let said = check(csr).unwrap_err();
    assert!(said.contains(why), "{said}");
}

/// The request of our own making, changed and signed again by the same key.
fn resigned(change: impl FnOnce(&mut CertReq)) -> CertificateSigningRequest {
    let key = Key::generate().unwrap();
    let mut request = CertReq::from_pem(key.request(NODE).unwrap()).unwrap();
    change(&mut request);
    with_request(&key.sign(request.info).unwrap())
}

#[test]
fn what_the_agent_of_a_node_makes_fits_and_names_the_node() {
    assert_eq!(check(&good()).unwrap().node, NODE);
    let mut other_order = good();
    other_order.spec.usages.as_mut().unwrap().reverse();
    assert!(check(&other_order).is_ok());
}

#[test]
fn another_signer_is_refused() {
    let other = "kubernetes.io/kube-apiserver-client-kubelet".to_owned();
    refused(&changed(|spec| spec.signer_name = other), "signer");
}

#[test]
fn a_request_of_anybody_but_the_nodes_own_kubelet_is_refused() {
    let names = ["system:node:worker2", "kubernetes-admin", "system:node:", "", "node-upgrade-agent:worker1"];
    for name in names {
        refused(&changed(|spec| spec.username = Some(name.to_owned())), "only its own kubelet");
    }
    refused(&changed(|spec| spec.username = None), "only its own kubelet");
    refused(&changed(|spec| spec.groups = None), "system:nodes");
    refused(&changed(|spec| spec.groups = Some(vec!["system:masters".to_owned()])), "system:nodes");
}

#[test]
fn usages_must_be_exactly_those_the_agent_asks_for() {
    let lists: [&[&str]; 5] = [
        &[],
        &["client auth"],
        &["client auth", "digital signature", "server auth"],
        &["client auth", "client auth"],
        &["client auth", "key encipherment"],
    ];
    for usages in lists {
        let usages = usages.iter().map(|&usage| usage.to_owned()).collect();
        refused(&changed(|spec| spec.usages = Some(usages)), "usages");
    }
    refused(&changed(|spec| spec.usages = None), "usages");
}

#[test]
fn the_subject_must_be_the_nodes_agent_in_its_group_and_nothing_more() {
    let cases = [
        ("CN=node-upgrade-agent:worker2,O=node-upgrade-agents", "only its own kubelet"),
        ("CN=node-upgrade-agent:,O=node-upgrade-agents", "not that of a node's agent"),
        ("CN=kubernetes-admin,O=node-upgrade-agents", "not that of a node's agent"),
        ("CN=system:node:worker1,O=node-upgrade-agents", "not that of a node's agent"),
        ("CN=node-upgrade-agent:worker1,O=system:masters", "groups"),
        ("CN=node-upgrade-agent:worker1,O=node-upgrade-agents,O=system:masters", "groups"),
        ("CN=node-upgrade-agent:worker1,O=node-upgrade-agents,O=node-upgrade-agents", "groups"),
        ("CN=node-upgrade-agent:worker1", "groups"),
        ("O=node-upgrade-agents", "not that of a node's agent"),
        ("CN=node-upgrade-agent:worker1+O=system:masters,O=node-upgrade-agents", "groups"),
        (
            "CN=kubernetes-admin,CN=node-upgrade-agent:worker1,O=node-upgrade-agents",
            "not that of a node's agent",
        ),
        ("OU=x,CN=node-upgrade-agent:worker1,O=node-upgrade-agents", "more than name and group"),
    ];
    for (subject, why) in cases {
        refused(&with_subject(subject), why);
    }
}

#[test]
fn extensions_and_other_attributes_are_refused() {
    let mut values = SetOfVec::new();
    values.insert(Any::null()).unwrap();
    let oid = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14");
    let mut attributes = Attributes::new();
    attributes.insert(Attribute { oid, values }).unwrap();
    refused(&resigned(|request| request.info.attributes = attributes), "extensions");
}

#[test]
fn a_key_of_another_kind_is_refused() {
    let p384 = ObjectIdentifier::new_unwrap("1.3.132.0.34");
    refused(
        &resigned(|request| request.info.public_key.algorithm.parameters = Some((&p384).into())),
        "P-256",
    );
    let rsa = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
    refused(&resigned(|request| request.info.public_key.algorithm.oid = rsa), "P-256");
}

#[test]
fn a_request_that_its_own_key_did_not_sign_is_refused() {
    let (key, other) = (Key::generate().unwrap(), Key::generate().unwrap());
    let mut request = CertReq::from_pem(key.request(NODE).unwrap()).unwrap();
    request.info.public_key = other.public().unwrap();
    refused(&with_request(&request.to_pem(LineEnding::LF).unwrap()), "not signed by its own key");
    request.algorithm.oid = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
    refused(&with_request(&request.to_pem(LineEnding::LF).unwrap()), "ECDSA with SHA-256");
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let pem = Key::generate().unwrap().request(NODE).unwrap();
    let other = Key::generate().unwrap().request("worker2").unwrap();
    let one_form = "one form";
    refused(&with_request(&format!("words before\n{pem}")), one_form);
    refused(&with_request(&pem.replace('\n', "\r\n")), one_form);
    for text in ["", "-----BEGIN", &format!("{pem}{other}"), &format!("{pem}words after")] {
        assert!(check(&with_request(text)).is_err(), "{text}");
    }
    let der = CertReq::from_pem(&pem).unwrap().to_der().unwrap();
    assert!(CertReq::from_der(&[der, vec![0]].concat()).is_err());
}
