//! What holds for every node, whatever its pods are and whatever the API server answers.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::observed::{DrainState, Owner};
use crate::time::{BootId, Mono, Now, Unix};

fn at(millis: u64) -> Now {
    Now { mono: Mono(millis), unix: Unix(millis / 1000), boot: BootId::default() }
}

prop_compose! {
    fn any_pod()(
        number in 0..60_u32,
        kind in prop_oneof![Just(None), Just(Some("ReplicaSet")), Just(Some("DaemonSet")), Just(Some("Job"))],
        owner in 0..4_u32,
        mirror in prop::bool::weighted(0.1),
        empty_dir: bool,
        finished in prop::bool::weighted(0.1),
        going in prop::bool::weighted(0.1),
        critical in prop::bool::weighted(0.1),
        grace in 0..100_u64,
    ) -> PodSeen {
        PodSeen {
            namespace: "default".to_owned(),
            name: format!("p{}", number % 40),
            uid: format!("uid-{number}"),
            controller: kind.map(|kind| Owner {
                api_version: "apps/v1".to_owned(),
                kind: kind.to_owned(),
                name: format!("o{owner}"),
            }),
            mirror,
            empty_dir,
            finished,
            deletion: going.then_some(Unix(5)),
            critical,
            grace,
            ..PodSeen::default()
        }
    }
}

/// The pods of a node: each UID once.
fn node() -> impl Strategy<Value = Vec<PodSeen>> {
    prop_oneof![vec(any_pod(), 0..3), vec(any_pod(), 0..40)].prop_map(|pods| {
        let by_uid: BTreeMap<_, _> = pods.into_iter().map(|pod| (pod.uid.clone(), pod)).collect();
        by_uid.into_values().collect()
    })
}

fn answer() -> impl Strategy<Value = EvictionResponse> {
    let retry_after =
        || prop_oneof![Just(None), (0..60_000_u64).prop_map(|millis| Some(Duration::from_millis(millis)))];
    prop_oneof![
        Just(EvictionResponse::Accepted),
        Just(EvictionResponse::Gone),
        Just(EvictionResponse::Failed("no answer".to_owned())),
        Just(EvictionResponse::Forbidden("no".to_owned())),
        retry_after().prop_map(|retry_after| EvictionResponse::Busy { retry_after }),
        (prop::option::of("[ab]"), retry_after()).prop_map(|(budget, retry_after)| {
            EvictionResponse::Blocked { budget, message: String::new(), retry_after }
        }),
    ]
}

fn options() -> impl Strategy<Value = DrainOptions> {
    let patience = prop_oneof![Just(0), 1..300_u64];
    (any::<[bool; 4]>(), 1..600_u64, patience.clone(), patience).prop_map(
        |([force, delete_emptydir_data, ignore_daemonsets, critical_last], timeout, stuck, skip)| {
            DrainOptions {
                force,
                delete_emptydir_data,
                ignore_daemonsets,
                critical_last,
                timeout: Duration::from_secs(timeout),
                no_progress_timeout: Duration::from_secs(stuck),
                skip_wait_for_delete_timeout: Duration::from_secs(skip),
                ..DrainOptions::default()
            }
        },
    )
}

/// Something that happens to a drain.
#[derive(Debug, Clone)]
enum Event {
    List(Vec<PodSeen>),
    Confirmed(Vec<PodSeen>),
    /// To the order that has waited at this place.
    Answer(usize, EvictionResponse),
    /// Also to orders that were never given.
    Stray(String, EvictionResponse),
    Later(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => node().prop_map(Event::List),
        1 => node().prop_map(Event::Confirmed),
        8 => (any::<usize>(), answer()).prop_map(|(place, answer)| Event::Answer(place, answer)),
        1 => ("uid-[0-9]{1,2}", answer()).prop_map(|(uid, answer)| Event::Stray(uid, answer)),
        4 => (0..40_000_u64).prop_map(Event::Later),
    ]
}

/// A drain with what an outsider knows of it.
struct Watched {
    engine: Engine,
    options: DrainOptions,
    now: u64,
    listed: Vec<PodSeen>,
    waiting: Vec<String>,
    /// Which budget refused a pod last.
    refused: BTreeMap<String, String>,
    /// Whether the last list was a fresh one.
    fresh: bool,
    /// How the drain ended.
    end: Option<DrainState>,
}

impl Watched {
    fn new(options: DrainOptions) -> Self {
        let engine = Engine::new(options.clone(), at(0));
        Self {
            engine,
            options,
            now: 0,
            listed: Vec::new(),
            waiting: Vec::new(),
            refused: BTreeMap::new(),
            fresh: false,
            end: None,
        }
    }

