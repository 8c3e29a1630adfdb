//! What this host can tell before anything is touched (design section 5). Everything here writes below the agent's
//! own directory alone; kubeadm's preflight pulls images, which is its purpose.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use upgrade_core::act::Fault;
use upgrade_core::job::{Packages, Verb};
use upgrade_core::preflight::{Check, Finding, Outcome};
use upgrade_core::version::Version;

use super::dpkg::Dpkg;
use super::fault::{Doing, Failed};
use super::process::{self, Output};
use super::{Host, KUBELET, Settings, apt, dpkg, kubeadm, kubelet_flags, resolve, space};

/// Lists of a small repository.
const UPDATE_LIMIT: Duration = Duration::from_mins(5);
/// Two hundred megabytes on a slow line.
const DOWNLOAD_LIMIT: Duration = Duration::from_mins(30);
/// Nothing but reading and computing.
const SHORT_LIMIT: Duration = Duration::from_mins(2);
/// kubeadm's health check and the images of a control plane.
const KUBEADM_LIMIT: Duration = Duration::from_mins(20);
/// What an upgrade may change; the last two come with the first.
const EXPECTED: [&str; 5] = ["kubeadm", "kubelet", "kubectl", "cri-tools", "kubernetes-cni"];
/// From this minor on kubelet refuses cgroup v1 unless told otherwise (`failCgroupV1`).
const CGROUP_V2_MINOR: u32 = 35;

/// What this host's part of preflight saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPreflight {
    /// Every check that could be made.
    pub findings: Vec<Finding>,
    /// What is installed; none where kubeadm or kubelet is not (a finding says so).
    pub from: Option<Packages>,
    /// What would be installed; none where it could not be resolved (a finding says so).
    pub to: Option<Packages>,
    /// Whether the installed packages were fetched too, so that they can be put back.
    pub way_back: bool,
}

impl HostPreflight {
    fn note(&mut self, check: Check, outcome: Outcome) {
        self.findings.push(Finding { check, outcome });
    }
}

/// Why a step of preflight went no further.
enum Stop {
    /// For people: it stays so until somebody changes something.
    Finding(Outcome),
    /// It comes right by itself, or is tried again.
    Fault(Failed),
}

impl From<Failed> for Stop {
    fn from(failed: Failed) -> Self {
        Self::Fault(failed)
    }
}

impl Host {
    /// Finds out whether this host can go to `target` with `verb`, and prepares for it: packages are downloaded
    /// and, on a control plane, images pulled. Can be dropped at any moment and repeated.
    ///
    /// # Errors
    /// A transient fault if a check could not be made, such as when the package repository does not answer.
    pub async fn preflight(&self, target: Version, verb: Verb) -> Result<HostPreflight, Fault> {
        Ok(self.check(target, verb).await?)
    }

    async fn check(&self, target: Version, verb: Verb) -> Result<HostPreflight, Failed> {
        let dpkg = self.blocking(dpkg::read).await?;
        let mut seen = HostPreflight { findings: Vec::new(), from: None, to: None, way_back: false };
        seen.note(Check::Dpkg, judge_dpkg(&dpkg));
        seen.note(Check::KubeletUnit, self.kubelet_unit().await?);
        seen.note(Check::Cgroups, self.blocking(move |settings| cgroups(settings, target)).await?);
        seen.from = installed(&dpkg);
        let control_plane = verb.is_control_plane();
        let room = self.blocking(move |settings| space::judge(settings, control_plane)).await?;
        let roomy = !matches!(room, Outcome::Failed(_));
        seen.note(Check::DiskSpace, room);
        if seen.from.is_none() {
            let text = "kubeadm and kubelet are not both installed as packages on this host".to_owned();
            seen.note(Check::Packages, Outcome::Failed(text));
            return Ok(seen);
        }
        match self.resolve(target, &dpkg).await {
            Ok(to) => seen.to = Some(to),
            Err(Stop::Finding(outcome)) => seen.note(Check::Packages, outcome),
            Err(Stop::Fault(failed)) => return Err(failed),
        }
        let Some(to) = seen.to.clone() else { return Ok(seen) };
        let simulation = self.simulate(&to).await?;
        let expected = matches!(simulation, Outcome::Passed(_));
        seen.note(Check::Simulation, simulation);
        if !(expected && roomy) {
            return Ok(seen);
        }
        self.with_packages(&mut seen, &to, target, verb).await?;
        Ok(seen)
    }

