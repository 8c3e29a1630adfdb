//! What a drain asked of the API server, told apart by kind, from the audit log.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use crate::log::received;
use lab::audit::seconds;

/// HTTP's "Too Many Requests": how an eviction is answered that a budget does not let pass.
const REFUSED: u64 = 429;

/// What a request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// An eviction that was granted.
    Eviction,
    /// An eviction that a budget did not let pass.
    Refused,
    /// An eviction that failed otherwise: for one, when others changed the budget at the same moment.
    Failed,
    ListPods,
    WatchPods,
    GetPod,
    Cordon,
    Report,
    Event,
    Lease,
    Other,
}

impl Kind {
    pub(super) const ALL: [Self; 11] = [
        Self::Eviction,
        Self::Refused,
        Self::Failed,
        Self::ListPods,
        Self::WatchPods,
        Self::GetPod,
        Self::Cordon,
        Self::Report,
        Self::Event,
        Self::Lease,
        Self::Other,
    ];

    /// Heading of its column.
    pub(super) fn heading(self) -> &'static str {
        match self {
            Self::Eviction => "evictions",
            Self::Refused => "refused by budget",
            Self::Failed => "failed",
            Self::ListPods => "list pods",
            Self::WatchPods => "watch pods",
            Self::GetPod => "get pod",
            Self::Cordon => "cordon",
            Self::Report => "reports",
            Self::Event => "Events",
            Self::Lease => "Leases",
            Self::Other => "other",
        }
    }

    /// Whether it is no part of what `kubectl drain` does: who drains a node unattended says how it goes, and proves before
    /// that the node's turn has come.
    pub(super) fn is_beside(self) -> bool {
        matches!(self, Self::Report | Self::Event | Self::Lease)
    }

    fn of(event: &Value) -> Self {
        let text = |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let resource = (text("/objectRef/resource"), text("/objectRef/subresource"));
        match (text("/verb"), resource) {
            ("create", ("pods", "eviction")) => {
                match event.pointer("/responseStatus/code").and_then(Value::as_u64) {
                    Some(200..300) => Self::Eviction,
                    Some(REFUSED) => Self::Refused,
                    _ => Self::Failed,
                }
            }
            ("list", ("pods", "")) => Self::ListPods,
            ("watch", ("pods", "")) => Self::WatchPods,
            ("get", ("pods", "")) => Self::GetPod,
            ("update" | "patch", ("nodes", "status")) => Self::Report,
            ("update" | "patch", ("nodes", _)) => Self::Cordon,
            (_, ("events", _)) => Self::Event,
            (_, ("leases", _)) => Self::Lease,
            _ => Self::Other,
        }
    }
}

/// How many requests of each kind.
pub(super) type Requests = BTreeMap<Kind, usize>;

/// Counts the requests received since `from` and before `until` whose user and user agent `of_whom` says are meant.
/// A watch counts once, when it is begun.
pub(super) fn count(
    events: &[Value],
    (from, until): (Timestamp, Timestamp),
    of_whom: impl Fn(&str, &str) -> bool,
) -> Requests {
    let mut seen = BTreeSet::new();
    let mut requests = Requests::new();
    for event in events {
        let text = |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let inside = received(event).is_some_and(|at| at >= from && at < until);
        let meant = of_whom(text("/user/username"), text("/userAgent"));
        if inside && meant && seen.insert(text("/auditID")) {
            *requests.entry(Kind::of(event)).or_insert(0) += 1;
        }
    }
    requests
}

