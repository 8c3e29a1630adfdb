//! Leases as locks: claimed, proven and released by compare-and-swap on resourceVersion, never taken for being late.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use upgrade_core::act::Ended;
use upgrade_core::job::{Holder, LeaseName};
use upgrade_core::policy::PROTOCOL;
use upgrade_core::seen::{Fact, LeaseSeen};
use upgrade_core::text;

use super::Cluster;
use super::convert::{self, DEGRADED};
use super::error::{Error, ended};

/// Label on a Lease, `true` or `false`: lets a waiting agent watch free ones alone.
pub(super) const HELD: &str = "node-upgrade-agent/held";
/// Annotation on a Lease: the protocol of whoever wrote it last.
const LEASE_PROTOCOL: &str = "node-upgrade-agent/protocol";
/// Once more after a lost race, then the Lease is judged as it stands.
const TRIES: u32 = 3;

/// What to do with a Lease as it was read.
enum Wish {
    /// Make it ours if it is free.
    Claim,
    /// Prove that it is ours, and set or clear the mark.
    Renew(Option<String>),
    /// Give it back if it is ours.
    Release,
}

impl Cluster {
    fn leases(&self) -> impl Fn(Client) -> Api<Lease> + use<> {
        let namespace = self.inner.settings.namespace.clone();
        move |client| Api::namespaced(client, &namespace)
    }

    /// Takes the Lease if it is free or absent; one already ours is renewed.
    pub async fn claim(&self, lease: LeaseName, holder: &Holder) -> Ended {
        ended(self.swap(lease, holder, &Wish::Claim).await.map(|seen| vec![Fact::Lease(seen)]))
    }

    /// Proves that the Lease is ours; `degraded` becomes its mark, none clears it.
    pub async fn renew(&self, lease: LeaseName, holder: &Holder, degraded: Option<&str>) -> Ended {
        let wish = Wish::Renew(degraded.map(str::to_owned));
        ended(self.swap(lease, holder, &wish).await.map(|seen| vec![Fact::Lease(seen)]))
    }

    /// Gives the Lease back if it is ours; an absent or foreign one is left alone.
    pub async fn release(&self, lease: LeaseName, holder: &Holder) -> Ended {
        ended(self.swap(lease, holder, &Wish::Release).await.map(|seen| vec![Fact::Lease(seen)]))
    }

    async fn read_lease(&self, lease: LeaseName) -> Result<Option<Lease>, Error> {
        let (leases, name) = (self.leases(), lease.to_string());
        let doing = format!("reading Lease {lease}");
        self.inner.shared.call(&doing, |client| async move { leases(client).get_opt(&name).await }).await
    }

