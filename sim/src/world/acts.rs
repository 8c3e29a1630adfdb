//! What each act does to the world, as the adapters do it.

use upgrade_core::act::{Act, Ended, Tool};
use upgrade_core::agent::ActId;
use upgrade_core::cordon;
use upgrade_core::job::{Holder, LeaseName};
use upgrade_core::oracle::{What, Who};
use upgrade_core::request::CURRENT;
use upgrade_core::seen::{EtcdSeen, Fact, LeaseSeen, LocalControlPlane, ToolState};
use upgrade_core::time::Mono;
use upgrade_core::version::Version;

use super::api::Lease;
use super::machine::transient;
use super::{Happening, World};

impl World {
    /// A request comes to where it has its effect. Who sent it may be dead: what is on its way comes about.
    pub(super) fn effect(&mut self, node: &str, life: u64, id: ActId, act: Act, sent: u64) {
        let powered = self.machines.get(node).is_some_and(|machine| machine.host.powered);
        let at = Mono(sent);
        match act {
            Act::LookAtHost { .. }
            | Act::Run { .. }
            | Act::Await { .. }
            | Act::BackUp { .. }
            | Act::RestoreManifests { .. }
            | Act::RestoreKubeletConfig { .. }
            | Act::RestartKubelet
            | Act::Tidy => {
                if powered {
                    self.host_act(node, life, id, act, at);
                }
            }
            _ if !self.reaches_api(node) => {
                let ended = transient("the API server does not answer");
                self.reply(node, life, id, ended);
            }
            Act::AwaitTurn => self.await_turn(node, life, id, at),
            Act::Drain { options, until } => self.begin_drain(node, life, id, &options, until),
            Act::Preflight { target } => {
                let ended = self.preflight(node, target, at);
                self.reply(node, life, id, ended);
            }
            _ => {
                let ended = self.lease_act(node, &act, at).unwrap_or_else(|| self.api_act(node, &act, at));
                self.reply(node, life, id, ended);
            }
        }
    }

    fn await_turn(&mut self, node: &str, number: u64, id: ActId, at: Mono) {
        let turn = Fact::Turn(self.api.turn(at));
        let Some(life) = self.life(node, number) else { return };
        if !life.acts.contains_key(&id) {
            return;
        }
        life.awaits_turn = Some(id);
        self.later(
            self.now + 40,
            Happening::Saw { node: node.to_owned(), life: number, fact: Box::new(turn) },
        );
    }

    fn api_act(&mut self, node: &str, act: &Act, at: Mono) -> Ended {
        match act {
            Act::LookAtPods => return Ended::well(vec![Fact::Pods(self.pods_of(node, at))]),
            Act::LookAtFleet => return Ended::well(vec![Fact::Fleet(self.fleet(at))]),
            Act::LookAtControlPlane => return Ended::well(vec![Fact::Local(self.local(node, at))]),
            Act::Cordon | Act::Uncordon | Act::Disown => {
                let Some(seen) = self.api.nodes.get(node) else {
                    return transient("the Node does not exist");
                };
                let patch = match act {
                    Act::Cordon => cordon::cordon(seen),
                    Act::Disown => cordon::disown(seen),
                    _ => cordon::uncordon(seen),
                };
                if let Some(patch) = patch {
                    self.patch_cordon(node, patch);
                }
            }
            Act::Announce { current } => self.announce(node, *current),
            _ => {}
        }
        Ended::well(vec![Fact::Node(self.api.nodes.get(node).cloned())])
    }

    fn announce(&mut self, node: &str, current: Version) {
        let before = self.api.nodes.get(node).and_then(|seen| seen.annotations.get(CURRENT));
        if before.is_none_or(|before| *before != current.to_string()) {
            self.record(node, What::CurrentWritten { version: current });
        }
        self.change_node(node, |seen| {
            seen.annotations.insert(CURRENT.to_owned(), current.to_string());
        });
    }

    fn local(&self, node: &str, at: Mono) -> LocalControlPlane {
        let planes = || self.machines.values().filter(|machine| machine.host.control_plane);
        let healthy = planes().filter(|machine| machine.host.powered).count();
        let etcd = EtcdSeen { members: planes().count(), healthy, learners: 0, alarms: 0 };
        let ready = self.machines.get(node).is_some_and(|machine| machine.host.serves_api());
        LocalControlPlane { at, api_server_ready: ready, etcd: Some(etcd) }
    }

