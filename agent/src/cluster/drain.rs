//! Draining the own node: carries out what [`Engine`] orders, and tells it what the API server says.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt, OptionFuture};
use futures::stream::FuturesUnordered;
use kube::api::{WatchEvent, WatchParams};
use kube::{Api, ResourceExt};
use tokio::sync::Notify;
use tokio::sync::watch::{Receiver, Sender, channel};
use tokio::time::timeout;
use upgrade_core::act::ActResult;
use upgrade_core::api::{Reason, text};
use upgrade_core::drain::{DrainOptions, Engine};
use upgrade_core::observed::{DrainState, Observation, PodSeen, Progress};

use super::Cluster;
use super::client::{Listed, Pause, WATCH_SECONDS};
use super::convert::pod_seen;
use super::error::Error;
use super::events::EventKind;
use super::evict::{Manner, answer};
use super::small_pod::Pod;

/// A watch from which nothing came for so long is dead: the server itself ends one after [`WATCH_SECONDS`].
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 10);

/// So many pods that a drain leaves are named.
const NAMED: usize = 10;

impl Cluster {
    /// Evicts what the rules say until a fresh list holds nothing more, or the drain is given up; tells
    /// [`Observation::Drain`] at each change. Ends with a fault when the API server goes away: whether it may go on then is
    /// asked anew. Dropping the future stops it: evictions on their way may still happen.
    pub async fn drain(&self, options: DrainOptions, tell: impl Fn(Observation)) -> ActResult {
        let (manner, labels) = (Manner::of(&options), options.pod_selector.clone());
        let mut engine = Engine::new(options, self.inner.clock.now());
        let (show, mut shown) = channel(Vec::new());
        let (from_list, lists) = channel(None);
        let broken = Notify::new();
        let mut watching = pin!(self.show_pods(&labels, lists, &show, &broken));
        let mut evictions = FuturesUnordered::new();
        let mut listing: Option<BoxFuture<'_, _>> = None;
        let mut told: Option<Progress> = None;
        loop {
            let now = self.inner.clock.now();
            let next = engine.next(now);
            evictions.extend(next.evict.into_iter().map(|order| self.evict(order, manner)));
            if next.list {
                // One under way goes on: each of its pages has its deadline, and a slow one begun anew would never end.
                listing.get_or_insert_with(|| self.list_pods(&labels).boxed());
            }
            let progress = engine.progress(now);
            if progress.state != DrainState::Draining {
                self.tell_passed_over(&progress).await;
                return ActResult::ok(vec![Observation::Drain(progress)]);
            }
            if told.as_ref().is_none_or(|told| differs(told, &progress)) {
                tell(Observation::Drain(progress.clone()));
                told = Some(progress);
            }
            let wake = next.wake.map(|wake| tokio::time::sleep(self.inner.clock.until(wake)));
            // In one order, so that what happened once happens again in a test. Answers come first, for each is asked
            // for: they are never so many that nothing else is looked at, as what a watch shows might be.
            tokio::select! {
                biased;
                Some((uid, asked)) = evictions.next() => match asked {
                    Err(error) if error.is_disconnected() => return self.cut_off(&engine, error),
                    asked => engine.answer(self.inner.clock.now(), &uid, answer(&asked)),
                },
                Some(listed) = OptionFuture::from(listing.as_mut()) => {
                    listing = None;
                    match listed {
                        Ok(listed) => {
                            engine.confirmed(self.inner.clock.now(), &listed.kept);
                            from_list.send_replace(Some(listed));
                        }
                        Err(error) if error.status().is_none() => return self.cut_off(&engine, error),
                        Err(error) => tracing::warn!("{}; tried again", error.chain()),
                    }
                }
                () = &mut watching => {}
                () = broken.notified() => engine.lost_sight(),
                Ok(()) = shown.changed() => engine.list(self.inner.clock.now(), &shown.borrow_and_update()),
                Some(()) = OptionFuture::from(wake) => {}
            }
        }
    }

