//! Leases as locks: read, judged by the core, written by compare-and-swap on resourceVersion.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use upgrade_core::act::ActResult;
use upgrade_core::api::{Holder, LeaseName, Version};
use upgrade_core::judge::lease::{LeaseDecision, LeaseState, Standing, TRIES, Wish, judge, standing};
use upgrade_core::observed::{LeaseMark, LeaseSeen, Observation};

use super::Cluster;
use super::error::{Error, ended};
use super::lease_object;

impl Cluster {
    fn leases(&self) -> impl Fn(Client) -> Api<Lease> + use<> {
        let namespace = self.inner.settings.namespace.clone();
        move |client| Api::namespaced(client, &namespace)
    }

    /// Takes the Lease if it is free or absent; one already ours is renewed.
    pub async fn claim(&self, lease: LeaseName, holder: &Holder) -> ActResult {
        ended(self.swap(lease, holder, &Wish::Claim).await.map(|seen| vec![Observation::Lease(seen)]))
    }

    /// Proves that the Lease is ours; `mark` becomes its mark, none clears it; `applied` becomes its note, none leaves what stands.
    pub async fn renew(
        &self,
        lease: LeaseName,
        holder: &Holder,
        mark: Option<LeaseMark>,
        applied: Option<Version>,
    ) -> ActResult {
        let wish = Wish::Renew { mark, applied };
        ended(self.swap(lease, holder, &wish).await.map(|seen| vec![Observation::Lease(seen)]))
    }

    /// Proves that the Lease is ours, and then looks at the fleet and, on a control plane, at what runs on this host: nothing of that
    /// is older than the proof. A Lease that is not ours is only told of.
    pub async fn prove(
        &self,
        lease: LeaseName,
        holder: &Holder,
        mark: Option<LeaseMark>,
        control_plane: bool,
    ) -> ActResult {
        let wish = Wish::Renew { mark, applied: None };
        let seen = match self.swap(lease, holder, &wish).await {
            Ok(seen) => seen,
            Err(error) => return ActResult::failed(error.into()),
        };
        let ours = matches!(seen, LeaseSeen::Held { .. });
        let mut observations = vec![Observation::Lease(seen)];
        let fault = if ours { self.look_around(control_plane, &mut observations).await.err() } else { None };
        // The Lease is proven whatever the rest came to.
        ActResult { observations, fault: fault.map(Into::into) }
    }

    async fn look_around(&self, control_plane: bool, seen: &mut Vec<Observation>) -> Result<(), Error> {
        seen.push(Observation::Fleet(self.fleet_seen().await?));
        if control_plane {
            seen.push(Observation::Local(self.local_control_plane().await?));
        }
        Ok(())
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
            let state = match judge(read.as_ref().map(lease_object::state).as_ref(), holder, wish) {
                LeaseDecision::Stands(stands) => return Ok(self.seen(stands, holder, None)),
                LeaseDecision::Barred(why) => return Err(Error::Unexpected { doing, why }),
                LeaseDecision::Write(state) => state,
            };
            let read = read.unwrap_or_else(|| absent(name));
            let next = lease_object::changed(read, state, &self.micro_now());
            match self.write_lease(&doing, next).await {
                Ok(written) => {
                    let state = lease_object::state(&written);
                    return Ok(self.seen(standing(Some(&state), holder), holder, Some(&state)));
                }
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

    fn seen(&self, stands: Standing, holder: &Holder, state: Option<&LeaseState>) -> LeaseSeen {
        stands.seen(holder, self.inner.clock.now().mono, state)
    }

    /// For people to see; nothing is ever judged by these times.
    fn micro_now(&self) -> MicroTime {
        MicroTime(Timestamp::from_second(self.wall_seconds()).unwrap_or_default())
    }
}

fn absent(name: LeaseName) -> Lease {
    let metadata = ObjectMeta { name: Some(name.to_string()), ..ObjectMeta::default() };
    Lease { metadata, ..Lease::default() }
}
