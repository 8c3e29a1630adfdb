//! Clients of the two identities: built when first used, built anew when their files change, every call under a
//! deadline.

use std::future::Future;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::api::ListParams;
use kube::client::ClientBuilder;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher;
use kube::{Api, Client, Config};
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, Notify};
use tokio::time::timeout;
use tower::timeout::TimeoutLayer;

use super::error::Error;

/// How long any call but a watch may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
/// How many seconds the API server keeps a quiet watch open: an idle hour costs thirteen requests.
pub(super) const WATCH_SECONDS: u32 = 290;
/// After so long a watch is begun anew with a fresh list: an API server restored from a backup stays silent to who
/// watches from a version that it has not reached again, and a watch alone would never notice. A multiple of
/// [`WATCH_SECONDS`], so that an idle hour still costs no more than fifteen requests.
pub(super) const WATCH_LIFE: Duration = Duration::from_secs(12 * WATCH_SECONDS as u64);
/// Objects per page of a list that names no size: what is kept of each is small, so this bounds the memory of one list.
pub(super) const PAGE: u32 = 50;
/// The name every certificate of a kubeadm API server carries, whatever address it is reached under.
const API_SERVER_NAME: &str = "kubernetes";

/// What was kept of a list.
#[derive(Debug, Clone)]
pub(super) struct Listed<T> {
    pub(super) kept: Vec<T>,
    /// The resourceVersion at which all of it was so.
    pub(super) version: String,
}

/// One credential and the client made of it.
#[derive(Debug)]
pub(super) struct Identity {
    source: Source,
    ready: Mutex<Option<Ready>>,
    /// An answer said that the credential is not accepted.
    rejected: Notify,
}

#[derive(Debug)]
enum Source {
    Files(Files),
    Given(Given),
}

/// The files a credential is read from.
#[derive(Debug)]
struct Files {
    kubeconfig: PathBuf,
    /// Ask this address instead of the one in the kubeconfig.
    address: Option<http::Uri>,
    /// Key and certificate of its own, in one file, in place of the kubeconfig's user.
    pem: Option<PathBuf>,
}

/// A client made elsewhere: its files are somebody else's care.
struct Given(Client);

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("client")
    }
}

struct Ready {
    client: Client,
    files: Vec<(PathBuf, Option<Stamp>)>,
}

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ready").field("files", &self.files).finish_non_exhaustive()
    }
}

