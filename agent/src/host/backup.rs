//! Copies of what `kubeadm upgrade` changes: static pod manifests and kubelet's configuration. Each run of kubeadm has its own, below
//! its turn's name. A copy is complete when it stands under its run's number, because it gets that name by one rename at the end.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use upgrade_core::act::ActResult;
use upgrade_core::api::TurnId;
use upgrade_core::judge::control_plane::{ETCD, STATIC_PODS};
use upgrade_core::observed::Copy;

use super::fault::{Doing, Failed};
use super::{Host, Settings};

/// What of `/var/lib/kubelet` `kubeadm upgrade` writes.
const KUBELET_FILES: [&str; 3] = ["config.yaml", "kubeadm-flags.env", "instance-config.yaml"];
/// The parts of a copy.
const MANIFESTS: &str = "manifests";
const KUBELET: &str = "kubelet";
/// kubelet passes over files in its manifest directory whose name begins with a dot, and kubeadm over all but its
/// own, so an unfinished file may stand next to its place.
const UNFINISHED: &str = ".node-upgrade-agent-";

/// What the file system tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Copies {
    /// A kube-apiserver manifest stands in its place or in a copy.
    pub(super) control_plane: bool,
    /// Manifests that kubeadm writes, in a copy and not in their place.
    pub(super) missing_manifests: BTreeSet<String>,
    /// Static pods of the Kubernetes version whose manifest is another one than in the first copy of the turn.
    pub(super) changed_manifests: BTreeSet<String>,
    /// The finished copies, oldest first, those of the turn last.
    pub(super) finished: Vec<Copy>,
    /// Whether kubelet's files differ from those in the first copy of the turn.
    pub(super) kubelet_config_changed: bool,
}

/// A finished copy.
struct Kept {
    copy: Copy,
    path: PathBuf,
    made: SystemTime,
}

impl Kept {
    fn manifests(&self) -> PathBuf {
        self.path.join(MANIFESTS)
    }
}

/// Looks at the copies, and at what became of what they hold since the first one of `turn`; of the newest copy's turn if none is
/// given.
pub(super) fn look(settings: &Settings, turn: Option<&TurnId>) -> Result<Copies, Failed> {
    let kept = kept(settings, turn)?;
    let turn = turn.or_else(|| kept.last().map(|kept| &kept.copy.turn));
    let first = kept.iter().find(|kept| Some(&kept.copy.turn) == turn);
    let missing = missing(settings, &kept);
    Ok(Copies {
        // One manifest suffices: another may have been moved away in the middle of an upgrade.
        control_plane: STATIC_PODS
            .iter()
            .map(|name| file_name(name))
            .any(|file| settings.manifests().join(&file).is_file() || missing.contains(&file)),
        changed_manifests: match first {
            Some(first) => changed(&first.manifests(), &settings.manifests())?,
            None => BTreeSet::new(),
        },
        kubelet_config_changed: match first {
            Some(first) => differs(&first.path.join(KUBELET), &settings.kubelet_dir())?,
            None => false,
        },
        missing_manifests: missing,
        finished: kept.into_iter().map(|kept| kept.copy).collect(),
    })
}

/// The finished copies, oldest first, those of `turn` last.
fn kept(settings: &Settings, turn: Option<&TurnId>) -> Result<Vec<Kept>, Failed> {
    if let Some(turn) = turn {
        directory(settings, turn)?;
    }
    let backups = settings.backups();
    let mut turns = Vec::new();
    for name in entries(&backups).doing(|| format!("read {}", backups.display()))? {
        let (of, place) = (TurnId(name.clone()), backups.join(name));
        if of.is_plain() && place.is_dir() {
            let runs = runs(&of, &place).doing(|| format!("read {}", place.display()))?;
            turns.push((Some(&of) == turn, runs));
        }
    }
    turns.sort_by_key(|(present, runs)| (*present, runs.first().map(|first| first.made)));
    Ok(turns.into_iter().flat_map(|(_, runs)| runs).collect())
}

/// The first copy of the newest turn that has any, as the file system shows it: it was made before that turn's first run of kubeadm.
pub(super) fn newest_turn_began(settings: &Settings) -> Result<Option<Metadata>, Failed> {
    let kept = kept(settings, None)?;
    let newest = kept.last().map(|kept| &kept.copy.turn);
    let first = kept.iter().find(|kept| Some(&kept.copy.turn) == newest);
    first.map(|first| first.path.symlink_metadata()).transpose().doing(|| "look at the turn's first copy")
}

