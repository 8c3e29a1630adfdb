//! `node-upgrade-agent approve`: an administrator's check and approval of the requests that agents enrol by.
//!
//! What is approved may take Leases in the name of its node, so nothing is taken on trust: requester, subject, usages
//! and key must be what the agent of one existing node would ask, and its kubelet must have asked.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::ResourceExt;

use crate::cluster::{Administrator, Error};
use crate::enrol::check;

/// What the names of our requests begin with.
const PREFIX: &str = "node-upgrade-agent-";

/// What an administrator asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// To see what there is.
    List,
    /// Every request that fits.
    All,
    /// Those of these names, or of the agents of these nodes.
    These(Vec<String>),
}

/// One request, or one name that was asked for, and what is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The `CertificateSigningRequest`, or what was asked for where there is none.
    pub name: String,
    /// The node whose agent asks, as far as the request fits.
    pub node: Option<String>,
    /// What is to be done.
    pub step: Step,
}

/// What is to be done about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Approve it.
    Approve,
    /// It fits, and nobody asked for it.
    Leave,
    /// It fits, but its node has made a newer one: the key of this one is gone.
    Superseded,
    /// It is not approved; why.
    Refuse(String),
}

/// The nodes whose agents ask, so that somebody can look whether they exist.
pub fn nodes(requests: &[CertificateSigningRequest]) -> BTreeSet<String> {
    waiting(requests).filter_map(|request| Some(check::check(request).ok()?.node)).collect()
}

/// Judges every request that waits. `exist` are those of [`nodes`] that the cluster has.
pub fn judge(
    requests: &[CertificateSigningRequest],
    exist: &BTreeSet<String>,
    wanted: &Wanted,
) -> Vec<Verdict> {
    let checked: Vec<_> = waiting(requests).map(|request| (request, fits(request, exist))).collect();
    let mut newest = BTreeMap::new();
    for (request, node) in &checked {
        if let Ok(node) = node {
            let latest = newest.entry(node.clone()).or_insert(None);
            *latest = latest.clone().max(request.creation_timestamp());
        }
    }
    let mut verdicts: Vec<Verdict> = checked
        .iter()
        .filter_map(|(request, node)| {
            let name = request.name_any();
            let node = node.as_ref();
            let named = |word: &String| *word == name || node.is_ok_and(|node| node == word);
            let asked = match wanted {
                Wanted::List => false,
                Wanted::All => name.starts_with(PREFIX) || node.is_ok(),
                Wanted::These(words) => words.iter().any(named),
            };
            let old =
                node.is_ok_and(|node| newest.get(node).cloned().flatten() > request.creation_timestamp());
            let by_name = matches!(wanted, Wanted::These(words) if words.contains(&name));
            let step = match node {
                Err(why) => Step::Refuse(why.clone()),
                Ok(_) if old && by_name => Step::Refuse("its node has made a newer request".to_owned()),
                Ok(_) if old => Step::Superseded,
                Ok(_) if asked => Step::Approve,
                Ok(_) => Step::Leave,
            };
            // Other people's requests for this signer are no business of ours.
            let ours = asked || name.starts_with(PREFIX) || node.is_ok();
            let shown = ours && (asked || !matches!(wanted, Wanted::These(_)));
            shown.then(|| Verdict { name, node: node.ok().cloned(), step })
        })
        .collect();
    if let Wanted::These(words) = wanted {
        let unknown = words.iter().filter(|word| {
            !verdicts.iter().any(|verdict| verdict.name == **word || verdict.node.as_ref() == Some(word))
        });
        let unknown: Vec<_> = unknown.cloned().collect();
        verdicts.extend(unknown.into_iter().map(|name| Verdict {
            name,
            node: None,
            step: Step::Refuse(
                "no request of this name, or of this node's agent, waits for approval".to_owned(),
            ),
        }));
    }
    verdicts
}

/// The node of a request that fits in every way.
fn fits(request: &CertificateSigningRequest, exist: &BTreeSet<String>) -> Result<String, String> {
    let node = check::check(request)?.node;
    if exist.contains(&node) { Ok(node) } else { Err(format!("there is no Node {node}")) }
}

/// Requests that nobody has decided on.
fn waiting(requests: &[CertificateSigningRequest]) -> impl Iterator<Item = &CertificateSigningRequest> {
    requests.iter().filter(|request| {
        let status = request.status.as_ref();
        let decided = status.and_then(|status| status.conditions.as_ref());
        decided.is_none_or(Vec::is_empty)
    })
}

/// Judges, approves what is to be approved, and says what was done; true if everything asked for was.
///
/// # Errors
/// When the API server does not answer, or does not let this administrator look.
pub async fn carry_out(administrator: &Administrator, wanted: &Wanted) -> Result<(String, bool), Error> {
    let requests = administrator.requests().await?;
    let mut exist = BTreeSet::new();
    for node in nodes(&requests) {
        if administrator.has_node(&node).await? {
            exist.insert(node);
        }
    }
    let verdicts = judge(&requests, &exist, wanted);
    let (mut text, mut well) = (String::new(), true);
    for verdict in &verdicts {
        let said = match &verdict.step {
            Step::Approve => match find(&requests, &verdict.name) {
                Some(request) => match administrator.approve(request).await {
                    Ok(()) => "approved".to_owned(),
                    Err(error) => {
                        well = false;
                        format!("NOT approved: {}", error.chain())
                    }
                },
                None => continue,
            },
            Step::Leave => "would be approved".to_owned(),
            Step::Superseded => "left alone: its node has made a newer request".to_owned(),
            Step::Refuse(why) => {
                well &= *wanted == Wanted::List;
                format!("REFUSED: {why}")
            }
        };
        let node = verdict.node.as_deref().unwrap_or("-");
        text.extend([verdict.name.as_str(), "  ", node, "  ", &said, "\n"]);
    }
    if verdicts.is_empty() {
        text.push_str("No agent waits for approval.\n");
    } else if verdicts.iter().any(|verdict| verdict.step == Step::Leave) {
        text.push_str("To approve: node-upgrade-agent approve --all, or name nodes or requests.\n");
    }
    Ok((text, well))
}

fn find<'a>(requests: &'a [CertificateSigningRequest], name: &str) -> Option<&'a CertificateSigningRequest> {
    requests.iter().find(|request| request.metadata.name.as_deref() == Some(name))
}

#[cfg(test)]
mod tests;
