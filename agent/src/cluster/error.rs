//! What can go wrong on the way to the API server, and what it means to the rules.

use std::path::PathBuf;

use kube::config::KubeconfigError;
use kube::core::Status;
use upgrade_core::act::{ActResult, Fault, FaultClass};

use crate::chain::chain;
use crate::static_pods::ManifestError;

use super::client::DEADLINE;

/// A call that did not come to its end. Every text says what was attempted, on what, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing, or not everything, came back in time; a write may have had its effect.
    #[error("{doing}: no answer within {} s; is the API server up and reachable?", DEADLINE.as_secs())]
    Deadline {
        /// What was attempted.
        doing: String,
    },
    /// The API server said no.
    #[error("{doing}: {} ({} {}){}", status.message, status.code, status.reason, advice(status.code))]
    Refused {
        /// What was attempted.
        doing: String,
        /// The server's answer.
        status: Box<Status>,
    },
    /// The API server was not reached, or its answer could not be read.
    #[error("{doing}")]
    Transport {
        /// What was attempted.
        doing: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The kubeconfig, or a file it names, cannot be used.
    #[error("the kubeconfig {} cannot be used; check the path in config.toml and the file", path.display())]
    Kubeconfig {
        /// The kubeconfig.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<KubeconfigError>,
    },
    /// No client can be made of a credential, for example because its certificate and key do not fit.
    #[error("no connection can be set up from the credential {}", path.display())]
    Client {
        /// The kubeconfig, or the file with key and certificate.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The agent has not been given its coordination credential yet.
    #[error(
        "{} is not there: this node has no coordination credential yet; `node-upgrade-agent status` shows its request",
        path.display()
    )]
    NotEnrolled {
        /// Where key and certificate will be.
        path: PathBuf,
    },
    /// A static pod manifest does not say how this host's own control plane is asked.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Others wrote between our read and our write, again and again.
    #[error("{doing}: changed by others {tries} times in a row between reading and writing")]
    Contended {
        /// What was attempted.
        doing: String,
        /// How often.
        tries: u32,
    },
    /// The answer does not hold what was asked for.
    #[error("{doing}: {why}")]
    Unexpected {
        /// What was attempted.
        doing: String,
        /// What is wrong.
        why: String,
    },
    /// The own Node is not there.
    #[error(
        "Node {node} does not exist; did kubelet register it under another name? (config.toml, [cluster] node)"
    )]
    NoNode {
        /// Its name.
        node: String,
    },
}

/// What a person can do about an answer; empty where the server's words are enough.
const fn advice(code: u16) -> &'static str {
    match code {
        401 => "; the credential is not accepted: has its certificate expired or been revoked?",
        403 => {
            "; are the manifests of this agent applied (kubectl apply -k packaging/kubernetes), and does the credential \
             belong to this node?"
        }
        _ => "",
    }
}

impl Error {
    /// From what the client says.
    pub(super) fn from_kube(doing: &str, error: kube::Error) -> Self {
        let doing = doing.to_owned();
        match error {
            kube::Error::Api(status) => Self::Refused { doing, status },
            other => Self::Transport { doing, source: Box::new(other) },
        }
    }

    /// The server's answer, where there was one.
    pub(super) fn status(&self) -> Option<&Status> {
        match self {
            Self::Refused { status, .. } => Some(status),
            _ => None,
        }
    }

    /// Whether a write was refused because somebody else wrote first.
    pub(super) fn is_conflict(&self) -> bool {
        // By code, because a proxy's answer carries no reason; 409 is `Conflict` and `AlreadyExists` alike.
        self.status().is_some_and(|status| status.code == 409)
    }

    /// Whether the client itself may be at fault: a fresh one reads the credential again and opens a new connection.
    pub(super) fn blames_client(&self) -> bool {
        match self {
            Self::Deadline { .. } | Self::Transport { .. } => true,
            _ => self.blames_credential(),
        }
    }

    /// Whether nothing came back at all: not from a server that takes its time over one request, but from none.
    pub(super) fn is_disconnected(&self) -> bool {
        matches!(self, Self::Transport { .. })
    }

    /// Whether the API server does not accept the credential.
    pub fn blames_credential(&self) -> bool {
        self.status().is_some_and(|status| status.code == 401)
    }

    /// The whole chain of causes. Some libraries repeat their cause in their own text; that is said once.
    pub fn chain(&self) -> String {
        chain(self)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self { class: FaultClass::Transient, message: error.chain() }
    }
}

/// The end of an act that yields facts or a fault.
pub(super) fn ended(result: Result<Vec<upgrade_core::observed::Observation>, Error>) -> ActResult {
    match result {
        Ok(observations) => ActResult::ok(observations),
        Err(error) => ActResult::failed(error.into()),
    }
}
