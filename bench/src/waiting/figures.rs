//! The costs of waiting, beside the goals.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use super::super::log::Asked;
use super::told::Told;
use lab::audit::seconds;

const REQUESTS: f64 = 90.0;
const SYNCS: f64 = 5.0;
const NOTICE: f64 = 300.0;

const HOUR: f64 = 3600.0;

/// What a time of waiting brought, from the target on.
#[derive(Debug)]
pub(super) struct Waited {
    /// When the waiting were told their target.
    pub(super) told_target: Timestamp,
    /// When they had settled, and the measured period began.
    pub(super) begin: Timestamp,
    /// When it ended.
    pub(super) end: Timestamp,
    /// What each cost.
    pub(super) waiters: Vec<Costs>,
    /// What they said in the period.
    pub(super) told: Told,
    /// Who went first when the way was clear.
    pub(super) noticed: Noticed,
}

/// What one waiter did.
#[derive(Debug)]
pub(super) struct Costs {
    pub(super) node: &'static str,
    /// Since it was told its target.
    pub(super) requests: Vec<Asked>,
    /// In the period.
    pub(super) syncs: usize,
}

/// The first turn after a bar was gone.
#[derive(Debug)]
pub(super) struct Noticed {
    pub(super) node: String,
    /// Since the bar was being taken away.
    pub(super) seconds: f64,
}

/// How much of something before the period, and in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Count {
    before: usize,
    inside: usize,
}

impl Count {
    fn take(&mut self, at: Timestamp, begin: Timestamp) {
        if at < begin { self.before += 1 } else { self.inside += 1 }
    }
}

impl Costs {
    fn requests(&self, begin: Timestamp, watches: bool) -> Count {
        let mut count = Count::default();
        let meant = self.requests.iter().filter(|asked| (asked.verb == "watch") == watches);
        meant.for_each(|asked| count.take(asked.at, begin));
        count
    }
}

impl Waited {
    /// What `count` of the costs would be in an hour of the period, and in the hour since the target was told; each of the
    /// worst waiter.
    #[expect(clippy::cast_precision_loss, reason = "some hundreds at most")]
    fn worst(&self, count: impl Fn(&Costs) -> Count) -> (f64, f64) {
        let (before, inside) = (seconds(self.told_target, self.begin), seconds(self.begin, self.end));
        self.waiters.iter().map(count).fold((0.0, 0.0), |(settled, first): (f64, f64), count| {
            let rate = count.inside as f64 / inside;
            (settled.max(rate * HOUR), first.max(rate.mul_add((HOUR - before).max(0.0), count.before as f64)))
        })
    }

    /// Requests of all waiters by what they were.
    fn kinds(&self) -> BTreeMap<String, Count> {
        let mut kinds: BTreeMap<String, Count> = BTreeMap::new();
        for asked in self.waiters.iter().flat_map(|costs| &costs.requests) {
            kinds.entry(asked.kind()).or_default().take(asked.at, self.begin);
        }
        kinds
    }
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "**missed**" }
}

