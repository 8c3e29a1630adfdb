//! The key of a coordination credential, the request made with it, and the certificate that answers.

use std::fmt;
use std::str::FromStr;

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use sha2::{Digest, Sha256};
use upgrade_core::enrol::{GROUP, Validity, user};
use upgrade_core::time::Unix;
use x509_cert::Certificate;
use x509_cert::der::asn1::{BitString, ObjectIdentifier};
use x509_cert::der::pem::LineEnding;
use x509_cert::der::{Encode, EncodePem};
use x509_cert::ext::pkix::name::DirectoryString;
use x509_cert::name::Name;
use x509_cert::request::{CertReq, CertReqInfo, Version};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

/// `id-ecPublicKey`, RFC 5480.
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// The curve P-256, RFC 5480.
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
/// `ecdsa-with-SHA256`, RFC 5758.
pub(super) const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");

/// What PEM calls an unencrypted PKCS #8 key.
const KEY_LABEL: &str = "PRIVATE KEY";

/// Why a key or a certificate is of no use.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The operating system gives no randomness, or signing failed.
    #[error("make a key: no randomness")]
    Random,
    /// What is read is no P-256 key in PKCS #8.
    #[error("not a P-256 key: {0}")]
    NotAKey(String),
    /// ASN.1 that cannot be written or read.
    #[error("{0}")]
    Asn1(#[from] x509_cert::der::Error),
    /// The certificate is not for this key and node.
    #[error("{0}")]
    Unfit(String),
}

/// A private key on the curve P-256. It is never printed, logged or sent.
pub struct Key {
    pkcs8: Vec<u8>,
    pair: EcdsaKeyPair,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("fingerprint", &self.fingerprint()).finish_non_exhaustive()
    }
}

impl Key {
    /// A new one.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn generate() -> Result<Self, KeyError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .map_err(|_| KeyError::Random)?;
        Self::from_pkcs8(document.as_ref().to_vec())
    }

    fn from_pkcs8(pkcs8: Vec<u8>) -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8, &SystemRandom::new())
            .map_err(|why| KeyError::NotAKey(why.to_string()))?;
        Ok(Self { pkcs8, pair })
    }

    /// From PEM, `PRIVATE KEY`.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let (label, pkcs8) =
            x509_cert::der::pem::decode_vec(pem).map_err(|why| KeyError::NotAKey(why.to_string()))?;
        if label != KEY_LABEL {
            return Err(KeyError::NotAKey(format!("it is a {label}")));
        }
        Self::from_pkcs8(pkcs8)
    }

    /// As PEM: secret.
    ///
    /// # Errors
    /// Never for a key that was made or read.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        let pem = x509_cert::der::pem::encode_string(KEY_LABEL, LineEnding::LF, &self.pkcs8);
        pem.map_err(|why| KeyError::NotAKey(why.to_string()))
    }

    /// SHA-256 of the public key, in hexadecimal.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(self.pair.public_key().as_ref());
        let halves = digest.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        halves.filter_map(|half| char::from_digit(half.into(), 16)).collect()
    }

    /// The public key as requests and certificates carry it.
    pub(super) fn public(&self) -> Result<SubjectPublicKeyInfoOwned, KeyError> {
        let subject_public_key = BitString::from_bytes(self.pair.public_key().as_ref())?;
        Ok(SubjectPublicKeyInfoOwned { algorithm: on_p256(), subject_public_key })
    }

    /// The certificate request of this node, PEM.
    ///
    /// # Errors
    /// When the node's name cannot stand in a certificate, or there is no randomness.
    pub fn request(&self, node: &str) -> Result<String, KeyError> {
        self.request_for(Name::from_str(&format!("CN={},O={GROUP}", user(node)))?)
    }

    /// A certificate request for any subject.
    pub(super) fn request_for(&self, subject: Name) -> Result<String, KeyError> {
        let info = CertReqInfo {
            version: Version::V1,
            subject,
            public_key: self.public()?,
            attributes: x509_cert::attr::Attributes::new(),
        };
        self.sign(info)
    }

    pub(super) fn sign(&self, info: CertReqInfo) -> Result<String, KeyError> {
        let signature =
            self.pair.sign(&SystemRandom::new(), &info.to_der()?).map_err(|_| KeyError::Random)?;
        let algorithm = AlgorithmIdentifierOwned { oid: ECDSA_WITH_SHA256, parameters: None };
        let signature = BitString::from_bytes(signature.as_ref())?;
        Ok(CertReq { info, algorithm, signature }.to_pem(LineEnding::LF)?)
    }
}

/// How a public key says that it is on the curve P-256.
pub(super) fn on_p256() -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid: EC_PUBLIC_KEY, parameters: Some((&P256).into()) }
}

/// The node a subject names: exactly one common name of ours and exactly our organization, nothing else.
///
/// # Errors
/// Says what is wrong.
pub(super) fn node_of(subject: &Name) -> Result<String, String> {
    let (mut names, mut groups) = (Vec::new(), Vec::new());
    for part in subject.iter() {
        let text = DirectoryString::try_from(&part.value)
            .map_err(|why| format!("the subject cannot be read: {why}"))?;
        match part.oid {
            COMMON_NAME => names.push(text.value().into_owned()),
            ORGANIZATION => groups.push(text.value().into_owned()),
            other => return Err(format!("the subject holds more than name and group: {other}")),
        }
    }
    if groups != [GROUP] {
        return Err(format!("the subject's groups are {groups:?}, not {GROUP:?} alone"));
    }
    let node = match names.as_slice() {
        [name] => name.strip_prefix(upgrade_core::enrol::USER_PREFIX).filter(|node| !node.is_empty()),
        _ => None,
    };
    node.map(str::to_owned)
        .ok_or_else(|| format!("the subject's name is {names:?}, not that of a node's agent"))
}

/// Whether this certificate chain (PEM) belongs to this key and node, and how long it holds.
///
/// # Errors
/// Says what does not fit.
pub(super) fn fits(chain: &[u8], key: &Key, node: &str) -> Result<Validity, KeyError> {
    let chain = Certificate::load_pem_chain(chain)?;
    let Some(leaf) = chain.first() else {
        return Err(KeyError::Unfit("there is no certificate".to_owned()));
    };
    let body = leaf.tbs_certificate();
    let named = node_of(body.subject()).map_err(KeyError::Unfit)?;
    if named != node {
        return Err(KeyError::Unfit(format!("the certificate is that of node {named}")));
    }
    if *body.subject_public_key_info() != key.public()? {
        return Err(KeyError::Unfit("the certificate is for another key".to_owned()));
    }
    let validity = body.validity();
    let unix = |time: x509_cert::time::Time| Unix(time.to_unix_duration().as_secs());
    Ok(Validity { from: unix(validity.not_before), until: unix(validity.not_after) })
}

#[cfg(test)]
mod tests;