    /// Reads, judges, writes with the resourceVersion that was read; a lost race is read and judged anew.
    async fn swap(&self, name: LeaseName, holder: &Holder, wish: &Wish) -> Result<LeaseSeen, Error> {
        let doing = match wish {
            Wish::Claim => format!("claiming Lease {name}"),
            Wish::Renew(_) => format!("renewing Lease {name}"),
            Wish::Release => format!("releasing Lease {name}"),
        };
        for _ in 0..TRIES {
            let standing = self.read_lease(name).await?;
            let next = match self.judge(&doing, name, standing, holder, wish)? {
                Judged::Done(seen) => return Ok(seen),
                Judged::Write(next) => *next,
            };
            match self.write_lease(&doing, next).await {
                Ok(written) => return Ok(self.outcome(&written, holder)),
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Contended { doing, tries: TRIES })
    }

    fn judge(
        &self,
        doing: &str,
        name: LeaseName,
        standing: Option<Lease>,
        holder: &Holder,
        wish: &Wish,
    ) -> Result<Judged, Error> {
        let Some(lease) = standing else {
            let absent = Lease {
                metadata: ObjectMeta { name: Some(name.to_string()), ..ObjectMeta::default() },
                ..Lease::default()
            };
            return Ok(match wish {
                Wish::Claim => Judged::write(self.taken(absent, holder)),
                Wish::Renew(_) | Wish::Release => Judged::Done(LeaseSeen::Free),
            });
        };
        let holds = convert::holder(&lease).map(str::to_owned);
        let ours = holds.as_ref().is_some_and(|name| *name == holder.to_string());
        match (wish, holds) {
            (Wish::Claim, None) => {
                speaks_our_protocol(doing, &lease)?;
                Ok(Judged::write(self.taken(lease, holder)))
            }
            (Wish::Claim, Some(_)) if ours => {
                let mark = lease.metadata.annotations.as_ref().and_then(|notes| notes.get(DEGRADED).cloned());
                Ok(Judged::write(self.renewed(lease, mark)))
            }
            (Wish::Renew(mark), Some(_)) if ours => Ok(Judged::write(self.renewed(lease, mark.clone()))),
            (Wish::Release, Some(_)) if ours => Ok(Judged::write(freed(lease))),
            (_, Some(other)) => Ok(Judged::Done(LeaseSeen::Other(other))),
            (Wish::Renew(_) | Wish::Release, None) => Ok(Judged::Done(LeaseSeen::Free)),
        }
    }

    /// PUT of what was read and changed, or POST of what was absent: either fails if somebody was quicker.
    async fn write_lease(&self, doing: &str, lease: Lease) -> Result<Lease, Error> {
        let leases = self.leases();
        self.inner
            .shared
            .call(doing, |client| async move {
                let (api, params) = (leases(client), PostParams::default());
                match (&lease.metadata.resource_version, &lease.metadata.name) {
                    (Some(_), Some(name)) => api.replace(name, &params, &lease).await,
                    _ => api.create(&params, &lease).await,
                }
            })
            .await
    }

    fn outcome(&self, lease: &Lease, holder: &Holder) -> LeaseSeen {
        match convert::holder(lease) {
            None => LeaseSeen::Free,
            Some(name) if name == holder.to_string() => {
                LeaseSeen::Held { at: self.inner.clock.now().mono, job: holder.job.clone() }
            }
            Some(other) => LeaseSeen::Other(other.to_owned()),
        }
    }

    /// For people to see; nothing is ever judged by these times.
    fn micro_now(&self) -> MicroTime {
        MicroTime(Timestamp::from_second(self.wall_seconds()).unwrap_or_default())
    }

    fn taken(&self, lease: Lease, holder: &Holder) -> Lease {
        let now = self.micro_now();
        let spec = lease.spec.clone().unwrap_or_default();
        let spec = LeaseSpec {
            holder_identity: Some(holder.to_string()),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(spec.lease_transitions.unwrap_or_default().saturating_add(1)),
            lease_duration_seconds: None,
            ..spec
        };
        labelled(Lease { spec: Some(spec), ..lease }, true, None)
    }

    fn renewed(&self, lease: Lease, mark: Option<String>) -> Lease {
        let spec = LeaseSpec { renew_time: Some(self.micro_now()), ..lease.spec.clone().unwrap_or_default() };
        labelled(Lease { spec: Some(spec), ..lease }, true, mark)
    }
}

/// What follows from a Lease as it was read.
enum Judged {
    /// Nothing is to be written.
    Done(LeaseSeen),
    /// Write this.
    Write(Box<Lease>),
}

impl Judged {
    fn write(lease: Lease) -> Self {
        Self::Write(Box::new(lease))
    }
}

fn freed(lease: Lease) -> Lease {
    let spec = LeaseSpec {
        holder_identity: None,
        acquire_time: None,
        renew_time: None,
        ..lease.spec.clone().unwrap_or_default()
    };
    labelled(Lease { spec: Some(spec), ..lease }, false, None)
}

fn labelled(mut lease: Lease, held: bool, mark: Option<String>) -> Lease {
    lease.metadata.labels.get_or_insert_default().insert(HELD.to_owned(), held.to_string());
    let notes: &mut BTreeMap<_, _> = lease.metadata.annotations.get_or_insert_default();
    notes.insert(LEASE_PROTOCOL.to_owned(), PROTOCOL.to_string());
    match mark {
        Some(mark) => notes.insert(DEGRADED.to_owned(), text::shortened(&mark, text::NOTE)),
        None => notes.remove(DEGRADED),
    };
    lease
}

/// An older agent does not know what a newer protocol means by a free Lease.
fn speaks_our_protocol(doing: &str, lease: &Lease) -> Result<(), Error> {
    let Some(text) = lease.metadata.annotations.as_ref().and_then(|notes| notes.get(LEASE_PROTOCOL)) else {
        return Ok(());
    };
    match text.parse::<u32>() {
        Ok(protocol) if protocol <= PROTOCOL => Ok(()),
        _ => Err(Error::Unexpected {
            doing: doing.to_owned(),
            why: format!(
                "it was last written under protocol {text}, this agent speaks {PROTOCOL}: upgrade this agent"
            ),
        }),
    }
}