/// Seconds from the eviction of a pod to its end, which kubelet tells by deleting it for good; of the slowest pod that
/// was evicted since `from`. An upgrade tries evictions in dry runs before its drain.
pub(super) fn slowest_stop(events: &[Value], from: Timestamp) -> f64 {
    let mut evicted = BTreeMap::new();
    let mut slowest = 0.0_f64;
    for event in events {
        let text = |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let Ok(at) = text("/stageTimestamp").parse::<Timestamp>() else { continue };
        let pod = (text("/objectRef/namespace"), text("/objectRef/name"));
        if Kind::of(event) == Kind::Eviction && received(event).is_some_and(|received| received >= from) {
            evicted.entry(pod).or_insert(at);
        }
        let gone = (text("/verb"), text("/objectRef/resource")) == ("delete", "pods");
        if gone && text("/userAgent").starts_with("kubelet/") {
            let begin = evicted.get(&pod);
            slowest = begin.map_or(slowest, |begin| slowest.max(seconds(*begin, at)));
        }
    }
    slowest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(second: u32, id: &str, verb: &str, resource: (&str, &str)) -> Value {
        json!({
            "auditID": id,
            "verb": verb,
            "user": {"username": "me"},
            "userAgent": "kubectl/v1",
            "objectRef": {"resource": resource.0, "subresource": resource.1},
            "responseStatus": {"code": 201},
            "requestReceivedTimestamp": format!("2026-01-02T03:04:{second:02}.000000Z"),
        })
    }

    fn window() -> (Timestamp, Timestamp) {
        ("2026-01-02T03:04:10Z".parse().unwrap(), "2026-01-02T03:04:20Z".parse().unwrap())
    }

    #[test]
    fn evictions_that_a_budget_refuses_or_that_fail_are_counted_apart() {
        let mut refused = event(11, "b", "create", ("pods", "eviction"));
        refused["responseStatus"]["code"] = json!(429);
        let mut conflict = event(12, "c", "create", ("pods", "eviction"));
        conflict["responseStatus"]["code"] = json!(409);
        let log = [event(10, "a", "create", ("pods", "eviction")), refused, conflict];
        let counted = count(&log, window(), |_, _| true);
        assert_eq!(counted, Requests::from([(Kind::Eviction, 1), (Kind::Refused, 1), (Kind::Failed, 1)]));
    }

    #[test]
    fn a_request_counts_if_it_was_received_in_time_from_the_one_who_is_meant() {
        let mut others = event(15, "c", "list", ("pods", ""));
        others["userAgent"] = json!("kubelet/v1");
        let log = [
            event(9, "a", "get", ("pods", "")),
            event(20, "b", "get", ("pods", "")),
            others,
            event(19, "d", "get", ("pods", "")),
        ];
        let counted = count(&log, window(), |user, agent| user == "me" && agent.starts_with("kubectl/"));
        assert_eq!(counted, Requests::from([(Kind::GetPod, 1)]));
    }

    #[test]
    fn a_pod_stops_from_its_eviction_to_kubelets_last_word() {
        let of_pod = |name: &str, second: u32, verb, resource| {
            let mut event = event(second, "a", verb, resource);
            event["objectRef"]["name"] = json!(name);
            event["stageTimestamp"] = event["requestReceivedTimestamp"].clone();
            event["userAgent"] = json!("kubelet/v1");
            event
        };
        let mut others = of_pod("slow", 30, "delete", ("pods", ""));
        others["userAgent"] = json!("kubectl/v1");
        let log = [
            of_pod("slow", 9, "create", ("pods", "eviction")),
            of_pod("slow", 10, "create", ("pods", "eviction")),
            of_pod("quick", 11, "create", ("pods", "eviction")),
            of_pod("quick", 12, "delete", ("pods", "")),
            of_pod("slow", 16, "delete", ("pods", "")),
            of_pod("not evicted", 29, "delete", ("pods", "")),
            others,
        ];
        assert!((slowest_stop(&log, window().0) - 6.0).abs() < 1e-9);
    }

    #[test]
    fn a_watch_counts_once_though_its_begin_and_its_end_are_logged() {
        let log = [event(11, "a", "watch", ("pods", "")), event(11, "a", "watch", ("pods", ""))];
        assert_eq!(count(&log, window(), |_, _| true), Requests::from([(Kind::WatchPods, 1)]));
    }

    #[test]
    fn requests_are_told_apart_by_kind() {
        let kind = |verb, resource| Kind::of(&event(11, "a", verb, resource));
        assert_eq!(kind("list", ("pods", "")), Kind::ListPods);
        assert_eq!(kind("patch", ("nodes", "")), Kind::Cordon);
        assert_eq!(kind("patch", ("nodes", "status")), Kind::Report);
        assert_eq!(kind("get", ("nodes", "")), Kind::Other);
        assert_eq!(kind("create", ("events", "")), Kind::Event);
        assert_eq!(kind("update", ("leases", "")), Kind::Lease);
        assert_eq!(Kind::of(&json!({"verb": "get", "requestURI": "/api"})), Kind::Other);
    }
}
