//! What disruption budgets will say to a drain, before anything is touched.
//!
//! A dry run of an eviction asks for one pod alone, and each can pass where all together cannot. So the budgets'
//! own figures are judged, with the rules of the eviction API (`pkg/registry/core/pod/storage/eviction.go`) and of
//! the disruption controller.

use super::{Disposition, DrainOptions, filter};
use crate::observed::PodSeen;
use crate::time::Unix;

/// A disruption budget, as the disruption controller last counted for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Budget {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// How many more pods may go now.
    pub disruptions_allowed: i32,
    /// How many healthy pods it needs.
    pub desired_healthy: i32,
    /// How many healthy pods it has.
    pub current_healthy: i32,
    /// How many pods there would be if all were there.
    pub expected_pods: i32,
    /// Whether unready pods may always go (`unhealthyPodEvictionPolicy: AlwaysAllow`).
    pub always_allow_unhealthy: bool,
    /// Why the controller cannot count for it, where it says so; then it lets nothing go.
    pub failing: Option<String>,
}

/// What the budgets will say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forecast {
    /// How many pods would be evicted.
    pub evicted: usize,
    /// What keeps the drain from ever ending, pod by pod and budget by budget: somebody must change something.
    pub never: Vec<String>,
    /// What budgets say no to as they stand: another controller may change that, so it is told and the drain asks.
    pub blocked: Vec<String>,
    /// What will hold the drain up for a while.
    pub slow: Vec<String>,
    /// Pods whose emptyDir data is lost with them, as `namespace/name`.
    pub lose_data: Vec<String>,
}