    fn take(&mut self, event: Event) {
        let now = at(self.now);
        match event {
            Event::List(pods) => {
                self.engine.list(now, &pods);
                (self.listed, self.fresh) = (pods, false);
                self.forget();
            }
            Event::Confirmed(pods) => {
                self.engine.confirmed(now, &pods);
                (self.listed, self.fresh) = (pods, true);
                self.forget();
            }
            Event::Answer(place, answer) if !self.waiting.is_empty() => {
                let uid = self.waiting.remove(place % self.waiting.len());
                match &answer {
                    EvictionResponse::Blocked { budget: Some(budget), .. } if self.has_to_go(&uid) => {
                        self.refused.insert(uid.clone(), budget.clone());
                    }
                    _ => drop(self.refused.remove(&uid)),
                }
                self.engine.answer(now, &uid, answer);
            }
            Event::Stray(uid, answer) if !self.waiting.contains(&uid) => {
                self.engine.answer(now, &uid, answer);
            }
            Event::Answer(..) | Event::Stray(..) => {}
            Event::Later(millis) => self.now += millis,
        }
    }

    /// A pod that is not there, is going or may stay has not been refused.
    fn forget(&mut self) {
        let refused = std::mem::take(&mut self.refused);
        self.refused = refused.into_iter().filter(|(uid, _)| self.has_to_go(uid)).collect();
    }

    /// Whether the last list holds a pod with this UID that has to be evicted.
    fn has_to_go(&self, uid: &str) -> bool {
        let evicted = |pod: &&PodSeen| filter(pod, &self.options, at(self.now).unix) == Disposition::Evict;
        self.listed.iter().filter(evicted).any(|pod| pod.uid == uid)
    }

    fn check(&mut self) -> Result<Next, TestCaseError> {
        let next = self.engine.next(at(self.now));
        for order in &next.evict {
            let pod = self.listed.iter().find(|pod| pod.uid == order.uid && pod.name == order.name);
            let pod = pod.ok_or_else(|| TestCaseError::fail(format!("{order:?} is not in the last list")))?;
            prop_assert_eq!(filter(pod, &self.options, at(self.now).unix), Disposition::Evict);
            prop_assert!(!self.waiting.contains(&order.uid), "{} a second time", order.uid);
            self.waiting.push(order.uid.clone());
        }
        prop_assert!(self.waiting.len() <= MAX_IN_FLIGHT);
        // Several may have been under way when their budget refused the first; none is sent beside another.
        for order in &next.evict {
            if let Some(budget) = self.refused.get(&order.uid) {
                let asking = self.waiting.iter().filter(|uid| self.refused.get(*uid) == Some(budget));
                prop_assert_eq!(asking.count(), 1, "several pods ask budget {}", budget);
            }
        }
        let refuses =
            |pod: &PodSeen| matches!(filter(pod, &self.options, at(self.now).unix), Disposition::Error(_));
        prop_assert!(next.evict.is_empty() || !self.listed.iter().any(refuses));
        prop_assert!(next.wake.is_none_or(|wake| wake.0 > self.now), "woken in the past: {next:?}");
        let state = self.engine.progress(at(self.now)).state;
        prop_assert_eq!(next.wake.is_none(), state != DrainState::Draining);
        match &self.end {
            Some(end) => prop_assert_eq!(&state, end),
            None => prop_assert!(state != DrainState::Drained || self.fresh, "ended by an old list"),
        }
        self.end = Some(state).filter(|state| *state != DrainState::Draining);
        Ok(next)
    }
}

#[test]
fn what_a_budget_said_of_a_pod_that_was_no_longer_listed_does_not_count_when_an_old_list_shows_it_again() {
    let pod = |name: &str| PodSeen {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        ..PodSeen::default()
    };
    let by_b = || EvictionResponse::Blocked {
        budget: Some("b".to_owned()),
        message: String::new(),
        retry_after: None,
    };
    let mut drain = Watched::new(DrainOptions { force: true, ..DrainOptions::default() });
    let mut ordered_after = |event| {
        drain.take(event);
        drain.check().unwrap().evict.into_iter().map(|order| order.name).collect::<Vec<_>>()
    };
    assert_eq!(ordered_after(Event::Confirmed(vec![pod("gone"), pod("stays")])), ["gone", "stays"]);
    assert!(ordered_after(Event::Confirmed(vec![pod("stays")])).is_empty());
    for _ in ["gone", "stays"] {
        assert!(ordered_after(Event::Answer(0, by_b())).is_empty());
    }
    assert_eq!(ordered_after(Event::Later(1_000)), ["stays"], "it asks for all that the budget refused");
    assert_eq!(
        ordered_after(Event::List(vec![pod("gone"), pod("stays")])),
        ["gone"],
        "as one not yet refused"
    );
}

/// Whether a drain of this pod alone could end with the pod gone.
fn goes(pod: &PodSeen, options: &DrainOptions) -> bool {
    matches!(filter(pod, options, Unix(0)), Disposition::Evict | Disposition::Terminating)
}

