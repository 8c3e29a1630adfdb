//! What enrolment keeps on disk: a private directory with the credential in use, the key that waits for its
//! certificate, and a denial. Each is one file, replaced by an fsynced rename, so that a crash leaves the old or the
//! new one.

use std::io;
use std::path::{Path, PathBuf};

use upgrade_core::enrol::{Denial, Validity, request_name};

use super::key::{Key, fits};
use crate::durable;

/// The private directory below the state directory.
const DIRECTORY: &str = "coordination";
/// Key and certificate in use.
const CURRENT: &str = "current.pem";
/// The key that waits for its certificate.
const PENDING: &str = "pending.pem";
/// The denial that still answers.
const DENIED: &str = "denied.json";
/// Where the certificates begin in a file with a key before them.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

/// Where key and certificate are kept, below this state directory.
pub fn credential(state: &Path) -> PathBuf {
    state.join(DIRECTORY).join(CURRENT)
}

/// The disk, or permissions.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}", path.display())]
pub(super) struct FilesError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// The directory.
#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
    node: String,
}

/// What stands in it.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// How long the certificate in use holds.
    pub(super) credential: Option<Validity>,
    /// The key that waits for its certificate.
    pub(super) pending: Option<Key>,
    /// The denial.
    pub(super) denied: Option<Denial>,
}

impl Files {
    pub(super) fn new(state: &Path, node: &str) -> Self {
        Self { directory: state.join(DIRECTORY), node: node.to_owned() }
    }

    /// Reads everything, and removes what a crash has left or what is of no use.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) fn load(&self) -> Result<Kept, FilesError> {
        self.make_directory()?;
        let current = self.current()?;
        let denied: Option<Denial> = self.read(DENIED)?.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let pending = self.pending(current.as_ref().map(|(key, _)| key), denied.as_ref())?;
        Ok(Kept { credential: current.map(|(_, validity)| validity), pending, denied })
    }

    fn current(&self) -> Result<Option<(Key, Validity)>, FilesError> {
        let Some(bytes) = self.read(CURRENT)? else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes);
        let (key, chain) = text.split_at(text.find(CERTIFICATE).unwrap_or(text.len()));
        let read = Key::from_pem(key.as_bytes()).and_then(|key| {
            let validity = fits(chain.as_bytes(), &key, &self.node)?;
            Ok((key, validity))
        });
        match read {
            Ok(current) => Ok(Some(current)),
            Err(why) => {
                let path = self.directory.join(CURRENT);
                tracing::warn!(path = %path.display(), "the coordination credential cannot be used, asking for another one: {why}");
                Ok(None)
            }
        }
    }

    fn pending(&self, current: Option<&Key>, denied: Option<&Denial>) -> Result<Option<Key>, FilesError> {
        let Some(bytes) = self.read(PENDING)? else { return Ok(None) };
        let read = Key::from_pem(&bytes);
        let over = |key: &Key| {
            let print = key.fingerprint();
            let name = request_name(&self.node, &print);
            // A crash came between the last write and the removal of this one.
            current.is_some_and(|current| current.fingerprint() == print)
                || denied.is_some_and(|denied| denied.request == name)
        };
        match read {
            Ok(key) if !over(&key) => Ok(Some(key)),
            Ok(_) | Err(_) => {
                self.remove(PENDING)?;
                Ok(None)
            }
        }
    }

    /// Keeps a key that waits for its certificate; an older denial has been answered.
    pub(super) fn keep_pending(&self, key: &str) -> Result<(), FilesError> {
        self.replace(PENDING, key.as_bytes())?;
        self.remove(DENIED)
    }

    /// Puts key and certificates in the place of the credential in use.
    pub(super) fn store(&self, key: &str, chain: &str) -> Result<(), FilesError> {
        self.replace(CURRENT, format!("{key}{chain}").as_bytes())?;
        self.remove(PENDING)
    }

    /// Keeps a denial and drops the key it was about.
    pub(super) fn deny(&self, denial: &Denial) -> Result<(), FilesError> {
        let bytes =
            serde_json::to_vec_pretty(denial).map_err(|why| self.error("write", DENIED, why.into()))?;
        self.replace(DENIED, &bytes)?;
        self.remove(PENDING)
    }

    /// Drops the key that waits.
    pub(super) fn drop_pending(&self) -> Result<(), FilesError> {
        self.remove(PENDING)
    }

    fn make_directory(&self) -> Result<(), FilesError> {
        durable::private_directory(&self.directory).map_err(|source| FilesError {
            doing: "make the private directory",
            path: self.directory.clone(),
            source,
        })
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, FilesError> {
        durable::read(&self.directory.join(name)).map_err(|error| self.error("read", name, error))
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), FilesError> {
        durable::replace(&self.directory, name, bytes).map_err(|error| self.error("write", name, error))
    }

    fn remove(&self, name: &str) -> Result<(), FilesError> {
        durable::remove(&self.directory, name).map_err(|error| self.error("remove", name, error))
    }

    fn error(&self, doing: &'static str, name: &str, source: io::Error) -> FilesError {
        FilesError { doing, path: self.directory.join(name), source }
    }
}

#[cfg(test)]
mod tests;