/// The copies of one turn, by the numbers of its runs. One that an agent of the first edition made, for all runs of its turn,
/// stands in the turn's directory itself, and counts as the first.
fn runs(turn: &TurnId, place: &Path) -> io::Result<Vec<Kept>> {
    let numbers = entries(place)?.into_iter().filter_map(|name| Some((name.parse().ok()?, place.join(name))));
    let whole = Some((0, place.to_owned())).filter(|(_, path)| path.join(MANIFESTS).is_dir());
    let mut runs = Vec::new();
    for (run, path) in numbers.chain(whole).filter(|(_, path)| path.is_dir()) {
        let made = path.metadata()?.modified()?;
        runs.push(Kept { copy: Copy { turn: turn.clone(), run }, path, made });
    }
    runs.sort_by_key(|kept| kept.copy.run);
    Ok(runs)
}

/// Where kubeadm puts the manifest of a component.
fn file_name(component: &str) -> String {
    format!("{component}.yaml")
}

/// The manifests that kubeadm writes. What else stands beside them is other people's, who may take it away.
fn written_by_kubeadm() -> impl Iterator<Item = String> {
    STATIC_PODS.into_iter().chain([ETCD]).map(file_name)
}

fn missing(settings: &Settings, kept: &[Kept]) -> BTreeSet<String> {
    let place = settings.manifests();
    let copied = |name: &String| kept.iter().any(|kept| kept.manifests().join(name).is_file());
    written_by_kubeadm().filter(|name| !place.join(name).is_file()).filter(copied).collect()
}

/// The static pods of the Kubernetes version whose manifest in its place is not the one in this copy.
fn changed(copy: &Path, place: &Path) -> Result<BTreeSet<String>, Failed> {
    let mut changed = BTreeSet::new();
    for component in STATIC_PODS {
        let name = file_name(component);
        let read = || Ok::<_, io::Error>((contents(&copy.join(&name))?, contents(&place.join(&name))?));
        let (before, now) = read().doing(|| format!("compare {name} with its copy"))?;
        if now.is_some() && now != before {
            changed.insert(component.to_owned());
        }
    }
    Ok(changed)
}

