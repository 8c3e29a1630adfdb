//! A host: its packages, kubelet, static pods, transient units and the copies kept on its disk.

use std::collections::{BTreeMap, BTreeSet};

use upgrade_core::act::Tool;
use upgrade_core::job::{JobId, Verb};
use upgrade_core::seen::{HostSeen, PackageSeen, ToolState, UnitSeen};
use upgrade_core::time::{Mono, Unix};
use upgrade_core::verify::STATIC_PODS;
use upgrade_core::version::{PackageVersion, Version};

/// The package of a version in the simulated repository.
pub(super) fn package(version: Version) -> Option<PackageVersion> {
    format!("{}.{}.{}-1.1", version.major, version.minor, version.patch).parse().ok()
}

/// What a tool does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Work {
    /// dpkg unpacks: from here until it is configured a power cut leaves dpkg interrupted.
    Unpack(String, PackageVersion),
    /// dpkg configures what was unpacked.
    Configure,
    /// kubeadm takes the old manifest out.
    ManifestOut(&'static str),
    /// kubeadm puts the new manifest in, and the kubelet starts it.
    ManifestIn(&'static str, Version),
    /// kubeadm uploads its configuration.
    Upload(Version),
    /// kubeadm writes the kubelet's configuration.
    KubeletConfig,
    /// apt-mark.
    Hold(BTreeSet<String>),
    /// It ends with this status.
    End(i32),
}

/// A transient unit.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    pub(super) word: &'static str,
    pub(super) state: ToolState,
    pub(super) work: Vec<(u64, Work)>,
}

/// One host. What a power cut takes away is cleared by [`Host::cut`].
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "facts of a host that do not depend on each other")]
pub(super) struct Host {
    pub(super) powered: bool,
    /// Counts boots: what was under way in an earlier one is over.
    pub(super) boot: u64,
    pub(super) packages: BTreeMap<String, PackageSeen>,
    pub(super) dpkg_interrupted: bool,
    pub(super) kubelet: UnitSeen,
    /// What the running kubelet was started from.
    pub(super) kubelet_runs: Version,
    pub(super) starts: u64,
    pub(super) sick_until: u64,
    pub(super) control_plane: bool,
    /// Static pods by component: the version of the manifest in place.
    pub(super) manifests: BTreeMap<&'static str, Version>,
    /// Static pods by component: the version that runs; none while it does not.
    pub(super) pods: BTreeMap<&'static str, Option<Version>>,
    pub(super) backup: Option<(JobId, BTreeMap<&'static str, Version>)>,
    pub(super) kubelet_config_changed: bool,
    pub(super) units: BTreeMap<String, Unit>,
    /// Failures that tools still have in store: how many, and whether at their end.
    pub(super) failures: BTreeMap<&'static str, (u32, bool)>,
    /// Whether the kubelet package's scripts restart kubelet.
    pub(super) package_restarts: bool,
}

impl Host {
    pub(super) fn new(version: Version, control_plane: bool, package_restarts: bool) -> Self {
        let installed = |version| PackageSeen { version, configured: true, held: true };
        let names = ["kubeadm", "kubelet", "kubectl"].into_iter();
        let components = || STATIC_PODS.into_iter().filter(|_| control_plane);
        Self {
            powered: true,
            boot: 0,
            packages: names.filter_map(|n| Some((n.to_owned(), installed(package(version)?)))).collect(),
            dpkg_interrupted: false,
            kubelet: UnitSeen { active: true, invocation: "0".to_owned(), since: Unix(0) },
            kubelet_runs: version,
            starts: 0,
            sick_until: 0,
            control_plane,
            manifests: components().map(|name| (name, version)).collect(),
            pods: components().map(|name| (name, Some(version))).collect(),
            backup: None,
            kubelet_config_changed: false,
            units: BTreeMap::new(),
            failures: BTreeMap::new(),
            package_restarts,
        }
    }

    /// The version a package names.
    pub(super) fn version(&self, name: &str) -> Option<Version> {
        self.packages.get(name).and_then(|package| package.version.kubernetes())
    }

    /// Whether this host's API server answers.
    pub(super) fn serves_api(&self) -> bool {
        self.powered && self.pods.get("kube-apiserver").is_some_and(Option::is_some)
    }

