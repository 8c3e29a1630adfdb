//! What becomes of the agent's requests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use upgrade_sim::rng::Rng;
use upgrade_tests::api::faults::Effect;

use super::{CALM, people};

/// No pod is asked to go again sooner than this after its last refusal.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Lists and watches are not begun more often than this in a minute, a page at a time.
const READS_PER_MINUTE: usize = 130;
/// No drain of a few pods needs so many requests.
const FAR_TOO_MANY: usize = 5_000;

/// Decides over requests, and keeps their story.
pub(super) struct Whims {
    rng: Rng,
    begun: Instant,
    /// Of a hundred requests so many go wrong.
    severity: u64,
    /// Until then the API server is down.
    pub(super) down: Duration,
    /// Moment, line, and what became of it.
    requests: Vec<(Duration, String, &'static str)>,
    /// How often a pod of this name was made anew: each may be evicted at once.
    pub(super) made_anew: BTreeMap<String, usize>,
}

/// Decides for a server's faults.
pub(super) fn of(whims: &Arc<Mutex<Whims>>) -> impl FnMut(&str) -> Option<Effect> + Send + 'static {
    let shared = Arc::clone(whims);
    move |line| {
        let mut whims = shared.lock().unwrap();
        let at = whims.begun.elapsed();
        let (word, effect) = whims.decide(at, line);
        whims.requests.push((at, line.to_owned(), word));
        effect
    }
}

impl Whims {
    pub(super) fn new(seed: u64, begun: Instant) -> Self {
        let mut rng = Rng::new(!seed);
        let severity = [0, 10, 30, 60][usize::try_from(rng.below(4)).unwrap()];
        Self { rng, begun, severity, down: Duration::ZERO, requests: Vec::new(), made_anew: BTreeMap::new() }
    }

    fn decide(&mut self, at: Duration, line: &str) -> (&'static str, Option<Effect>) {
        if self.requests.len() > FAR_TOO_MANY {
            // Time stands still while requests are answered at once, so a hot loop would never end.
            return ("swallowed", Some(Effect::Swallow));
        }
        if at < self.down {
            return ("down", Some(Effect::Unreachable));
        }
        if at > CALM || self.rng.below(100) >= self.severity {
            return ("", None);
        }
        if let Some(pod) = asked_to_end(line)
            && self.rng.once_in(3)
        {
            *self.made_anew.entry(pod.to_owned()).or_default() += 1;
            let (pod, seed) = (pod.to_owned(), self.rng.number());
            let deed = move |admin: &kube::Client| {
                let admin = admin.clone();
                let deed: futures::future::BoxFuture<'static, ()> =
                    Box::pin(async move { people::make_anew(&admin, &pod, &mut Rng::new(seed)).await });
                deed
            };
            return ("made anew first", Some(Effect::First(Box::new(deed))));
        }
        let seconds = self.rng.below(15);
        let refuse = |code, text: &str| Some(Effect::Refuse(code, text.to_owned()));
        match self.rng.below(11) {
            0 => ("500", refuse(500, "etcdserver: leader changed")),
            1 => ("503", refuse(503, "the server is currently unable to handle the request")),
            2 => ("410", refuse(410, "the provided continue parameter is too old")),
            3 => ("504", refuse(504, "Timeout: request did not complete within the allotted time")),
            4 => ("403", refuse(403, "the authorizer knows nothing of this node yet")),
            5 => ("409", refuse(409, "the object has been modified")),
            6 => ("429", Some(Effect::Busy(u32::try_from(seconds).unwrap()))),
            7 => ("unreachable", Some(Effect::Unreachable)),
            8 => ("swallowed", Some(Effect::Swallow)),
            9 => ("answer lost", Some(Effect::LoseAnswer)),
            _ => ("late", Some(Effect::Delay(Duration::from_secs(seconds)))),
        }
    }

    /// What was asked too often.
    pub(super) fn too_many(&self) -> Vec<String> {
        let mut moments: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
        for (at, line, _) in &self.requests {
            moments.entry(asked_to_end(line).unwrap_or_default()).or_default().push(*at);
        }
        let mut wrong = Vec::new();
        for (pod, times) in moments {
            if pod.is_empty() {
                let most = most_in_a_minute(&times);
                if most > READS_PER_MINUTE {
                    wrong.push(format!(
                        "{most} lists and watches in one minute, more than {READS_PER_MINUTE}"
                    ));
                }
                continue;
            }
            // A pod that was made anew under its name is another one, and asked at once.
            let hasty = times.windows(2).filter(|pair| pair[1] < pair[0] + RETRY_PAUSE).count();
            let made_anew = self.made_anew.get(pod).copied().unwrap_or_default();
            if hasty > made_anew {
                wrong.push(format!("{hasty} evictions of {pod} less than {RETRY_PAUSE:?} after the last"));
            }
        }
        wrong
    }

    /// All requests, for people.
    pub(super) fn story(&self) -> Vec<String> {
        let line =
            |(at, line, word): &(Duration, String, &str)| format!("{:8.3} {line} {word}", at.as_secs_f64());
        self.requests.iter().map(line).collect()
    }
}

/// The pod that a request asks to end.
fn asked_to_end(line: &str) -> Option<&str> {
    let asks = line.starts_with("DELETE") || line.contains("/eviction");
    let name = line.split("/pods/").nth(1).filter(|_| asks)?;
    name.split(['/', '?']).next()
}

fn most_in_a_minute(times: &[Duration]) -> usize {
    let end = |from: &Duration| times.partition_point(|at| *at < *from + Duration::from_mins(1));
    times.iter().enumerate().map(|(index, from)| end(from) - index).max().unwrap_or_default()
}
