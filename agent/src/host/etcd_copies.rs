//! The copies of etcd that each run of `kubeadm upgrade` leaves: those of a turn's runs go at its end, but the newest (rule 3).

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::fault::{Doing, Failed};
use super::{Settings, backup};

/// Where kubeadm leaves them, and what their names begin with (`CreateTimestampDirForKubeadm` in its `app/apis/kubeadm/types.go`).
const DIRECTORY: &str = "/etc/kubernetes/tmp";
const PREFIX: &str = "kubeadm-backup-etcd-";

/// Takes away the copies of etcd made since the first copy of the newest turn, but the newest of them. Where others than root may
/// write to their place, nothing is touched.
pub(super) fn drop_superseded(settings: &Settings) -> Result<(), Failed> {
    let Some(since) = backup::newest_turn_began(settings)? else { return Ok(()) };
    let place = settings.on_host(DIRECTORY);
    let superseded =
        superseded(&place, &since).doing(|| format!("look for copies of etcd in {}", place.display()))?;
    for copy in superseded {
        fs::remove_dir_all(&copy).doing(|| format!("remove the copy of etcd {}", copy.display()))?;
    }
    Ok(())
}

/// All but the newest, oldest first. `since` is a directory of our own: it tells whose the copies are too, that is, root's.
fn superseded(place: &Path, since: &Metadata) -> io::Result<Vec<PathBuf>> {
    let around = match fs::symlink_metadata(place) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    if !(is_ours(&around, since) && around.mode() & 0o022 == 0) {
        return Err(io::Error::new(
            ErrorKind::PermissionDenied,
            "it is not a directory that root alone may write to",
        ));
    }
    let mut copies: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(place)? {
        let entry = entry?;
        // Of the entry itself: a link is never followed.
        let seen = entry.metadata()?;
        let named = entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes());
        let made = seen.modified()?;
        if named && is_ours(&seen, since) && seen.dev() == around.dev() && made >= since.modified()? {
            copies.push((made, entry.path()));
        }
    }
    copies.sort();
    copies.pop();
    Ok(copies.into_iter().map(|(_, path)| path).collect())
}

fn is_ours(seen: &Metadata, ours: &Metadata) -> bool {
    seen.is_dir() && seen.uid() == ours.uid()
}

#[cfg(test)]
#[path = "etcd_copies/tests.rs"]
mod tests;
