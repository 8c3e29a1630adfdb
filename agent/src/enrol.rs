//! Enrolment carried out: a task beside the upgrade's loop that comes by a coordination credential and keeps one.
//!
//! [`upgrade_core::enrol`] decides; here keys are made (`key`), kept (`files`), requests checked (`check`) and sent.
//! A node with a valid credential costs nothing: the task sleeps until its renewal.

pub mod check;
mod files;
pub mod key;

use std::time::Duration;

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use upgrade_core::api::Reason;
use upgrade_core::backoff::Pauses;
use upgrade_core::enrol::{Denial, Next, RequestSeen, Seen, access, decide, request_name};
use upgrade_core::observed::{Access, Observation};
use upgrade_core::time::Unix;

use crate::chain::chain;
use crate::clock::Clock;
use crate::cluster::{self, Cluster, EventKind};
use files::{Files, FilesError, Kept};
use key::{Key, KeyError, fits};

pub use files::credential;

/// Both clocks are looked at again after so long: a sleep does not notice that the wall clock was set.
const LONGEST_SLEEP: Duration = Duration::from_hours(6);
/// So long a watch is trusted; then it is begun anew, and what depends on time is told anew.
const LONGEST_WATCH: Duration = Duration::from_mins(10);
/// Between tries of what failed.
const PAUSES: Pauses = Pauses { first: Duration::from_secs(2), factor: 2, cap: Duration::from_mins(2) };

/// The value of the annotation `retry`; none before the own Node was seen.
pub type Retry = Option<Option<String>>;

/// What an act failed of.
#[derive(Debug, thiserror::Error)]
enum EnrolError {
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
}

/// The task.
pub struct Enroller<T> {
    node: String,
    files: Files,
    cluster: Cluster,
    clock: Clock,
    retry: watch::Receiver<Retry>,
    tell: T,
    seen: Seen,
    key: Option<Key>,
    told: Option<Access>,
    failures: u32,
}

impl<T: Fn(Observation)> Enroller<T> {
    /// Ready to run, for the node of this cluster; files are kept below `state`, and `tell` is told of every change.
    pub fn new(
        state: &std::path::Path,
        cluster: Cluster,
        clock: Clock,
        retry: watch::Receiver<Retry>,
        tell: T,
    ) -> Self {
        let node = cluster.node_name().to_owned();
        let files = Files::new(state, &node);
        Self {
            node,
            files,
            cluster,
            clock,
            retry,
            tell,
            seen: Seen::default(),
            key: None,
            told: None,
            failures: 0,
        }
    }

    /// Runs for ever.
    pub async fn run(mut self) {
        while let Err(error) = self.load() {
            self.fail(&error).await;
        }
        self.report();
        // Without its Node nobody could approve, and a denial could not be told from an answered one.
        if self.retry.wait_for(Option::is_some).await.is_err() {
            return;
        }
        loop {
            self.seen.retry = self.retry.borrow_and_update().clone().flatten();
            let next = decide(&self.node, &self.seen, self.now());
            match self.carry_out(next).await {
                Ok(()) => {
                    (self.failures, self.seen.setback) = (0, None);
                    self.report();
                }
                Err(error) => self.fail(&error).await,
            }
        }
    }

    fn now(&self) -> Unix {
        self.clock.now().unix
    }

    fn load(&mut self) -> Result<(), EnrolError> {
        let Kept { credential, pending, denied } = self.files.load()?;
        (self.seen.credential, self.seen.denied) = (credential, denied);
        self.wait_with(pending);
        Ok(())
    }

    /// From now on this key waits for its certificate, or none does.
    fn wait_with(&mut self, key: Option<Key>) {
        self.seen.pending = key.as_ref().map(|key| request_name(&self.node, &key.fingerprint()));
        // What is known of a request is of the one before.
        (self.seen.request, self.seen.created) = (None, None);
        self.key = key;
    }

    /// Tells the rules and people, where there is something new.
    fn report(&mut self) {
        let access = access(&self.node, &self.seen, self.now());
        if self.told.as_ref() != Some(&access) {
            self.told = Some(access.clone());
            (self.tell)(Observation::Access(access));
        }
    }

    async fn fail(&mut self, error: &EnrolError) {
        let words = chain(error);
        tracing::warn!("enrolment: {words}");
        self.seen.setback = Some(words);
        self.report();
        self.failures = self.failures.saturating_add(1);
        sleep(PAUSES.after(self.failures)).await;
    }

    async fn carry_out(&mut self, next: Next) -> Result<(), EnrolError> {
        match next {
            Next::Rest(until) => self.rest(until).await,
            Next::Follow(until) => self.follow(until).await,
            Next::MakeKey => {
                let key = Key::generate()?;
                self.files.keep_pending(&key.to_pem()?)?;
                self.seen.denied = None;
                self.wait_with(Some(key));
                Ok(())
            }
            Next::Look => self.look().await,
            Next::Ask => self.ask().await,
            Next::Store(certificate) => self.store(&certificate),
            Next::Remember(denial) => self.remember(denial).await,
            Next::Drop(why) => {
                self.files.drop_pending()?;
                let said = format!("a coordination certificate is of no use and is asked for anew: {why}");
                self.wait_with(None);
                self.say(EventKind::Warning, Reason::WaitingForApproval, &said).await;
                Ok(())
            }
        }
    }

