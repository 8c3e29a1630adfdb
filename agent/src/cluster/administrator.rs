//! What an administrator does by this program, with a credential of their own.

use std::path::Path;

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};
use upgrade_core::enrol::SIGNER;

use super::client::{Identity, connect};
use super::error::Error;

/// Where kubeadm leaves the administrator's credential on a control-plane node.
const ADMIN_CONF: &str = "/etc/kubernetes/admin.conf";

/// An administrator's access.
#[derive(Debug)]
pub struct Administrator(Identity);

fn requests(client: Client) -> Api<CertificateSigningRequest> {
    Api::all(client)
}

impl Administrator {
    /// With this kubeconfig; else as kubectl finds one (`$KUBECONFIG`, `~/.kube/config`), else kubeadm's own.
    ///
    /// # Errors
    /// When there is none, or it cannot be used.
    pub async fn connect(named: Option<&Path>) -> Result<Self, Error> {
        let variable = std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty());
        let home = std::env::home_dir().map(|home| home.join(".kube/config")).filter(|path| path.exists());
        let path = match (named, &variable) {
            (Some(path), _) => path.to_owned(),
            (None, Some(paths)) => paths.into(),
            (None, None) => home.unwrap_or_else(|| ADMIN_CONF.into()),
        };
        let unusable = |source| Error::Kubeconfig { path: path.clone(), source: Box::new(source) };
        // kubectl's variable may name several files, which are merged.
        let merged = named.is_none() && variable.is_some();
        let read = if merged { Kubeconfig::read() } else { Kubeconfig::read_from(&path) };
        let kubeconfig = read.map_err(unusable)?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(unusable)?;
        let client = connect(config)
            .map_err(|source| Error::Client { path: path.clone(), source: Box::new(source) })?;
        Ok(Self(Identity::given(client)))
    }

    /// Every request for the signer that agents ask.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub async fn requests(&self) -> Result<Vec<CertificateSigningRequest>, Error> {
        let params = ListParams::default().fields(&format!("spec.signerName={SIGNER}"));
        self.0.list("listing CertificateSigningRequests", requests, &params, Some).await
    }

    /// Whether there is a Node of this name.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub async fn has_node(&self, name: &str) -> Result<bool, Error> {
        let (doing, name) = (format!("reading Node {name}"), name.to_owned());
        let node = self
            .0
            .call(&doing, |client| async move { Api::<Node>::all(client).get_metadata_opt(&name).await })
            .await?;
        Ok(node.is_some())
    }

    /// Approves this very request, as it was read: if another one has its name by now, that is an error.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub async fn approve(&self, request: &CertificateSigningRequest) -> Result<(), Error> {
        let name = request.name_any();
        let now = Time(Timestamp::now());
        let condition = CertificateSigningRequestCondition {
            type_: "Approved".to_owned(),
            status: "True".to_owned(),
            reason: Some("NodeUpgradeAgentApprove".to_owned()),
            message: Some(
                "approved by `node-upgrade-agent approve`, which checked requester, subject, usages and key"
                    .to_owned(),
            ),
            last_update_time: Some(now.clone()),
            last_transition_time: Some(now),
        };
        let mut approved = request.clone();
        approved.status.get_or_insert_default().conditions.get_or_insert_default().push(condition);
        let doing = format!("approving CertificateSigningRequest {name}");
        self.0
            .call(&doing, |client| async move {
                let params = PostParams::default();
                requests(client).replace_subresource("approval", &name, &params, &approved).await
            })
            .await
            .map(drop)
    }
}
