//! This host's own API server and etcd, asked directly: what the load balancer in front of a control plane hides.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::try_join_all;
use futures::join;
use http::{Request, Uri};
use kube::api::ListParams;
use kube::config::{
    AuthInfo, Cluster as KubeconfigCluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo,
    NamedCluster, NamedContext,
};
use kube::{Api, Client, Config};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;
use upgrade_core::act::ActResult;
use upgrade_core::api::Version;
use upgrade_core::judge::control_plane::API_SERVER;
use upgrade_core::observed::{EtcdSeen, LocalControlPlane, Observation};

use super::client::{Identity, connect};
use super::convert::CONFIG_HASH;
use super::error::{Error, ended};
use super::fleet::KUBE_SYSTEM;
use super::small_pod::Pod;
use super::{Cluster, lock};
use crate::static_pods::{self, Etcd};

/// How long a member may take to say how it is.
const MEMBER_DEADLINE: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct Members {
    header: Header,
    #[serde(default)]
    members: Vec<Member>,
}

/// Names the member that answers.
#[derive(Deserialize)]
struct Header {
    member_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Member {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default, rename = "clientURLs")]
    client_urls: Vec<String>,
    #[serde(default)]
    is_learner: bool,
}

impl Member {
    /// A member that was added and has never started has no name yet.
    fn name(&self) -> String {
        if self.name.is_empty() { "one that never started".to_owned() } else { self.name.clone() }
    }
}

#[derive(Deserialize)]
struct Alarms {
    #[serde(default)]
    alarms: Vec<Value>,
}

/// Fields that are zero are left out of etcd's JSON.
#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    leader: Option<String>,
    #[serde(default)]
    errors: Vec<String>,
}

impl Status {
    /// It follows or is a leader, and complains of nothing.
    fn is_healthy(&self) -> bool {
        self.leader.as_ref().is_some_and(|leader| leader != "0") && self.errors.is_empty()
    }
}

/// This host's own API server as the kubelet asks it, wherever its manifest says that it answers.
#[derive(Debug)]
pub(super) enum Local {
    /// Known from its manifest and the kubelet's credential, and made anew when the address changes.
    Files {
        /// The kubelet's credential.
        kubeconfig: PathBuf,
        /// The last one.
        known: Mutex<Option<(Uri, Arc<Identity>)>>,
    },
    /// A client made elsewhere.
    Given(Arc<Identity>),
}

impl Local {
    pub(super) fn from_files(kubeconfig: PathBuf) -> Self {
        Self::Files { kubeconfig, known: Mutex::default() }
    }

    /// The API server that these manifests describe.
    fn identity(&self, manifests: &Path) -> Result<Arc<Identity>, Error> {
        let (kubeconfig, known) = match self {
            Self::Given(identity) => return Ok(Arc::clone(identity)),
            Self::Files { kubeconfig, known } => (kubeconfig, known),
        };
        let url = static_pods::own_api_server(manifests)?.url;
        let mut known = lock(known);
        match &*known {
            Some((at, identity)) if *at == url => Ok(Arc::clone(identity)),
            _ => {
                let identity = Arc::new(Identity::from_files_at(kubeconfig.clone(), url.clone()));
                *known = Some((url, Arc::clone(&identity)));
                Ok(identity)
            }
        }
    }
}

impl Cluster {
    /// Asks this host's API server whether it is ready and what it runs, and etcd how its members are.
    ///
    /// What does not answer is not ready; a manifest that does not say where to ask, and certificates that cannot be used, are faults.
    pub async fn look_at_control_plane(&self) -> ActResult {
        ended(self.local_control_plane().await.map(|local| vec![Observation::Local(local)]))
    }

    pub(super) async fn local_control_plane(&self) -> Result<LocalControlPlane, Error> {
        let at = self.inner.clock.now().mono;
        let server = self.inner.local.identity(&self.inner.settings.manifests)?;
        let told = async {
            // In this order: a note of the new pod's version beside the old pod's hash is believed by nobody.
            let hash = self.api_server_hash().await;
            (hash, self.local_api_server_version(&server).await)
        };
        // Each may hang for as long as its deadline, so none waits for another.
        let (ready, (hash, version), etcd) = join!(self.local_api_server_ready(&server), told, self.etcd());
        Ok(LocalControlPlane { at, api_server_ready: ready?, version: version?, hash, etcd: etcd? })
    }