    /// Sleeps, until something is to be decided anew.
    async fn rest(&mut self, until: Option<Unix>) -> Result<(), EnrolError> {
        let left = until.map(|until| until.since(self.now()).max(Duration::from_secs(1)));
        let rejected = self.seen.rejected;
        tokio::select! {
            () = sleep(left.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP)) => {}
            Ok(()) = self.retry.changed() => {}
            () = self.cluster.coordination_rejected(), if !rejected => return self.try_credential().await,
        }
        if rejected { self.try_credential().await } else { Ok(()) }
    }

    /// Watches the request, until something is to be decided anew.
    async fn follow(&mut self, until: Option<Unix>) -> Result<(), EnrolError> {
        let (Some(name), Some(key)) = (&self.seen.pending, &self.key) else { return Ok(()) };
        let left = until.map(|until| until.since(self.now()).max(Duration::from_secs(1)));
        let (node, rejected) = (&self.node, self.seen.rejected);
        let see = |request: Option<&CertificateSigningRequest>| Some(see(request, key, node));
        let changed = self.cluster.follow_request(name, &self.seen.request, see);
        tokio::select! {
            changed = timeout(left.unwrap_or(LONGEST_WATCH).min(LONGEST_WATCH), changed) => {
                if let Ok(changed) = changed {
                    self.seen.request = changed?;
                    return Ok(());
                }
            }
            () = self.cluster.coordination_rejected(), if !rejected => return self.try_credential().await,
        }
        if rejected { self.try_credential().await } else { Ok(()) }
    }

    /// Finds out whether the credential in use is accepted: one answer alone may have been an API server that was
    /// just starting.
    async fn try_credential(&mut self) -> Result<(), EnrolError> {
        if self.seen.credential.is_none() {
            return Ok(());
        }
        let rejected = match self.cluster.try_coordination().await {
            Err(error) if error.blames_credential() => true,
            // Nobody answered: what was known stands.
            Err(_) => return Ok(()),
            Ok(()) => false,
        };
        if rejected && !self.seen.rejected {
            tracing::warn!(
                "the API server no longer accepts the coordination certificate; asking for another one"
            );
        }
        self.seen.rejected = rejected;
        Ok(())
    }

    async fn look(&mut self) -> Result<(), EnrolError> {
        let (Some(name), Some(key)) = (&self.seen.pending, &self.key) else { return Ok(()) };
        let request = self.cluster.read_request(name).await?;
        self.seen.request = Some(see(request.as_ref(), key, &self.node));
        Ok(())
    }

    async fn ask(&mut self) -> Result<(), EnrolError> {
        let (Some(name), Some(key)) = (self.seen.pending.clone(), &self.key) else { return Ok(()) };
        let pem = key.request(&self.node)?;
        let request = self.cluster.create_request(&name, &pem).await?;
        self.seen.request = Some(see(Some(&request), key, &self.node));
        self.seen.created = Some(self.now());
        let said = match access(&self.node, &self.seen, self.now()) {
            Access::Missing(why) => why.message,
            Access::Usable { note } => note.unwrap_or_default(),
        };
        tracing::info!(request = name, "{said}");
        self.say(EventKind::Normal, Reason::WaitingForApproval, &said).await;
        Ok(())
    }

    fn store(&mut self, certificate: &str) -> Result<(), EnrolError> {
        let Some(key) = &self.key else { return Ok(()) };
        let validity = fits(certificate.as_bytes(), key, &self.node)?;
        self.files.store(&key.to_pem()?, certificate)?;
        (self.seen.credential, self.seen.rejected, self.seen.created) = (Some(validity), false, None);
        self.wait_with(None);
        tracing::info!("a coordination certificate has come and is in use");
        Ok(())
    }

    async fn remember(&mut self, denial: Denial) -> Result<(), EnrolError> {
        self.files.deny(&denial)?;
        self.seen.denied = Some(denial);
        self.wait_with(None);
        if let Access::Missing(why) = access(&self.node, &self.seen, self.now()) {
            tracing::warn!("{}", why.message);
            self.say(EventKind::Warning, why.reason, &why.message).await;
        }
        Ok(())
    }

    async fn say(&self, kind: EventKind, reason: Reason, words: &str) {
        self.cluster.event(kind, &reason.to_string(), words).await;
    }
}

/// How a request stands, for the one who holds this key.
fn see(request: Option<&CertificateSigningRequest>, key: &Key, node: &str) -> RequestSeen {
    let Some(request) = request else { return RequestSeen::Absent };
    let ours = check::check(request).and_then(|fitting| {
        key.public().map_err(|why| why.to_string()).map(|public| fitting.public_key == public)
    });
    match ours {
        Ok(true) => {}
        Ok(false) => return RequestSeen::Unfit("the request under our name is for another key".to_owned()),
        Err(why) => return RequestSeen::Unfit(format!("the request under our name is not ours: {why}")),
    }
    let status = request.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let condition = |kind: &str| conditions.iter().find(|condition| condition.type_ == kind);
    if let Some(no) = condition("Denied").or_else(|| condition("Failed")) {
        let words = no.message.clone().filter(|words| !words.is_empty()).or_else(|| no.reason.clone());
        return RequestSeen::Denied(words.unwrap_or_else(|| "without a word".to_owned()));
    }
    if let Some(certificate) = status.certificate.filter(|certificate| !certificate.0.is_empty()) {
        let pem = String::from_utf8_lossy(&certificate.0).into_owned();
        return match fits(pem.as_bytes(), key, node) {
            Ok(_) => RequestSeen::Issued(pem),
            Err(why) => RequestSeen::Unfit(why.to_string()),
        };
    }
    match condition("Approved") {
        Some(approved) => {
            let since = approved.last_update_time.as_ref().map_or(0, |time| time.0.as_second());
            RequestSeen::Approved(Unix(u64::try_from(since).unwrap_or(0)))
        }
        None => RequestSeen::Pending,
    }
}
