//! The annotations of a Node, as JSON, as its own agent and as the others read them.

use std::collections::BTreeMap;

use node_upgrade_agent::show;
use upgrade_core::api::annotations::{
    API_SERVER, CRI_SOCKET, CURRENT, FOUND_CORDONED, IGNORE, IN_HAND, PREFIX, RETRY, SKIP_CHECKS, STATUS,
    TARGET,
};
use upgrade_core::api::{ApiServerNote, Check, InHand, Report, Request};
use upgrade_core::memory::Memory;
use upgrade_core::observed::{FleetNode, NodeSeen};

use super::{ensure, world};

/// Keys, and what stands in them.
pub(super) const WORDS: [&str; 35] = [
    TARGET,
    RETRY,
    SKIP_CHECKS,
    IGNORE,
    CURRENT,
    STATUS,
    FOUND_CORDONED,
    IN_HAND,
    API_SERVER,
    CRI_SOCKET,
    "node-upgrade-agent/phase",
    "v1.36.3",
    "1.36.3",
    "v1.36",
    "v01.36.3",
    "v1.36.3-rc.1",
    "NodeReady",
    "DiskSpace",
    "ApiServers",
    "nodeready",
    "all",
    "true",
    "false",
    "refused",
    "{\"turn\":\"kubelet\"",
    "\"id\":\"v1.36.3-a\"",
    "\"since\":",
    "\"to\":\"v1.36.3\"",
    "\"degraded\":\"x\"",
    "{\"version\":\"v1.36.3\",\"hash\":\"ab\"}",
    "\"phase\":\"idle\"",
    "\"reason\":\"Idle\"",
    "\"message\":\"\"",
    "\"attempts\":0",
    "../x",
];

/// What reading comes to.
pub(super) fn judge(input: &[u8]) -> Result<String, String> {
    // Anything else the client refuses: it is no such object.
    let Ok(notes) = serde_json::from_slice::<BTreeMap<String, String>>(input) else {
        return Ok("no map".to_owned());
    };
    let (node, peer) = (world::node(&notes, false), FleetNode::default().with_annotations(&notes));
    let ours = |key: &String| key.starts_with(PREFIX) || key == CRI_SOCKET;
    let own: BTreeMap<_, _> = notes.clone().into_iter().filter(|(key, _)| ours(key)).collect();
    ensure(world::node(&own, false) == node, || "other people's annotations make a difference".to_owned())?;
    let target = target(&notes, &node, &peer)?;
    let skips = skips(&notes, &node.request)?;
    let mark = in_hand(notes.get(IN_HAND), &node, &peer)?;
    let server = api_server(notes.get(API_SERVER), &node, &peer)?;
    ensure(node.request.retry.as_ref() == notes.get(RETRY), || format!("retry is {:?}", node.request.retry))?;
    let current = node.current.is_none() || node.current == peer.current;
    ensure(current, || format!("current is {:?} here, {:?} there", node.current, peer.current))?;
    let status = status(&node)?;
    let memory = Memory { known: true, ..Memory::default() };
    let next = world::followed(&world::settings(), &memory, &world::ordinary(node, None))?;
    Ok(format!("target {target}, skips {skips}, mark {mark}, server {server}, status {status}: {next}"))
}

/// A target that cannot be read is told by its annotation, and never taken for none.
fn target(
    notes: &BTreeMap<String, String>,
    node: &NodeSeen,
    peer: &FleetNode,
) -> Result<&'static str, String> {
    let asked = notes.get(TARGET).filter(|text| !text.is_empty());
    match (asked, &node.request.target) {
        (None, None) => Ok("none"),
        (Some(text), Some(Ok(version))) => {
            let again = version.to_string().parse();
            ensure(again == Ok(*version), || format!("{text:?} is read as {version}, that as {again:?}"))?;
            ensure(text.contains(version.to_string().trim_start_matches('v')), || {
                format!("{text:?} is {version}")
            })?;
            ensure(peer.target == Some(*version), || format!("{version} here, {:?} there", peer.target))?;
            Ok("read")
        }
        (Some(_), Some(Err(_))) => {
            ensure(peer.target.is_none(), || format!("unread here, {:?} there", peer.target))?;
            is_told(node)?;
            Ok("wrong")
        }
        other => Err(format!("dropped or made up: {other:?}")),
    }
}

