//! The memory on disk: one small file, replaced by rename, so that it always holds the old memory or the new one.
//!
//! Its first line is a header that keeps its form in every version; the rest is the memory as JSON. The header's
//! checksum covers version and memory, so a damaged file is told apart from one that another agent wrote.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use upgrade_core::api::text;
use upgrade_core::memory::Memory;

use crate::durable;

/// The version of the memory's form that this agent reads and writes.
///
/// That of version 1, of the release a46420d and those after it, is not read: what it tells of a turn under way is taken up from the
/// turn's traces on the Node, its Lease and this host, as where a journal was lost.
const VERSION: u32 = 2;
/// What the header says the file is.
const KIND: &str = "node-upgrade-agent";
/// The journal's file, and the one that keeps a second agent out.
const FILE: &str = "memory.json";
const LOCK_FILE: &str = "lock";

/// The journal of this node, locked against a second agent for as long as this value lives.
#[derive(Debug)]
pub struct Journal {
    directory: PathBuf,
    _lock: Flock<File>,
}

/// What the journal held when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one, once in a process's life")]
pub enum Recovered {
    /// Nothing: no agent has stored anything here.
    Fresh,
    /// What was stored last.
    Memory(Memory),
    /// A file that does not hold what an agent of this version stored: damaged, or an older agent's. It stays under `kept` for
    /// people, and stays the journal's file until the next store, so that a restart before that finds the same.
    Lost {
        /// What is wrong with it.
        why: String,
        /// Where it is kept.
        kept: PathBuf,
        /// Which packages of ours an older agent had found held. Its transactions may have set them free since.
        held: BTreeSet<String>,
    },
}

/// Why the journal cannot be used. Nothing may be changed on this node without it.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process holds the lock.
    #[error("{} is locked: another node-upgrade-agent runs on this node; stop it first", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A whole journal that this agent does not understand; it was not touched.
    #[error(
        "{} was written by another version of node-upgrade-agent (journal version {version}: {why}); \
         install that version, or move the file away if no upgrade is under way on this node",
        path.display()
    )]
    Foreign {
        /// The journal's file.
        path: PathBuf,
        /// The version it names.
        version: u32,
        /// What this agent cannot read.
        why: String,
    },
    /// A file that does not hold what an agent stored, looked at without opening the journal.
    #[error(
        "{} does not hold what node-upgrade-agent stored ({why}), so nobody knows whether an upgrade is under way",
        path.display()
    )]
    Damaged {
        /// The journal's file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The disk, or permissions.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was attempted.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// The first line. Other fields are for later versions; these keep their names and meanings for ever.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    /// [`KIND`].
    journal: String,
    /// Version of the memory's form.
    version: u32,
    /// SHA-256, in hexadecimal, of the version in decimal, a line feed, and everything after the header's line.
    sha256: String,
}

impl Journal {
    /// Opens the journal in a directory of its own, made with mode 0700 where it is absent.
    ///
    /// # Errors
    /// When another agent has it open, another version wrote it, or the disk fails.
    pub fn open(directory: &Path) -> Result<(Self, Recovered), JournalError> {
        durable::private_directory(directory).map_err(|source| JournalError::Io {
            doing: "make the private directory",
            path: directory.to_owned(),
            source,
        })?;
        let lock = lock(&directory.join(LOCK_FILE))?;
        let journal = Self { directory: directory.to_owned(), _lock: lock };
        let recovered = journal.recover()?;
        Ok((journal, recovered))
    }

    /// Looks at the memory that the journal in `directory` holds, beside an agent that has it open; none if nothing
    /// was stored there. Changes nothing.
    ///
    /// # Errors
    /// When the file is damaged, another version wrote it, or it cannot be read.
    pub fn look(directory: &Path) -> Result<Option<Memory>, JournalError> {
        let path = directory.join(FILE);
        let Some(bytes) = read(&path)? else { return Ok(None) };
        decode(&bytes).map(Some).map_err(|unreadable| match unreadable {
            Unreadable::Foreign { version, why } => JournalError::Foreign { path, version, why },
            Unreadable::Damaged(why) | Unreadable::Older { why, .. } => JournalError::Damaged { path, why },
        })
    }

    fn recover(&self) -> Result<Recovered, JournalError> {
        let path = self.directory.join(FILE);
        let Some(bytes) = read(&path)? else { return Ok(Recovered::Fresh) };
        match decode(&bytes) {
            Ok(memory) => Ok(Recovered::Memory(memory)),
            Err(Unreadable::Foreign { version, why }) => Err(JournalError::Foreign { path, version, why }),
            Err(Unreadable::Damaged(why)) => {
                Ok(Recovered::Lost { why, kept: self.keep(&path)?, held: BTreeSet::new() })
            }
            Err(Unreadable::Older { why, held }) => {
                Ok(Recovered::Lost { why, kept: self.keep(&path)?, held })
            }
        }
    }

