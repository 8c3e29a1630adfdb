//! The API server's audit log: followed while something happens, or read when it is over.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::Value;

use super::daemon::asker;

/// Bytes of the audit log that hold a whole line in any case: lists are not logged with their content.
const LONGEST_LINE: u64 = 4 << 20;

/// A request of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// The agent's node.
    pub(super) node: String,
    /// When the API server got it.
    pub(super) at: Timestamp,
    /// The verb; `watch` for one that is begun and for one that is renewed.
    pub(super) verb: String,
    /// The path, without what follows the question mark.
    pub(super) path: String,
}

impl Asked {
    /// Verb and path.
    pub(super) fn kind(&self) -> String {
        format!("{} {}", self.verb, self.path)
    }
}

/// The agents' requests in a period. A watch counts once, when it is begun.
///
/// # Errors
/// If the log cannot be read.
pub(super) fn asked(log: &Path, begin: Timestamp, end: Timestamp) -> Result<Vec<Asked>> {
    let text = fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
    let mut seen = BTreeMap::new();
    for event in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let field = |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let Some(at) = received(&event).filter(|at| *at >= begin && *at <= end) else { continue };
        let Some(node) = asker(field("/user/username"), field("/userAgent")) else { continue };
        let path = field("/requestURI").split('?').next().unwrap_or_default().to_owned();
        let request = Asked { node: node.to_owned(), at, verb: field("/verb").to_owned(), path };
        seen.insert(field("/auditID").to_owned(), request);
    }
    Ok(seen.into_values().collect())
}

/// When the API server got the request.
pub(super) fn received(event: &Value) -> Option<Timestamp> {
    event.get("requestReceivedTimestamp")?.as_str()?.parse().ok()
}

/// Reads what an audit log gets from a moment on: the whole of it is read once in a run, not once for each drain, and
/// following it costs the API server nothing.
#[derive(Debug)]
pub(super) struct Follower {
    path: PathBuf,
    position: u64,
    events: Vec<Value>,
}

impl Follower {
    /// From the end of the log's last whole line on: the one behind it may be half written.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn start(path: &Path) -> Result<Self> {
        let failure = || format!("cannot read the audit log {}", path.display());
        let mut file = File::open(path).with_context(failure)?;
        let from = file.metadata().with_context(failure)?.len().saturating_sub(LONGEST_LINE);
        file.seek(SeekFrom::Start(from)).with_context(failure)?;
        let mut end = Vec::new();
        file.read_to_end(&mut end).with_context(failure)?;
        let whole = end.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        Ok(Self { path: path.to_owned(), position: from + whole as u64, events: Vec::new() })
    }

    /// Takes in what was written since, and returns that alone.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub(super) fn read(&mut self) -> Result<&[Value]> {
        let failure = || format!("cannot read the audit log {}", self.path.display());
        let mut file = File::open(&self.path).with_context(failure)?;
        file.seek(SeekFrom::Start(self.position)).with_context(failure)?;
        let mut new = Vec::new();
        file.read_to_end(&mut new).with_context(failure)?;
        // What follows the last newline is being written.
        new.truncate(new.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1));
        self.position += new.len() as u64;
        let known = self.events.len();
        let lines = new.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        for line in lines {
            self.events.push(serde_json::from_slice(line).with_context(failure)?);
        }
        Ok(self.events.get(known..).unwrap_or_default())
    }

    /// All that was taken in.
    pub(super) fn events(&self) -> &[Value] {
        &self.events
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_follower_begins_behind_the_last_whole_line_and_leaves_half_a_line_for_later() {
        let path = std::env::temp_dir().join(format!("lab-follower-{}", std::process::id()));
        fs::write(&path, "{\"a\":1}\n").unwrap();
        let mut log = File::options().append(true).open(&path).unwrap();
        log.write_all(b"{\"a\"").unwrap();
        let mut follower = Follower::start(&path).unwrap();
        log.write_all(b":2}\n{\"a\"").unwrap();
        assert_eq!(follower.read().unwrap(), [json!({"a": 2})]);
        log.write_all(b":3}\n").unwrap();
        assert_eq!(follower.read().unwrap(), [json!({"a": 3})]);
        assert_eq!(follower.events(), [json!({"a": 2}), json!({"a": 3})]);
        fs::remove_file(&path).unwrap();
    }
}
