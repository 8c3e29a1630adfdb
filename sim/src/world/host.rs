//! A host: its packages, kubelet, static pods, transient units and the copies kept on its disk.

use std::collections::BTreeMap;

use upgrade_core::api::{PackageVersion, TurnId, Version};
use upgrade_core::judge::control_plane::STATIC_PODS;
use upgrade_core::observed::{Copy as Named, HostSeen, PackageSeen, ToolState, UnitSeen};
use upgrade_core::time::Mono;

use super::api::CSI_DRIVER;
use super::clock::Clock;
use super::tools::Unit;
use crate::fault::Failure;
use crate::setup::{Endpoint, Setup};

/// The static pod of etcd.
pub(super) const ETCD: &str = "etcd";
/// The static pod of the API server.
pub(super) const API_SERVER: &str = "kube-apiserver";

/// The package of a version in the simulated repository.
pub(super) fn package(version: Version) -> Option<PackageVersion> {
    format!("{}.{}.{}-1.1", version.major, version.minor, version.patch).parse().ok()
}

/// The etcd that kubeadm of this version installs, named by the first release of its minor.
pub(super) const fn etcd_of(version: Version) -> Version {
    Version { patch: 0, ..version }
}

/// What a version's static pods are.
pub(super) fn manifests_of(version: Version) -> impl Iterator<Item = (&'static str, Version)> {
    STATIC_PODS.into_iter().map(move |name| (name, version)).chain([(ETCD, etcd_of(version))])
}

/// A copy of what kubeadm will change, made before one of its runs.
#[derive(Debug, Clone)]
pub(super) struct Copy {
    pub(super) name: Named,
    pub(super) manifests: BTreeMap<&'static str, Version>,
    pub(super) kubelet_files: Version,
}

/// One host. What a power cut takes away is cleared by [`Host::cut`].
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "facts of a host that do not depend on each other")]
pub(super) struct Host {
    pub(super) powered: bool,
    /// Counts boots: what was under way in an earlier one is over.
    pub(super) boot: u64,
    /// When it booted last.
    pub(super) booted_at: u64,
    pub(super) clock: Clock,
    pub(super) packages: BTreeMap<String, PackageSeen>,
    pub(super) dpkg_interrupted: bool,
    /// Another package than ours is half configured, for good.
    pub(super) foreign_broken: bool,
    pub(super) disk_full_until: u64,
    pub(super) repository_down_until: u64,
    pub(super) kubelet: UnitSeen,
    /// What the running kubelet was started from.
    pub(super) kubelet_runs: Version,
    /// Of which version's kubeadm config.yaml and kubeadm-flags.env are.
    pub(super) kubelet_files: Version,
    /// Whether kubelet's files were written after the kubeadm that is installed came.
    pub(super) files_are_fresh: bool,
    /// Whether instance-config.yaml names the runtime's socket; kubeadm writes it together with kubelet's configuration.
    pub(super) instance_config: bool,
    /// Which API server kubelet.conf names.
    pub(super) kubelet_conf: Endpoint,
    pub(super) starts: u64,
    /// Whether the running kubelet is of another minor than the one before.
    pub(super) new_minor: bool,
    pub(super) sick_until: u64,
    /// kubelets of this version, or of any, end soon after their start.
    pub(super) crash_loops: (Option<Version>, u64),
    pub(super) control_plane: bool,
    /// Static pods by component: the version of the manifest in place.
    pub(super) manifests: BTreeMap<&'static str, Version>,
    /// Static pods by component: the version that runs; none while it does not.
    pub(super) pods: BTreeMap<&'static str, Option<Version>>,
    /// The newest etcd that has written its data: an older one does not start on them.
    pub(super) etcd_data: Version,
    pub(super) pods_sick_until: BTreeMap<&'static str, u64>,
    /// Oldest first.
    pub(super) copies: Vec<Copy>,
    pub(super) units: BTreeMap<String, Unit>,
    /// Failures that tools still have in store.
    pub(super) failures: BTreeMap<&'static str, (u32, Failure)>,
    pub(super) daemon_pods_sick_until: u64,
    /// What the kubelet says of the DaemonSet's pod here: it carries Ready over a restart until it has probed anew.
    pub(super) daemon_pod_told: bool,
    pub(super) csi_driver: bool,
    /// Whether the kubelet package's scripts restart kubelet.
    pub(super) package_restarts: bool,
}

