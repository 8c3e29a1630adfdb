//! What acts do on the host itself.

use upgrade_core::act::{Act, ActResult, Tool};
use upgrade_core::agent::ActId;
use upgrade_core::api::TurnId;
use upgrade_core::observed::{Observation, ToolState};
use upgrade_core::time::Mono;

use super::Caller;
use crate::world::World;
use crate::world::host::{Copy, ETCD};
use crate::world::process::transient;

impl World {
    pub(super) fn host_act(&mut self, caller: &Caller, act: Act, at: Mono) {
        let node = caller.node.as_str();
        let turn = match act {
            Act::Run { unit, tool } => return self.run_tool(caller, &unit, &tool),
            Act::Await { unit } => return self.await_tool(caller, &unit),
            Act::LookAtHost { turn } => turn,
            Act::BackUp { .. } if self.disk_is_full(node) => {
                return self.reply(caller, transient("copy manifests: no space left on device"));
            }
            other => {
                let turn = self.job_of(node, caller.life);
                self.change_host(node, &other);
                turn
            }
        };
        let Some(machine) = self.machines.get(node) else { return };
        let ended = ActResult::ok(vec![Observation::Host(machine.host.seen(at, turn.as_ref()))]);
        self.reply(caller, ended);
    }

    fn disk_is_full(&self, node: &str) -> bool {
        self.machines.get(node).is_some_and(|machine| machine.host.disk_full_until > self.now)
    }

    /// The turn in whose name the adapter looks at the copies.
    fn job_of(&mut self, node: &str, life: u64) -> Option<TurnId> {
        let memory = self.life(node, life)?.agent.memory();
        memory.turn.as_ref().map(|turn| turn.holder.turn.clone())
    }

    fn change_host(&mut self, node: &str, act: &Act) {
        let mut restored = Vec::new();
        let mut files = None;
        let Some(machine) = self.machines.get_mut(node) else { return };
        let host = &mut machine.host;
        match act {
            // A finished copy of this name is kept as it is; those of other turns go.
            Act::BackUp { copy: name } => {
                host.copies.retain(|copy| copy.name.turn == name.turn);
                let (manifests, kubelet_files) = (host.manifests.clone(), host.kubelet_files);
                if host.copies.iter().all(|copy| copy.name != *name) {
                    host.copies.push(Copy { name: name.clone(), manifests, kubelet_files });
                }
            }
            Act::RestoreManifests { turn } => {
                let copies = host.copies.iter().rev().filter(|copy| copy.name.turn == *turn);
                for (component, version) in copies.flat_map(|copy| &copy.manifests) {
                    let missing = !host.manifests.contains_key(component);
                    if missing && restored.iter().all(|(known, _)| known != component) {
                        restored.push((*component, *version));
                    }
                }
            }
            Act::RollBackManifests { turn } => {
                let first = host.copies.iter().find(|copy| copy.name.turn == *turn);
                let own = first.into_iter().flat_map(|copy| &copy.manifests);
                restored
                    .extend(own.filter(|(name, _)| **name != ETCD).map(|(name, version)| (*name, *version)));
            }
            Act::RestoreKubeletConfig { turn } => {
                let first = host.copies.iter().find(|copy| copy.name.turn == *turn);
                files = first.map(|copy| copy.kubelet_files);
            }
            Act::CleanUp => {
                host.copies.clear();
                host.units.retain(|_, unit| unit.state == ToolState::Running);
            }
            _ => {}
        }
        if *act == Act::RestartKubelet {
            self.restart_kubelet(node);
        }
        for (component, version) in restored {
            self.manifest_in(node, component, version);
        }
        if let Some(version) = files {
            if let Some(machine) = self.machines.get_mut(node) {
                machine.host.files_are_fresh = true;
            }
            self.set_kubelet_files(node, version);
        }
    }

    fn run_tool(&mut self, caller: &Caller, unit: &str, tool: &Tool) {
        let node = caller.node.as_str();
        let known = self.machines.get(node).is_some_and(|machine| machine.host.units.contains_key(unit));
        if !known {
            self.start_tool(node, unit, tool);
        }
        self.await_tool(caller, unit);
    }

    fn await_tool(&mut self, caller: &Caller, unit: &str) {
        if let Some((life, id)) = self.life(&caller.node, caller.life).zip(caller.id) {
            life.awaited.insert(id, unit.to_owned());
        }
        self.tool_may_have_ended(&caller.node, unit);
    }

    /// Tells whoever awaits this unit, if it has ended or is gone.
    pub(in crate::world) fn tool_may_have_ended(&mut self, node: &str, unit: &str) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        let runs = machine.host.units.get(unit).is_some_and(|unit| unit.state == ToolState::Running);
        let Some(life) = machine.life.as_mut().filter(|_| !runs) else { return };
        let number = life.number;
        let ids: Vec<ActId> = life.awaited.iter().filter(|(_, of)| *of == unit).map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(life) = self.life(node, number) {
                life.awaited.remove(&id);
            }
            let (turn, at) = (self.job_of(node, number), self.clock(node).mono);
            let Some(machine) = self.machines.get(node) else { return };
            let ended = ActResult::ok(vec![Observation::Host(machine.host.seen(at, turn.as_ref()))]);
            self.reply(&Caller { node: node.to_owned(), life: number, id: Some(id) }, ended);
        }
    }
}
