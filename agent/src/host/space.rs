//! How much room there is where an upgrade needs some.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use upgrade_core::judge::checks::space::{FileSystem, Need, Place, needs};

use super::Settings;
use super::fault::{Doing, Failed};

/// A need and the path it has on this host.
type Placed = (PathBuf, Need);

/// The file systems that an upgrade needs room on.
pub(super) fn look(settings: &Settings, control_plane: bool) -> Result<Vec<FileSystem>, Failed> {
    let etcd = settings.on_host("/var/lib/etcd");
    let copied = if control_plane && etcd.is_dir() {
        Some(size(&etcd).doing(|| format!("measure {}", etcd.display()))?)
    } else {
        None
    };
    let path = |place| match place {
        Place::Programs => settings.on_host("/usr"),
        Place::State => settings.state.clone(),
        Place::Images => settings.on_host("/var/lib/containerd"),
        Place::Kubernetes => settings.on_host("/etc/kubernetes"),
    };
    file_systems(needs(control_plane, copied).into_iter().map(|need| (path(need.place), need)))
}

fn file_systems(needs: impl Iterator<Item = Placed>) -> Result<Vec<FileSystem>, Failed> {
    let mut systems: BTreeMap<u64, (PathBuf, Vec<Need>)> = BTreeMap::new();
    for (path, need) in needs {
        let place = existing(&path);
        let device =
            fs::metadata(&place).doing(|| format!("find the file system of {}", path.display()))?.dev();
        systems.entry(device).or_insert_with(|| (place, Vec::new())).1.push(need);
    }
    let seen = |(path, needs): (PathBuf, Vec<Need>)| {
        let free = free(&path).doing(|| format!("ask for free space on {}", path.display()))?;
        Ok(FileSystem { path: path.display().to_string(), free, needs })
    };
    systems.into_values().map(seen).collect()
}

/// The path, or the nearest directory above it that exists.
fn existing(path: &Path) -> PathBuf {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_owned()
}

fn free(path: &Path) -> io::Result<u64> {
    let stat = statvfs(path)?;
    Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
}

/// Bytes on disk below a directory; files that go meanwhile do not count.
fn size(directory: &Path) -> io::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Ok(meta) = entry.metadata() else { continue };
        total += if meta.is_dir() { size(&entry.path())? } else { meta.blocks() * 512 };
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_on_one_file_system_are_seen_together_with_what_is_free() {
        let temp = tempfile::tempdir().unwrap();
        let need = |what| Need { place: Place::State, bytes: 1, what };
        let places = ["a", "b/c"].map(|name| (temp.path().join(name), need(name)));
        let seen = file_systems(places.into_iter()).unwrap();
        let [FileSystem { path, free, needs }] = &seen[..] else { panic!("{seen:?}") };
        assert_eq!(path, &temp.path().display().to_string());
        assert!(*free > 0);
        assert_eq!(needs[..], ["a", "b/c"].map(need));
    }

    #[test]
    fn the_size_of_etcds_data_is_found_below_its_directory() {
        let temp = tempfile::tempdir().unwrap();
        let etcd = temp.path().join("var/lib/etcd/member");
        fs::create_dir_all(&etcd).unwrap();
        fs::write(etcd.join("db"), vec![1; 100_000]).unwrap();
        assert!(size(&temp.path().join("var/lib/etcd")).unwrap() >= 100_000);
    }
}
