//! Room for packages, images and the copy of etcd that kubeadm makes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use upgrade_core::preflight::Outcome;

use super::Settings;
use super::fault::{Doing, Failed};

const MIB: u64 = 1024 * 1024;
/// The three programs unpacked, the old ones still there: 2 × ≈ 190 MB as of 1.36.
const PROGRAMS: u64 = 400 * MIB;
/// Downloads of the old and the new packages, and the new ones unpacked aside.
const DOWNLOADS: u64 = 400 * MIB;
/// kube-proxy and pause.
const WORKER_IMAGES: u64 = 256 * MIB;
/// API server, controller manager, scheduler, etcd and `CoreDNS` besides.
const CONTROL_PLANE_IMAGES: u64 = 1024 * MIB;

/// What is needed below a path.
struct Need {
    path: PathBuf,
    bytes: u64,
    what: &'static str,
}

/// Judges free space; needs on one file system add up.
pub(super) fn judge(settings: &Settings, control_plane: bool) -> Result<Outcome, Failed> {
    let images = if control_plane { CONTROL_PLANE_IMAGES } else { WORKER_IMAGES };
    let mut needs = vec![
        Need { path: settings.on_host("/usr"), bytes: PROGRAMS, what: "programs" },
        Need { path: settings.state.clone(), bytes: DOWNLOADS, what: "downloads" },
        Need { path: settings.on_host("/var/lib/containerd"), bytes: images, what: "images" },
    ];
    let etcd = settings.on_host("/var/lib/etcd");
    if control_plane && etcd.is_dir() {
        let bytes = size(&etcd).doing(|| format!("measure {}", etcd.display()))?;
        // kubeadm copies it to /etc/kubernetes/tmp before it touches etcd.
        needs.push(Need { path: settings.on_host("/etc/kubernetes"), bytes, what: "kubeadm's copy of etcd" });
    }
    sum(needs)
}

fn sum(needs: Vec<Need>) -> Result<Outcome, Failed> {
    let mut systems: BTreeMap<u64, Vec<Need>> = BTreeMap::new();
    for mut need in needs {
        let doing = || format!("find the file system of {}", need.path.display());
        let place = existing(&need.path);
        let device = fs::metadata(&place).doing(doing)?.dev();
        need.path = place;
        systems.entry(device).or_default().push(need);
    }
    let mut short = Vec::new();
    for needs in systems.values() {
        let Some(first) = needs.first() else { continue };
        let free = free(&first.path).doing(|| format!("ask for free space on {}", first.path.display()))?;
        let wanted: u64 = needs.iter().map(|need| need.bytes).sum();
        if free < wanted {
            let uses: Vec<_> = needs.iter().map(|need| need.what).collect();
            short.push(format!(
                "the file system of {} has {} MiB free, {} MiB are needed for {}",
                first.path.display(),
                free / MIB,
                wanted.div_ceil(MIB),
                uses.join(", ")
            ));
        }
    }
    Ok(if short.is_empty() {
        Outcome::Passed("there is room for packages and images".to_owned())
    } else {
        Outcome::Failed(short.join("; "))
    })
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
    fn needs_on_one_file_system_add_up() {
        let temp = tempfile::tempdir().unwrap();
        let free = free(temp.path()).unwrap();
        let need = |name: &str, bytes| Need { path: temp.path().join(name), bytes, what: "test" };
        let fits = sum(vec![need("a", free / 4), need("b", free / 4)]).unwrap();
        assert!(matches!(fits, Outcome::Passed(_)));
        let both = sum(vec![need("a", free / 3 * 2), need("b", free / 3 * 2)]).unwrap();
        let Outcome::Failed(text) = both else { panic!("passed") };
        assert!(text.contains("test, test"), "{text}");
    }

    #[test]
    fn a_control_plane_needs_room_for_a_copy_of_etcd() {
        let temp = tempfile::tempdir().unwrap();
        let etcd = temp.path().join("var/lib/etcd/member");
        fs::create_dir_all(&etcd).unwrap();
        fs::write(etcd.join("db"), vec![1; 100_000]).unwrap();
        assert!(size(&temp.path().join("var/lib/etcd")).unwrap() >= 100_000);
    }
}