/// Tells one content of a file from another: rotation replaces the file, or the target of its symlink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Identity {
    /// A credential in files that others rotate.
    pub(super) fn from_files(kubeconfig: PathBuf) -> Self {
        Self::new(Source::Files(Files { kubeconfig, address: None, pem: None }))
    }

    /// The same, but asking the API server at this address.
    pub(super) fn from_files_at(kubeconfig: PathBuf, address: http::Uri) -> Self {
        Self::new(Source::Files(Files { kubeconfig, address: Some(address), pem: None }))
    }

    /// Key and certificate in one file, for the API server that the kubeconfig names.
    pub(super) fn from_pem(kubeconfig: PathBuf, pem: PathBuf) -> Self {
        Self::new(Source::Files(Files { kubeconfig, address: None, pem: Some(pem) }))
    }

    /// A client that was made elsewhere.
    pub(super) fn given(client: Client) -> Self {
        Self::new(Source::Given(Given(client)))
    }

    fn new(source: Source) -> Self {
        Self { source, ready: Mutex::new(None), rejected: Notify::new() }
    }

    /// The client to use now.
    pub(super) async fn client(&self) -> Result<Client, Error> {
        let files = match &self.source {
            Source::Given(Given(client)) => return Ok(client.clone()),
            Source::Files(files) => files,
        };
        let mut ready = self.ready.lock().await;
        if let Some(known) = ready.as_ref()
            && known.files.iter().all(|(path, then)| stamp(path) == *then)
        {
            return Ok(known.client.clone());
        }
        *ready = None;
        let built = build(files).await?;
        Ok(ready.insert(built).client.clone())
    }

    /// Makes the next use build a new client.
    pub(super) async fn forget(&self) {
        *self.ready.lock().await = None;
    }

    /// One call under the deadline; `doing` says what and on what, for the error.
    pub(super) async fn call<T, F, R>(&self, doing: &str, call: F) -> Result<T, Error>
    where
        F: FnOnce(Client) -> R,
        R: Future<Output = kube::Result<T>>,
    {
        let client = self.client().await?;
        let result = match timeout(DEADLINE, call(client)).await {
            Ok(answer) => answer.map_err(|error| Error::from_kube(doing, error)),
            Err(_elapsed) => Err(Error::Deadline { doing: doing.to_owned() }),
        };
        if let Err(error) = &result {
            self.heed(error).await;
        }
        result
    }

    /// What an error says of the client or of its credential.
    pub(super) async fn heed(&self, error: &Error) {
        if error.blames_client() {
            self.forget().await;
        }
        if error.blames_credential() {
            self.rejected.notify_one();
        }
    }

    /// Until an answer says that the credential is not accepted; one that came before counts.
    pub(super) async fn rejected(&self) {
        self.rejected.notified().await;
    }

    /// A consistent list, page by page: `keep` takes what is needed of each object, the rest is dropped at once.
    pub(super) async fn list<K, T>(
        &self,
        doing: &str,
        api: impl Fn(Client) -> Api<K>,
        params: &ListParams,
        keep: impl Fn(K) -> Option<T>,
    ) -> Result<Vec<T>, Error>
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        self.list_at(doing, api, params, keep).await.map(|listed| listed.kept)
    }

    /// The same, with the version a watch can go on from.
    pub(super) async fn list_at<K, T>(
        &self,
        doing: &str,
        api: impl Fn(Client) -> Api<K>,
        params: &ListParams,
        keep: impl Fn(K) -> Option<T>,
    ) -> Result<Listed<T>, Error>
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        let mut kept = Vec::new();
        let mut params = params.clone().limit(params.limit.unwrap_or(PAGE));
        loop {
            let page = self
                .call(doing, |client| {
                    let (api, params) = (api(client), params.clone());
                    async move { api.list(&params).await }
                })
                .await?;
            kept.extend(page.items.into_iter().filter_map(&keep));
            let Some(token) = page.metadata.continue_.filter(|token| !token.is_empty()) else {
                let version = page.metadata.resource_version.unwrap_or_default();
                return Ok(Listed { kept, version });
            };
            params.continue_token = Some(token);
        }
    }

    /// The next event of a watch of this identity. Until the first list is whole each step has the deadline; later
    /// the watcher itself notices a dead connection.
    pub(super) async fn next<K>(
        &self,
        doing: &str,
        listed: bool,
        events: &mut (impl Stream<Item = watcher::Result<watcher::Event<K>>> + Unpin),
    ) -> Result<watcher::Event<K>, Error> {
        let next = if listed {
            events.next().await
        } else {
            match timeout(DEADLINE, events.next()).await {
                Ok(next) => next,
                Err(_elapsed) => {
                    self.forget().await;
                    return Err(Error::Deadline { doing: doing.to_owned() });
                }
            }
        };
        let error = match next {
            Some(Ok(event)) => return Ok(event),
            Some(Err(error)) => from_watcher(doing, error),
            None => Error::Unexpected { doing: doing.to_owned(), why: "the watch ended".to_owned() },
        };
        self.heed(&error).await;
        Err(error)
    }
}

fn from_watcher(doing: &str, error: watcher::Error) -> Error {
    match error {
        watcher::Error::InitialListFailed(source)
        | watcher::Error::WatchStartFailed(source)
        | watcher::Error::WatchFailed(source) => Error::from_kube(doing, source),
        watcher::Error::WatchError(status) => Error::Refused { doing: doing.to_owned(), status },
        watcher::Error::NoResourceVersion => {
            Error::Unexpected { doing: doing.to_owned(), why: "an answer without resourceVersion".to_owned() }
        }
    }
}

