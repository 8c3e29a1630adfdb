//! Copies of what `kubeadm upgrade` changes: static pod manifests and kubelet's configuration. A copy is complete
//! when it stands under its turn's name, because it gets that name by one rename at the end.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use upgrade_core::act::ActResult;
use upgrade_core::api::TurnId;

use super::fault::{Doing, Failed};
use super::{Host, Settings};

/// What of `/var/lib/kubelet` `kubeadm upgrade` writes.
const KUBELET_FILES: [&str; 3] = ["config.yaml", "kubeadm-flags.env", "instance-config.yaml"];
const API_SERVER: &str = "kube-apiserver.yaml";
/// kubelet passes over files in its manifest directory whose name begins with a dot, and kubeadm over all but its
/// own, so an unfinished file may stand next to its place.
const UNFINISHED: &str = ".node-upgrade-agent-";

/// What the file system tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Copies {
    /// A kube-apiserver manifest stands in its place or in the copy.
    pub(super) control_plane: bool,
    /// Manifests in the copy and not in their place.
    pub(super) missing_manifests: BTreeSet<String>,
    /// The turn of the finished copy.
    pub(super) finished: Option<TurnId>,
    /// Whether kubelet's files differ from those in the copy.
    pub(super) kubelet_config_changed: bool,
}

/// Looks for the finished copy of `turn`, or of whichever turn if none is given.
pub(super) fn look(settings: &Settings, turn: Option<&TurnId>) -> Result<Copies, Failed> {
    let present = manifests(&settings.manifests())?;
    let finished = match turn {
        Some(turn) => Some(directory(settings, turn)?).filter(|path| path.is_dir()),
        None => finished(settings)?.into_iter().next(),
    };
    let copied = match &finished {
        Some(copy) => manifests(&copy.join("manifests"))?,
        None => BTreeSet::new(),
    };
    Ok(Copies {
        control_plane: present.contains(API_SERVER) || copied.contains(API_SERVER),
        missing_manifests: copied.difference(&present).cloned().collect(),
        kubelet_config_changed: match &finished {
            Some(copy) => differs(&copy.join("kubelet"), &settings.kubelet_dir())?,
            None => false,
        },
        finished: finished
            .as_deref()
            .and_then(Path::file_name)
            .map(|name| TurnId(name.to_string_lossy().into_owned())),
    })
}

