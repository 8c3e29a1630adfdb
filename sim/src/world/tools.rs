//! Tools at work: transient units that outlive the agent and take their time.

use upgrade_core::act::Tool;
use upgrade_core::oracle::{What, Who};
use upgrade_core::seen::{PackageSeen, ToolState};

use super::host::{Unit, Work};
use super::{Happening, Point, World};

/// How long a static pod takes to run after its manifest is in place.
const POD_STARTS: u64 = 1_500;

impl World {
    pub(super) fn start_tool(&mut self, node: &str, name: &str, tool: &Tool) {
        let uploaded = self.api.kubeadm_config;
        let needs_api = matches!(tool, Tool::Kubeadm { .. }) && !self.reaches_api(node);
        let Some(machine) = self.machines.get_mut(node) else { return };
        let mut work = machine.host.plan(tool, uploaded);
        if needs_api {
            work = vec![(1_500, Work::End(1))];
        }
        let unit = Unit { word: tool.word(), state: ToolState::Running, work };
        machine.host.units.insert(name.to_owned(), unit);
        let kubeadm = match tool {
            Tool::Kubeadm { verb, target } => Some((*verb, *target)),
            _ => None,
        };
        self.record(node, What::ToolStarted { tool: tool.word(), kubeadm });
        self.next_work(node, name);
    }

    fn next_work(&mut self, node: &str, name: &str) {
        let Some(machine) = self.machines.get(node) else { return };
        let boot = machine.host.boot;
        let Some((after, _)) = machine.host.units.get(name).and_then(|unit| unit.work.first()) else {
            return;
        };
        let at = self.now + after;
        self.later(at, Happening::Works { node: node.to_owned(), boot, unit: name.to_owned() });
    }

    pub(super) fn works(&mut self, node: &str, boot: u64, name: &str) {
        let Some(machine) = self.machines.get_mut(node).filter(|machine| machine.host.boot == boot) else {
            return;
        };
        let Some(unit) = machine.host.units.get_mut(name).filter(|unit| !unit.work.is_empty()) else {
            return;
        };
        let (_, next) = unit.work.remove(0);
        let word = unit.word;
        self.carry_on(node, name, word, next);
        self.cut_in_tool(node, name);
        self.next_work(node, name);
    }

    /// `Done` of a tool is the moment in which it has begun its work and not ended it.
    fn cut_in_tool(&mut self, node: &str, name: &str) {
        let Some(machine) = self.machines.get(node) else { return };
        if machine.host.units.get(name).is_none_or(|unit| unit.state != ToolState::Running) {
            return;
        }
        let Some(life) = &machine.life else { return };
        let awaits = life.awaited.iter().find(|(_, unit)| *unit == name);
        if let Some(step) = awaits.and_then(|(id, _)| life.acts.get(id)).copied() {
            self.cut(node, step, Point::Done);
        }
    }

    fn carry_on(&mut self, node: &str, name: &str, tool: &'static str, work: Work) {
        match work {
            Work::Unpack(package, version) => {
                let Some(machine) = self.machines.get_mut(node) else { return };
                machine.host.dpkg_interrupted = true;
                let held = false;
                let seen = PackageSeen { version: version.clone(), configured: false, held };
                machine.host.packages.insert(package.clone(), seen);
                let by = Who::Agent(node.to_owned());
                self.record(node, What::PackageInstalled { package, version, by });
            }
            Work::Configure => self.configure(node),
            Work::ManifestOut(component) => {
                if let Some(machine) = self.machines.get_mut(node) {
                    machine.host.manifests.remove(component);
                    machine.host.pods.insert(component, None);
                }
            }
            Work::ManifestIn(component, version) => self.put_manifest(node, component, version),
            Work::Upload(version) => self.api.kubeadm_config = version,
            Work::KubeletConfig => {
                if let Some(machine) = self.machines.get_mut(node) {
                    machine.host.kubelet_config_changed = true;
                }
            }
            Work::Hold(packages) => {
                let Some(machine) = self.machines.get_mut(node) else { return };
                let known = machine.host.packages.iter_mut().filter(|(name, _)| packages.contains(*name));
                known.for_each(|(_, package)| package.held = true);
            }
            Work::End(status) => {
                let Some(machine) = self.machines.get_mut(node) else { return };
                if let Some(unit) = machine.host.units.get_mut(name) {
                    unit.state = ToolState::Ended(status);
                }
                self.record(node, What::ToolEnded { tool, ok: status == 0 });
                self.tool_may_have_ended(node, name);
            }
        }
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

    /// A manifest comes to its place; the kubelet starts what it says.
    pub(super) fn put_manifest(
        &mut self,
        node: &str,
        component: &'static str,
        version: upgrade_core::version::Version,
    ) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        machine.host.manifests.insert(component, version);
        let boot = machine.host.boot;
        let node = node.to_owned();
        self.later(self.now + POD_STARTS, Happening::PodRuns { node, boot, component, version });
    }
}
