//! Tools at work: transient units that outlive the agent and take their time.

use std::collections::{BTreeSet, VecDeque};

use upgrade_core::act::Tool;
use upgrade_core::api::{KubeadmCommand, PackageVersion, Version};
use upgrade_core::memory::Packages;
use upgrade_core::observed::{PackageSeen, ToolState};
use upgrade_core::oracle::{What, Who};

use super::host::Host;
use super::kubeadm::Phase;
use super::{Happening, World};
use crate::fault::Failure;
use crate::schedule::Point;

/// What a tool does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Work {
    /// dpkg unpacks: from here until it is configured a power cut leaves dpkg interrupted.
    Unpack(String, PackageVersion),
    /// dpkg configures what was unpacked.
    Configure,
    /// kubeadm goes through a phase, or a part of one.
    Kubeadm(Phase),
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
    /// What is still to do, each piece with the milliseconds before it.
    pub(super) work: VecDeque<(u64, Work)>,
    /// The last words it wrote.
    pub(super) words: &'static str,
}

impl Host {
    fn is_past(&self, name: &str, version: &PackageVersion) -> bool {
        self.version(name).zip(version.kubernetes()).is_some_and(|(installed, wanted)| installed > wanted)
    }

    /// What apt refuses.
    fn apt_refuses(&self, tool: &Tool) -> bool {
        let broken = self.dpkg_interrupted || self.foreign_broken;
        match tool {
            Tool::InstallKubeadm { packages, back } => {
                broken || (!back && self.is_past("kubeadm", &packages.kubeadm))
            }
            Tool::InstallKubelet { packages } => broken || self.is_past("kubelet", &packages.kubelet),
            Tool::RepairDpkg => self.foreign_broken,
            Tool::Kubeadm { .. } | Tool::Hold { .. } => false,
        }
    }

    /// The failure that is in store for this tool.
    fn failure(&mut self, tool: &Tool) -> Option<Failure> {
        let (times, how) = self.failures.get_mut(tool.word()).filter(|(times, _)| *times > 0)?;
        *times -= 1;
        Some(*how)
    }
}

impl World {
    pub(super) fn start_tool(&mut self, node: &str, name: &str, tool: &Tool) {
        let work = self.work(node, tool);
        let Some(machine) = self.machines.get_mut(node) else { return };
        let unit = Unit { word: tool.word(), state: ToolState::Running, work, words: "" };
        machine.host.units.insert(name.to_owned(), unit);
        let kubeadm = match tool {
            Tool::Kubeadm { command, target } => Some((*command, *target)),
            _ => None,
        };
        self.record(node, What::ToolStarted { tool: tool.word(), kubeadm });
        self.next_work(node, name);
    }

    /// What a tool will do, with the milliseconds before each piece of work.
    fn work(&mut self, node: &str, tool: &Tool) -> VecDeque<(u64, Work)> {
        let now = self.now;
        let mut work = match tool {
            Tool::Kubeadm { command, target } => self.kubeadm(node, *command, *target),
            other => packages(other),
        };
        let Some(machine) = self.machines.get_mut(node) else { return work };
        if machine.host.apt_refuses(tool) || machine.host.disk_full_until > now {
            return VecDeque::from([(1_500, Work::End(100))]);
        }
        match machine.host.failure(tool) {
            None => work.push_back((500, Work::End(0))),
            Some(Failure::AtOnce) => work = VecDeque::from([(1_500, Work::End(1))]),
            Some(Failure::Late) => {
                work.pop_back();
                work.push_back((500, Work::End(1)));
            }
            Some(Failure::Killed(pieces)) => {
                work.truncate(pieces);
                work.push_back((500, Work::End(137)));
            }
            Some(Failure::RolledBack(component)) => {
                super::kubeadm::roll_back_at(&mut work, component);
                work.push_back((500, Work::End(0)));
            }
        }
        work
    }

    pub(super) fn next_work(&mut self, node: &str, name: &str) {
        let Some(machine) = self.machines.get(node) else { return };
        let boot = machine.host.boot;
        let Some((after, _)) = machine.host.units.get(name).and_then(|unit| unit.work.front()) else {
            return;
        };
        let at = self.now + after;
        self.later(at, Happening::Works { node: node.to_owned(), boot, unit: name.to_owned() });
    }

