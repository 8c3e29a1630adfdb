//! Drains side by side, and the goals they are held against.

use std::fmt::{self, Write};

use super::crowd::{Case, Stop};
use super::requests::{Kind, Requests};

/// What kubectl's client sends in a second once its burst is spent: client-go's defaults, which `kubectl drain` keeps.
const KUBECTL_RATE: f64 = 5.0;
const KUBECTL_BURST: f64 = 10.0;

/// One drain by one of both.
#[derive(Debug, Clone)]
pub(super) struct Drain {
    /// Seconds from begin to end.
    pub(super) seconds: f64,
    /// How often it had to be started until the worker was empty.
    pub(super) runs: u32,
    pub(super) requests: Requests,
    /// Seconds from eviction to end of the slowest pod: no drain can be shorter.
    pub(super) slowest: f64,
    /// Seconds of processor time of the API server.
    pub(super) cpu: f64,
}

impl Drain {
    pub(super) fn total(&self) -> usize {
        self.requests.values().sum()
    }

    fn of(&self, kind: Kind) -> usize {
        self.requests.get(&kind).copied().unwrap_or(0)
    }
}

/// The agent's memory in KiB.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    /// Most since the agent's start.
    pub(super) peak: u64,
    /// When the drain had ended.
    pub(super) after: u64,
}

/// A case, drained by both.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) case: Case,
    pub(super) kubectl: Drain,
    pub(super) agent: Drain,
    pub(super) memory: Memory,
}

impl Pair {
    pub(super) fn time_ratio(&self) -> f64 {
        self.agent.seconds / self.kubectl.seconds
    }

    fn requests_ratio(&self) -> f64 {
        number(self.agent.total()) / number(self.kubectl.total())
    }

    /// Whether kubectl's time is its own client's more than the pods' or a budget's: it sent all it lets itself send
    /// for nine tenths of the time or more, and the slowest pod took less than half of that time to stop.
    fn client_bound(&self) -> bool {
        let saturated = KUBECTL_BURST + 0.9 * KUBECTL_RATE * self.kubectl.seconds;
        let stops_early = self.kubectl.slowest * 2.0 < self.kubectl.seconds;
        !self.case.budget && stops_early && number(self.kubectl.total()) >= saturated
    }

    /// Requests for what `kubectl drain` does too, above one for each pod and one for each refusal; negative if there
    /// were fewer.
    fn surplus(&self) -> f64 {
        let own = self.agent.requests.iter().filter(|(kind, _)| !kind.is_beside() && **kind != Kind::Refused);
        number(own.map(|(_, count)| count).sum()) - number(self.case.pods)
    }
}

/// A Markdown table with two rows for each case.
pub(super) fn table(pairs: &[Pair]) -> String {
    let kinds = Kind::ALL.map(Kind::heading).join(" | ");
    let mut text = format!(
        "| pods | stop | by | runs | seconds | ratio | slowest pod | requests | ratio | {kinds} | API server CPU s | agent's peak MiB | RSS after MiB |\n"
    );
    text.push_str(&"|---".repeat(Kind::ALL.len() + 12));
    text.push_str("|\n");
    for pair in pairs {
        let Memory { peak, after } = pair.memory;
        let none = ["", "", "", ""].map(str::to_owned);
        row(&mut text, pair.case, "kubectl", &pair.kubectl, &none);
        let ratios = [pair.time_ratio(), pair.requests_ratio()].map(|ratio| format!("{ratio:.2}"));
        let memory = [peak, after].map(|kib| format!("{:.1}", mebibytes(kib)));
        let [(time, requests), (peak, after)] = [ratios, memory].map(|[first, second]| (first, second));
        row(&mut text, pair.case, "agent", &pair.agent, &[time, requests, peak, after]);
    }
    text
}

fn row(text: &mut String, case: Case, by: &str, drain: &Drain, beside: &[String; 4]) {
    let kinds = Kind::ALL.map(|kind| drain.of(kind).to_string()).join(" | ");
    let [time, requests, peak, after] = beside;
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "| {} | {} | {by} | {} | {:.1} | {time} | {:.1} | {} | {requests} | {kinds} | {:.2} | {peak} | {after} |",
        case.pods,
        case.stop,
        drain.runs,
        drain.seconds,
        drain.slowest,
        drain.total(),
        drain.cpu
    );
}

/// What was wanted, and how near the worst case came.
pub(super) struct Goal {
    text: &'static str,
    limit: f64,
    /// Unit of the figure.
    unit: &'static str,
    /// The worst figure and its case; none if the goal concerns none of the cases.
    worst: Option<(f64, Case)>,
}

impl Goal {
    fn new(
        text: &'static str,
        (limit, unit): (f64, &'static str),
        pairs: &[Pair],
        figure: impl Fn(&Pair) -> Option<f64>,
    ) -> Self {
        let figures = pairs.iter().filter_map(|pair| Some((figure(pair)?, pair.case)));
        let worst = figures.max_by(|(one, _), (other, _)| one.total_cmp(other));
        Self { text, limit, unit, worst }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, limit, unit, .. } = self;
        let Some((worst, case)) = self.worst else {
            return write!(f, "{text}: not tried, for none of these drains is such a case");
        };
        let verdict = if worst <= *limit { "met" } else { "**missed**" };
        write!(f, "{text}: {verdict}; the worst is {worst:.2}{unit}, {case}")
    }
}

