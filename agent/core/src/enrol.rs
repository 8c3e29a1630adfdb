//! Enrolment: how a node comes by its coordination credential without anybody copying a secret, and keeps one.
//!
//! The agent makes a key, asks for a certificate with the kubelet's credential, and waits until an administrator
//! approves. The same happens again, with another key, long before the certificate expires; until the new one is
//! stored the old one stays in use.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::{Explanation, Reason};
use crate::observed::Access;
use crate::time::Unix;

/// The group of every agent's coordination identity, the subject's organization.
pub const GROUP: &str = "node-upgrade-agents";
/// What a coordination identity's name begins with; the node's name follows.
pub const USER_PREFIX: &str = "node-upgrade-agent:";
/// The group of every kubelet.
pub const KUBELETS: &str = "system:nodes";
/// The signer that is asked: it signs what is approved, and nothing is ever approved by itself.
pub const SIGNER: &str = "kubernetes.io/kube-apiserver-client";
/// What the certificate is for. No key encipherment: an elliptic key cannot do that.
pub const USAGES: [&str; 2] = ["client auth", "digital signature"];

/// Between two requests for the same key: one that somebody removes again and again is not put back in a hurry.
const PAUSE: Duration = Duration::from_mins(5);
/// After so long an approved request should have its certificate.
const SIGNING_PATIENCE: Duration = Duration::from_mins(2);
/// Longest CSR name the API server takes, less what is put around the node's name.
const LONGEST_NODE: usize = 200;
const DAY: u64 = 86_400;
const HOUR: u64 = 3_600;

/// The name of a node's coordination identity, the subject's common name.
pub fn user(node: &str) -> String {
    format!("{USER_PREFIX}{node}")
}

/// The name of a node's kubelet: who must have made the request.
pub fn kubelet(node: &str) -> String {
    format!("system:node:{node}")
}

/// The name of the `CertificateSigningRequest` for a key of this fingerprint (hexadecimal): a restarted agent finds its
/// own request again, and no two keys meet in one.
pub fn request_name(node: &str, fingerprint: &str) -> String {
    let node: String = node.chars().take(LONGEST_NODE).collect();
    let hash: String = fingerprint.chars().take(16).collect();
    format!("node-upgrade-agent-{node}-{hash}")
}

/// When a certificate begins and ceases to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Not before this.
    pub from: Unix,
    /// Not after this.
    pub until: Unix,
}

/// A request that was denied, or failed for good: remembered, because the cluster itself forgets it within the hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Denial {
    /// The `CertificateSigningRequest`.
    pub request: String,
    /// What was said.
    pub why: String,
    /// The annotation `retry` then; another value asks again.
    pub retry: Option<String>,
}

/// How a `CertificateSigningRequest` stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestSeen {
    /// There is none: not asked yet, deleted, or collected after its time.
    Absent,
    /// Nobody has decided.
    Pending,
    /// Approved at this time; no certificate yet.
    Approved(Unix),
    /// Denied, or the signer gave up; what was said.
    Denied(String),
    /// The certificate, PEM: it fits the key and this node.
    Issued(String),
    /// What came is of no use, or the request is not ours; why.
    Unfit(String),
}

/// What is seen of this node's enrolment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// The credential on disk, where its certificate fits its key and this node.
    pub credential: Option<Validity>,
    /// Whether the API server no longer accepts it (401).
    pub rejected: bool,
    /// The name of the request of the key that waits on disk for its certificate.
    pub pending: Option<String>,
    /// How that request stands; none before somebody looked.
    pub request: Option<RequestSeen>,
    /// When a request was last created in this process's life.
    pub created: Option<Unix>,
    /// A denial on disk.
    pub denied: Option<Denial>,
    /// The annotation `retry` now.
    pub retry: Option<String>,
    /// Why the last act came to nothing, if it did.
    pub setback: Option<String>,
}

/// The next act of an enrolment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// None until then, or until something is seen.
    Rest(Option<Unix>),
    /// Make a key and keep it.
    MakeKey,
    /// Find out how the request stands.
    Look,
    /// Create the request.
    Ask,
    /// Wait for a change of the request, or until then.
    Follow(Option<Unix>),
    /// Put key and this certificate (PEM) in the old credential's place.
    Store(String),
    /// Remember the denial and drop the key.
    Remember(Denial),
    /// Drop the key: nothing good can come of its request any more, because of this.
    Drop(String),
}

impl Seen {
    /// The credential's end, if it is in use.
    fn usable(&self, now: Unix) -> Option<Validity> {
        self.credential.filter(|validity| !self.rejected && now < validity.until)
    }

    /// The denial that still answers.
    fn standing_denial(&self) -> Option<&Denial> {
        self.denied.as_ref().filter(|denial| denial.retry == self.retry)
    }
}