    async fn local_api_server_ready(&self, server: &Identity) -> Result<bool, Error> {
        let doing = "asking this host's API server whether it is ready";
        let asked = server
            .call(doing, |client| async move {
                let request = Request::get("/readyz").body(Vec::new()).map_err(kube::Error::HttpError)?;
                client.request_text(request).await
            })
            .await;
        Ok(answered(asked)?.is_some_and(|answer| answer.trim() == "ok"))
    }

    /// What it says that it runs; none where it says nothing, or no release.
    async fn local_api_server_version(&self, server: &Identity) -> Result<Option<Version>, Error> {
        let doing = "asking this host's API server for its version";
        let asked = server.call(doing, |client| async move { client.apiserver_version().await }).await;
        Ok(answered(asked)?.and_then(|info| release(&info.git_version)))
    }

    /// The hash of this node's API server's pod, as the fleet sees it; none where that cannot be read.
    async fn api_server_hash(&self) -> Option<String> {
        let name = format!("{API_SERVER}-{}", self.node_name());
        let params =
            ListParams::default().fields(&self.own_pods()).labels(&format!("component={API_SERVER}"));
        let pods = |client| Api::<Pod>::namespaced(client, KUBE_SYSTEM);
        let hash = |pod: Pod| {
            let ours = pod.metadata.name.as_ref() == Some(&name);
            pod.metadata.annotations.filter(|_| ours)?.remove(CONFIG_HASH)
        };
        match self.inner.kubelet.list("reading this node's API server's pod", pods, &params, hash).await {
            Ok(hashes) => hashes.into_iter().next(),
            Err(error) => {
                tracing::debug!("{}", error.chain());
                None
            }
        }
    }

    /// How etcd is; none where it is an external one.
    async fn etcd(&self) -> Result<Option<EtcdSeen>, Error> {
        let Some(etcd) = static_pods::etcd(&self.inner.settings.manifests)? else { return Ok(None) };
        let Some((Members { header, members }, alarms)) = etcd_members(&etcd).await? else {
            return Ok(Some(EtcdSeen::default()));
        };
        let asked = try_join_all(members.iter().map(|member| is_healthy(&etcd, member))).await?;
        let (well, sick): (Vec<_>, Vec<_>) = members.iter().zip(asked).partition(|(_, healthy)| *healthy);
        let unhealthy = sick.into_iter().map(|(member, _)| member.name()).collect();
        let healthy = well.into_iter().any(|(member, _)| member.id == header.member_id);
        let (learners, members): (Vec<_>, Vec<_>) = members.iter().partition(|member| member.is_learner);
        let members = members.into_iter().map(Member::name).collect();
        Ok(Some(EtcdSeen { healthy, members, learners: learners.len(), alarms, unhealthy }))
    }
}

/// An answer, or none where nothing came; a credential that cannot be used is a fault.
fn answered<T>(asked: Result<T, Error>) -> Result<Option<T>, Error> {
    match asked {
        Ok(answer) => Ok(Some(answer)),
        Err(error @ (Error::Kubeconfig { .. } | Error::Client { .. })) => Err(error),
        Err(error) => {
            tracing::debug!("{}", error.chain());
            Ok(None)
        }
    }
}

/// The release in a `gitVersion`. What follows a `+` says who built it (semver.org, 10), and not what.
fn release(git_version: &str) -> Option<Version> {
    git_version.split('+').next()?.parse().ok()
}

/// The members and the number of alarms, asked at the first address that answers; none where none does.
async fn etcd_members(etcd: &Etcd) -> Result<Option<(Members, usize)>, Error> {
    for url in &etcd.urls {
        let client = etcd_client(etcd, &url.to_string()).await?;
        let asked = async {
            // A linearizable list needs a quorum: it is also the proof that there is one.
            let members: Members =
                post(&client, "/v3/cluster/member/list", &json!({"linearizable": true})).await?;
            let alarms: Alarms = post(&client, "/v3/maintenance/alarm", &json!({"action": "GET"})).await?;
            Ok::<_, Error>((members, alarms.alarms.len()))
        };
        match asked.await {
            Ok(answers) => return Ok(Some(answers)),
            Err(error) => tracing::debug!(%url, "{}", error.chain()),
        }
    }
    Ok(None)
}

