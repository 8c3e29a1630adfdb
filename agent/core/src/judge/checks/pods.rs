//! Whether the pods of a node can be drained: by the rules of the drain, by what disruption budgets forecast, and by
//! what the API server said to evictions tried as dry runs.

use std::collections::BTreeMap;

use crate::api::text;
use crate::drain::budget::Forecast;
use crate::drain::{Disposition, DrainOptions, EvictionResponse, filter};
use crate::observed::{Outcome, PodSeen};
use crate::time::Unix;

/// So many things are told of one kind.
const TOLD: usize = 5;

/// What dry runs of evictions met that is no matter of budgets: what those say now is in the forecast already.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tried {
    /// Pods by UID that may not be evicted, with the server's words.
    pub forbidden: Vec<(String, String)>,
    /// What may come right by itself.
    pub failed: Vec<String>,
}

impl Tried {
    /// Takes in what the API server said to the eviction of a pod.
    pub fn take(&mut self, pod: &PodSeen, answer: EvictionResponse) {
        let told = |words: &str| format!("pod {}/{}: {words}", pod.namespace, pod.name);
        match answer {
            EvictionResponse::Forbidden(words) => self.forbidden.push((pod.uid.clone(), told(&words))),
            EvictionResponse::Failed(words) => self.failed.push(told(&words)),
            EvictionResponse::Accepted
            | EvictionResponse::Gone
            | EvictionResponse::Blocked { .. }
            | EvictionResponse::Busy { .. } => {}
        }
    }

    /// Drops what was said of pods that are not on a fresh list: to a kubelet a pod that is gone is forbidden too.
    pub fn keep_those_still_here(&mut self, here: &[PodSeen]) {
        self.forbidden.retain(|(uid, _)| here.iter().any(|pod| pod.uid == *uid));
    }
}

/// The outcome of whatever is asked for a drain's sake, where there is none.
pub fn not_drained(options: &DrainOptions) -> Option<Outcome> {
    (!options.enabled).then(|| Outcome::Passed("draining is switched off".to_owned()))
}

/// What the forecast refuses: then no eviction needs to be tried.
pub fn refused(forecast: &Forecast) -> Option<Outcome> {
    (!forecast.never.is_empty()).then(|| Outcome::Failed(text::some_of(TOLD, "; ", &forecast.never)))
}

/// The pods whose evictions are tried: one of each controller, for what admission says to one pod of a controller it
/// says to all; and every pod that has none.
pub fn to_try<'a>(pods: &'a [PodSeen], options: &DrainOptions, now: Unix) -> Vec<&'a PodSeen> {
    let going = pods.iter().filter(|pod| filter(pod, options, now) == Disposition::Evict);
    let by_controller: BTreeMap<_, _> = going
        .map(|pod| {
            let owner = pod.controller.as_ref();
            let (kind, name) = owner.map_or(("", &pod.name), |owner| (owner.kind.as_str(), &owner.name));
            ((&pod.namespace, kind, name), pod)
        })
        .collect();
    by_controller.into_values().collect()
}

/// Every pod can be drained.
pub fn pods(options: &DrainOptions, forecast: &Forecast, tried: &Tried) -> Outcome {
    if let Some(outcome) = not_drained(options).or_else(|| refused(forecast)) {
        return outcome;
    }
    let forbidden: Vec<_> = tried.forbidden.iter().map(|(_, words)| words.clone()).collect();
    if !forbidden.is_empty() {
        return Outcome::Failed(format!(
            "the API server refuses evictions: {}",
            text::some_of(TOLD, "; ", &forbidden)
        ));
    }
    let mut told = vec![format!("{} pods would be evicted", forecast.evicted)];
    let noted = !(forecast.blocked.is_empty() && tried.failed.is_empty());
    if !forecast.blocked.is_empty() {
        told.push(text::some_of(TOLD, "; ", &forecast.blocked));
    }
    // A dry run that fails proves nothing: a webhook may move the pod itself, and answer no.
    if !tried.failed.is_empty() {
        let failed = text::some_of(TOLD, "; ", &tried.failed);
        told.push(format!("evictions tried as dry runs fail: {failed}"));
    }
    if !forecast.slow.is_empty() {
        told.push(text::some_of(TOLD, "; ", &forecast.slow));
    }
    if !forecast.lose_data.is_empty() {
        told.push(format!("emptyDir data is lost of {}", text::some_of(TOLD, ", ", &forecast.lose_data)));
    }
    let told = told.join("; ");
    if noted { Outcome::Noted(told) } else { Outcome::Passed(told) }
}

#[cfg(test)]
mod tests;
