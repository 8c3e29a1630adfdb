//! Room for packages, images and the copy of etcd that kubeadm makes.

use crate::observed::Outcome;

const MIB: u64 = 1024 * 1024;
/// The three programs unpacked, the old ones still there: 2 × ≈ 190 MB as of 1.36.
const PROGRAMS: u64 = 400 * MIB;
/// Downloads of the old and the new packages, and the new ones unpacked aside.
const DOWNLOADS: u64 = 400 * MIB;
/// kube-proxy and pause.
const WORKER_IMAGES: u64 = 256 * MIB;
/// API server, controller manager, scheduler, etcd and `CoreDNS` besides.
const CONTROL_PLANE_IMAGES: u64 = 1024 * MIB;

/// Where on a host something needs room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Where packages put programs.
    Programs,
    /// The agent's own directory.
    State,
    /// Where the container runtime keeps images.
    Images,
    /// /etc/kubernetes.
    Kubernetes,
}

/// Something that needs room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Where.
    pub place: Place,
    /// How much.
    pub bytes: u64,
    /// What for, for people.
    pub what: &'static str,
}

/// A file system and all that is to go there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystem {
    /// A path on it, for people.
    pub path: String,
    /// How many bytes are free.
    pub free: u64,
    /// What needs room there.
    pub needs: Vec<Need>,
}

/// What one upgrade needs; `etcd` is the size of etcd's data, where it is on this host.
pub fn needs(control_plane: bool, etcd: Option<u64>) -> Vec<Need> {
    let images = if control_plane { CONTROL_PLANE_IMAGES } else { WORKER_IMAGES };
    let mut needs = vec![
        Need { place: Place::Programs, bytes: PROGRAMS, what: "programs" },
        Need { place: Place::State, bytes: DOWNLOADS, what: "downloads" },
        Need { place: Place::Images, bytes: images, what: "images" },
    ];
    // kubeadm copies it to /etc/kubernetes/tmp before it touches etcd.
    needs.extend(etcd.map(|bytes| Need { place: Place::Kubernetes, bytes, what: "kubeadm's copy of etcd" }));
    needs
}

/// There is room for all of it; needs on one file system add up.
pub fn disk_space(systems: &[FileSystem]) -> Outcome {
    let short: Vec<_> = systems.iter().filter_map(FileSystem::is_short).collect();
    if short.is_empty() {
        Outcome::Passed("there is room for packages and images".to_owned())
    } else {
        Outcome::Failed(short.join("; "))
    }
}

impl FileSystem {
    fn is_short(&self) -> Option<String> {
        let wanted: u64 = self.needs.iter().map(|need| need.bytes).sum();
        let uses: Vec<_> = self.needs.iter().map(|need| need.what).collect();
        (self.free < wanted).then(|| {
            format!(
                "the file system of {} has {} MiB free, {} MiB are needed for {}",
                self.path,
                self.free / MIB,
                wanted.div_ceil(MIB),
                uses.join(", ")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(free: u64, needs: Vec<Need>) -> FileSystem {
        FileSystem { path: "/var".to_owned(), free: free * MIB, needs }
    }

    #[test]
    fn needs_on_one_file_system_add_up() {
        let worker = needs(false, None);
        assert!(matches!(disk_space(&[system(1056, worker.clone())]), Outcome::Passed(_)));
        let Outcome::Failed(text) = disk_space(&[system(1055, worker)]) else { panic!("passed") };
        assert_eq!(
            text,
            "the file system of /var has 1055 MiB free, 1056 MiB are needed for programs, downloads, images"
        );
    }

    #[test]
    fn every_file_system_that_is_short_is_told() {
        let [programs, downloads] = [0, 1].map(|at| vec![needs(false, None)[at]]);
        let Outcome::Failed(text) = disk_space(&[system(1, programs), system(2, downloads)]) else {
            panic!("passed")
        };
        assert_eq!(text.matches("the file system of").count(), 2, "{text}");
    }

    #[test]
    fn a_control_plane_needs_room_for_a_copy_of_etcd() {
        let sum = |needs: Vec<Need>| needs.iter().map(|need| need.bytes).sum::<u64>();
        assert_eq!(sum(needs(true, Some(7))), sum(needs(true, None)) + 7);
        assert!(sum(needs(true, None)) > sum(needs(false, None)));
    }
}