/// Whether a member says that it is well, under any address it is known by.
async fn is_healthy(etcd: &Etcd, member: &Member) -> Result<bool, Error> {
    for url in &member.client_urls {
        let client = etcd_client(etcd, url).await?;
        let nothing = json!({});
        let status = post::<Status>(&client, "/v3/maintenance/status", &nothing);
        match timeout(MEMBER_DEADLINE, status).await {
            Ok(Ok(status)) => return Ok(status.is_healthy()),
            Ok(Err(error)) => tracing::debug!("{}", error.chain()),
            Err(_elapsed) => tracing::debug!("etcd at {url} did not answer"),
        }
    }
    Ok(false)
}

/// One call of etcd's JSON gateway.
async fn post<T: DeserializeOwned>(client: &Client, path: &str, body: &Value) -> Result<T, Error> {
    let doing = format!("asking etcd for {path}");
    let asked = async {
        let request = Request::post(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body.to_string().into_bytes())
            .map_err(kube::Error::HttpError)?;
        client.request(request).await
    };
    match timeout(super::client::DEADLINE, asked).await {
        Ok(answer) => answer.map_err(|error| Error::from_kube(&doing, error)),
        Err(_elapsed) => Err(Error::Deadline { doing }),
    }
}

/// etcd speaks TLS with client certificates as an API server does, so its client is one more kubeconfig.
async fn etcd_client(etcd: &Etcd, url: &str) -> Result<Client, Error> {
    let text = |path: &Path| Some(path.to_string_lossy().into_owned());
    let cluster = KubeconfigCluster {
        server: Some(url.to_owned()),
        certificate_authority: text(&etcd.authority),
        ..KubeconfigCluster::default()
    };
    let auth_info = AuthInfo {
        client_certificate: text(&etcd.certificate),
        client_key: text(&etcd.key),
        ..AuthInfo::default()
    };
    let name = "etcd".to_owned();
    let context = Context { cluster: name.clone(), user: Some(name.clone()), ..Context::default() };
    let kubeconfig = Kubeconfig {
        clusters: vec![NamedCluster {
            name: name.clone(),
            cluster: Some(cluster),
            ..NamedCluster::default()
        }],
        auth_infos: vec![NamedAuthInfo {
            name: name.clone(),
            auth_info: Some(auth_info),
            ..NamedAuthInfo::default()
        }],
        contexts: vec![NamedContext {
            name: name.clone(),
            context: Some(context),
            ..NamedContext::default()
        }],
        current_context: Some(name),
        ..Kubeconfig::default()
    };
    let path = etcd.certificate.clone();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let config =
        config.map_err(|source| Error::Kubeconfig { path: path.clone(), source: Box::new(source) })?;
    connect(config).map_err(|source| Error::Client { path, source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::arbitrary::mangled_json;

    fn status() -> Value {
        json!({"header": {"member_id": "1"}, "leader": "1", "errors": [], "dbSize": "20480"})
    }

    fn members() -> Value {
        json!({"header": {"member_id": "1"}, "members": [{"ID": "1", "clientURLs": ["https://127.0.0.1:2379"], "isLearner": true}]})
    }

    #[test]
    fn a_version_is_that_of_the_release_whoever_built_it() {
        let version = Some(Version::new(1, 36, 3));
        assert_eq!(release("v1.36.3"), version);
        assert_eq!(release("v1.36.3+vendor.1"), version);
        assert_eq!(release("v1.37.0-rc.1"), None);
        assert_eq!(release(""), None);
    }

    proptest! {
        #[test]
        fn what_etcd_answers_in_any_form_is_read_or_refused(
            members in mangled_json(members()), status in mangled_json(status()),
        ) {
            if let Ok(Members { members, .. }) = serde_json::from_value(members) {
                prop_assert!(members.len() <= 1);
            }
            if let Ok(status) = serde_json::from_value::<Status>(status) {
                prop_assert!(!status.is_healthy() || status.leader.is_some());
            }
        }
    }
}
