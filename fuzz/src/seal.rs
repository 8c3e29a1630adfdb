//! The journal's header, written here once more: a reader that takes what is not sealed is found out by nobody who asks it.

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// The first line. Each field stands in it once.
#[derive(Debug, Deserialize)]
struct Header {
    journal: String,
    version: u32,
    sha256: String,
}

/// What stands below the first line.
pub(crate) fn body(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    bytes.get(end + 1..)
}

/// A journal of this version with this body.
pub(crate) fn sealed(version: u32, body: &[u8]) -> Vec<u8> {
    let header = serde_json::json!({
        "journal": "node-upgrade-agent", "version": version, "sha256": checksum(version, body),
    });
    [header.to_string().as_bytes(), b"\n", body].concat()
}

/// The version of a journal whose checksum fits.
pub(crate) fn version(bytes: &[u8]) -> Option<u32> {
    let body = body(bytes)?;
    let header: Header = serde_json::from_slice(bytes.get(..bytes.len() - body.len() - 1)?).ok()?;
    let fits = header.journal == "node-upgrade-agent" && header.sha256 == checksum(header.version, body);
    fits.then_some(header.version)
}

fn checksum(version: u32, body: &[u8]) -> String {
    let digest = Sha256::new().chain_update(format!("{version}\n")).chain_update(body).finalize();
    digest.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}