/// Whether a file of the copy is another one in its place.
fn differs(copy: &Path, place: &Path) -> Result<bool, Failed> {
    for name in present(copy, &KUBELET_FILES) {
        let same = || Ok::<_, io::Error>(contents(&copy.join(&name))? == contents(&place.join(&name))?);
        if !same().doing(|| format!("compare {name} with its copy"))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What a file holds; none if it is not there.
fn contents(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

impl Host {
    /// Copies static pod manifests and kubelet's configuration. A finished copy of this name is kept as it is: it
    /// was made before its run changed anything. Copies of other turns go, except for those that hold what is missing.
    pub async fn back_up(&self, copy: &Copy) -> ActResult {
        let of = copy.clone();
        let done = self.blocking(move |settings| back_up(settings, &of)).await;
        self.end(Some(&copy.turn), done).await
    }

    /// Puts each manifest that is missing back from the newest copy that has it, those of this turn before others; those in their
    /// place are not touched.
    pub async fn restore_manifests(&self, turn: &TurnId) -> ActResult {
        let of = turn.clone();
        let done = self.blocking(move |settings| restore_manifests(settings, &of)).await;
        self.end(Some(turn), done).await
    }

    /// Puts the manifests that carry the Kubernetes version back as they were before the turn, and never etcd's: its data may be
    /// the newer version's.
    pub async fn roll_back_manifests(&self, turn: &TurnId) -> ActResult {
        let of = turn.clone();
        let done = self.blocking(move |settings| roll_back_manifests(settings, &of)).await;
        self.end(Some(turn), done).await
    }

    /// Puts kubelet's configuration back as it was before the turn.
    pub async fn restore_kubelet_config(&self, turn: &TurnId) -> ActResult {
        let of = turn.clone();
        let done = self.blocking(move |settings| restore_kubelet_config(settings, &of)).await;
        self.end(Some(turn), done).await
    }
}

fn back_up(settings: &Settings, copy: &Copy) -> Result<(), Failed> {
    let of_turn = directory(settings, &copy.turn)?;
    let finished = of_turn.join(copy.run.to_string());
    let doing = || format!("copy manifests and kubelet's configuration to {}", finished.display());
    if !finished.is_dir() {
        make(settings, &of_turn, &finished, doing)?;
    }
    drop_others(settings, &copy.turn).doing(|| "drop copies of other turns")
}

/// Makes a copy beside its place, and gives it its name when all of it is on the disk.
fn make(
    settings: &Settings,
    of_turn: &Path,
    finished: &Path,
    doing: impl Fn() -> String + std::marker::Copy,
) -> Result<(), Failed> {
    let backups = settings.backups();
    let unfinished = backups.join(UNFINISHED);
    remove(&unfinished).doing(doing)?;
    let manifests: BTreeSet<String> =
        written_by_kubeadm().filter(|name| settings.manifests().join(name).is_file()).collect();
    for (from, part, names) in [
        (settings.manifests(), MANIFESTS, manifests),
        (settings.kubelet_dir(), KUBELET, present(&settings.kubelet_dir(), &KUBELET_FILES)),
    ] {
        let to = unfinished.join(part);
        fs::create_dir_all(&to).doing(doing)?;
        for name in names {
            copy_durably(&from.join(&name), &to.join(&name)).doing(|| format!("copy {name}")).doing(doing)?;
        }
        sync(&to).doing(doing)?;
    }
    sync(&unfinished).doing(doing)?;
    fs::create_dir_all(of_turn).doing(doing)?;
    fs::rename(&unfinished, finished).doing(doing)?;
    sync(of_turn).doing(doing)?;
    sync(&backups).doing(doing)?;
    sync(&settings.state).doing(doing)
}

/// Drops the copies of other turns, except for those that hold a manifest which is missing in its place.
fn drop_others(settings: &Settings, turn: &TurnId) -> Result<(), Failed> {
    let kept = kept(settings, Some(turn))?;
    let missing = missing(settings, &kept);
    for other in kept.iter().filter(|kept| kept.copy.turn != *turn) {
        if missing.iter().any(|name| other.manifests().join(name).is_file()) {
            continue;
        }
        let doing = || format!("remove {}", other.path.display());
        for part in [MANIFESTS, KUBELET] {
            remove(&other.path.join(part)).doing(doing)?;
        }
        for emptied in [other.path.as_path(), other.path.parent().unwrap_or(&other.path)] {
            remove_if_empty(emptied).doing(doing)?;
        }
    }
    Ok(())
}

fn remove_if_empty(directory: &Path) -> io::Result<()> {
    match fs::remove_dir(directory) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => Ok(()),
        other => other,
    }
}

fn restore_manifests(settings: &Settings, turn: &TurnId) -> Result<(), Failed> {
    let kept = kept(settings, Some(turn))?;
    for name in missing(settings, &kept) {
        let newest = kept.iter().rev().map(Kept::manifests).find(|copy| copy.join(&name).is_file());
        if let Some(from) = newest {
            put_back(&from, &settings.manifests(), [name].into_iter())?;
        }
    }
    Ok(())
}

fn roll_back_manifests(settings: &Settings, turn: &TurnId) -> Result<(), Failed> {
    let from = first_copy(settings, turn)?.manifests();
    let copied = STATIC_PODS.into_iter().map(file_name).filter(|name| from.join(name).is_file());
    put_back(&from, &settings.manifests(), copied)
}

fn restore_kubelet_config(settings: &Settings, turn: &TurnId) -> Result<(), Failed> {
    let from = first_copy(settings, turn)?.path.join(KUBELET);
    let names = present(&from, &KUBELET_FILES);
    put_back(&from, &settings.kubelet_dir(), names.into_iter())
}

fn first_copy(settings: &Settings, turn: &TurnId) -> Result<Kept, Failed> {
    let first = kept(settings, Some(turn))?.into_iter().find(|kept| kept.copy.turn == *turn);
    first.ok_or_else(|| {
        Failed::new(format!("there is no copy below {}", settings.backups().join(&turn.0).display()))
    })
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

fn present(directory: &Path, names: &[&str]) -> BTreeSet<String> {
    names.iter().filter(|name| directory.join(name).is_file()).map(|&name| name.to_owned()).collect()
}

/// Names in a directory; none if it does not exist.
pub(super) fn entries(directory: &Path) -> io::Result<BTreeSet<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        other => other?,
    };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// Copies content, mode and the time of the last change, and returns when all are on the disk. That time says whether a kubeadm has
/// written the file since it was installed.
fn copy_durably(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    let copied = File::options().write(true).open(to)?;
    copied.set_modified(from.metadata()?.modified()?)?;
    copied.sync_all()
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
#[path = "backup/tests.rs"]
mod tests;
