//! What may keep a node waiting for ever: nothing here is what the product judges, for it is asked when a run is over.

use upgrade_core::api::annotations::{IGNORE, TARGET, is_on};
use upgrade_core::api::{Check, Holder, LeaseName, Request, TurnKind, Version};
use upgrade_core::judge::control_plane::STATIC_PODS;
use upgrade_core::memory::Step;
use upgrade_core::observed::{LeaseMark, Ready};
use upgrade_core::oracle::{End, bars_claims};

use super::World;
use super::api::{Lease, Node};
use super::host::{API_SERVER, Host};
use crate::fault::Identity;

/// Whether a host's control plane is of two versions: somebody has stopped half-way.
fn is_mixed(host: &Host) -> bool {
    let mut versions = STATIC_PODS.iter().filter_map(|component| host.manifests.get(component));
    let first = versions.next();
    versions.any(|version| Some(version) != first)
}

impl World {
    /// Whether anything that the rules name stands in a node's way.
    pub(crate) fn may_wait(&self, node: &str, ends: &[(String, End)]) -> bool {
        let control_plane = self.is_control_plane(node);
        bars_claims(self.api.stored.policy.as_ref())
            || self.is_halted(node, ends)
            || self.lacks_service(node)
            || self.has_nowhere(node)
            || self.has_sick_api_server()
            || self.is_held_up_by_a_lease()
            || if control_plane {
                self.has_mixed_peer(node) || self.is_over_budget(node, ends)
            } else {
                self.comes_later(node, ends) || self.is_ahead_of_kubeadm_config(node)
            }
    }

    /// Whether its agent has no way to say what it has come to: its own API server is gone, and no Lease that it knows of is left
    /// without its mark.
    pub(crate) fn cannot_say(&self, node: &str) -> bool {
        if self.reaches(node, Identity::Kubelet) {
            return false;
        }
        let knows = self.stands(node).turn.is_some();
        let holds = |lease: &Lease| {
            let holder = lease.state.holder.as_deref().and_then(Holder::parse);
            holder.is_some_and(|holder| holder.node == node) && lease.state.degraded.is_none()
        };
        !knows || !self.api.stored.leases.values().any(holds)
    }

    /// Whether it is in the middle of a turn A that waits for etcd, whose members only a person adds and removes.
    pub(crate) fn waits_for_members(&self, node: &str) -> bool {
        let control_planes = self.api.stored.nodes.iter().filter(|(_, seen)| seen.control_plane);
        self.applies(node) && !self.api.members.iter().eq(control_planes.map(|(name, _)| name))
    }

    /// Whether it is in the middle of a turn A whose Lease another holds that is degraded: of two that holder goes first (rule 9), and a
    /// person is told there.
    pub(crate) fn waits_for_a_degraded_holder(&self, node: &str, ends: &[(String, End)]) -> bool {
        let lease = self.api.stored.leases.get(&LeaseName::ControlPlane);
        let holder = lease.and_then(|lease| lease.state.holder.as_deref().and_then(Holder::parse));
        let is_degraded = |holder: &Holder| ends.contains(&(holder.node.clone(), End::Degraded));
        self.applies(node) && holder.is_some_and(|holder| holder.node != node && is_degraded(&holder))
    }

    fn applies(&self, node: &str) -> bool {
        let turn = self.stands(node).turn;
        turn.is_some_and(|turn| turn.kind == TurnKind::ControlPlane && turn.reached == Step::Applying)
    }

    /// Only what was failed at is halted: by the mark, or where that was lost by the target that stands. Who holds the Lease that is
    /// needed keeps everybody, and a control-plane node's Lease the workers too.
    fn is_halted(&self, node: &str, ends: &[(String, End)]) -> bool {
        let target = self.target(node);
        let same = |name: &String| {
            let marked = self.api.stored.leases.values().find_map(|lease| {
                let holder = lease.state.holder.as_deref().and_then(Holder::parse)?;
                let mark = lease.state.degraded.as_deref().filter(|_| holder.node == *name)?;
                LeaseMark::read(mark).target
            });
            marked.or_else(|| self.target(name)) == target
        };
        let holds = |name: &String| {
            let needs = |lease: &LeaseName| *lease == LeaseName::ControlPlane || !self.is_control_plane(node);
            let mut leases = self.api.stored.leases.iter().filter(|(lease, _)| needs(lease));
            leases.any(|(_, lease)| {
                let holder = lease.state.holder.as_deref().and_then(Holder::parse);
                holder.is_some_and(|holder| holder.node == *name)
            })
        };
        let degraded = |end: &End| *end == End::Degraded;
        ends.iter().any(|(name, end)| name != node && degraded(end) && (same(name) || holds(name)))
    }

