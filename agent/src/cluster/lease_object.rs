//! The Lease as an object of the API: the state in it that is judged, and the object with another state.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use upgrade_core::api::annotations::APPLIED;
use upgrade_core::judge::lease::LeaseState;

use super::convert::{self, DEGRADED};

/// Label on a Lease, `true` or `false`: lets a waiting agent watch free ones alone.
const HELD: &str = "node-upgrade-agent/held";
/// Annotation on a Lease: the protocol of whoever wrote it last.
const LEASE_PROTOCOL: &str = "node-upgrade-agent/protocol";

/// What is judged of a Lease that was read.
pub fn state(lease: &Lease) -> LeaseState {
    let note = |key: &str| lease.metadata.annotations.as_ref().and_then(|notes| notes.get(key)).cloned();
    LeaseState {
        holder: convert::holder(lease).map(str::to_owned),
        degraded: note(DEGRADED),
        applied: note(APPLIED),
        protocol: note(LEASE_PROTOCOL),
    }
}

/// The Lease that was read, or an absent one, with another state, and with what people read beside it. What others wrote into it
/// stays.
#[must_use]
pub fn changed(mut lease: Lease, next: LeaseState, now: &MicroTime) -> Lease {
    let (was_held, held) = (convert::holder(&lease).is_some(), next.holder.is_some());
    let spec: &mut LeaseSpec = lease.spec.get_or_insert_default();
    spec.holder_identity = next.holder;
    spec.renew_time = held.then(|| now.clone());
    if !held {
        spec.acquire_time = None;
    } else if !was_held {
        spec.acquire_time.clone_from(&spec.renew_time);
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default().saturating_add(1));
        spec.lease_duration_seconds = None;
    }
    lease.metadata.labels.get_or_insert_default().insert(HELD.to_owned(), held.to_string());
    let notes = lease.metadata.annotations.get_or_insert_default();
    for (key, value) in [(LEASE_PROTOCOL, next.protocol), (DEGRADED, next.degraded), (APPLIED, next.applied)]
    {
        match value {
            Some(value) => notes.insert(key.to_owned(), value),
            None => notes.remove(key),
        };
    }
    lease
}