    /// Fetches the packages, and asks the new programs themselves.
    async fn with_packages(
        &self,
        seen: &mut HostPreflight,
        to: &Packages,
        target: Version,
        verb: Verb,
    ) -> Result<(), Failed> {
        match self.download(to, false).await {
            Ok(()) => {}
            Err(Stop::Finding(outcome)) => {
                seen.note(Check::Packages, outcome);
                return Ok(());
            }
            Err(Stop::Fault(failed)) => return Err(failed),
        }
        // Older packages may be gone from the repository: then there is no way back, and nothing else is wrong.
        let back = match seen.from.clone() {
            Some(from) => self.download(&from, true).await.is_ok(),
            None => false,
        };
        seen.way_back = back;
        let note =
            if back { "" } else { "; the installed ones are not there any more, so there is no way back" };
        seen.note(Check::Packages, Outcome::Passed(format!("kubelet {} is downloaded{note}", to.kubelet)));
        let unpacked = self.unpack(to, target).await?;
        let pid =
            self.systemd().main_pid(KUBELET).await.doing(|| format!("find the process of {KUBELET}"))?;
        let flags = self.blocking(move |settings| kubelet_flags::read(settings, pid)).await?;
        let program = unpacked.join("usr/bin/kubelet");
        seen.note(Check::KubeletFlags, kubelet_flags::try_out(&program, &flags, target).await);
        self.kubeadm(seen, &unpacked, target, verb).await
    }

    async fn kubelet_unit(&self) -> Result<Outcome, Failed> {
        let unit = self.systemd().unit(KUBELET).await.doing(|| format!("read the state of {KUBELET}"))?;
        Ok(if unit.is_active() {
            Outcome::Passed(format!("{KUBELET} is active"))
        } else {
            Outcome::Failed(format!(
                "{KUBELET} is {} ({}), and an upgrade would hide why; see journalctl --unit {KUBELET}",
                unit.active_state, unit.sub_state
            ))
        })
    }

    async fn apt(&self, program: &str, args: &[String], limit: Duration) -> Result<Output, Failed> {
        process::run(Path::new(program), args, limit).await
    }

    /// Exact versions for the target, from fresh package lists.
    async fn resolve(&self, target: Version, dpkg: &Dpkg) -> Result<Packages, Stop> {
        let settings = self.settings();
        if self.blocking(apt::prepare).await?.is_empty() {
            let looked: Vec<_> = settings.sources.iter().map(|path| path.display().to_string()).collect();
            return Err(Stop::Finding(Outcome::Failed(format!(
                "none of the apt source files exists that are configured to carry the Kubernetes packages: {}",
                looked.join(", ")
            ))));
        }
        let update = self.apt(apt::APT_GET, &apt::update(settings), UPDATE_LIMIT).await?;
        judge_fetch(&update, "fetch the package lists")?;
        let listed = self.apt(apt::APT_CACHE, &apt::madison(settings, &super::PACKAGES), SHORT_LIMIT).await?;
        if !listed.succeeded() {
            return Err(Failed::new(format!("could not list packages: {}", listed.last_words())).into());
        }
        let kubectl = dpkg.packages.contains_key("kubectl");
        resolve::resolve(&listed.stdout, target, kubectl).map_err(|why| Stop::Finding(Outcome::Failed(why)))
    }

    /// Both steps as they will be made: kubeadm alone, then everything.
    async fn simulate(&self, to: &Packages) -> Result<Outcome, Failed> {
        let all = apt::all(to);
        for wanted in [all.get(..1).unwrap_or_default(), &all] {
            let args = apt::simulate(self.settings(), wanted);
            let output = self.apt(apt::APT_GET, &args, SHORT_LIMIT).await?;
            if let Outcome::Failed(why) = judge_simulation(&output) {
                return Ok(Outcome::Failed(why));
            }
        }
        Ok(Outcome::Passed("apt would change the Kubernetes packages alone and remove nothing".to_owned()))
    }

    async fn download(&self, packages: &Packages, reinstall: bool) -> Result<(), Stop> {
        let args = apt::download(self.settings(), &apt::all(packages), reinstall);
        let output = self.apt(apt::APT_GET, &args, DOWNLOAD_LIMIT).await?;
        judge_fetch(&output, "download the packages")?;
        // apt exits with 0 when what is installed "cannot be downloaded" again: only the files prove anything.
        let packages = packages.clone();
        let missing = self.blocking(move |settings| {
            apt::all(&packages)
                .into_iter()
                .try_for_each(|(name, version)| apt::archived(settings, name, version).map(drop))
        });
        Ok(missing.await?)
    }

    /// Unpacks the new kubeadm and kubelet aside, where nothing finds them but preflight.
    async fn unpack(&self, to: &Packages, target: Version) -> Result<PathBuf, Failed> {
        let root = self.settings().unpacked();
        let place = root.join(target.to_string());
        self.blocking(move |_| empty(&root)).await?;
        for (name, version) in [("kubeadm", to.kubeadm.clone()), ("kubelet", to.kubelet.clone())] {
            let archive = self.blocking(move |settings| apt::archived(settings, name, &version)).await?;
            let args = ["-x".into(), archive.into_os_string(), place.clone().into_os_string()];
            let output = process::run(Path::new(apt::DPKG_DEB), &args, SHORT_LIMIT).await?;
            if !output.succeeded() {
                return Err(Failed::new(format!("could not unpack {name}: {}", output.last_words())));
            }
        }
        Ok(place)
    }

