//! This host's own API server and etcd, asked directly: what the load balancer in front of a control plane hides.

use std::path::Path;
use std::time::Duration;

use http::Request;
use kube::config::{
    AuthInfo, Cluster as KubeconfigCluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo,
    NamedCluster, NamedContext,
};
use kube::{Client, Config};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;
use upgrade_core::act::ActResult;
use upgrade_core::observed::{EtcdSeen, LocalControlPlane, Observation};

use super::Cluster;
use super::client::connect;
use super::error::{Error, ended};

/// How long a member may take to say how it is.
const MEMBER_DEADLINE: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct Members {
    #[serde(default)]
    members: Vec<Member>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Member {
    #[serde(default, rename = "clientURLs")]
    client_urls: Vec<String>,
    #[serde(default)]
    is_learner: bool,
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

impl Cluster {
    /// Asks this host's API server whether it is ready, and etcd how its members are.
    ///
    /// What does not answer is not ready; only an etcd whose certificates cannot be used is a fault.
    pub async fn look_at_control_plane(&self) -> ActResult {
        ended(self.local_control_plane().await.map(|local| vec![Observation::Local(local)]))
    }

    pub(super) async fn local_control_plane(&self) -> Result<LocalControlPlane, Error> {
        let at = self.inner.clock.now().mono;
        let api_server_ready = self.local_api_server_ready().await?;
        Ok(LocalControlPlane { at, api_server_ready, etcd: self.etcd().await? })
    }

    async fn local_api_server_ready(&self) -> Result<bool, Error> {
        let doing = "asking this host's API server whether it is ready";
        let asked = self
            .inner
            .local
            .call(doing, |client| async move {
                let request = Request::get("/readyz").body(Vec::new()).map_err(kube::Error::HttpError)?;
                client.request_text(request).await
            })
            .await;
        match asked {
            Ok(answer) => Ok(answer.trim() == "ok"),
            Err(error @ (Error::Kubeconfig { .. } | Error::Client { .. })) => Err(error),
            Err(error) => {
                tracing::debug!("{}", error.chain());
                Ok(false)
            }
        }
    }

    /// How etcd is; none where this host has no certificates of a stacked one.
    async fn etcd(&self) -> Result<Option<EtcdSeen>, Error> {
        let pki = &self.inner.settings.etcd_pki;
        if !pki.join("healthcheck-client.crt").exists() {
            return Ok(None);
        }
        let client = etcd_client(pki, &self.inner.settings.local_etcd.to_string()).await?;
        let asked = async {
            // A linearizable list needs a quorum: it is also the proof that there is one.
            let members: Members =
                post(&client, "/v3/cluster/member/list", &json!({"linearizable": true})).await?;
            let alarms: Alarms = post(&client, "/v3/maintenance/alarm", &json!({"action": "GET"})).await?;
            Ok::<_, Error>((members.members, alarms.alarms.len()))
        };
        let (members, alarms) = match asked.await {
            Ok(answers) => answers,
            Err(error) => {
                tracing::debug!("{}", error.chain());
                return Ok(Some(EtcdSeen::default()));
            }
        };
        let mut healthy = 0;
        for member in &members {
            healthy += usize::from(is_healthy(pki, member).await?);
        }
        let learners = members.iter().filter(|member| member.is_learner).count();
        Ok(Some(EtcdSeen { members: members.len() - learners, healthy, learners, alarms }))
    }
}

/// Whether a member says that it is well, under any address it is known by.
async fn is_healthy(pki: &Path, member: &Member) -> Result<bool, Error> {
    for url in &member.client_urls {
        let client = etcd_client(pki, url).await?;
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
async fn etcd_client(pki: &Path, url: &str) -> Result<Client, Error> {
    let file = |name: &str| Some(pki.join(name).to_string_lossy().into_owned());
    let cluster = KubeconfigCluster {
        server: Some(url.to_owned()),
        certificate_authority: file("ca.crt"),
        ..KubeconfigCluster::default()
    };
    let auth_info = AuthInfo {
        client_certificate: file("healthcheck-client.crt"),
        client_key: file("healthcheck-client.key"),
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
    let path = pki.to_owned();
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
        json!({"header": {}, "members": [{"ID": "1", "clientURLs": ["https://127.0.0.1:2379"], "isLearner": true}]})
    }

    proptest! {
        #[test]
        fn what_etcd_answers_in_any_form_is_read_or_refused(
            members in mangled_json(members()), status in mangled_json(status()),
        ) {
            if let Ok(Members { members }) = serde_json::from_value(members) {
                prop_assert!(members.len() <= 1);
            }
            if let Ok(status) = serde_json::from_value::<Status>(status) {
                prop_assert!(!status.is_healthy() || status.leader.is_some());
            }
        }
    }
}
