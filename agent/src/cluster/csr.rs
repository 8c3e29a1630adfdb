//! `CertificateSigningRequests` of this node, made and followed as kubelet's own identity.

use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use upgrade_core::enrol::{SIGNER, USAGES};

use super::Cluster;
use super::client::watch;
use super::error::Error;

fn requests(client: Client) -> Api<CertificateSigningRequest> {
    Api::all(client)
}

impl Cluster {
    /// Creates a request under this name; one that is there already is returned as it stands.
    ///
    /// # Errors
    /// When the API server does not answer, or does not let kubelets ask.
    pub async fn create_request(&self, name: &str, pem: &str) -> Result<CertificateSigningRequest, Error> {
        let request = CertificateSigningRequest {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            spec: CertificateSigningRequestSpec {
                request: ByteString(pem.as_bytes().to_vec()),
                signer_name: SIGNER.to_owned(),
                usages: Some(USAGES.map(str::to_owned).to_vec()),
                ..CertificateSigningRequestSpec::default()
            },
            status: None,
        };
        let doing = format!("creating CertificateSigningRequest {name}");
        let created =
            self.inner
                .kubelet
                .call(&doing, |client| async move {
                    requests(client).create(&PostParams::default(), &request).await
                })
                .await;
        match created {
            Err(error) if error.is_conflict() => match self.read_request(name).await? {
                Some(there) => Ok(there),
                None => Err(error),
            },
            other => other,
        }
    }

    /// Reads the request of this name.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn read_request(&self, name: &str) -> Result<Option<CertificateSigningRequest>, Error> {
        let (doing, name) = (format!("reading CertificateSigningRequest {name}"), name.to_owned());
        self.inner.kubelet.call(&doing, |client| async move { requests(client).get_opt(&name).await }).await
    }

    /// Watches the request of this name until it is no longer as `known` says, and returns it as it is then; none if
    /// it is gone.
    ///
    /// # Errors
    /// When the watch breaks, or the API server does not answer.
    pub async fn follow_request<T: PartialEq>(
        &self,
        name: &str,
        known: &T,
        see: impl Fn(Option<&CertificateSigningRequest>) -> T,
    ) -> Result<T, Error> {
        let doing = format!("watching CertificateSigningRequest {name}");
        let kubelet = &self.inner.kubelet;
        let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut events = watch(requests(kubelet.client().await?), only);
        let (mut listed, mut found) = (false, false);
        loop {
            let seen = match kubelet.next(&doing, listed, &mut events).await? {
                Event::Init => {
                    (listed, found) = (false, false);
                    continue;
                }
                Event::InitApply(request) => {
                    found = true;
                    see(Some(&request))
                }
                Event::Apply(request) => see(Some(&request)),
                Event::InitDone => {
                    listed = true;
                    if found {
                        continue;
                    }
                    see(None)
                }
                Event::Delete(_) => see(None),
            };
            if seen != *known {
                return Ok(seen);
            }
        }
    }

    /// Asks who the coordination credential makes us, which every accepted one may.
    ///
    /// # Errors
    /// When the credential is not accepted ([`Error::blames_credential`]), or nobody answers.
    pub async fn try_coordination(&self) -> Result<(), Error> {
        let review = SelfSubjectReview::default();
        let asked = |client| async move {
            Api::<SelfSubjectReview>::all(client).create(&PostParams::default(), &review).await
        };
        self.inner.coordination.call("asking who the coordination credential makes us", asked).await.map(drop)
    }

    /// Until the API server says that it does not accept the coordination credential.
    pub async fn coordination_rejected(&self) {
        self.inner.coordination.rejected().await;
    }
}
