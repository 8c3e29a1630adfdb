//! No turn: say what runs here, then find out what comes next.

use std::time::Duration;

use super::context::{Context, Look};
use super::{Next, adopt, plan};
use crate::act::Act;
use crate::api::Version;
use crate::judge::control_plane::{oldest_static_pod, shows_static_pods};
use crate::judge::next_turn::NextTurn;
use crate::memory::Memory;
use crate::observed::Access;
use crate::observed::Ready;

/// How old the pods may be from which a control plane's version is published: people upgrade it too.
const PODS_AGE: Duration = Duration::from_secs(10);
/// How often an API server is asked what it runs.
const API_SERVER_PACE: Duration = Duration::from_mins(10);

pub(super) fn decide(cx: &Context<'_>) -> Look<Next> {
    let missing = match &cx.observed.access {
        Access::Usable { .. } => None,
        Access::Missing(why) => Some(Next::Wait { why: why.clone(), until: None }),
    };
    if let Some(wait) = &missing
        && !cx.memory.known
    {
        return Ok(wait.clone());
    }
    if missing.is_none() {
        adopt::traces(cx)?;
    }
    remember_policy(cx)?;
    publish_current(cx)?;
    let asked = publish_api_server(cx)?;
    let next = missing.map_or_else(|| plan::decide(cx), Ok)?;
    Ok(match next {
        Next::Wait { why, until } => Next::Wait { why, until: until.into_iter().chain(asked).min() },
        other => other,
    })
}

/// Remembers that there is a policy: after a restart nothing else tells one that is gone from one that never was.
fn remember_policy(cx: &Context<'_>) -> Look<()> {
    if !cx.observed.policy.exists || cx.memory.policy_seen {
        return Ok(());
    }
    Err(Next::Remember(Box::new(Memory { policy_seen: true, ..cx.memory.clone() })))
}

/// Writes `current` where it does not say what this node runs in service. It does not run ahead of a turn that is still to come:
/// scripts wait for it.
fn publish_current(cx: &Context<'_>) -> Look<()> {
    let Some(runs) = in_service(cx)? else { return Ok(()) };
    if cx.node.current == Some(runs) {
        return Ok(());
    }
    let reached = cx.node.request.wanted().is_some_and(|target| runs >= target);
    if reached && !matches!(plan::next(cx, Duration::MAX)?, NextTurn::Nothing | NextTurn::Refused(_)) {
        return Ok(());
    }
    if cx.node.control_plane {
        cx.pods(PODS_AGE)?;
    }
    Err(Next::Do(Act::PublishCurrent { current: runs }))
}

/// The version this node is in service at: of a control plane the oldest of its parts.
fn in_service(cx: &Context<'_>) -> Look<Option<Version>> {
    let serves = cx.node.ready == Ready::True && cx.node.cordon_note.is_none() && cx.node.in_hand.is_none();
    let Some(kubelet) = cx.node.kubelet.filter(|_| serves) else { return Ok(None) };
    if !cx.node.control_plane {
        return Ok(Some(kubelet));
    }
    let pods = &cx.pods(Duration::MAX)?.pods;
    if !shows_static_pods(pods) {
        return Ok(None);
    }
    Ok(Some(oldest_static_pod(pods).map_or(kubelet, |version| version.min(kubelet))))
}

/// Writes the note `api-server` where it does not say what this node's API server answers; when to ask it next.
fn publish_api_server(cx: &Context<'_>) -> Look<Option<crate::time::Mono>> {
    if !cx.node.control_plane {
        return Ok(None);
    }
    cx.api_server_is_noted(API_SERVER_PACE)?;
    let local = cx.local(API_SERVER_PACE)?;
    Ok(Some(local.at.plus(API_SERVER_PACE + Duration::from_millis(1))))
}