    /// Gives a journal that is not read a second name that no store touches, unless it has one.
    fn keep(&self, path: &Path) -> Result<PathBuf, JournalError> {
        let at = |doing| move |source| JournalError::Io { doing, path: path.to_owned(), source };
        let inode = path.metadata().map_err(at("look at the unread journal"))?.ino();
        let names = (1..=999).map(|number| self.directory.join(format!("{FILE}.unread-{number}")));
        for kept in names {
            match std::fs::hard_link(path, &kept) {
                Ok(()) => {
                    durable::sync(&self.directory).map_err(at("keep a copy of the unread journal"))?;
                    return Ok(kept);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if kept.symlink_metadata().is_ok_and(|there| there.ino() == inode) {
                        return Ok(kept);
                    }
                }
                Err(source) => return Err(at("keep a copy of the unread journal")(source)),
            }
        }
        Err(at("find a name for the unread journal")(io::ErrorKind::StorageFull.into()))
    }

    /// Makes a memory durable: when this returns, it is what the next [`Journal::open`] finds, whatever happens.
    ///
    /// # Errors
    /// When the disk fails; the next open then finds the old memory or this one. Storing again is safe.
    pub fn store(&self, memory: &Memory) -> Result<(), JournalError> {
        let path = self.directory.join(FILE);
        let io = |source| JournalError::Io { doing: "store the memory in", path: path.clone(), source };
        let bytes = encode(memory).map_err(|error| io(error.into()))?;
        durable::replace(&self.directory, FILE, &bytes).map_err(io)
    }
}

/// The journal's bytes; none if there is no such file.
fn read(path: &Path) -> Result<Option<Vec<u8>>, JournalError> {
    let io = |source| JournalError::Io { doing: "read the journal", path: path.to_owned(), source };
    durable::read(path).map_err(io)
}

/// Takes the lock. It belongs to the open file, so it ends with this process, however that ends.
fn lock(path: &Path) -> Result<Flock<File>, JournalError> {
    let io = |source| JournalError::Io { doing: "lock", path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(path).map_err(io)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        Errno::EWOULDBLOCK => JournalError::Locked { path: path.to_owned() },
        error => io(error.into()),
    })
}

/// Why bytes are not a memory of this agent's version.
#[derive(Debug, PartialEq, Eq)]
enum Unreadable {
    /// They are not what an agent stored.
    Damaged(String),
    /// They are whole, but of an older version, whose list of held packages is in this one's form.
    Older { why: String, held: BTreeSet<String> },
    /// They are whole, but of a newer version.
    Foreign { version: u32, why: String },
}

fn encode(memory: &Memory) -> serde_json::Result<Vec<u8>> {
    let mut body = serde_json::to_vec_pretty(memory)?;
    body.push(b'\n');
    let header = Header { journal: KIND.to_owned(), version: VERSION, sha256: checksum(VERSION, &body) };
    let mut bytes = serde_json::to_vec(&header)?;
    bytes.push(b'\n');
    bytes.append(&mut body);
    Ok(bytes)
}

fn decode(bytes: &[u8]) -> Result<Memory, Unreadable> {
    let damaged = |why: &str| Unreadable::Damaged(why.to_owned());
    if bytes.is_empty() {
        return Err(damaged("it is empty"));
    }
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    let (Some(first), Some(body)) = (parts.next(), parts.next()) else {
        return Err(damaged("it ends within its first line"));
    };
    let header: Header = serde_json::from_slice(first)
        .map_err(|error| Unreadable::Damaged(format!("its first line is no journal's: {}", told(&error))))?;
    if header.journal != KIND {
        return Err(damaged("its first line is no journal's"));
    }
    if header.sha256 != checksum(header.version, body) {
        return Err(damaged("its checksum does not fit what it holds"));
    }
    let foreign = |why| Unreadable::Foreign { version: header.version, why };
    match header.version.cmp(&VERSION) {
        Ordering::Less => {
            let why = format!(
                "an older node-upgrade-agent wrote it (journal version {}, this one reads {VERSION})",
                header.version
            );
            Err(Unreadable::Older { why, held: held(body) })
        }
        Ordering::Equal => serde_json::from_slice(body).map_err(|error| foreign(told(&error))),
        Ordering::Greater => Err(foreign(format!("this agent knows version {VERSION}"))),
    }
}

/// Of an older memory, the one thing that cannot be seen again and has kept its form.
fn held(body: &[u8]) -> BTreeSet<String> {
    #[derive(Default, Deserialize)]
    struct Older {
        #[serde(default)]
        held: BTreeSet<String>,
    }
    let older: Older = serde_json::from_slice(body).unwrap_or_default();
    older.held.into_iter().filter(|name| ["kubeadm", "kubelet", "kubectl"].contains(&name.as_str())).collect()
}

/// What a reader of JSON complains of, which may quote as much as the file holds.
fn told(error: &serde_json::Error) -> String {
    text::shortened(&error.to_string(), text::NOTE)
}

fn checksum(version: u32, body: &[u8]) -> String {
    let digest = Sha256::new().chain_update(format!("{version}\n")).chain_update(body).finalize();
    let halves = digest.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    halves.filter_map(|half| char::from_digit(half.into(), 16)).collect()
}

#[cfg(test)]
mod tests;