/// Whether a file of the copy is another one in its place.
fn differs(copy: &Path, place: &Path) -> Result<bool, Failed> {
    for name in present(copy, &KUBELET_FILES) {
        let read = |directory: &Path| match fs::read(directory.join(&name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        };
        if read(copy)
            .and_then(|copied| Ok(copied != read(place)?))
            .doing(|| format!("compare {name} with its copy"))?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Host {
    /// Copies static pod manifests and kubelet's configuration. A finished copy of this turn is kept as it is: it
    /// was made before anything changed. Copies of other turns go.
    pub async fn back_up(&self, turn: &TurnId) -> ActResult {
        let of = turn.clone();
        let done = self.blocking(move |settings| back_up(settings, &of)).await;
        self.end(Some(turn), done).await
    }

    /// Puts manifests back that stand in the copy and not in their place; those in their place are not touched.
    pub async fn restore_manifests(&self, turn: &TurnId) -> ActResult {
        let of = turn.clone();
        let done = self.blocking(move |settings| restore_manifests(settings, &of)).await;
        self.end(Some(turn), done).await
    }

    /// Puts kubelet's configuration back as it was.
    pub async fn restore_kubelet_config(&self, turn: &TurnId) -> ActResult {
        let of = turn.clone();
        let done = self.blocking(move |settings| restore_kubelet_config(settings, &of)).await;
        self.end(Some(turn), done).await
    }
}

fn back_up(settings: &Settings, turn: &TurnId) -> Result<(), Failed> {
    let finished_copy = directory(settings, turn)?;
    if finished_copy.is_dir() {
        return Ok(());
    }
    let backups = settings.backups();
    let doing = || format!("copy manifests and kubelet's configuration to {}", finished_copy.display());
    remove(&backups).doing(doing)?;
    let unfinished = backups.join(format!(".{}", turn.0));
    for (from, part, names) in [
        (settings.manifests(), "manifests", manifests(&settings.manifests())?),
        (settings.kubelet_dir(), "kubelet", present(&settings.kubelet_dir(), &KUBELET_FILES)),
    ] {
        let to = unfinished.join(part);
        fs::create_dir_all(&to).doing(doing)?;
        for name in names {
            copy_durably(&from.join(&name), &to.join(&name)).doing(|| format!("copy {name}")).doing(doing)?;
        }
        sync(&to).doing(doing)?;
    }
    sync(&unfinished).doing(doing)?;
    fs::rename(&unfinished, &finished_copy).doing(doing)?;
    sync(&backups).doing(doing)?;
    sync(&settings.state).doing(doing)
}

fn restore_manifests(settings: &Settings, turn: &TurnId) -> Result<(), Failed> {
    let missing = look(settings, Some(turn))?.missing_manifests;
    let from = copy_of(settings, turn)?.join("manifests");
    put_back(&from, &settings.manifests(), missing.into_iter())
}

fn restore_kubelet_config(settings: &Settings, turn: &TurnId) -> Result<(), Failed> {
    let from = copy_of(settings, turn)?.join("kubelet");
    let names = present(&from, &KUBELET_FILES);
    put_back(&from, &settings.kubelet_dir(), names.into_iter())
}

/// Each file whole or not at all, also after a power cut.
fn put_back(from: &Path, to: &Path, names: impl Iterator<Item = String>) -> Result<(), Failed> {
    for name in names {
        let place = to.join(&name);
        let doing = || format!("put {} back", place.display());
        let unfinished = to.join(format!("{UNFINISHED}{name}"));
        copy_durably(&from.join(&name), &unfinished).doing(doing)?;
        fs::rename(&unfinished, &place).doing(doing)?;
        sync(to).doing(doing)?;
    }
    Ok(())
}

/// Drops copies, tools' output, downloaded and unpacked packages.
pub(super) fn drop_all(settings: &Settings) -> Result<(), Failed> {
    for path in [settings.backups(), settings.logs(), settings.archives(), settings.unpacked()] {
        remove(&path).doing(|| format!("remove {}", path.display()))?;
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Where the copy of `turn` stands. The journal names the turn, so a damaged one must not lead elsewhere.
fn directory(settings: &Settings, turn: &TurnId) -> Result<PathBuf, Failed> {
    if turn.is_plain() {
        Ok(settings.backups().join(&turn.0))
    } else {
        Err(Failed::new(format!("{:?} is not the name of a job", turn.0)))
    }
}

fn copy_of(settings: &Settings, turn: &TurnId) -> Result<PathBuf, Failed> {
    let path = directory(settings, turn)?;
    if path.is_dir() { Ok(path) } else { Err(Failed::new(format!("there is no copy {}", path.display()))) }
}

fn finished(settings: &Settings) -> Result<Vec<PathBuf>, Failed> {
    let backups = settings.backups();
    let names = entries(&backups).doing(|| format!("read {}", backups.display()))?;
    Ok(names.into_iter().filter(|name| !name.starts_with('.')).map(|name| backups.join(name)).collect())
}

/// The manifests kubelet would read: files whose name does not begin with a dot.
fn manifests(directory: &Path) -> Result<BTreeSet<String>, Failed> {
    let names = entries(directory).doing(|| format!("read {}", directory.display()))?;
    Ok(names.into_iter().filter(|name| !name.starts_with('.') && directory.join(name).is_file()).collect())
}

fn present(directory: &Path, names: &[&str]) -> BTreeSet<String> {
    names.iter().filter(|name| directory.join(name).is_file()).map(|&name| name.to_owned()).collect()
}

/// Names in a directory; none if it does not exist.
fn entries(directory: &Path) -> io::Result<BTreeSet<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        other => other?,
    };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// Copies content and mode, and returns when both are on the disk.
fn copy_durably(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    sync(to)
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
#[path = "backup/tests.rs"]
mod tests;
