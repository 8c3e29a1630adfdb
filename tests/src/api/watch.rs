//! Histories as streams.

use std::time::Duration;

use futures::stream;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::answer::{self, ResponseBody, ServiceError};
use super::request::{Call, Selector};
use super::store::Change;
use super::{Api, State};

/// Where one watch stands.
struct Watch {
    api: Api,
    selector: Selector,
    version: u64,
    epoch: u64,
    end: Instant,
    over: bool,
}

/// What a watch does next.
enum Step {
    Show(Value),
    /// Show this, then end.
    Last(Value),
    Cut,
    End,
    Wait,
}

impl Api {
    pub(super) fn open_watch(&self, call: &Call) -> http::Response<ResponseBody> {
        let number = |key: &str| call.query.get(key).and_then(|value| value.parse::<u64>().ok());
        let watch = Watch {
            api: self.clone(),
            selector: call.selector(),
            version: number("resourceVersion").unwrap_or_default(),
            epoch: self.state().epoch,
            end: Instant::now() + Duration::from_secs(number("timeoutSeconds").unwrap_or(300)),
            over: false,
        };
        answer::stream(stream::unfold(watch, Watch::next))
    }
}

impl Watch {
    async fn next(mut self) -> Option<(Result<Value, ServiceError>, Self)> {
        let mut changed = self.api.shared.changed.subscribe();
        while !self.over {
            let step = {
                let api = self.api.clone();
                self.step(&api.state())
            };
            match step {
                Step::Show(line) => return Some((Ok(line), self)),
                Step::Last(line) => {
                    self.over = true;
                    return Some((Ok(line), self));
                }
                Step::Cut => {
                    self.over = true;
                    return Some((Err("connection reset by peer".into()), self));
                }
                Step::End => self.over = true,
                Step::Wait => tokio::select! {
                    biased;
                    _ = changed.changed() => {}
                    () = sleep_until(self.end) => self.over = true,
                },
            }
        }
        None
    }

    fn step(&mut self, state: &State) -> Step {
        if state.epoch != self.epoch {
            // A server that restarts from a backup closes its connections in order, and nobody is told of an error.
            return if self.version > state.store.version() { Step::End } else { Step::Cut };
        }
        if self.version < state.store.oldest() {
            let gone = answer::status(410, "Expired", "too old resource version", &json!({}));
            return Step::Last(json!({"type": "ERROR", "object": gone}));
        }
        let newest = state.frozen.unwrap_or(u64::MAX);
        let selector = &self.selector;
        let shown = |change: &Change| change.version <= newest && event(selector, change).is_some();
        let Some(change) = state.store.change_after(self.version, shown) else {
            return Step::Wait;
        };
        self.version = change.version;
        event(selector, change).map_or(Step::Wait, Step::Show)
    }
}

/// A change as those see it who watch by this selector: what no longer fits it is deleted to them.
fn event(selector: &Selector, change: &Change) -> Option<Value> {
    let fits = |object: &Option<Value>| {
        object.as_ref().is_some_and(|object| selector.takes(&change.resource, object))
    };
    let (word, object) = match (fits(&change.before), fits(&change.after)) {
        (false, false) => return None,
        (false, true) => ("ADDED", change.after.clone()),
        (true, true) => ("MODIFIED", change.after.clone()),
        (true, false) => ("DELETED", change.after.clone().or_else(|| change.before.clone())),
    };
    Some(json!({"type": word, "object": object}))
}
