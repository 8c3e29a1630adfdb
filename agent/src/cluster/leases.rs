//! Leases as locks: read, judged by the core, written by compare-and-swap on resourceVersion.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use upgrade_core::act::ActResult;
use upgrade_core::api::{Holder, LeaseName};
use upgrade_core::judge::lease::{LeaseDecision, LeaseState, Standing, TRIES, Wish, judge, standing};
use upgrade_core::observed::{LeaseSeen, Observation};

use super::Cluster;
use super::convert::{self, DEGRADED};
use super::error::{Error, ended};

/// Label on a Lease, `true` or `false`: lets a waiting agent watch free ones alone.
pub(super) const HELD: &str = "node-upgrade-agent/held";
/// Annotation on a Lease: the protocol of whoever wrote it last.
const LEASE_PROTOCOL: &str = "node-upgrade-agent/protocol";

impl Cluster {
    fn leases(&self) -> impl Fn(Client) -> Api<Lease> + use<> {
        let namespace = self.inner.settings.namespace.clone();
        move |client| Api::namespaced(client, &namespace)
    }

    /// Takes the Lease if it is free or absent; one already ours is renewed.
    pub async fn claim(&self, lease: LeaseName, holder: &Holder) -> ActResult {
        ended(self.swap(lease, holder, &Wish::Claim).await.map(|seen| vec![Observation::Lease(seen)]))
    }

    /// Proves that the Lease is ours; `degraded` becomes its mark, none clears it.
    pub async fn renew(&self, lease: LeaseName, holder: &Holder, degraded: Option<&str>) -> ActResult {
        let wish = Wish::Renew { degraded: degraded.map(str::to_owned) };
        ended(self.swap(lease, holder, &wish).await.map(|seen| vec![Observation::Lease(seen)]))
    }

    /// Gives the Lease back if it is ours; an absent or foreign one is left alone.
    pub async fn release(&self, lease: LeaseName, holder: &Holder) -> ActResult {
        ended(self.swap(lease, holder, &Wish::Release).await.map(|seen| vec![Observation::Lease(seen)]))
    }

    async fn read_lease(&self, lease: LeaseName) -> Result<Option<Lease>, Error> {
        let (leases, name) = (self.leases(), lease.to_string());
        let doing = format!("reading Lease {lease}");
        self.inner
            .coordination
            .call(&doing, |client| async move { leases(client).get_opt(&name).await })
            .await
    }

    /// Reads, judges, writes with the resourceVersion that was read; a lost race is read and judged anew.
    async fn swap(&self, name: LeaseName, holder: &Holder, wish: &Wish) -> Result<LeaseSeen, Error> {
        let doing = match wish {
            Wish::Claim => format!("claiming Lease {name}"),
            Wish::Renew { .. } => format!("renewing Lease {name}"),
            Wish::Release => format!("releasing Lease {name}"),
        };
        for _ in 0..TRIES {
            let read = self.read_lease(name).await?;
            let state = match judge(read.as_ref().map(lease_state).as_ref(), holder, wish) {
                LeaseDecision::Stands(stands) => return Ok(self.seen(stands, holder)),
                LeaseDecision::Barred(why) => return Err(Error::Unexpected { doing, why }),
                LeaseDecision::Write(state) => state,
            };
            let next = self.changed(read.unwrap_or_else(|| absent(name)), state);
            match self.write_lease(&doing, next).await {
                Ok(written) => return Ok(self.seen(standing(Some(&lease_state(&written)), holder), holder)),
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Contended { doing, tries: TRIES })
    }

    /// PUT of what was read and changed, or POST of what was absent: either fails if somebody was quicker.
    async fn write_lease(&self, doing: &str, lease: Lease) -> Result<Lease, Error> {
        let leases = self.leases();
        self.inner
            .coordination
            .call(doing, |client| async move {
                let (api, params) = (leases(client), PostParams::default());
                match (&lease.metadata.resource_version, &lease.metadata.name) {
                    (Some(_), Some(name)) => api.replace(name, &params, &lease).await,
                    _ => api.create(&params, &lease).await,
                }
            })
            .await
    }

    fn seen(&self, stands: Standing, holder: &Holder) -> LeaseSeen {
        stands.seen(holder, self.inner.clock.now().mono)
    }

    /// For people to see; nothing is ever judged by these times.
    fn micro_now(&self) -> MicroTime {
        MicroTime(Timestamp::from_second(self.wall_seconds()).unwrap_or_default())
    }

    /// The Lease that was read, or an absent one, with another state, and with what people read beside it.
    fn changed(&self, mut lease: Lease, next: LeaseState) -> Lease {
        let (was_held, held) = (convert::holder(&lease).is_some(), next.holder.is_some());
        let spec: &mut LeaseSpec = lease.spec.get_or_insert_default();
        spec.holder_identity = next.holder;
        spec.renew_time = held.then(|| self.micro_now());
        if !held {
            spec.acquire_time = None;
        } else if !was_held {
            spec.acquire_time.clone_from(&spec.renew_time);
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default().saturating_add(1));
            spec.lease_duration_seconds = None;
        }
        lease.metadata.labels.get_or_insert_default().insert(HELD.to_owned(), held.to_string());
        let notes = lease.metadata.annotations.get_or_insert_default();
        for (key, value) in [(LEASE_PROTOCOL, next.protocol), (DEGRADED, next.degraded)] {
            match value {
                Some(value) => notes.insert(key.to_owned(), value),
                None => notes.remove(key),
            };
        }
        lease
    }
}

fn absent(name: LeaseName) -> Lease {
    let metadata = ObjectMeta { name: Some(name.to_string()), ..ObjectMeta::default() };
    Lease { metadata, ..Lease::default() }
}

fn lease_state(lease: &Lease) -> LeaseState {
    let note = |key: &str| lease.metadata.annotations.as_ref().and_then(|notes| notes.get(key)).cloned();
    LeaseState {
        holder: convert::holder(lease).map(str::to_owned),
        degraded: note(DEGRADED),
        protocol: note(LEASE_PROTOCOL),
    }
}
