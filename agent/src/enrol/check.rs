//! Whether a `CertificateSigningRequest` is what the agent of one node would make: asked before it is approved, and by
//! the agent itself of a request that bears its name.

use std::collections::BTreeSet;

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use upgrade_core::enrol::{KUBELETS, SIGNER, USAGES, kubelet};
use x509_cert::der::pem::LineEnding;
use x509_cert::der::{DecodePem, Encode, EncodePem};
use x509_cert::request::CertReq;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use super::key::{ECDSA_WITH_SHA256, node_of, on_p256};

/// A request that fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fitting {
    /// The node whose agent asks.
    pub node: String,
    pub(super) public_key: SubjectPublicKeyInfoOwned,
}

/// Checks everything about a request that does not need a look at the cluster.
///
/// # Errors
/// The first thing that does not fit, for people.
pub fn check(csr: &CertificateSigningRequest) -> Result<Fitting, String> {
    let spec = &csr.spec;
    if spec.signer_name != SIGNER {
        return Err(format!("it is for the signer {}, not {SIGNER}", spec.signer_name));
    }
    let usages = spec.usages.as_deref().unwrap_or_default();
    let wanted: BTreeSet<&str> = USAGES.into_iter().collect();
    if usages.len() != wanted.len() || usages.iter().map(String::as_str).collect::<BTreeSet<_>>() != wanted {
        return Err(format!("it asks for the usages {}, not {}", usages.join(", "), USAGES.join(", ")));
    }
    let request = read(&spec.request.0)?;
    let node = node_of(&request.info.subject)?;
    let username = spec.username.as_deref().unwrap_or_default();
    if username != kubelet(&node) {
        return Err(format!("{username:?} asks for the agent of node {node}; only its own kubelet may"));
    }
    if !spec.groups.iter().flatten().any(|group| group == KUBELETS) {
        return Err(format!("{username:?} is not in the group {KUBELETS}"));
    }
    Ok(Fitting { node, public_key: request.info.public_key })
}

/// Reads a request, strictly: what another reader might understand in another way is refused.
fn read(pem: &[u8]) -> Result<CertReq, String> {
    let unreadable = |why: x509_cert::der::Error| format!("the certificate request cannot be read: {why}");
    let request = CertReq::from_pem(pem).map_err(unreadable)?;
    let again = request.to_pem(LineEnding::LF).map_err(unreadable)?;
    if again.as_bytes() != pem {
        return Err(
            "the certificate request is not in the one form that can be read in one way only".to_owned()
        );
    }
    let info = &request.info;
    if !info.attributes.is_empty() {
        return Err("the certificate request asks for extensions, such as other names".to_owned());
    }
    let key = &info.public_key;
    if key.algorithm != on_p256() {
        return Err("the key is not one on the curve P-256, which the agent makes".to_owned());
    }
    if request.algorithm.oid != ECDSA_WITH_SHA256 || request.algorithm.parameters.is_some() {
        return Err("the certificate request is not signed by ECDSA with SHA-256".to_owned());
    }
    let signed = info.to_der().map_err(unreadable)?;
    let (Some(point), Some(signature)) = (key.subject_public_key.as_bytes(), request.signature.as_bytes())
    else {
        return Err("the key or the signature is not a whole number of bytes".to_owned());
    };
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
        .verify(&signed, signature)
        .map_err(|_| "the certificate request is not signed by its own key".to_owned())?;
    Ok(request)
}

#[cfg(test)]
mod tests;