    pub(super) fn works(&mut self, node: &str, boot: u64, name: &str) {
        let Some(machine) = self.machines.get_mut(node).filter(|machine| machine.host.boot == boot) else {
            return;
        };
        let Some(next) = machine.host.units.get_mut(name).and_then(|unit| unit.work.pop_front()) else {
            return;
        };
        self.carry_on(node, name, next.1);
        self.strike_in_tool(node, name);
        self.next_work(node, name);
    }

    /// `Done` of a tool is the moment in which it has begun its work and not ended it.
    fn strike_in_tool(&mut self, node: &str, name: &str) {
        let Some(machine) = self.machines.get(node) else { return };
        if machine.host.units.get(name).is_none_or(|unit| unit.state != ToolState::Running) {
            return;
        }
        let Some(life) = &machine.life else { return };
        let awaits = life.awaited.iter().find(|(_, unit)| *unit == name);
        if let Some(step) = awaits.and_then(|(id, _)| life.acts.get(id)).copied() {
            self.strike_at(node, step, Point::Done);
        }
    }

    fn carry_on(&mut self, node: &str, name: &str, work: Work) {
        match work {
            Work::Unpack(package, version) => self.unpack(node, package, version),
            Work::Configure => self.configure(node),
            Work::Kubeadm(phase) => self.kubeadm_phase(node, name, phase),
            Work::Hold(packages) => {
                let Some(machine) = self.machines.get_mut(node) else { return };
                let known = machine.host.packages.iter_mut().filter(|(name, _)| packages.contains(*name));
                known.for_each(|(_, package)| package.held = true);
            }
            Work::End(status) => self.tool_ends(node, name, status),
        }
    }

    pub(super) fn tool_ends(&mut self, node: &str, name: &str, status: i32) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        let Some(unit) = machine.host.units.get_mut(name) else { return };
        unit.state = ToolState::Ended(status);
        unit.work.clear();
        let tool = unit.word;
        self.record(node, What::ToolEnded { tool, ok: status == 0 });
        self.tool_may_have_ended(node, name);
    }

    fn unpack(&mut self, node: &str, package: String, version: PackageVersion) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        machine.host.dpkg_interrupted = true;
        let held = false;
        let seen = PackageSeen { version: version.clone(), configured: false, held };
        machine.host.files_are_fresh &= package != "kubeadm";
        machine.host.packages.insert(package.clone(), seen);
        let by = Who::Agent(node.to_owned());
        self.record(node, What::PackageInstalled { package, version, by });
    }

    fn configure(&mut self, node: &str) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        let host = &mut machine.host;
        let kubelet = host.packages.get("kubelet").is_some_and(|package| !package.configured);
        host.dpkg_interrupted = false;
        host.packages.values_mut().for_each(|package| package.configured = true);
        if kubelet && host.package_restarts {
            self.restart_kubelet(node);
        }
    }

    pub(super) fn kubeadm(
        &self,
        node: &str,
        command: KubeadmCommand,
        target: Version,
    ) -> VecDeque<(u64, Work)> {
        let Some(machine) = self.machines.get(node) else { return VecDeque::new() };
        // `kubeadm upgrade node` takes the version that kubeadm-config names.
        let to = if command == KubeadmCommand::Apply { target } else { self.api.stored.kubeadm_config };
        super::kubeadm::phases(&machine.host, command, to)
            .map(|(after, phase)| (after, Work::Kubeadm(phase)))
            .collect()
    }
}

/// The pieces of work of apt, dpkg and apt-mark, except the end.
fn packages(tool: &Tool) -> VecDeque<(u64, Work)> {
    let unpack =
        |name: &str, version: &PackageVersion| (1_500, Work::Unpack(name.to_owned(), version.clone()));
    let configure = (2_000, Work::Configure);
    match tool {
        Tool::InstallKubeadm { packages, .. } => {
            VecDeque::from([unpack("kubeadm", &packages.kubeadm), configure])
        }
        Tool::InstallKubelet { packages: Packages { kubelet, kubectl, .. } } => {
            let kubectl = kubectl.iter().map(|version| unpack("kubectl", version));
            kubectl.chain([unpack("kubelet", kubelet), configure]).collect()
        }
        Tool::RepairDpkg => VecDeque::from([(1_500, Work::Configure)]),
        Tool::Hold { packages } => VecDeque::from([(1_500, Work::Hold(packages.clone()))]),
        Tool::Kubeadm { .. } => VecDeque::new(),
    }
}
