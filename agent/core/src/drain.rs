//! Draining: which pods go, in kubectl's words, and how evictions are paced.
//!
//! [`filter`] is what `kubectl drain` calls its filters; [`Engine`] takes lists of pods and answers to evictions
//! in, and gives the next evictions out; [`budget`] says beforehand what disruption budgets will say.

pub mod budget;
mod engine;
mod gate;
mod pod;

use core::time::Duration;

use crate::observed::PodSeen;
use crate::time::Unix;

pub use engine::{Engine, Eviction, EvictionResponse, MAX_IN_FLIGHT, Next};

/// The rules of a drain, in the words of `kubectl drain`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own, most of them kubectl's")]
pub struct DrainOptions {
    /// Whether to drain at all; off only for single-node clusters and patch upgrades.
    pub enabled: bool,
    /// Evict pods that nothing would re-create.
    pub force: bool,
    /// Give up the emptyDir data of pods a controller re-creates.
    pub delete_emptydir_data: bool,
    /// Leave pods of a `DaemonSet` where they are; otherwise they refuse the drain.
    pub ignore_daemonsets: bool,
    /// A label selector: only these pods are looked at. Empty: all.
    pub pod_selector: String,
    /// Delete pods instead of evicting them, past every disruption budget.
    pub disable_eviction: bool,
    /// Seconds of grace for every pod instead of its own.
    pub grace_period: Option<u32>,
    /// After this long the drain is given up and the node uncordoned.
    pub timeout: Duration,
    /// After this long without any progress it is given up as well. Zero: never. What still has grace is progress.
    pub no_progress_timeout: Duration,
    /// A pod that terminates is no more waited for so long after its grace period. Zero: always waited for.
    pub skip_wait_for_delete_timeout: Duration,
    /// Evict the system's critical pods only when all others are gone.
    pub critical_last: bool,
}

impl Default for DrainOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            force: false,
            delete_emptydir_data: true,
            ignore_daemonsets: true,
            pod_selector: String::new(),
            disable_eviction: false,
            grace_period: None,
            timeout: Duration::from_hours(1),
            no_progress_timeout: Duration::from_mins(15),
            skip_wait_for_delete_timeout: Duration::ZERO,
            critical_last: false,
        }
    }
}

/// What a drain makes of one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// It is evicted.
    Evict,
    /// Its deletion was asked for already: it is waited for, without another eviction.
    Terminating,
    /// It stays, for this reason.
    Skip(&'static str),
    /// It should have ended long ago, and is not waited for any more, for this reason.
    Overdue(&'static str),
    /// The drain must not begin: what stands in the way and how to allow it.
    Error(String),
}

/// Judges one pod with the filters of `kubectl drain` (`pkg/drain/filters.go`), in their order.
///
/// Two things differ, both because nobody sits at a terminal: a pod that is terminating already is nobody's to
/// refuse any more, and a pod of a `DaemonSet` stays even when it has failed: its controller replaces it.
pub fn filter(pod: &PodSeen, options: &DrainOptions, now: Unix) -> Disposition {
    if pod.deletion.is_some_and(|end| is_overdue(end, options, now)) {
        return Disposition::Overdue("it has been terminating for longer than skip-wait-for-delete-timeout");
    }
    if is_daemon_set_pod(pod) {
        return daemon_set_pod(pod, options);
    }
    if pod.mirror {
        return Disposition::Skip("it mirrors a static pod, which the API server cannot stop");
    }
    if pod.deletion.is_some() {
        return Disposition::Terminating;
    }
    if pod.finished {
        return Disposition::Evict;
    }
    if pod.empty_dir && !options.delete_emptydir_data {
        return Disposition::Error(format!(
            "pod {}/{} keeps data in an emptyDir volume, which is lost with it: move the data and delete the pod, \
             or set delete-emptydir-data = true in [drain] of this node's config.toml",
            pod.namespace, pod.name
        ));
    }
    if pod.controller.is_none() && !options.force {
        return Disposition::Error(format!(
            "pod {}/{} has no controller that would create it again: delete it yourself, \
             or set force = true in [drain] of this node's config.toml",
            pod.namespace, pod.name
        ));
    }
    Disposition::Evict
}

fn daemon_set_pod(pod: &PodSeen, options: &DrainOptions) -> Disposition {
    if options.ignore_daemonsets || pod.deletion.is_some() || pod.finished {
        return Disposition::Skip("a DaemonSet would put it back at once");
    }
    Disposition::Error(format!(
        "pod {}/{} belongs to a DaemonSet, which would put it back at once: set ignore-daemonsets = true in [drain] of \
         this node's config.toml",
        pod.namespace, pod.name
    ))
}

/// Whether a pod whose grace period ended then is not waited for any more.
fn is_overdue(grace_ended: Unix, options: &DrainOptions, now: Unix) -> bool {
    let patience = options.skip_wait_for_delete_timeout;
    !patience.is_zero() && now.since(grace_ended) > patience
}

/// The API version counts too: other projects have a kind of that name whose pods behave otherwise.
fn is_daemon_set_pod(pod: &PodSeen) -> bool {
    pod.controller.as_ref().is_some_and(|owner| owner.kind == "DaemonSet" && owner.api_version == "apps/v1")
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests;