    async fn kubeadm(
        &self,
        seen: &mut HostPreflight,
        unpacked: &Path,
        target: Version,
        verb: Verb,
    ) -> Result<(), Failed> {
        let (program, config) = (unpacked.join("usr/bin/kubeadm"), self.settings().kubeadm_config.as_deref());
        let phase = process::run(&program, &kubeadm::preflight(verb, target, config), KUBEADM_LIMIT).await?;
        let outcome = kubeadm::judge("preflight", &phase);
        if !phase.succeeded() {
            seen.note(Check::Kubeadm, outcome);
            return Ok(());
        }
        seen.note(Check::ContainerRuntime, kubeadm::judge_runtime(&phase, target));
        let written = unpacked.join("dry-run");
        fs::create_dir_all(&written).doing(|| format!("create {}", written.display()))?;
        let args = kubeadm::dry_run(verb, target, config);
        let place = [(kubeadm::DRY_RUN_DIRECTORY, written.as_path())];
        let dry = process::run_with(&program, &args, &place, KUBEADM_LIMIT).await?;
        seen.note(Check::Kubeadm, kubeadm::judge("dry run", &dry));
        Ok(())
    }
}

fn empty(directory: &Path) -> Result<(), Failed> {
    let doing = || format!("empty {}", directory.display());
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).doing(doing),
        _ => {}
    }
    fs::create_dir_all(directory).doing(doing)
}

fn installed(dpkg: &Dpkg) -> Option<Packages> {
    let version = |name: &str| dpkg.packages.get(name).map(|package| package.version.clone());
    Some(Packages { kubeadm: version("kubeadm")?, kubelet: version("kubelet")?, kubectl: version("kubectl") })
}

fn judge_dpkg(dpkg: &Dpkg) -> Outcome {
    if !dpkg.broken.is_empty() {
        let names = dpkg.broken.join(", ");
        Outcome::Failed(format!(
            "dpkg holds half-installed packages that only a reinstallation mends (apt-get install --reinstall): {names}"
        ))
    } else if dpkg.interrupted {
        Outcome::Passed(
            "dpkg was interrupted; `dpkg --configure -a` comes before any installation".to_owned(),
        )
    } else {
        Outcome::Passed("dpkg's database is sane".to_owned())
    }
}

/// Signs that fetching will not go right until a person changes something.
const LASTING: [&str; 9] = [
    "NO_PUBKEY",
    "EXPKEYSIG",
    "REVKEYSIG",
    "is not signed",
    "does not have a Release file",
    "Malformed entry",
    "Type '",
    "Unable to locate package",
    "was not found",
];

fn judge_fetch(output: &Output, doing: &str) -> Result<(), Stop> {
    // apt before 2.1 only warns about lists it could not fetch.
    let partly =
        ["Failed to fetch", "Some index files failed"].iter().any(|sign| output.stderr.contains(sign));
    if output.succeeded() && !partly {
        return Ok(());
    }
    let text = format!("could not {doing}: {}", output.last_words());
    if output.stderr.contains("enough free space") || LASTING.iter().any(|sign| output.stderr.contains(sign))
    {
        Err(Stop::Finding(Outcome::Failed(text)))
    } else {
        Err(Stop::Fault(Failed::new(text)))
    }
}

fn judge_simulation(output: &Output) -> Outcome {
    let simulation = apt::simulation(&output.stdout);
    if !simulation.removals.is_empty() {
        return Outcome::Failed(format!("apt would remove {}", simulation.removals.join(", ")));
    }
    let others: Vec<_> = simulation
        .installs
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| !EXPECTED.contains(name))
        .collect();
    if !others.is_empty() {
        return Outcome::Failed(format!(
            "apt would also change {}; change them beforehand",
            others.join(", ")
        ));
    }
    if output.succeeded() {
        Outcome::Passed(String::new())
    } else {
        Outcome::Failed(format!("apt cannot install the packages: {}", output.last_words()))
    }
}

fn cgroups(settings: &Settings, target: Version) -> Result<Outcome, Failed> {
    let path = settings.on_host("/sys/fs/cgroup");
    // As kubelet finds it out itself.
    let unified = statfs(&path).doing(|| format!("look at {}", path.display()))?.filesystem_type()
        == CGROUP2_SUPER_MAGIC;
    let config = settings.kubelet_dir().join("config.yaml");
    let config = fs::read_to_string(&config).unwrap_or_default();
    Ok(judge_cgroups(unified, target, &config))
}

fn judge_cgroups(unified: bool, target: Version, kubelet_config: &str) -> Outcome {
    let allowed = kubelet_config
        .lines()
        .filter_map(|line| line.strip_prefix("failCgroupV1:"))
        .any(|value| value.trim() == "false");
    if unified {
        Outcome::Passed("cgroup v2".to_owned())
    } else if target.minor < CGROUP_V2_MINOR {
        Outcome::Passed(format!("cgroup v1, which kubelet refuses from v1.{CGROUP_V2_MINOR} on"))
    } else if allowed {
        Outcome::Passed("cgroup v1, which failCgroupV1: false in kubelet's configuration allows".to_owned())
    } else {
        Outcome::Failed(format!(
            "this host uses cgroup v1, which the kubelet of {target} refuses: boot with cgroup v2, or set \
             failCgroupV1: false in the ConfigMap kube-system/kubelet-config and in kubelet's config.yaml"
        ))
    }
}

#[cfg(test)]
#[path = "preflight/tests.rs"]
mod tests;
