//! What this host can tell before anything is touched (design section 5). Everything here writes below the agent's
//! own directory alone; kubeadm's preflight pulls images, which is its purpose.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use upgrade_core::act::Fault;
use upgrade_core::api::{Check, KubeadmCommand, Version};
use upgrade_core::judge::checks::host::{Cgroups, KubeletUnit};
use upgrade_core::judge::checks::packages::{self, Fetch};
use upgrade_core::judge::checks::{self, Output};
use upgrade_core::judge::preflight::HostPreflight;
use upgrade_core::memory::Packages;
use upgrade_core::observed::Outcome;

use super::dpkg::Dpkg;
use super::fault::{Doing, Failed};
use super::{Host, KUBELET, Settings, apt, dpkg, kubeadm, kubelet_flags, process, resolve, space};

/// Lists of a small repository.
const UPDATE_LIMIT: Duration = Duration::from_mins(5);
/// Two hundred megabytes on a slow line.
const DOWNLOAD_LIMIT: Duration = Duration::from_mins(30);
/// Nothing but reading and computing.
const SHORT_LIMIT: Duration = Duration::from_mins(2);
/// kubeadm's health check and the images of a control plane.
const KUBEADM_LIMIT: Duration = Duration::from_mins(20);

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
    /// Finds out whether this host can go to `target` with `command`, and prepares for it: packages are downloaded
    /// and, on a control plane, images pulled. Can be dropped at any moment and repeated.
    ///
    /// # Errors
    /// A transient fault if a check could not be made, such as when the package repository does not answer.
    pub async fn preflight(&self, target: Version, command: KubeadmCommand) -> Result<HostPreflight, Fault> {
        Ok(self.check(target, command).await?)
    }

    async fn check(&self, target: Version, command: KubeadmCommand) -> Result<HostPreflight, Failed> {
        let dpkg = self.blocking(dpkg::read).await?;
        let mut seen = HostPreflight::default();
        let holder = dpkg.holder.as_ref().map(ToString::to_string);
        seen.note(Check::Dpkg, checks::dpkg(holder.as_deref(), dpkg.interrupted, &dpkg.broken));
        seen.note(Check::KubeletUnit, self.kubelet_unit().await?);
        seen.note(Check::Cgroups, checks::cgroups(self.blocking(cgroups).await?, target));
        let control_plane = command.is_control_plane();
        let room = self.blocking(move |settings| space::look(settings, control_plane)).await?;
        let room = checks::disk_space(&room);
        let roomy = !matches!(room, Outcome::Failed(_));
        seen.note(Check::DiskSpace, room);
        if let Some(holder) = holder {
            seen.note(Check::Packages, packages::at_work(&holder));
            return Ok(seen);
        }
        match packages::installed(&dpkg.packages) {
            Ok(from) => seen.from = Some(from),
            Err(outcome) => {
                seen.note(Check::Packages, outcome);
                return Ok(seen);
            }
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
        self.with_packages(&mut seen, &to, target, command).await?;
        Ok(seen)
    }

    /// Fetches the packages, and asks the new programs themselves.
    async fn with_packages(
        &self,
        seen: &mut HostPreflight,
        to: &Packages,
        target: Version,
        command: KubeadmCommand,
    ) -> Result<(), Failed> {
        match self.download(to).await {
            Ok(()) => {}
            Err(Stop::Finding(outcome)) => {
                seen.note(Check::Packages, outcome);
                return Ok(());
            }
            Err(Stop::Fault(failed)) => return Err(failed),
        }
        seen.can_restore_packages = match seen.from.clone() {
            Some(from) => self.download(&from).await.is_ok(),
            None => false,
        };
        seen.note(Check::Packages, packages::downloaded(to, seen.can_restore_packages));
        let unpacked = self.unpack(to, target).await?;
        let pid =
            self.systemd().main_pid(KUBELET).await.doing(|| format!("find the process of {KUBELET}"))?;
        let flags = self.blocking(move |settings| kubelet_flags::read(settings, pid)).await?;
        let program = unpacked.join("usr/bin/kubelet");
        let trial = kubelet_flags::try_out(&program, &flags).await;
        seen.note(Check::KubeletFlags, checks::kubelet_flags(&flags, &trial, target));
        self.kubeadm(seen, &unpacked, target, command).await
    }

    async fn kubelet_unit(&self) -> Result<Outcome, Failed> {
        let unit = self.systemd().unit(KUBELET).await.doing(|| format!("read the state of {KUBELET}"))?;
        let (state, sub_state) = (unit.active_state.clone(), unit.sub_state.clone());
        Ok(checks::kubelet_unit(&KubeletUnit { active: unit.is_active(), state, sub_state }))
    }

    async fn apt(&self, program: &str, args: &[String], limit: Duration) -> Result<Output, Failed> {
        process::run(Path::new(program), args, limit).await
    }

    /// Exact versions for the target, from fresh package lists.
    async fn resolve(&self, target: Version, dpkg: &Dpkg) -> Result<Packages, Stop> {
        let settings = self.settings();
        if self.blocking(apt::prepare).await?.is_empty() {
            let looked: Vec<_> = settings.sources.iter().map(|path| path.display().to_string()).collect();
            return Err(Stop::Finding(packages::no_sources(&looked)));
        }
        let update = self.apt(apt::APT_GET, &apt::update(settings), UPDATE_LIMIT).await?;
        fetched(&update, "fetch the package lists")?;
        let listed = self.apt(apt::APT_CACHE, &apt::madison(settings, &super::PACKAGES), SHORT_LIMIT).await?;
        if !listed.succeeded() {
            return Err(Failed::new(format!("could not list packages: {}", listed.last_words())).into());
        }
        let kubectl = dpkg.packages.contains_key("kubectl");
        packages::resolve(&resolve::listed(&listed.stdout), target, kubectl).map_err(Stop::Finding)
    }

    /// Both steps as they will be made: kubeadm alone, then everything.
    async fn simulate(&self, to: &Packages) -> Result<Outcome, Failed> {
        let all = apt::all(to);
        let first = self.simulated(all.get(..1).unwrap_or_default()).await?;
        if matches!(first, Outcome::Passed(_)) { self.simulated(&all).await } else { Ok(first) }
    }

    async fn simulated(&self, wanted: &[apt::Wanted<'_>]) -> Result<Outcome, Failed> {
        let args = apt::simulate(self.settings(), wanted);
        let output = self.apt(apt::APT_GET, &args, SHORT_LIMIT).await?;
        Ok(checks::simulation(&apt::simulation(&output)))
    }

    async fn download(&self, packages: &Packages) -> Result<(), Stop> {
        let args = apt::download(self.settings(), &apt::all(packages));
        let output = self.apt(apt::APT_GET, &args, DOWNLOAD_LIMIT).await?;
        fetched(&output, "download the packages")?;
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
        command: KubeadmCommand,
    ) -> Result<(), Failed> {
        let program = unpacked.join("usr/bin/kubeadm");
        let config = match self.settings().kubeadm_config.as_deref().map(kubeadm::Config::read).transpose() {
            Ok(config) => config,
            Err(unreadable) => {
                seen.note(Check::Kubeadm, Outcome::Failed(Fault::from(unreadable).message));
                return Ok(());
            }
        };
        let config = config.as_ref();
        let phase =
            process::run(&program, &kubeadm::preflight(command, target, config), KUBEADM_LIMIT).await?;
        let outcome = checks::kubeadm("preflight", &phase);
        if !phase.succeeded() {
            seen.note(Check::Kubeadm, outcome);
            return Ok(());
        }
        seen.note(Check::ContainerRuntime, checks::container_runtime(&phase, target));
        let written = unpacked.join("dry-run");
        fs::create_dir_all(&written).doing(|| format!("create {}", written.display()))?;
        let args = kubeadm::dry_run(command, target, config);
        let place = [(kubeadm::DRY_RUN_DIRECTORY, written.as_path())];
        let dry = process::run_with(&program, &args, &place, KUBEADM_LIMIT).await?;
        seen.note(Check::Kubeadm, checks::kubeadm("dry run", &dry));
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

fn fetched(output: &Output, doing: &str) -> Result<(), Stop> {
    match packages::fetch(output, doing) {
        Fetch::Fetched => Ok(()),
        Fetch::Finding(outcome) => Err(Stop::Finding(outcome)),
        Fetch::Fault(text) => Err(Stop::Fault(Failed::new(text))),
    }
}

fn cgroups(settings: &Settings) -> Result<Cgroups, Failed> {
    let path = settings.on_host("/sys/fs/cgroup");
    // As kubelet finds it out itself.
    let unified = statfs(&path).doing(|| format!("look at {}", path.display()))?.filesystem_type()
        == CGROUP2_SUPER_MAGIC;
    let config = settings.kubelet_dir().join("config.yaml");
    let config = fs::read_to_string(&config).unwrap_or_default();
    Ok(Cgroups { unified, v1_allowed: allows_cgroup_v1(&config) })
}

fn allows_cgroup_v1(kubelet_config: &str) -> bool {
    kubelet_config
        .lines()
        .filter_map(|line| line.strip_prefix("failCgroupV1:"))
        .any(|value| value.trim() == "false")
}

#[cfg(test)]
#[path = "preflight/tests.rs"]
mod tests;