impl fmt::Display for Waited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (requests, first_requests) = self.worst(|costs| costs.requests(self.begin, false));
        let (watches, first_watches) = self.worst(|costs| costs.requests(self.begin, true));
        let (syncs, _) = self.worst(|costs| Count { before: 0, inside: costs.syncs });
        let Told { samples, wrong, unread, quoted } = &self.told;
        let Noticed { node, seconds: notice } = &self.noticed;
        writeln!(f, "| | goal | measured | | first hour |\n|---|---|---|---|---|")?;
        let met = verdict(requests <= REQUESTS);
        writeln!(
            f,
            "| requests an hour, beside watches | ≤ {REQUESTS} | {requests:.1} | {met} | {first_requests:.1} |"
        )?;
        writeln!(f, "| watches begun or renewed, an hour | | {watches:.1} | | {first_watches:.1} |")?;
        let met = verdict(syncs <= SYNCS);
        writeln!(f, "| fsyncs an hour | ≤ {SYNCS} | {syncs:.1} | {met} | |")?;
        let (right, met) = (samples - wrong, verdict(*wrong == 0 && *samples > 0));
        writeln!(
            f,
            "| samples of `status` that say whom it waits for | all | {right} of {samples} | {met} | |"
        )?;
        let met = verdict(*notice <= NOTICE);
        writeln!(
            f,
            "| seconds until the first takes its turn | ≤ {NOTICE} | {notice:.1} ({node}) | {met} | |"
        )?;
        let (settling, period) = (seconds(self.told_target, self.begin), seconds(self.begin, self.end));
        writeln!(f, "\nThe worst of {} waiters, over {period:.0} s;", self.waiters.len())?;
        writeln!(f, "*first hour*: the {settling:.0} s since the target, and the rest at that rate.")?;
        if *unread > 0 {
            writeln!(f, "The API server did not answer {unread} looks at `status`.")?;
        }
        quoted.iter().try_for_each(|said| writeln!(f, "- said instead: {said}"))?;
        writeln!(
            f,
            "\nOf each waiter: requests beside watches in the period (before it), fsyncs in the period:"
        )?;
        for costs in &self.waiters {
            let Count { before, inside } = costs.requests(self.begin, false);
            writeln!(f, "- {}: {inside} ({before}), {}", costs.node, costs.syncs)?;
        }
        writeln!(f, "\nRequests of all waiters, in the period (before it):")?;
        let kinds = self.kinds();
        kinds
            .iter()
            .try_for_each(|(kind, count)| writeln!(f, "- {} ({}) × {kind}", count.inside, count.before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn request(second: i64, verb: &str) -> Asked {
        let (node, verb, path) = ("worker1".to_owned(), verb.to_owned(), "/api/v1/nodes".to_owned());
        Asked { node, at: at(second), verb, path }
    }

    /// Ten minutes to settle, half an hour of waiting.
    fn waited(waiters: Vec<Costs>) -> Waited {
        let told = Told { samples: 6, ..Told::default() };
        let noticed = Noticed { node: "worker1".to_owned(), seconds: 42.0 };
        Waited { told_target: at(0), begin: at(600), end: at(2400), waiters, told, noticed }
    }

    #[test]
    fn the_worst_waiter_counts_scaled_to_an_hour() {
        let quick = |seconds: &[i64]| seconds.iter().map(|second| request(*second, "list")).collect();
        let waited = waited(vec![
            Costs { node: "worker1", requests: quick(&[1, 2, 3, 4, 700]), syncs: 0 },
            Costs { node: "worker2", requests: quick(&[700, 800]), syncs: 2 },
        ]);
        let (settled, first) = waited.worst(|costs| costs.requests(waited.begin, false));
        assert!((settled - 4.0).abs() < 1e-9, "{settled}");
        assert!((first - (4.0 + 50.0 / 30.0)).abs() < 1e-9, "{first}");
        let text = waited.to_string();
        assert!(text.contains("| fsyncs an hour | ≤ 5 | 4.0 | met |"), "{text}");
        assert!(text.contains("- 3 (4) × list /api/v1/nodes"), "{text}");
    }

    #[test]
    fn watches_are_counted_apart() {
        let requests = vec![request(700, "watch"), request(700, "list"), request(800, "watch")];
        let costs = Costs { node: "worker1", requests, syncs: 0 };
        assert_eq!(costs.requests(at(600), true), Count { before: 0, inside: 2 });
        assert_eq!(costs.requests(at(600), false), Count { before: 0, inside: 1 });
    }

    #[test]
    fn one_wrong_sample_misses_the_goal() {
        let mut waited = waited(Vec::new());
        assert!(waited.to_string().contains("| 6 of 6 | met |"));
        waited.told.wrong = 1;
        waited.told.quoted.push("worker1: phase idle, status {}".to_owned());
        let text = waited.to_string();
        assert!(text.contains("| 5 of 6 | **missed** |") && text.contains("said instead: worker1"), "{text}");
    }
}