    /// What the adapter would say of this host.
    pub(super) fn seen(&self, at: Mono, job: Option<&JobId>) -> HostSeen {
        let backup = self.backup.as_ref().filter(|(of, _)| Some(of) == job);
        let missing = |manifests: &BTreeMap<&'static str, Version>| -> BTreeSet<String> {
            let gone = manifests.keys().filter(|name| !self.manifests.contains_key(*name));
            gone.map(|name| (*name).to_owned()).collect()
        };
        HostSeen {
            at,
            packages: self.packages.clone(),
            dpkg_interrupted: self.dpkg_interrupted,
            kubelet: self.kubelet.clone(),
            control_plane: self.control_plane,
            missing_manifests: backup.map(|(_, manifests)| missing(manifests)).unwrap_or_default(),
            backup: backup.map(|(of, _)| of.clone()),
            kubelet_config_changed: backup.is_some() && self.kubelet_config_changed,
            tools: self.units.iter().map(|(name, unit)| (name.clone(), unit.state)).collect(),
            last_words: BTreeMap::new(),
        }
    }

    /// Everything that lives in memory is gone.
    pub(super) fn cut(&mut self) {
        self.powered = false;
        self.boot += 1;
        self.kubelet.active = false;
        self.units.clear();
        self.pods.values_mut().for_each(|pod| *pod = None);
    }

    /// What a tool will do, with the milliseconds before each piece of work.
    pub(super) fn plan(&mut self, tool: &Tool, kubeadm_config: Version) -> Vec<(u64, Work)> {
        let fails = self.failures.get_mut(tool.word()).filter(|(times, _)| *times > 0);
        let fails = fails.map(|(times, late)| {
            *times -= 1;
            *late
        });
        if fails == Some(false) || self.refuses(tool, kubeadm_config) {
            return vec![(1_500, Work::End(1))];
        }
        let mut work = work(tool);
        if fails == Some(true) {
            work.truncate(work.len().saturating_sub(1));
            work.push((500, Work::End(1)));
        } else {
            work.push((500, Work::End(0)));
        }
        work
    }

    fn is_past(&self, name: &str, version: &PackageVersion) -> bool {
        self.version(name).zip(version.kubernetes()).is_some_and(|(installed, wanted)| installed > wanted)
    }

    /// What the real tools refuse.
    fn refuses(&self, tool: &Tool, kubeadm_config: Version) -> bool {
        match tool {
            Tool::InstallKubeadm { packages, back } => {
                self.dpkg_interrupted || (!back && self.is_past("kubeadm", &packages.kubeadm))
            }
            Tool::InstallKubelet { packages } => {
                self.dpkg_interrupted || self.is_past("kubelet", &packages.kubelet)
            }
            Tool::Kubeadm { verb, target } => {
                let upload_missing = *verb == Verb::NodeControlPlane && kubeadm_config != *target;
                self.version("kubeadm") < Some(*target) || upload_missing
            }
            Tool::RepairDpkg | Tool::Hold { .. } => false,
        }
    }
}

/// The pieces of work of a tool that does not fail, except its end.
fn work(tool: &Tool) -> Vec<(u64, Work)> {
    let unpack =
        |name: &str, version: &PackageVersion| (1_500, Work::Unpack(name.to_owned(), version.clone()));
    match tool {
        Tool::InstallKubeadm { packages, .. } => {
            vec![unpack("kubeadm", &packages.kubeadm), (2_000, Work::Configure)]
        }
        Tool::InstallKubelet { packages } => {
            let kubectl = packages.kubectl.iter().map(|version| unpack("kubectl", version));
            kubectl.chain([unpack("kubelet", &packages.kubelet), (2_000, Work::Configure)]).collect()
        }
        Tool::Kubeadm { verb: Verb::NodeWorker, .. } => vec![(2_000, Work::KubeletConfig)],
        Tool::Kubeadm { verb, target } => {
            let upload = (*verb == Verb::Apply).then_some((1_000, Work::Upload(*target)));
            let swaps = STATIC_PODS.into_iter().flat_map(|component| {
                [(2_000, Work::ManifestOut(component)), (1_000, Work::ManifestIn(component, *target))]
            });
            upload.into_iter().chain(swaps).chain([(3_000, Work::KubeletConfig)]).collect()
        }
        Tool::RepairDpkg => vec![(1_500, Work::Configure)],
        Tool::Hold { packages } => vec![(1_500, Work::Hold(packages.clone()))],
    }
}