    fn cut_off(&self, engine: &Engine, error: Error) -> ActResult {
        let progress = engine.progress(self.inner.clock.now());
        let cut_off = Progress { state: DrainState::CutOff, ..progress };
        ActResult { observations: vec![Observation::Drain(cut_off)], fault: Some(error.into()) }
    }

    /// The reports after a drain do not speak of it any more: what it leaves on the node, people are told for good.
    async fn tell_passed_over(&self, progress: &Progress) {
        let left: Vec<_> =
            progress.passed_over.iter().map(|left| format!("{} ({})", left.pod, left.why)).collect();
        if progress.state == DrainState::Drained && !left.is_empty() {
            let words = format!("left on the node by its drain: {}", text::some_of(NAMED, ", ", &left));
            tracing::warn!("{words}");
            self.event(EventKind::Warning, &Reason::PodsPassedOver.to_string(), &words).await;
        }
    }

    /// Shows the pods of this node as a watch sees them, for ever. A watch begins from a list that came in, and one
    /// that broke asks for the next: so a drain lists its pods once where others list them for their watch again.
    async fn show_pods(
        &self,
        labels: &str,
        mut lists: Receiver<Option<Listed<PodSeen>>>,
        show: &Sender<Vec<PodSeen>>,
        broken: &Notify,
    ) {
        let mut pause = Pause::default();
        while lists.changed().await.is_ok() {
            let Some(listed) = lists.borrow_and_update().clone() else { continue };
            let error = self.follow_pods(labels, listed, show, &mut pause).await;
            self.inner.kubelet.heed(&error).await;
            tracing::warn!("{}; the watch is begun again", error.chain());
            pause.wait().await;
            lists.mark_unchanged();
            broken.notify_one();
        }
    }

    /// From this list on, until something goes wrong.
    async fn follow_pods(
        &self,
        labels: &str,
        listed: Listed<PodSeen>,
        show: &Sender<Vec<PodSeen>>,
        pause: &mut Pause,
    ) -> Error {
        let doing = format!("watching the pods of node {}", self.node_name());
        let mut params = WatchParams::default().fields(&self.own_pods()).timeout(WATCH_SECONDS);
        if !labels.is_empty() {
            params = params.labels(labels);
        }
        let mut known = by_uid(listed.kept);
        let mut version = listed.version;
        loop {
            let opened = self.inner.kubelet.call(&doing, |client| {
                let (params, version) = (&params, &version);
                async move { Api::<Pod>::all(client).watch(params, version).await }
            });
            let mut events = match opened.await {
                Ok(events) => pin!(events),
                Err(error) => return error,
            };
            while let Ok(Some(event)) = timeout(SILENCE, events.next()).await {
                match event {
                    Ok(WatchEvent::Added(pod) | WatchEvent::Modified(pod)) => {
                        version = pod.resource_version().unwrap_or_default();
                        let pod = pod_seen(pod);
                        known.insert(pod.uid.clone(), pod);
                    }
                    Ok(WatchEvent::Deleted(pod)) => {
                        version = pod.resource_version().unwrap_or_default();
                        known.remove(&pod.uid().unwrap_or_default());
                    }
                    Ok(WatchEvent::Bookmark(mark)) => version = mark.metadata.resource_version,
                    Ok(WatchEvent::Error(status)) => return Error::Refused { doing, status },
                    Err(error) => return Error::from_kube(&doing, error),
                }
                pause.reset();
                show.send_replace(known.values().cloned().collect());
            }
            // The server ended it in time, and what comes next can be watched from where it ended.
            pause.wait().await;
        }
    }
}

fn by_uid(pods: Vec<PodSeen>) -> BTreeMap<String, PodSeen> {
    pods.into_iter().map(|pod| (pod.uid.clone(), pod)).collect()
}

/// Whether people would see a difference.
fn differs(told: &Progress, now: &Progress) -> bool {
    *told != Progress { at: told.at, ..now.clone() }
}