/// Decides what comes next.
pub fn decide(node: &str, seen: &Seen, now: Unix) -> Next {
    if seen.pending.is_some() {
        return follow(seen, now);
    }
    let usable = seen.usable(now);
    if let Some(due) = usable.map(|validity| renewal(node, validity)).filter(|due| now < *due) {
        return Next::Rest(Some(due));
    }
    if seen.standing_denial().is_some() {
        return Next::Rest(usable.map(|validity| validity.until));
    }
    Next::MakeKey
}

fn follow(seen: &Seen, now: Unix) -> Next {
    let expiry = seen.usable(now).map(|validity| validity.until);
    let Some(request) = &seen.request else { return Next::Look };
    match request {
        RequestSeen::Absent => match seen.created.map(|created| created.plus(PAUSE)) {
            Some(again) if now < again => Next::Rest(Some(again)),
            _ => Next::Ask,
        },
        RequestSeen::Pending => Next::Follow(expiry),
        RequestSeen::Approved(at) => {
            let late = at.plus(SIGNING_PATIENCE);
            Next::Follow(if now < late { Some(late) } else { expiry })
        }
        RequestSeen::Denied(why) => Next::Remember(Denial {
            request: seen.pending.clone().unwrap_or_default(),
            why: why.clone(),
            retry: seen.retry.clone(),
        }),
        RequestSeen::Issued(certificate) => Next::Store(certificate.clone()),
        RequestSeen::Unfit(why) => Next::Drop(why.clone()),
    }
}

/// When a certificate is to be renewed: after 70 to 90 % of its life, the same moment every time for one node and
/// spread over the nodes, so that a fleet that was approved at once does not come back at once.
pub fn renewal(node: &str, validity: Validity) -> Unix {
    let life = validity.until.since(validity.from);
    // Parts of a thousand; in 128 bits, because a certificate may claim to hold for ever.
    let share = 700 + u128::from(hash(node) % 201);
    let after = u128::from(life.as_secs()) * share / 1000;
    validity.from.plus(Duration::from_secs(u64::try_from(after).unwrap_or(u64::MAX)))
}

/// FNV-1a: spreads names, and stays the same in every version.
fn hash(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

/// What the rules and people are told.
pub fn access(node: &str, seen: &Seen, now: Unix) -> Access {
    let Some(credential) = seen.usable(now) else { return Access::Missing(missing(node, seen, now)) };
    let due = renewal(node, credential) <= now || seen.pending.is_some();
    if !due {
        return Access::Usable { note: None };
    }
    let left = span(credential.until.since(now));
    let state = standing(node, seen, now).message;
    Access::Usable {
        note: Some(format!("the coordination certificate expires in {left} and is to be renewed: {state}")),
    }
}

fn missing(node: &str, seen: &Seen, now: Unix) -> Explanation {
    let why = standing(node, seen, now);
    let before = match (&seen.credential, seen.rejected) {
        (None, _) => return why,
        (Some(_), true) => {
            "the API server no longer accepts this node's coordination certificate; a new one is needed"
        }
        (Some(_), false) => "this node's coordination certificate has expired; a new one is needed",
    };
    Explanation::new(why.reason, format!("{before}: {}", why.message))
}

/// Where the request stands, and what to do.
fn standing(node: &str, seen: &Seen, now: Unix) -> Explanation {
    if let Some(denial) = seen.standing_denial() {
        let message = format!(
            "the CertificateSigningRequest {} was denied ({}): set a new value of the annotation \
             node-upgrade-agent/retry to ask again",
            denial.request, denial.why
        );
        return Explanation::new(Reason::EnrolmentDenied, message);
    }
    if let Some(setback) = &seen.setback {
        return Explanation::new(
            Reason::Retrying,
            format!("asking for a coordination certificate: {setback}"),
        );
    }
    let message = match (&seen.pending, &seen.request) {
        (Some(name), Some(RequestSeen::Pending)) => format!(
            "the CertificateSigningRequest {name} waits for an administrator's approval: \
             node-upgrade-agent approve {node}, or kubectl certificate approve {name}"
        ),
        (Some(name), Some(RequestSeen::Approved(at))) if now.since(*at) >= SIGNING_PATIENCE => format!(
            "the CertificateSigningRequest {name} is approved, but no certificate has come: does \
             kube-controller-manager sign for {SIGNER}?"
        ),
        (Some(name), Some(RequestSeen::Approved(_))) => {
            format!("the CertificateSigningRequest {name} is approved; its certificate is about to come")
        }
        (Some(name), Some(RequestSeen::Absent)) if seen.created.is_some() => format!(
            "the CertificateSigningRequest {name} was removed before anybody approved it; it is made again in a \
             few minutes"
        ),
        _ => "asking for a coordination certificate".to_owned(),
    };
    Explanation::new(Reason::WaitingForApproval, message)
}

/// A time as people say it; it changes seldom, so that what is told changes seldom.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..HOUR => "less than an hour".to_owned(),
        HOUR..172_800 => format!("{} h", seconds / HOUR),
        _ => format!("{} days", seconds / DAY),
    }
}

#[cfg(test)]
mod tests;
