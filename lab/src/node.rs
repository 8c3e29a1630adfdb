//! One node: a Debian machine run by systemd-nspawn, with a disk, a cable and a power switch.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cgroup::Cgroup;
use crate::instance::{Record, cgroup_name, machine_name};
use crate::network::Network;
use crate::process::{checked, command, run, run_command};
use crate::wait::wait_for;
use crate::{nspawn, wait_until};

const SUPERVISOR: &str = include_str!("../node/supervisor.sh");
const BOOT_LIMIT: Duration = Duration::from_mins(1);

/// A node of a running cluster.
#[derive(Debug, Clone)]
pub struct Node {
    name: String,
    number: u8,
    network: Network,
    directory: PathBuf,
    machine: String,
    cgroup: Cgroup,
}

impl Node {
    /// The handle of node `number` (from 1) of a cluster.
    ///
    /// # Errors
    /// If there is no such node, or this host has no cgroup v2.
    pub(crate) fn of(record: &Record, number: u8) -> Result<Self> {
        let Some(name) = record.nodes.get(usize::from(number).wrapping_sub(1)) else {
            bail!("the cluster {} has no node number {number}", record.name);
        };
        Ok(Self {
            name: name.clone(),
            number,
            network: Network::new(record.index),
            directory: record.state.join("nodes").join(name),
            machine: machine_name(record.index, name),
            cgroup: Cgroup::named(&cgroup_name(record.index, name))?,
        })
    }

    /// Its name, in the cluster as well.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address, reachable from the host.
    pub fn address(&self) -> Ipv4Addr {
        self.network.node(self.number)
    }

    /// Its disk, seen from the host, running or not. Below /run and /tmp the running node sees something else.
    pub fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    /// What its kernel and systemd printed while booting: where to look when it does not come up.
    pub fn console_log(&self) -> PathBuf {
        self.directory.join("console.log")
    }

    /// Makes the node's disk from the prepared layers and containerd's prepared directory.
    pub(crate) fn create_disk(&self, layers: &[PathBuf], containerd: &Path) -> Result<()> {
        let layers: Vec<&Path> = layers.iter().map(PathBuf::as_path).collect();
        crate::mounts::overlay(
            &layers,
            &self.directory.join("disk"),
            &self.directory.join("work"),
            &self.root(),
        )?;
        let copy = self.containerd();
        // Hard links: images are never written to, so nodes can share them.
        run("cp", &["-al", &containerd.display().to_string(), &copy.display().to_string()])?;
        unshare_databases(&copy)?;
        self.write_file("/etc/hostname", format!("{}\n", self.name), 0o644)?;
        self.write_file("/etc/machine-id", format!("{}\n", self.machine_id()), 0o444)
    }

    /// Where containerd keeps its images: not on the overlay, which cannot carry the overlays of containers.
    fn containerd(&self) -> PathBuf {
        self.directory.join("containerd")
    }

    /// A stable identity, so that journals before and after a power cut belong together.
    fn machine_id(&self) -> String {
        use sha2::{Digest, Sha256};
        crate::cache::hex(&Sha256::digest(self.directory.as_os_str().as_encoded_bytes()))[..32].to_owned()
    }

    /// Switches the node on and waits until its systemd is up.
    ///
    /// # Errors
    /// If it runs already, or does not come up in a minute.
    pub fn power_on(&self) -> Result<()> {
        if self.is_running() {
            bail!("node {} is running already", self.name);
        }
        self.launch()?;
        self.wait_booted(None)
    }

    /// Starts the machine without waiting for it.
    pub(crate) fn launch(&self) -> Result<()> {
        let cgroup = Cgroup::create(self.cgroup.name())?;
        let mut arguments = nspawn::isolation(&self.machine, &self.root());
        arguments.extend([
            "--boot".into(),
            format!("--hostname={}", self.name),
            "--kill-signal=SIGRTMIN+4".into(),
            format!("--network-namespace-path=/run/netns/{}", self.network.namespace(self.number)),
            format!("--bind={}:/var/lib/containerd", self.containerd().display()),
        ]);
        let mut supervisor = command("setsid", &["--fork", "sh", "-c", SUPERVISOR, "supervisor"]);
        supervisor.arg(&self.directory).args(cgroup.directories()).arg("--");
        supervisor.arg("systemd-nspawn").args(arguments).envs(nspawn::ENVIRONMENT);
        // Its own files only: a pipe of ours it inherits would keep our caller waiting for its end.
        supervisor.stdout(Stdio::null()).stderr(Stdio::null());
        run_command(&mut supervisor).with_context(|| format!("cannot start node {}", self.name))?;
        Ok(())
    }

    /// Waits until systemd has started everything; `previous` is the init process that must be gone first.
    pub(crate) fn wait_booted(&self, previous: Option<u32>) -> Result<()> {
        let console = self.console_log().display().to_string();
        wait_for(&format!("node {} to boot (see {console})", self.name), BOOT_LIMIT, || {
            if Some(self.init()?) == previous {
                return Ok(None);
            }
            // Unsuccessful while starting, and when a unit failed, which is for the test to judge.
            let state = self.exec(&["systemctl", "is-system-running"])?;
            let state = String::from_utf8_lossy(&state.stdout);
            Ok(matches!(state.trim(), "running" | "degraded").then_some(()))
        })
    }

