//! The bytes of the journal's file, opened as the daemon does at its start.

use std::fs;
use std::path::{Path, PathBuf};

use node_upgrade_agent::journal::{Journal, JournalError, Recovered};
use tempfile::TempDir;
use upgrade_core::memory::Memory;
use upgrade_core::observed::Observed;

use super::{ensure, is_clear, world};
use crate::seal;
use crate::shape::shape;

/// Words of the memory's form.
pub(super) const WORDS: [&str; 54] = [
    "known",
    "turn",
    "refused",
    "backoff",
    "held",
    "policy_seen",
    "holder",
    "kind",
    "lease",
    "plan",
    "reached",
    "direction",
    "degraded",
    "run",
    "attempts",
    "unit_serial",
    "stopwatch",
    "not_before",
    "kubelet_before",
    "changed",
    "skipped",
    "retry",
    "since",
    "control-plane",
    "kubelet",
    "ControlPlane",
    "Slot",
    "Claiming",
    "Cordoning",
    "Draining",
    "Staging",
    "Applying",
    "Installing",
    "Restarting",
    "Verifying",
    "Uncordoning",
    "Releasing",
    "Forward",
    "Back",
    "Apply",
    "NodeControlPlane",
    "Node",
    "DrainBlocked",
    "ToolFailed",
    "NotVerified",
    "JournalLost",
    "NodeReady",
    "v1.36.2",
    "1.36.3-1.1",
    "n1",
    "u1",
    "spent",
    "boot",
    "at",
];
/// The journal's file.
const FILE: &str = "memory.json";
/// The version that this agent reads.
const VERSION: u32 = 2;

/// A folder that is in memory where there is such a place: each journal is synced many times.
pub(super) fn folder() -> Result<TempDir, String> {
    let shared = Path::new("/dev/shm");
    let made = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() };
    made.map_err(|error| error.to_string())
}

/// What opening comes to.
pub(super) fn judge(input: &[u8]) -> Result<String, String> {
    let folder = folder()?;
    let file = folder.path().join(FILE);
    fs::write(&file, input).map_err(|error| error.to_string())?;
    let looked = Journal::look(folder.path());
    let opened = Journal::open(folder.path());
    let holds = |path: &Path| fs::read(path).is_ok_and(|bytes| bytes == input);
    ensure(holds(&file), || "opening has changed the file".to_owned())?;
    match opened {
        Ok((journal, Recovered::Memory(memory))) => {
            ensure(seal::version(input) == Some(VERSION), || "what nobody sealed is believed".to_owned())?;
            ensure(looked.is_ok_and(|looked| looked.as_ref() == Some(&memory)), || {
                "a look tells another".to_owned()
            })?;
            whole(folder.path(), journal, &memory)
        }
        Ok((journal, Recovered::Lost { why, kept, .. })) => {
            ensure(seal::version(input) != Some(VERSION), || "a whole journal is lost".to_owned())?;
            ensure(holds(&kept), || format!("{} is not what was lost", kept.display()))?;
            named(looked.err().as_ref(), &file)?;
            is_clear(&why)?;
            set_aside(folder.path(), journal, &kept, input)?;
            Ok(format!("set aside: {}", shape(&why)))
        }
        Ok((_, Recovered::Fresh)) => Err("a journal is taken for none".to_owned()),
        Err(error) => {
            let refused =
                matches!(error, JournalError::Foreign { .. }) && seal::version(input) >= Some(VERSION);
            ensure(refused, || format!("refused, and not of a newer version: {error}"))?;
            named(Some(&error), &file)?;
            named(looked.err().as_ref(), &file)?;
            let names = fs::read_dir(folder.path()).map_err(|error| error.to_string())?.count();
            ensure(names == 2, || "beside what is refused stands more than the lock".to_owned())?;
            let JournalError::Foreign { why, .. } = error else { return Err(error.to_string()) };
            Ok(format!("refused: {}", shape(&why)))
        }
    }
}

/// An error says which file it is about.
fn named(error: Option<&JournalError>, file: &Path) -> Result<(), String> {
    let told = error.map(ToString::to_string).unwrap_or_default();
    is_clear(&told)?;
    ensure(told.contains(&file.display().to_string()), || format!("the file is not named: {told}"))
}

/// What was lost outlives the next store, which is found.
fn set_aside(folder: &Path, journal: Journal, kept: &PathBuf, input: &[u8]) -> Result<(), String> {
    let memory = Memory { known: true, ..Memory::default() };
    stored(folder, journal, &memory)?;
    ensure(fs::read(kept).is_ok_and(|bytes| bytes == input), || "a store takes what was set aside".to_owned())
}

fn stored(folder: &Path, journal: Journal, memory: &Memory) -> Result<(), String> {
    journal.store(memory).map_err(|error| error.to_string())?;
    drop(journal);
    match Journal::open(folder) {
        Ok((_, Recovered::Memory(read))) if read == *memory => Ok(()),
        other => Err(format!("stored {memory:?}, found {other:?}")),
    }
}

/// A memory that is read is the same when it was written, and the rules bear it, whatever they see.
fn whole(folder: &Path, journal: Journal, memory: &Memory) -> Result<String, String> {
    stored(folder, journal, memory)?;
    let settings = world::settings();
    let turn = memory.turn.as_ref();
    let blind = world::followed(&settings, memory, &Observed::default())?;
    let control_plane = turn.is_some_and(|turn| turn.plan.control_plane);
    let seen =
        world::ordinary(world::node(&world::asked(), control_plane), turn.map(|turn| &turn.holder.turn));
    let sighted = world::followed(&settings, memory, &seen)?;
    let fails =
        turn.map(|turn| world::followed(&settings, memory, &world::failing(seen, turn))).transpose()?;
    let fails = fails.unwrap_or_default();
    let state = turn.map_or_else(
        || format!("no turn{}", if memory.refused.is_some() { ", refused" } else { "" }),
        |turn| {
            let way = if turn.is_forward() { "to" } else { "from" };
            let degraded = if turn.degraded.is_some() { ", degraded" } else { "" };
            format!("{:?} {way} {:?}{degraded}", turn.kind, turn.reached)
        },
    );
    Ok(format!("whole: {state}: {blind}, {sighted}, {fails}"))
}
