//! The `data` of the ConfigMap `policy`, as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use upgrade_core::api::policy::PROTOCOL;
use upgrade_core::api::{Explanation, Policy, Reason};

use super::{ensure, is_clear};

/// Keys and what they take.
pub(super) const WORDS: [&str; 15] = [
    "paused",
    "minReadySeconds",
    "protocol",
    "maxUnavailable",
    "true",
    "false",
    "True",
    "yes",
    "0",
    "1",
    "2",
    "3600",
    "3601",
    "+5",
    "007",
];

/// So many wrong keys have to be named at once, each of at most so many bytes (what a ConfigMap takes is longer).
const NAMED: (usize, usize) = (6, 64);

/// What reading comes to.
pub(super) fn judge(input: &[u8]) -> Result<String, String> {
    // Anything else the client refuses: it is no such object.
    let Ok(data) = serde_json::from_slice::<BTreeMap<String, String>>(input) else {
        return Ok("no map".to_owned());
    };
    let policy = Policy::read(Some(&data), true);
    let mut wrong = Vec::new();
    for (key, value) in &data {
        if !is_taken(key, value, &policy)? {
            names(&policy.wrong, key, value)?;
            wrong.push(key.as_str());
        }
    }
    ensure(wrong.len() == policy.wrong.len(), || {
        format!("{wrong:?} are wrong, told are {:?}", policy.wrong)
    })?;
    ensure(policy.min_ready <= Duration::from_hours(1), || format!("kept for {:?}", policy.min_ready))?;
    is_told(&policy, &wrong)?;
    let bars = match &policy {
        Policy { paused: true, .. } => "paused",
        Policy { protocol, .. } if *protocol > PROTOCOL => "of a newer protocol",
        _ => "in force",
    };
    let kept = if policy.min_ready.is_zero() { "" } else { ", ready for a while" };
    let kinds = wrong.iter().map(|key| if WORDS[..3].contains(key) { *key } else { "unknown" });
    let kinds: std::collections::BTreeSet<&str> = kinds.collect();
    Ok(format!("{bars}{kept}, wrong {kinds:?} of {} keys", data.len().min(6)))
}

/// Whether a value is one that its key takes; then it has to be what applies.
fn is_taken(key: &str, value: &str, policy: &Policy) -> Result<bool, String> {
    let applies = |applies: bool| {
        ensure(applies, || format!("{key} is {value:?} and does not apply: {policy:?}")).map(|()| true)
    };
    match key {
        "paused" if value == "true" => applies(policy.paused),
        "paused" if value == "false" => applies(!policy.paused),
        "minReadySeconds" => match value.parse() {
            Ok(seconds @ 0..=3600) => applies(policy.min_ready == Duration::from_secs(seconds)),
            _ => Ok(false),
        },
        "protocol" => value.parse().map_or(Ok(false), |protocol: u32| applies(policy.protocol == protocol)),
        _ => Ok(false),
    }
}

/// What is wrong has to be told by key and value.
fn names(told: &[String], key: &str, value: &str) -> Result<(), String> {
    // What is long is told by its beginning and its end.
    let begins: String =
        key.chars().take(10).map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
    let mut about = told.iter().filter(|line| line.starts_with(&format!("key {begins}")));
    let ends = if WORDS[..3].contains(&key) { format!("key {key}: ") } else { String::new() };
    let line = about
        .find(|line| line.starts_with(&ends))
        .ok_or_else(|| format!("nobody names {key:?}: {told:?}"))?;
    ensure(line.len() <= 1024, || format!("{} bytes about {key:?}", line.len()))?;
    let head: String = value.chars().take(10).collect();
    let quoted = format!("{head:?}");
    let known = WORDS[..3].contains(&key) && !head.contains(char::is_control);
    ensure(!known || line.contains(quoted.trim_end_matches('"')), || format!("{value:?} is not told: {line}"))
}

/// The message that is told of a policy that bars claims. It has to be clear, and to name some wrong keys whatever stands there.
fn is_told(policy: &Policy, wrong: &[&str]) -> Result<(), String> {
    let why = policy.forbids_claims();
    let barred = policy.paused || !wrong.is_empty() || policy.protocol > PROTOCOL;
    ensure(why.is_some() == barred, || format!("{why:?} of {policy:?}"))?;
    let Some(why) = why else { return Ok(()) };
    let message = Explanation::new(Reason::Paused, why).message;
    is_clear(&message)?;
    if !policy.paused && wrong.len() <= NAMED.0 && wrong.iter().all(|key| key.len() <= NAMED.1) {
        let unnamed = wrong.iter().find(|key| !key.contains(char::is_control) && !message.contains(**key));
        ensure(unnamed.is_none(), || format!("{unnamed:?} is not named: {message}"))?;
    }
    Ok(())
}
