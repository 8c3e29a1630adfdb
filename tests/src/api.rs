//! A fake API server: a service under the real client, with faults and lag.
//!
//! It knows what the agent's calls rest on: resourceVersions, conflicts, merge patches, watches with selectors,
//! evictions under disruption budgets, and what the two identities may do. It knows no schemas and runs no controllers;
//! tests play those through [`Api::client`] of [`Who::Admin`]. The contract suite holds it to the real one.
//!
//! - `store`: objects and their history; `request`: paths and selectors; `serve`: the verbs; `patch`: merging.
//! - `watch`: histories as streams; `evict`: evictions; `limits`: the identities; [`faults`]: what goes wrong.

mod answer;
mod evict;
pub mod faults;
mod limits;
mod patch;
mod request;
mod serve;
mod store;
mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::Client;
use kube::client::Body;
use serde_json::Value;

use answer::{Answer, ServiceError};
use faults::{Effect, Fault};
use request::Call;
use store::Store;

pub use patch::merge;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// May do everything.
    Admin,
    /// The kubelet of this node.
    Kubelet(String),
    /// The coordination identity of this node's agent.
    Agent(String),
}

/// A pod that was asked to end, by eviction or deletion, and that the server asked to end.
#[derive(Debug, Clone)]
pub struct Ended {
    /// By whom.
    pub by: Who,
    /// The UID it was asked of, as a precondition.
    pub asked: Option<String>,
    /// The pod as it stood before.
    pub pod: Value,
}

/// The server. Clones are the same server.
#[derive(Clone, Default)]
pub struct Api {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Counts changes that watches must look at.
    changed: tokio::sync::watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    store: Store,
    faults: Vec<Fault>,
    requests: Vec<String>,
    ended: Vec<Ended>,
    /// Watches show nothing newer than this.
    frozen: Option<u64>,
    /// A watch that began in an earlier one is cut.
    epoch: u64,
}

impl Api {
    /// A client in this name.
    pub fn client(&self, who: Who) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let (api, who) = (api.clone(), who.clone());
            async move { api.serve(&who, request).await }
        });
        Client::new(service, "default")
    }

    /// From now on, until it has come often enough, this goes wrong.
    pub fn fail(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Every request so far, as `PATCH /api/v1/nodes/n1?…`.
    pub fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    /// Every pod that was asked to end so far.
    pub fn ended(&self) -> Vec<Ended> {
        self.state().ended.clone()
    }

    /// What stands of a resource, such as `pods`, read past every fault.
    pub fn standing(&self, resource: &str) -> Vec<Value> {
        self.state()
            .store
            .all()
            .filter(|((kind, ..), _)| kind == resource)
            .map(|(_, it)| it.clone())
            .collect()
    }

    /// Watches lag: they show nothing newer than now until [`Api::thaw`].
    pub fn freeze_watches(&self) {
        let mut state = self.state();
        state.frozen = Some(state.store.version());
    }

    /// Watches catch up.
    pub fn thaw(&self) {
        self.state().frozen = None;
        self.wake();
    }

    /// Cuts every watch under way.
    pub fn cut_watches(&self) {
        self.state().epoch += 1;
        self.wake();
    }

    /// Forgets the history, so that a watch from an older version is answered 410, and cuts every watch.
    pub fn expire_watches(&self) {
        let mut state = self.state();
        state.store.compact();
        state.epoch += 1;
        drop(state);
        self.wake();
    }

    /// As after a restore from a backup: what stands, stands under small versions, and every watch is cut.
    pub fn restore_from_backup(&self) {
        let mut state = self.state();
        state.store.renumber();
        state.epoch += 1;
        drop(state);
        self.wake();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        self.shared.changed.send_modify(|count| *count += 1);
    }

    async fn serve(
        &self,
        who: &Who,
        request: http::Request<Body>,
    ) -> Result<http::Response<answer::ResponseBody>, ServiceError> {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await?;
        let line = format!("{} {}", parts.method, parts.uri);
        let effect = {
            let mut state = self.state();
            state.requests.push(line.clone());
            faults::strike(&mut state.faults, who, &line)
        };
        match effect {
            Some(Effect::Refuse(code, message)) => return Ok(Answer::error(code, "", &message).respond()),
            Some(Effect::Busy(seconds)) => return Ok(Answer::busy(seconds).respond()),
            Some(Effect::Unreachable) => return Err("connection refused".into()),
            Some(Effect::Swallow) => return std::future::pending().await,
            Some(Effect::LoseAnswer) => {
                self.answer(who, &parts, &body);
                return std::future::pending().await;
            }
            Some(Effect::Delay(while_)) => tokio::time::sleep(while_).await,
            Some(Effect::First(change)) => change(&self.client(Who::Admin)).await,
            None => {}
        }
        Ok(self.answer(who, &parts, &body))
    }

    fn answer(
        &self,
        who: &Who,
        parts: &http::request::Parts,
        body: &[u8],
    ) -> http::Response<answer::ResponseBody> {
        let call = match Call::parse(parts, body) {
            Ok(call) => call,
            Err(answer) => return answer.respond(),
        };
        if call.is_watch() {
            let allowed = limits::allow(who, &call, &self.state().store);
            return match allowed {
                Ok(()) => self.open_watch(&call),
                Err(refused) => refused.respond(),
            };
        }
        let answer = {
            let state = &mut *self.state();
            let before = serve::standing(&state.store, &call).ok().filter(|_| call.ends_a_pod()).cloned();
            let answer = limits::allow(who, &call, &state.store)
                .and_then(|()| serve::serve(&mut state.store, who, &call));
            if answer.is_ok() {
                let asked = call.uid_asked();
                state.ended.extend(before.map(|pod| Ended { by: who.clone(), asked, pod }));
            }
            answer
        };
        self.wake();
        answer.unwrap_or_else(|refused| refused).respond()
    }
}
