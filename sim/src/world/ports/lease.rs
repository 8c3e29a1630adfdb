//! Leases by compare-and-swap: read, judged by the core, written with the resourceVersion that was read.

use upgrade_core::act::{Act, ActResult};
use upgrade_core::api::{Holder, LeaseName};
use upgrade_core::judge::lease::{LeaseDecision, LeaseState, Standing, TRIES, Wish, judge, standing};
use upgrade_core::observed::{LeaseSeen, Observation};
use upgrade_core::oracle::Who;

use super::{Caller, Write};
use crate::fault::Identity;
use crate::world::process::{TRAVEL, transient};
use crate::world::{Happening, World};

/// A Lease that is being swapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::world) struct Swap {
    lease: LeaseName,
    holder: Holder,
    wish: Wish,
    /// The resourceVersion it was read at; none where there was none.
    version: Option<u64>,
    next: LeaseState,
    tries: u32,
    proves: Proves,
}

/// What follows a proof: nothing, or a look at the fleet, with the control plane on a host that carries one.
type Proves = Option<bool>;

impl World {
    pub(super) fn lease_act(&mut self, caller: &Caller, act: &Act) {
        let (lease, holder, wish) = match act {
            Act::Claim { lease, holder } => (*lease, holder, Wish::Claim),
            Act::Renew { lease, holder, mark, applied } => {
                (*lease, holder, Wish::Renew { mark: mark.clone(), applied: *applied })
            }
            Act::Prove { lease, holder, mark, .. } => {
                (*lease, holder, Wish::Renew { mark: mark.clone(), applied: None })
            }
            Act::Release { lease, holder } => (*lease, holder, Wish::Release),
            _ => return,
        };
        let proves = if let Act::Prove { control_plane, .. } = act { Some(*control_plane) } else { None };
        self.read_lease(caller, lease, holder, wish, TRIES, proves);
    }

    fn read_lease(
        &mut self,
        caller: &Caller,
        lease: LeaseName,
        holder: &Holder,
        wish: Wish,
        tries: u32,
        proves: Proves,
    ) {
        self.requests(&caller.node, 1);
        if !self.reaches(&caller.node, Identity::Coordination) {
            return self.reply(caller, transient("the API server does not answer"));
        }
        let stands = self.api.stored.leases.get(&lease).cloned();
        let state = stands.as_ref().map(|stands| &stands.state);
        match judge(state, holder, &wish) {
            LeaseDecision::Stands(standing) => {
                self.lease_answered(caller, standing, holder, state.cloned().as_ref(), proves);
            }
            LeaseDecision::Barred(why) => self.reply(caller, transient(&why)),
            LeaseDecision::Write(next) => {
                let version = stands.map(|stands| stands.version);
                let swap = Swap { lease, holder: holder.clone(), wish, version, next, tries, proves };
                let (caller, write) = (caller.clone(), Box::new(Write::Lease(swap)));
                self.later(self.now + TRAVEL, Happening::Writes { caller, write });
            }
        }
    }

    pub(super) fn swap_written(&mut self, caller: &Caller, swap: Swap) {
        if !self.reaches(&caller.node, Identity::Coordination) {
            return self.reply(caller, transient("the API server does not answer"));
        }
        let Swap { lease, holder, wish, version, next, tries, proves } = swap;
        let stands = self.api.stored.leases.get(&lease).map(|stands| stands.version);
        if stands == version {
            let state = standing(Some(&next), &holder);
            self.set_lease(lease, &next, &Who::Agent(caller.node.clone()));
            self.lease_answered(caller, state, &holder, Some(&next), proves);
        } else if tries > 1 {
            self.read_lease(caller, lease, &holder, wish, tries - 1, proves);
        } else {
            self.reply(caller, transient("somebody else writes the Lease again and again"));
        }
    }

    fn lease_answered(
        &mut self,
        caller: &Caller,
        standing: Standing,
        holder: &Holder,
        state: Option<&LeaseState>,
        proves: Proves,
    ) {
        let at = self.clock(&caller.node).mono;
        let lease = standing.seen(holder, at, state);
        match proves.filter(|_| matches!(lease, LeaseSeen::Held { .. })) {
            Some(control_plane) => {
                let caller = caller.clone();
                self.later(self.now + 2 * TRAVEL, Happening::Proves { caller, lease, control_plane });
            }
            None => self.reply(caller, ActResult::ok(vec![Observation::Lease(lease)])),
        }
    }

    /// The answer has come back, and the reads that follow it come to where they are answered.
    pub(in crate::world) fn proves(&mut self, caller: &Caller, lease: LeaseSeen, control_plane: bool) {
        if !self.lives(&caller.node, caller.life) {
            return;
        }
        let at = self.clock(&caller.node).mono;
        let mut ended = self.look_at_fleet(caller, at);
        if ended.fault.is_none() && control_plane {
            ended.observations.extend(self.local(&caller.node, at).map(Observation::Local));
        }
        ended.observations.insert(0, Observation::Lease(lease));
        self.reply(caller, ended);
    }
}
