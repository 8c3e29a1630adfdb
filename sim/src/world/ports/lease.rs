//! Leases by compare-and-swap: read, judged by the core, written with the resourceVersion that was read.

use upgrade_core::act::{Act, ActResult};
use upgrade_core::api::{Holder, LeaseName};
use upgrade_core::judge::lease::{LeaseDecision, LeaseState, Standing, TRIES, Wish, judge, standing};
use upgrade_core::observed::Observation;
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
}

impl World {
    pub(super) fn lease_act(&mut self, caller: &Caller, act: &Act) {
        let (lease, holder, wish) = match act {
            Act::Claim { lease, holder } => (*lease, holder, Wish::Claim),
            Act::Renew { lease, holder, degraded } => {
                (*lease, holder, Wish::Renew { degraded: degraded.clone() })
            }
            Act::Release { lease, holder } => (*lease, holder, Wish::Release),
            _ => return,
        };
        self.read_lease(caller, lease, holder, wish, TRIES);
    }

    fn read_lease(&mut self, caller: &Caller, lease: LeaseName, holder: &Holder, wish: Wish, tries: u32) {
        self.requests(&caller.node, 1);
        if !self.reaches(&caller.node, Identity::Coordination) {
            return self.reply(caller, transient("the API server does not answer"));
        }
        let stands = self.api.stored.leases.get(&lease).cloned();
        let state = stands.as_ref().map(|stands| &stands.state);
        match judge(state, holder, &wish) {
            LeaseDecision::Stands(standing) => self.lease_answered(caller, standing, holder),
            LeaseDecision::Barred(why) => self.reply(caller, transient(&why)),
            LeaseDecision::Write(next) => {
                let version = stands.map(|stands| stands.version);
                let swap = Swap { lease, holder: holder.clone(), wish, version, next, tries };
                let (caller, write) = (caller.clone(), Box::new(Write::Lease(swap)));
                self.later(self.now + TRAVEL, Happening::Writes { caller, write });
            }
        }
    }

    pub(super) fn swap_written(&mut self, caller: &Caller, swap: Swap) {
        if !self.reaches(&caller.node, Identity::Coordination) {
            return self.reply(caller, transient("the API server does not answer"));
        }
        let Swap { lease, holder, wish, version, next, tries } = swap;
        let stands = self.api.stored.leases.get(&lease).map(|stands| stands.version);
        if stands == version {
            let state = standing(Some(&next), &holder);
            self.set_lease(lease, &next, &Who::Agent(caller.node.clone()));
            self.lease_answered(caller, state, &holder);
        } else if tries > 1 {
            self.read_lease(caller, lease, &holder, wish, tries - 1);
        } else {
            self.reply(caller, transient("somebody else writes the Lease again and again"));
        }
    }

    fn lease_answered(&mut self, caller: &Caller, standing: Standing, holder: &Holder) {
        let at = self.clock(&caller.node).mono;
        self.reply(caller, ActResult::ok(vec![Observation::Lease(standing.seen(holder, at))]));
    }
}