proptest! {
    #[test]
    fn what_goes_would_be_created_again_or_has_ended_or_was_given_up(pod in any_pod(), options in options()) {
        if filter(&pod, &options, Unix(0)) != Disposition::Evict {
            return Ok(());
        }
        prop_assert!(!pod.mirror, "nothing but its kubelet ends a static pod");
        prop_assert!(pod.deletion.is_none(), "it goes already");
        prop_assert!(pod.controller.as_ref().is_none_or(|owner| owner.kind != "DaemonSet"), "it would come back");
        prop_assert!(pod.finished || pod.controller.is_some() || options.force);
        prop_assert!(pod.finished || !pod.empty_dir || options.delete_emptydir_data);
    }

    #[test]
    fn an_option_that_allows_more_keeps_nothing_here_that_went_before(pod in any_pod(), options in options()) {
        for more in [
            DrainOptions { force: true, ..options.clone() },
            DrainOptions { delete_emptydir_data: true, ..options.clone() },
            DrainOptions { ignore_daemonsets: true, ..options.clone() },
        ] {
            prop_assert!(goes(&pod, &more) || !goes(&pod, &options));
            let refuses = |options| matches!(filter(&pod, options, Unix(0)), Disposition::Error(_));
            prop_assert!(refuses(&options) || !refuses(&more), "{pod:?} under {more:?}");
        }
    }

    #[test]
    fn whatever_happens_only_pods_of_the_last_list_that_may_go_are_evicted_and_never_twice_at_a_time(
        options in options(),
        events in vec(event(), 0..80),
    ) {
        let mut drain = Watched::new(options);
        for event in events {
            drain.take(event);
            drain.check()?;
        }
    }

    #[test]
    fn whatever_happens_a_drain_is_over_when_its_time_is(
        options in options(),
        events in vec(event(), 0..60),
    ) {
        let mut drain = Watched::new(options.clone());
        for event in events {
            drain.take(event);
        }
        let end = at(drain.now.max(options.timeout.as_secs() * 1000));
        prop_assert!(drain.engine.progress(end).state != DrainState::Draining);
    }

    #[test]
    fn a_drain_ends_when_evictions_are_accepted_and_pods_end(pods in node(), refusals in vec(answer(), 0..40)) {
        let mut here = pods;
        let mut refusals = refusals.into_iter();
        let mut drain = Watched::new(DrainOptions { force: true, ..DrainOptions::default() });
        let staying: BTreeSet<_> = here
            .iter()
            .filter(|pod| matches!(filter(pod, &drain.options, at(drain.now).unix), Disposition::Skip(_)))
            .map(|pod| pod.uid.clone())
            .collect();
        for _ in 0..2_000 {
            let next = drain.check()?;
            for order in &next.evict {
                let answer = refusals.next().unwrap_or(EvictionResponse::Accepted);
                if answer == EvictionResponse::Accepted {
                    here.retain(|pod| pod.uid != order.uid);
                }
                drain.take(Event::Answer(0, answer));
            }
            here.retain(|pod| pod.deletion.is_none() || staying.contains(&pod.uid));
            if next.list {
                drain.take(Event::Confirmed(here.clone()));
            } else if let Some(wake) = next.wake.filter(|_| next.evict.is_empty()) {
                drain.now = wake.0;
            } else if next.wake.is_none() {
                break;
            }
        }
        prop_assert_eq!(drain.end, Some(DrainState::Drained));
        prop_assert_eq!(here.into_iter().map(|pod| pod.uid).collect::<BTreeSet<_>>(), staying);
    }

    #[test]
    fn blocked_pods_do_not_delay_others(pods in node(), blocked in vec(any::<bool>(), 60)) {
        let mut drain = Watched::new(DrainOptions { force: true, ..DrainOptions::default() });
        drain.take(Event::Confirmed(pods.clone()));
        let mut tried = BTreeSet::new();
        for _ in 0..=pods.len().div_ceil(MAX_IN_FLIGHT) {
            for order in drain.check()?.evict {
                let blocks = blocked[tried.len() % blocked.len()];
                let refusal = EvictionResponse::Blocked { budget: None, message: String::new(), retry_after: None };
                tried.insert(order.uid);
                drain.take(Event::Answer(0, if blocks { refusal } else { EvictionResponse::Accepted }));
            }
        }
        let due = pods.iter().filter(|pod| filter(pod, &drain.options, at(drain.now).unix) == Disposition::Evict);
        prop_assert_eq!(tried, due.map(|pod| pod.uid.clone()).collect::<BTreeSet<_>>());
    }

    #[test]
    fn the_order_of_evictions_does_not_depend_on_the_order_of_the_list(
        pods in node().prop_flat_map(|pods| (Just(pods.clone()), Just(pods).prop_shuffle())),
        answers in vec(answer(), 0..60),
        options in options(),
    ) {
        let (straight, shuffled) = pods;
        let orders = |pods: Vec<PodSeen>| {
            let mut engine = Engine::new(options.clone(), at(0));
            engine.confirmed(at(0), &pods);
            let mut orders = Vec::new();
            for (answer, now) in answers.iter().zip(0..) {
                orders.extend(engine.next(at(now * 1000)).evict);
                if let Some(order) = orders.get(usize::try_from(now).unwrap_or_default()) {
                    engine.answer(at(now * 1000), &order.uid, answer.clone());
                }
            }
            (orders, engine.progress(at(100_000)))
        };
        prop_assert_eq!(orders(straight), orders(shuffled));
    }
}