/// What is told of a target that cannot be read names the annotation.
fn is_told(node: &NodeSeen) -> Result<(), String> {
    use upgrade_core::api::Reason;
    use upgrade_core::decide::{Next, decide};
    // Cordons and marks of turns that nobody remembers go first.
    let node = NodeSeen { cordon_note: None, in_hand: None, current: node.kubelet, ..node.clone() };
    let memory = Memory { known: true, ..Memory::default() };
    let seen = world::ordinary(node, None);
    match decide(&world::settings(), &memory, &seen, &upgrade_core::since::Since::default(), world::NOW) {
        Next::Wait { why, .. } if why.reason == Reason::InvalidTarget => {
            super::is_clear(&why.message)?;
            ensure(why.message.starts_with("target: "), || {
                format!("the annotation is not named: {}", why.message)
            })
        }
        other => Err(format!("a target that cannot be read comes to {other:?}")),
    }
}

/// Every word of `skip-checks` is a check or is told.
fn skips(notes: &BTreeMap<String, String>, request: &Request) -> Result<&'static str, String> {
    let text = notes.get(SKIP_CHECKS).map(String::as_str).unwrap_or_default();
    for word in text.split([',', ' ']).filter(|word| !word.is_empty()) {
        let told = || {
            request
                .vain_skips()
                .any(|line| line.contains(&format!("{word:?}")) && line.contains("skip-checks"))
        };
        let known = Check::from_word(word).is_some_and(|check| request.skip.contains(&check));
        ensure(known || told(), || format!("{word:?} is dropped"))?;
    }
    Ok(match (request.skip.is_empty(), request.unknown_skips.is_empty()) {
        (true, true) => "none",
        (false, true) => "known",
        (true, false) => "unknown",
        (false, false) => "both",
    })
}

/// A mark that cannot be read is a mark, for peers too, and names nothing that is no plain word.
fn in_hand(text: Option<&String>, node: &NodeSeen, peer: &FleetNode) -> Result<&'static str, String> {
    ensure(node.in_hand == peer.in_hand, || "a mark that peers see otherwise".to_owned())?;
    let Some(mark) = &node.in_hand else {
        return ensure(text.is_none(), || "a mark is taken for none".to_owned()).map(|()| "none");
    };
    ensure(text.is_some(), || "a mark is made up".to_owned())?;
    ensure(InHand::read(&mark.text()) == *mark, || format!("{mark:?} is not read as it is written"))?;
    ensure(mark.id.as_ref().is_none_or(upgrade_core::api::TurnId::is_plain), || format!("{:?}", mark.id))?;
    Ok(if *mark == InHand::default() { "empty" } else { "read" })
}

fn api_server(text: Option<&String>, node: &NodeSeen, peer: &FleetNode) -> Result<&'static str, String> {
    ensure(node.api_server == peer.api_server, || "a note that peers see otherwise".to_owned())?;
    let Some(server) = &node.api_server else { return Ok(if text.is_some() { "unread" } else { "none" }) };
    ensure(ApiServerNote::read(&server.text()).as_ref() == Some(server), || {
        format!("{server:?} is read otherwise")
    })?;
    Ok("read")
}

/// A status is shown, or it is told that the annotation cannot be read; neither steers the terminal.
fn status(node: &NodeSeen) -> Result<&'static str, String> {
    let shown = [false, true].map(|json| show::status(node, world::NOW.unix, json));
    let steers = shown.iter().any(|text| text.contains(|c: char| c.is_control() && c != '\n'));
    ensure(!steers, || "a status steers terminals".to_owned())?;
    let Some(text) = &node.status else { return Ok("none") };
    let Ok(report) = serde_json::from_str::<Report>(text) else {
        let told = shown.first().is_some_and(|shown| shown.contains(STATUS));
        return ensure(told, || format!("the annotation is not named: {shown:?}")).map(|()| "unread");
    };
    let again = serde_json::to_string(&report).ok().and_then(|text| serde_json::from_str(&text).ok());
    ensure(again.as_ref() == Some(&report), || format!("{report:?} is read as {again:?}"))?;
    Ok("read")
}