    /// Whether its init process runs.
    pub fn is_running(&self) -> bool {
        self.init().is_ok()
    }

    /// The node's init process, in the host's numbering.
    fn init(&self) -> Result<u32> {
        let off = || format!("node {} is switched off", self.name);
        let nspawn = fs::read_to_string(self.directory.join("nspawn.pid")).with_context(off)?;
        let nspawn = nspawn.trim();
        let children =
            fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children")).with_context(off)?;
        let child = children.split(' ').next().unwrap_or_default();
        child.parse().with_context(off)
    }

    /// A command to run inside, with a clean environment and no input; for what [`Node::exec`] does not offer.
    ///
    /// # Errors
    /// If the node is switched off.
    pub fn command(&self, argv: &[&str]) -> Result<Command> {
        let init = self.init()?.to_string();
        let mut nsenter = command(
            "nsenter",
            &["-t", &init, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd", "--"],
        );
        nsenter.args(argv).env_clear().envs([
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"),
            ("HOME", "/root"),
            ("LANG", "C.UTF-8"),
            ("KUBECONFIG", "/etc/kubernetes/admin.conf"),
        ]);
        Ok(nsenter)
    }

    /// Runs a command inside to its end and returns its output, whether it succeeded or not.
    ///
    /// # Errors
    /// If the node is switched off.
    pub fn exec(&self, argv: &[&str]) -> Result<Output> {
        self.command(argv)?.output().with_context(|| format!("cannot run {argv:?} on node {}", self.name))
    }

    /// Runs a command inside that must succeed and returns its standard output.
    ///
    /// # Errors
    /// If the node is switched off or the command fails; the error quotes the end of its output.
    pub fn run(&self, argv: &[&str]) -> Result<String> {
        checked(&self.exec(argv)?, &format!("{}: {}", self.name, argv.join(" ")))
    }

    /// Starts a command inside, with its output piped to the caller.
    ///
    /// The child is the door, not the command: killing it leaves the command running, until it ends or the node does.
    ///
    /// # Errors
    /// If the node is switched off.
    pub fn spawn(&self, argv: &[&str]) -> Result<Child> {
        self.command(argv)?
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {argv:?} on node {}", self.name))
    }

    /// Writes a file on the node's disk, running or not, creating its directory. Not for /run or /tmp.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_file(&self, path: &str, content: impl AsRef<[u8]>, mode: u32) -> Result<()> {
        let target = self.on_disk(path);
        let failure = || format!("cannot write {path} on node {}", self.name);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).with_context(failure)?;
        }
        // By rename, so that a program inside never reads half of it.
        let new = target.with_added_extension("lab-new");
        fs::write(&new, content).with_context(failure)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(mode)).with_context(failure)?;
        fs::rename(&new, &target).with_context(failure)
    }

    /// Reads a file from the node's disk, running or not. Not for /run or /tmp.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read_file(&self, path: &str) -> Result<Vec<u8>> {
        fs::read(self.on_disk(path)).with_context(|| format!("cannot read {path} on node {}", self.name))
    }

    fn on_disk(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    /// Cuts the power: every process of the node dies at the same instant, unsynced memory of theirs is lost.
    ///
    /// # Errors
    /// If its processes cannot be killed.
    pub fn power_cut(&self) -> Result<()> {
        // Removed as well, not just emptied: Linux kills processes that are later forked into a cgroup that was killed.
        self.cgroup.remove()?;
        let _ = fs::remove_file(self.directory.join("nspawn.pid"));
        Ok(())
    }

    /// Reboots the node properly and waits until it is up again.
    ///
    /// # Errors
    /// If it is off, or does not come up again.
    pub fn reboot(&self) -> Result<()> {
        let previous = self.init()?;
        self.run(&["systemctl", "reboot"])?;
        self.wait_booted(Some(previous))
    }

    /// Shuts the node down properly and waits until it is off.
    ///
    /// # Errors
    /// If it is off, or does not end in a minute.
    pub fn power_off(&self) -> Result<()> {
        self.run(&["systemctl", "poweroff"])?;
        wait_until(&format!("node {} to shut down", self.name), BOOT_LIMIT, || Ok(!self.is_running()))
    }

    /// The journal of a unit, over all boots, also of a node that is off.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub fn journal(&self, unit: &str) -> Result<String> {
        let options = ["--no-pager", "--output=short-iso-precise", "--unit", unit];
        if self.is_running() {
            return self.run(&[&["journalctl"], options.as_slice()].concat());
        }
        let directory = self.root().join("var/log/journal").display().to_string();
        run("journalctl", &[&["--directory", &directory], options.as_slice()].concat())
    }
}

/// Gives a hard-linked containerd directory databases of its own: those are written in place.
fn unshare_databases(directory: &Path) -> Result<()> {
    for plugin in fs::read_dir(directory).context("cannot read containerd's directory")? {
        let plugin = plugin?;
        if !plugin.file_type()?.is_dir() {
            continue;
        }
        for file in fs::read_dir(plugin.path()).context("cannot read containerd's directory")? {
            let file = file?.path();
            if file.extension().is_some_and(|extension| extension == "db") {
                let copy = file.with_extension("db.new");
                fs::copy(&file, &copy).context("cannot copy containerd's database")?;
                fs::rename(&copy, &file).context("cannot replace containerd's database")?;
            }
        }
    }
    Ok(())
}