/// How long to wait before a watch is begun again: 0.8 s doubled up to 30 s, with jitter.
#[derive(Default)]
pub(super) struct Pause(watcher::DefaultBackoff);

impl Pause {
    /// Waits.
    pub(super) async fn wait(&mut self) {
        tokio::time::sleep(self.0.next().unwrap_or(Duration::from_secs(30))).await;
    }

    /// Things went well.
    pub(super) fn reset(&mut self) {
        kube::runtime::utils::Backoff::reset(&mut self.0);
    }
}

/// A watch as an owned stream, of a bounded life on the server's side.
pub(super) fn watch<K>(
    api: Api<K>,
    config: watcher::Config,
) -> Pin<Box<dyn Stream<Item = watcher::Result<watcher::Event<K>>> + Send>>
where
    K: kube::Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    watcher(api, config.timeout(WATCH_SECONDS).page_size(PAGE)).boxed()
}

async fn build(source: &Files) -> Result<Ready, Error> {
    let path = source.kubeconfig.as_path();
    let unusable = |source| Error::Kubeconfig { path: path.to_owned(), source: Box::new(source) };
    // Stamped before it is read, so that a change in between is noticed at the next use.
    let mut files = vec![(path.to_owned(), stamp(path))];
    files.extend(source.pem.iter().map(|pem| (pem.clone(), stamp(pem))));
    let kubeconfig = Kubeconfig::read_from(path).map_err(unusable)?;
    files.extend(named_files(&kubeconfig).map(|file| (file.clone(), stamp(&file))));
    let mut config =
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(unusable)?;
    if let Some(address) = &source.address {
        config.cluster_url = address.clone();
        config.tls_server_name = Some(API_SERVER_NAME.to_owned());
    }
    if let Some(pem) = &source.pem {
        config.auth_info = credential(pem)?;
    }
    let blamed = source.pem.as_deref().unwrap_or(path);
    let client = connect(config)
        .map_err(|source| Error::Client { path: blamed.to_owned(), source: Box::new(source) })?;
    Ok(Ready { client, files })
}

/// A client without silent retries, because a repeated claim or eviction must be our decision, whose requests must
/// be answered (headers, for a watch) within the deadline.
pub(super) fn connect(mut config: Config) -> kube::Result<Client> {
    config.default_retry = false;
    config.connect_timeout = Some(DEADLINE);
    Ok(ClientBuilder::try_from(config)?.with_layer(&TimeoutLayer::new(DEADLINE)).build())
}

/// A user whose key and certificate are in this one file, and who has nothing else.
fn credential(pem: &Path) -> Result<AuthInfo, Error> {
    let path = pem.to_str().filter(|_| pem.exists()).map(str::to_owned);
    let Some(path) = path else { return Err(Error::NotEnrolled { path: pem.to_owned() }) };
    Ok(AuthInfo { client_certificate: Some(path.clone()), client_key: Some(path), ..AuthInfo::default() })
}

/// The files beside the kubeconfig that make up its credential.
fn named_files(kubeconfig: &Kubeconfig) -> impl Iterator<Item = PathBuf> {
    let authorities =
        kubeconfig.clusters.iter().filter_map(|named| named.cluster.as_ref()?.certificate_authority.clone());
    let credentials =
        kubeconfig.auth_infos.iter().filter_map(|named| named.auth_info.as_ref()).flat_map(|auth| {
            [auth.client_certificate.clone(), auth.client_key.clone(), auth.token_file.clone()]
        });
    authorities.chain(credentials.flatten()).map(PathBuf::from).collect::<Vec<_>>().into_iter()
}

fn stamp(path: &Path) -> Option<Stamp> {
    let data = std::fs::metadata(path).ok()?;
    Some(Stamp {
        device: data.dev(),
        inode: data.ino(),
        size: data.size(),
        modified: (data.mtime(), data.mtime_nsec()),
    })
}