impl Host {
    pub(super) fn new(setup: &Setup, control_plane: bool) -> Self {
        let version = setup.from;
        let installed = |version| PackageSeen { version, configured: true, held: true };
        let names = ["kubeadm", "kubelet", "kubectl"].into_iter();
        let static_pods = || manifests_of(version).filter(|_| control_plane);
        Self {
            powered: true,
            boot: 0,
            booted_at: 0,
            clock: Clock::default(),
            packages: names.filter_map(|n| Some((n.to_owned(), installed(package(version)?)))).collect(),
            dpkg_interrupted: false,
            foreign_broken: false,
            disk_full_until: 0,
            repository_down_until: 0,
            kubelet: UnitSeen { active: true, invocation: "0".to_owned(), since: Mono(0) },
            kubelet_runs: version,
            kubelet_files: version,
            files_are_fresh: true,
            instance_config: false,
            kubelet_conf: if control_plane { setup.endpoint } else { Endpoint::Shared },
            starts: 0,
            new_minor: false,
            sick_until: 0,
            crash_loops: (None, 0),
            control_plane,
            manifests: static_pods().collect(),
            pods: static_pods().map(|(name, version)| (name, Some(version))).collect(),
            etcd_data: etcd_of(version),
            pods_sick_until: BTreeMap::new(),
            copies: Vec::new(),
            units: BTreeMap::new(),
            failures: BTreeMap::new(),
            daemon_pods_sick_until: 0,
            daemon_pod_told: true,
            csi_driver: true,
            package_restarts: setup.package_restarts,
        }
    }

    /// The version a package names.
    pub(super) fn version(&self, name: &str) -> Option<Version> {
        self.packages.get(name).and_then(|package| package.version.kubernetes())
    }

    /// Whether a static pod runs here and is well.
    pub(super) fn runs(&self, component: &str, now: u64) -> bool {
        let sick = self.pods_sick_until.get(component).is_some_and(|until| *until > now);
        self.powered && !sick && self.pods.get(component).is_some_and(Option::is_some)
    }

    /// Whether the kubelet that would be started now ends soon after.
    pub(super) fn kubelet_crashes(&self, now: u64) -> bool {
        let (version, until) = self.crash_loops;
        let loops = until > now && version.is_none_or(|version| version == self.kubelet_runs);
        // Unpacked and never configured: a power cut left half of it.
        loops || self.packages.get("kubelet").is_some_and(|package| !package.configured)
    }

    /// This host's boot clock.
    pub(super) fn mono(&self, now: u64) -> Mono {
        Mono(now.saturating_sub(self.booted_at) + 1_000)
    }

    /// The copies of a turn, or of whichever there are.
    fn copies_of(&self, turn: Option<&TurnId>) -> Vec<&Copy> {
        self.copies.iter().filter(|copy| turn.is_none_or(|turn| *turn == copy.name.turn)).collect()
    }

    /// What the adapter would say of this host.
    pub(super) fn seen(&self, at: Mono, turn: Option<&TurnId>) -> HostSeen {
        let copies = self.copies_of(turn);
        let first = copies.first();
        let gone = |copy: &&Copy| {
            copy.manifests
                .keys()
                .filter(|name| !self.manifests.contains_key(*name))
                .copied()
                .collect::<Vec<_>>()
        };
        let missing = copies.iter().flat_map(gone).map(str::to_owned).collect();
        let changed = |name: &&str| {
            first.is_some_and(|copy| {
                self.manifests.get(name).is_some_and(|version| copy.manifests.get(name) != Some(version))
            })
        };
        let failed = |unit: &&Unit| !matches!(unit.state, ToolState::Running | ToolState::Ended(0));
        let words = self.units.iter().filter(|(_, unit)| failed(unit));
        let socket = self.csi_driver.then(|| format!("{CSI_DRIVER}-reg.sock"));
        HostSeen {
            at,
            packages: self.packages.clone(),
            dpkg_interrupted: self.dpkg_interrupted || self.foreign_broken,
            kubelet: self.kubelet.clone(),
            control_plane: STATIC_PODS.iter().any(|name| {
                self.manifests.contains_key(name)
                    || copies.iter().any(|copy| copy.manifests.contains_key(name))
            }),
            manifests: STATIC_PODS
                .into_iter()
                .filter_map(|name| Some((name.to_owned(), *self.manifests.get(name)?)))
                .collect(),
            missing_manifests: missing,
            changed_manifests: STATIC_PODS.into_iter().filter(changed).map(str::to_owned).collect(),
            copies: self.copies.iter().map(|copy| copy.name.clone()).collect(),
            kubelet_config_changed: first.is_some_and(|copy| copy.kubelet_files != self.kubelet_files),
            kubelet_config_stale: !self.files_are_fresh,
            instance_config: self.instance_config,
            cri_socket: Some("unix:///run/containerd/containerd.sock".to_owned()),
            own_server: self.control_plane && self.kubelet_conf == Endpoint::Local,
            plugin_sockets: socket.into_iter().collect(),
            tools: self.units.iter().map(|(name, unit)| (name.clone(), unit.state)).collect(),
            last_words: words.map(|(name, unit)| (name.clone(), unit.words.to_owned())).collect(),
        }
    }

    /// Everything that lives in memory is gone.
    pub(super) fn cut(&mut self) {
        self.powered = false;
        self.boot += 1;
        self.kubelet.active = false;
        self.units.clear();
    }
}