    /// What kubeadm-config names is not yet what the node is asked to run.
    fn is_ahead_of_kubeadm_config(&self, node: &str) -> bool {
        self.target(node).is_some_and(|target| self.api.stored.kubeadm_config < target)
    }

    fn target(&self, node: &str) -> Option<Version> {
        self.annotation(node, TARGET).and_then(|text| text.parse().ok())
    }

    /// A node that is not Ready waits to be, unless people pass over that; one that is waits for those that are not.
    fn lacks_service(&self, node: &str) -> bool {
        let nodes = &self.api.stored.nodes;
        let Some(own) = nodes.get(node) else { return false };
        if own.ready != Ready::True {
            return !Request::read(&own.annotations).skip.contains(&Check::NodeReady);
        }
        // A dead worker that people ignore keeps nobody.
        let ignored = |seen: &Node| !seen.control_plane && is_on(&seen.annotations, IGNORE);
        nodes.values().any(|seen| seen.ready != Ready::True && !ignored(seen))
    }

    fn has_nowhere(&self, node: &str) -> bool {
        let takes_pods = |seen: &Node| seen.name != node && seen.ready == Ready::True && !seen.unschedulable;
        // kubeadm's health-check Job has to run somewhere too, be it here.
        let takes_a_job = |seen: &Node| {
            let schedulable = seen.ready == Ready::True && !seen.unschedulable;
            schedulable && (seen.control_plane || !self.setup.tainted_workers)
        };
        let nodes = &self.api.stored.nodes;
        !self.setup.undrained && !nodes.values().any(takes_pods) || !nodes.values().any(takes_a_job)
    }

    fn has_sick_api_server(&self) -> bool {
        let mut control_planes = self.machines.iter().filter(|(_, machine)| machine.host.control_plane);
        control_planes.any(|(name, _)| !self.api_server_is_ready(name))
    }

    /// Its kubelet waits while as many workers are degraded out of service as may be, at whatever target.
    fn is_over_budget(&self, node: &str, ends: &[(String, End)]) -> bool {
        let out = |name: &String| {
            let seen = self.api.stored.nodes.get(name);
            seen.is_some_and(|seen| seen.unschedulable && !is_on(&seen.annotations, IGNORE))
        };
        let degraded = ends.iter().filter(|(name, end)| *end == End::Degraded && name != node && out(name));
        self.is_at_rest(node) && degraded.count() >= self.setup.slots
    }

    /// Whether its static pods are at its target already.
    fn is_at_rest(&self, node: &str) -> bool {
        !self.is_behind(node, node)
    }

    fn has_mixed_peer(&self, node: &str) -> bool {
        self.machines.iter().any(|(name, machine)| name != node && is_mixed(&machine.host))
    }

    /// A Lease whose agent is gone; a slot of a Node that is gone is taken over in time.
    fn is_held_up_by_a_lease(&self) -> bool {
        let stored = &self.api.stored;
        let exists = |holder: &Holder| stored.nodes.values().any(|seen| seen.uid == holder.uid);
        let stays = |name: LeaseName, holder: &Holder| {
            if exists(holder) { !self.has_agent(&holder.node) } else { name == LeaseName::ControlPlane }
        };
        stored.leases.iter().any(|(name, lease)| {
            let holder = lease.state.holder.as_deref().and_then(Holder::parse);
            holder.is_some_and(|holder| stays(*name, &holder))
        })
    }

    /// Workers wait for the control plane, which is judged by itself.
    fn comes_later(&self, node: &str, ends: &[(String, End)]) -> bool {
        let first = |name: &str| self.has_unmet_target(name) || self.is_behind(name, node);
        ends.iter().any(|(name, _)| name != node && self.is_control_plane(name) && first(name))
    }

    /// Whether the API server of one node is older than what another is asked to run.
    fn is_behind(&self, control_plane: &str, node: &str) -> bool {
        let host = self.machines.get(control_plane).map(|machine| &machine.host);
        let runs = host.and_then(|host| host.manifests.get(API_SERVER).copied());
        runs < self.target(node)
    }
}