/// The goals, judged over all cases.
pub(super) fn goals(pairs: &[Pair]) -> [Goal; 5] {
    let of_time = |pair: &Pair| Some(pair.time_ratio());
    let own_client = |pair: &Pair| pair.client_bound().then(|| pair.time_ratio());
    let whole_grace = |pair: &Pair| (pair.case.stop == Stop::Never).then(|| pair.requests_ratio());
    [
        Goal::new("Never above 1.05 times kubectl's time", (1.05, "×"), pairs, of_time),
        Goal::new(
            "At most half of kubectl's time where its own client is the bottleneck",
            (0.5, "×"),
            pairs,
            own_client,
        ),
        Goal::new(
            "Requests of the drain itself at most one for each pod, one for each refusal, and 5",
            (5.0, " above the first two"),
            pairs,
            |pair| Some(pair.surplus()),
        ),
        Goal::new(
            "Requests at most a quarter of kubectl's where pods use up 30 s of grace",
            (0.25, "×"),
            pairs,
            whole_grace,
        ),
        Goal::new("Resident memory after the drain at most 12 MiB", (12.0, " MiB"), pairs, |pair| {
            Some(mebibytes(pair.memory.after))
        }),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "some hundreds")]
fn number(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
fn mebibytes(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(seconds: f64, gets: usize, refused: usize) -> Drain {
        let requests = Requests::from([(Kind::Eviction, 10), (Kind::Refused, refused), (Kind::GetPod, gets)]);
        Drain { seconds, runs: 1, requests, slowest: 1.0, cpu: 0.5 }
    }

    fn pair(stop: Stop, kubectl: Drain, agent: Drain) -> Pair {
        let case = Case { pods: 10, stop, budget: false };
        Pair { case, kubectl, agent, memory: Memory { peak: 20 * 1024, after: 10 * 1024 } }
    }

    #[test]
    fn every_row_has_every_column() {
        let table = table(&[pair(Stop::AtOnce, drain(4.0, 20, 0), drain(1.0, 0, 0))]);
        let widths: Vec<usize> = table.lines().map(|line| line.matches('|').count()).collect();
        assert_eq!(widths, [24; 4], "{table}");
        assert!(table.contains("| agent | 1 | 1.0 | 0.25 | 1.0 | 10 | 0.33 |"), "{table}");
        assert!(table.ends_with("| 0.50 | 20.0 | 10.0 |\n"), "{table}");
    }

    #[test]
    fn a_goal_is_judged_by_its_worst_case() {
        let good = pair(Stop::AtOnce, drain(4.0, 20, 0), drain(1.0, 0, 0));
        let late = pair(Stop::Never, drain(30.0, 90, 0), drain(33.0, 3, 0));
        let [time, _, requests, whole_grace, memory] = goals(&[good, late]).map(|goal| goal.to_string());
        assert!(time.ends_with("**missed**; the worst is 1.10×, 10 pods that stop never"), "{time}");
        assert!(requests.contains(": met; the worst is 3.00 above the first two"), "{requests}");
        assert!(whole_grace.contains(": met; the worst is 0.13×"), "{whole_grace}");
        assert!(memory.contains(": met; the worst is 10.00 MiB"), "{memory}");
    }

    #[test]
    fn a_goal_that_concerns_none_of_the_cases_is_not_called_met() {
        let [_, own_client, _, whole_grace, _] =
            goals(&[pair(Stop::AtOnce, drain(4.0, 5, 0), drain(1.0, 0, 0))]).map(|goal| goal.to_string());
        assert!(own_client.contains("not tried"), "{own_client}");
        assert!(whole_grace.contains("not tried"), "{whole_grace}");
    }

    #[test]
    fn each_refusal_is_allowed_a_request_and_reports_are_no_part_of_the_drain() {
        let mut agents = drain(1.0, 5, 7);
        agents.requests.extend([(Kind::Report, 3), (Kind::Event, 1), (Kind::Lease, 2)]);
        let refused = pair(Stop::AtOnce, drain(4.0, 20, 0), agents);
        assert!((refused.surplus() - 5.0).abs() < 1e-9);
    }

    #[test]
    fn kubectls_client_is_the_bottleneck_where_it_sent_all_it_may_and_the_pods_were_long_gone() {
        let bound = |slowest, requests: usize| {
            let kubectl = Drain { slowest, ..drain(10.0, requests - 10, 0) };
            pair(Stop::AtOnce, kubectl, drain(1.0, 0, 0))
        };
        assert!(bound(1.0, 60).client_bound());
        assert!(!bound(1.0, 50).client_bound());
        assert!(!bound(5.0, 60).client_bound());
        let budget = bound(1.0, 60);
        let budget = Pair { case: Case { budget: true, ..budget.case }, ..budget };
        assert!(!budget.client_bound());
    }
}