    /// The acts on Leases; none for others.
    pub(super) fn lease_act(&mut self, node: &str, act: &Act, at: Mono) -> Option<Ended> {
        let (Act::Claim { lease, holder }
        | Act::Renew { lease, holder, .. }
        | Act::Release { lease, holder }) = act
        else {
            return None;
        };
        let stands = self.api.leases.get(lease).cloned().unwrap_or_default();
        let me = holder.to_string();
        let ours = stands.holder.as_ref() == Some(&me);
        let wanted = match act {
            Act::Claim { .. } if stands.holder.is_none() => {
                Some(Lease { holder: Some(me.clone()), degraded: None })
            }
            Act::Renew { degraded, .. } if ours => {
                Some(Lease { holder: Some(me.clone()), degraded: degraded.clone() })
            }
            Act::Release { .. } if ours => Some(Lease::default()),
            _ => None,
        };
        if let Some(wanted) = wanted {
            self.set_lease(*lease, &wanted, &Who::Agent(node.to_owned()));
        }
        Some(Ended::well(vec![Fact::Lease(self.lease_seen(*lease, holder, at))]))
    }

    fn lease_seen(&self, lease: LeaseName, holder: &Holder, at: Mono) -> LeaseSeen {
        match self.api.leases.get(&lease).and_then(|lease| lease.holder.clone()) {
            None => LeaseSeen::Free,
            Some(name) if name == holder.to_string() => LeaseSeen::Held { at, job: holder.job.clone() },
            Some(other) => LeaseSeen::Other(other),
        }
    }

    fn host_act(&mut self, node: &str, life: u64, id: ActId, act: Act, at: Mono) {
        let job = match act {
            Act::Run { unit, tool } => return self.run_tool(node, life, id, &unit, &tool),
            Act::Await { unit } => return self.await_tool(node, life, id, &unit),
            Act::LookAtHost { job } => job,
            other => {
                let job = self.host_job(node, life);
                self.change_host(node, &other);
                job
            }
        };
        let Some(machine) = self.machines.get(node) else { return };
        let ended = Ended::well(vec![Fact::Host(machine.host.seen(at, job.as_ref()))]);
        self.reply(node, life, id, ended);
    }

    /// The job in whose name the adapter looks at the copies.
    pub(super) fn host_job(&mut self, node: &str, life: u64) -> Option<upgrade_core::job::JobId> {
        let memory = self.life(node, life)?.agent.memory();
        memory.job.as_ref().map(|job| job.holder.job.clone())
    }

    fn change_host(&mut self, node: &str, act: &Act) {
        let mut restored = Vec::new();
        let Some(machine) = self.machines.get_mut(node) else { return };
        let host = &mut machine.host;
        match act {
            Act::BackUp { job } => {
                host.backup = Some((job.clone(), host.manifests.clone()));
                host.kubelet_config_changed = false;
            }
            Act::RestoreManifests { job } => {
                if let Some((_, copy)) = host.backup.as_ref().filter(|(of, _)| of == job) {
                    for (component, version) in copy {
                        if !host.manifests.contains_key(component) {
                            restored.push((*component, *version));
                        }
                    }
                }
            }
            Act::RestoreKubeletConfig { .. } => host.kubelet_config_changed = false,
            Act::Tidy => {
                host.backup = None;
                host.units.retain(|_, unit| unit.state == ToolState::Running);
            }
            _ => {}
        }
        if *act == Act::RestartKubelet {
            self.restart_kubelet(node);
        }
        for (component, version) in restored {
            self.put_manifest(node, component, version);
        }
    }

    fn run_tool(&mut self, node: &str, life: u64, id: ActId, unit: &str, tool: &Tool) {
        let known = self.machines.get(node).is_some_and(|machine| machine.host.units.contains_key(unit));
        if !known {
            self.start_tool(node, unit, tool);
        }
        self.await_tool(node, life, id, unit);
    }

    fn await_tool(&mut self, node: &str, number: u64, id: ActId, unit: &str) {
        if let Some(life) = self.life(node, number) {
            life.awaited.insert(id, unit.to_owned());
        }
        self.tool_may_have_ended(node, unit);
    }

    /// Tells whoever awaits this unit, if it has ended or is gone.
    pub(super) fn tool_may_have_ended(&mut self, node: &str, unit: &str) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        let runs = machine.host.units.get(unit).is_some_and(|unit| unit.state == ToolState::Running);
        let Some(life) = machine.life.as_mut().filter(|_| !runs) else { return };
        let number = life.number;
        let ids: Vec<ActId> = life.awaited.iter().filter(|(_, of)| *of == unit).map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(life) = self.life(node, number) {
                life.awaited.remove(&id);
            }
            let (job, at) = (self.host_job(node, number), self.clock(node).mono);
            let Some(machine) = self.machines.get(node) else { return };
            let ended = Ended::well(vec![Fact::Host(machine.host.seen(at, job.as_ref()))]);
            self.reply(node, number, id, ended);
        }
    }
}