/// Judges a drain of these pods. `covering` gives the budgets whose selector matches a pod.
pub fn forecast<'a>(
    pods: &[PodSeen],
    budgets: &'a [Budget],
    covering: impl Fn(&PodSeen, &Budget) -> bool,
    options: &DrainOptions,
    now: Unix,
) -> Forecast {
    let mut forecast = Forecast::default();
    let mut under: Vec<(&'a Budget, Vec<&PodSeen>)> =
        budgets.iter().map(|budget| (budget, Vec::new())).collect();
    for pod in pods {
        match filter(pod, options, now) {
            Disposition::Error(why) => forecast.never.push(why),
            Disposition::Evict => {
                forecast.evicted += 1;
                forecast.lose_data.extend((pod.empty_dir && !pod.finished).then(|| label(pod)));
            }
            Disposition::Terminating | Disposition::Skip(_) | Disposition::Overdue(_) => continue,
        }
        // A plain deletion asks no budget, and neither does the eviction of a pod that has ended or not begun.
        if options.disable_eviction || pod.finished || pod.pending {
            continue;
        }
        let mut matching: Vec<_> = under.iter_mut().filter(|(budget, _)| covering(pod, budget)).collect();
        match &mut matching[..] {
            [] => {}
            [(_, pods)] => pods.push(pod),
            several => forecast.never.push(several_budgets(pod, several.iter().map(|(budget, _)| *budget))),
        }
    }
    for (budget, pods) in under.into_iter().filter(|(_, pods)| !pods.is_empty()) {
        budget.judge(&pods, &mut forecast);
    }
    forecast
}

impl Budget {
    fn judge(&self, pods: &[&PodSeen], forecast: &mut Forecast) {
        // What is not healthy may go without being counted, by policy or while the budget is met without it.
        let unready_go = self.always_allow_unhealthy
            || (self.desired_healthy > 0 && self.current_healthy >= self.desired_healthy);
        let asking: Vec<_> = pods.iter().filter(|pod| pod.ready || !unready_go).collect();
        let Some(first) = asking.first() else { return };
        let (name, first) = (self.label(), label(first));
        let figures = format!(
            "needs {} healthy pods and has {} of {}",
            self.desired_healthy, self.current_healthy, self.expected_pods
        );
        if let Some(why) = &self.failing {
            forecast.blocked.push(format!(
                "disruption budget {name} lets nothing go, pod {first} for one, because its controller cannot count for \
                 it: {why}"
            ));
        } else if self.expected_pods == 0 {
            forecast.slow.push(format!(
                "disruption budget {name} is not counted yet, and holds pod {first} until then"
            ));
        } else if self.desired_healthy >= self.expected_pods {
            forecast.blocked.push(format!(
                "disruption budget {name} lets no pod go as it stands, {first} for one: it {figures}, so even with all of them \
                 healthy none may go"
            ));
        } else if self.disruptions_allowed <= 0 {
            forecast.slow.push(format!("disruption budget {name} holds pod {first} for now: it {figures}"));
        } else if asking.len() > usize::try_from(self.disruptions_allowed).unwrap_or_default() {
            let (count, allowed) = (asking.len(), self.disruptions_allowed);
            forecast.slow.push(format!(
                "disruption budget {name} lets {allowed} of the {count} pods here go at a time (pod {first} for one): it \
                 {figures}"
            ));
        }
    }

    fn label(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

fn label(pod: &PodSeen) -> String {
    format!("{}/{}", pod.namespace, pod.name)
}

fn several_budgets<'a>(pod: &PodSeen, budgets: impl Iterator<Item = &'a Budget>) -> String {
    let names: Vec<_> = budgets.map(|budget| budget.name.as_str()).collect();
    format!(
        "pod {} is covered by several disruption budgets ({}), so the API server never evicts it: leave it one",
        label(pod),
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::Owner;

    fn pod(name: &str, ready: bool) -> PodSeen {
        let owner = Owner { api_version: "apps/v1".into(), kind: "ReplicaSet".into(), name: "web".into() };
        PodSeen {
            namespace: "default".into(),
            name: name.into(),
            uid: name.into(),
            controller: Some(owner),
            ready,
            ..PodSeen::default()
        }
    }

    /// Of three expected pods.
    fn budget(desired_healthy: i32, current_healthy: i32) -> Budget {
        let disruptions_allowed = (current_healthy - desired_healthy).max(0);
        let (namespace, name) = ("default".into(), "web".into());
        Budget {
            namespace,
            name,
            disruptions_allowed,
            desired_healthy,
            current_healthy,
            expected_pods: 3,
            ..Budget::default()
        }
    }

    fn judged(pods: &[PodSeen], budgets: &[Budget]) -> Forecast {
        forecast(pods, budgets, |_, _| true, &DrainOptions::default(), Unix(0))
    }

    #[test]
    fn a_budget_that_wants_every_pod_healthy_is_told_and_refuses_nothing() {
        let Forecast { never, blocked, .. } = judged(&[pod("a", true)], &[budget(3, 3)]);
        assert_eq!((never.len(), blocked.len()), (0, 1));
        for words in ["default/web", "default/a", "needs 3 healthy pods and has 3 of 3"] {
            assert!(blocked[0].contains(words), "{blocked:?}");
        }
    }

    #[test]
    fn a_budget_its_controller_cannot_count_for_is_told_and_refuses_nothing() {
        let failing = Budget { failing: Some("no scale subresource".into()), ..budget(0, 0) };
        let forecast = judged(&[pod("a", true)], &[failing]);
        assert!(forecast.blocked[0].contains("no scale subresource"), "{forecast:?}");
        assert!(forecast.never.is_empty(), "another controller may come to count for it");
    }

    #[test]
    fn a_budget_without_room_now_holds_the_drain_up_and_no_more() {
        let forecast = judged(&[pod("a", true)], &[budget(2, 2)]);
        assert!(forecast.never.is_empty());
        assert!(forecast.slow[0].contains("holds pod default/a for now: it needs 2 healthy"), "{forecast:?}");
    }

    #[test]
    fn a_budget_that_is_not_counted_yet_is_waited_for() {
        let fresh = Budget { expected_pods: 0, ..budget(0, 0) };
        assert!(judged(&[pod("a", true)], &[fresh]).slow[0].contains("not counted yet"));
    }

    #[test]
    fn evictions_that_each_pass_but_not_together_are_named() {
        let pods = [pod("a", true), pod("b", true)];
        assert!(judged(&pods, &[budget(2, 3)]).slow[0].contains("lets 1 of the 2 pods here go at a time"));
        assert_eq!(judged(&pods[..1], &[budget(2, 3)]), Forecast { evicted: 1, ..Forecast::default() });
    }

    #[test]
    fn an_unready_pod_goes_by_policy_or_while_the_budget_is_met_without_it() {
        let unready = [pod("a", false)];
        assert!(judged(&unready, &[budget(2, 2)]).slow.is_empty());
        assert_eq!(judged(&unready, &[budget(2, 1)]).slow.len(), 1);
        let lets = |needs| Budget { always_allow_unhealthy: true, ..budget(needs, 0) };
        assert_eq!(judged(&unready, &[lets(3)]), Forecast { evicted: 1, ..Forecast::default() });
        assert_eq!(judged(&unready, &[budget(3, 2)]).blocked.len(), 1);
    }

    #[test]
    fn no_budget_is_asked_for_pods_that_have_ended_or_not_begun_nor_for_deletions() {
        let finished = PodSeen { finished: true, ..pod("a", false) };
        let pending = PodSeen { pending: true, ..pod("b", false) };
        let asked = judged(&[finished, pending], &[budget(3, 0), budget(3, 0)]);
        assert!(asked.never.is_empty() && asked.blocked.is_empty(), "{asked:?}");
        let options = DrainOptions { disable_eviction: true, ..DrainOptions::default() };
        let deleted = forecast(&[pod("a", true)], &[budget(3, 3)], |_, _| true, &options, Unix(0));
        assert_eq!(deleted, Forecast { evicted: 1, ..Forecast::default() });
    }

    #[test]
    fn a_pod_under_two_budgets_is_never_evicted() {
        let never = judged(&[pod("a", true)], &[budget(0, 3), budget(0, 3)]).never;
        assert!(never[0].contains("several disruption budgets (web, web)"), "{never:?}");
    }
}
