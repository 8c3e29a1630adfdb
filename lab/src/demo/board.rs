//! The live table: redrawn in place on a terminal, a line per change elsewhere.

use std::io::{IsTerminal, Write, stdout};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::fleet::{Fleet, NodeView};

const HEADINGS: [&str; 7] = ["NODE", "ROLE", "VERSION", "PHASE", "PODS LEFT", "SINCE", "MESSAGE"];

/// Shows how the upgrade stands.
pub(super) struct Board {
    start: Instant,
    terminal: bool,
    /// Lines of the table that stands on the terminal.
    drawn: usize,
    last: Option<Fleet>,
    silent: bool,
}

impl Board {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), terminal: stdout().is_terminal(), drawn: 0, last: None, silent: false }
    }

    /// Shows an answer of the API server, or that there was none.
    pub(super) fn show(&mut self, fleet: Option<&Fleet>, now: Timestamp) {
        let text = if self.terminal { self.redraw(fleet, now) } else { self.changes(fleet) };
        self.silent = fleet.is_none();
        if let Some(fleet) = fleet {
            self.last = Some(fleet.clone());
        }
        let mut out = stdout().lock();
        // Whoever closed the other end does not want to see it; the upgrade is watched to its end all the same.
        drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
    }

    fn redraw(&mut self, fleet: Option<&Fleet>, now: Timestamp) -> String {
        let Some(shown) = fleet.or(self.last.as_ref()) else { return String::new() };
        let mut lines = table(shown, now);
        lines.push(String::new());
        lines.push(self.footer(shown, fleet.is_none()));
        // Up to where the last table began, and each line cut at the terminal's edge instead of being wrapped.
        let mut text = if self.drawn == 0 { String::new() } else { format!("\x1b[{}A", self.drawn) };
        text.push_str("\x1b[?7l");
        for line in &lines {
            text.push_str(line);
            text.push_str("\x1b[K\n");
        }
        text.push_str("\x1b[?7h");
        self.drawn = lines.len();
        text
    }

    fn footer(&self, fleet: &Fleet, silent: bool) -> String {
        let leases: Vec<String> = fleet
            .leases
            .iter()
            .map(|(name, holder)| format!("{name} {}", holder.as_deref().unwrap_or("free")))
            .collect();
        let leases = if leases.is_empty() { "none yet".to_owned() } else { leases.join(", ") };
        let (ready, wanted) = fleet.tutorial;
        let mut line =
            format!("{}   Leases: {leases}   web servers: {ready}/{wanted}", elapsed(self.start.elapsed()));
        if silent {
            line.push_str("   (the API server is away: its own node is being upgraded)");
        }
        line
    }

    fn changes(&self, fleet: Option<&Fleet>) -> String {
        let at = elapsed(self.start.elapsed());
        let Some(fleet) = fleet else {
            let news = !self.silent && self.last.is_some();
            return if news { format!("{at}  the API server does not answer\n") } else { String::new() };
        };
        let before = |node: &NodeView| {
            self.last.as_ref().and_then(|last| last.nodes.iter().find(|known| known.name == node.name))
        };
        let changed = |node: &&NodeView| before(node).is_none_or(|before| tale(before) != tale(node));
        let back = self.silent && self.last.is_some();
        let back = back.then(|| format!("{at}  the API server answers again\n"));
        let news = fleet.nodes.iter().filter(changed).map(|node| {
            let [version, phase, message] = tale(node);
            format!("{at}  {:<8} {version}  {phase:<12} {message}\n", node.name)
        });
        back.into_iter().chain(news).collect()
    }
}

/// What makes a new line where nothing can be redrawn.
fn tale(node: &NodeView) -> [&str; 3] {
    [&node.version, &node.phase, &node.message]
}

fn table(fleet: &Fleet, now: Timestamp) -> Vec<String> {
    let rows: Vec<[String; 7]> = fleet.nodes.iter().map(|node| row(node, now)).collect();
    align(&HEADINGS.map(str::to_owned), &rows)
}

fn row(node: &NodeView, now: Timestamp) -> [String; 7] {
    let mut version = node.version.clone();
    if !node.ready {
        version.push_str(" NotReady");
    }
    let since = node.since.and_then(|since| u64::try_from(now.as_second() - since).ok());
    [
        node.name.clone(),
        if node.control_plane { "control-plane" } else { "worker" }.to_owned(),
        version,
        if node.phase.is_empty() { "-".to_owned() } else { node.phase.clone() },
        node.pods_left.map_or_else(|| "-".to_owned(), |pods| pods.to_string()),
        since.map_or_else(|| "-".to_owned(), |since| elapsed(Duration::from_secs(since))),
        node.message.replace('\n', " "),
    ]
}

/// Columns under their headings; the last one keeps its own width.
pub(super) fn align<const N: usize>(headings: &[String; N], rows: &[[String; N]]) -> Vec<String> {
    let width = |column: usize| {
        let cells = std::iter::once(headings).chain(rows).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let line = |row: &[String; N]| {
        let cells = row.iter().enumerate().map(|(column, cell)| format!("{cell:<0$}", width(column)));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    std::iter::once(headings).chain(rows).map(line).collect()
}

/// `1:05` for a minute and five seconds.
pub(super) fn elapsed(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(phase: &str, message: &str) -> NodeView {
        NodeView {
            name: "worker1".to_owned(),
            control_plane: false,
            version: "v1.36.2".to_owned(),
            ready: true,
            schedulable: false,
            current: "v1.36.2".to_owned(),
            phase: phase.to_owned(),
            since: Some(100),
            reason: "Progressing".to_owned(),
            message: message.to_owned(),
            pods_left: Some(3),
        }
    }

    fn fleet(phase: &str, message: &str) -> Fleet {
        Fleet { nodes: vec![node(phase, message)], leases: vec![], tutorial: (8, 10) }
    }

    #[test]
    fn columns_stand_under_their_headings() {
        let table = table(&fleet("draining", "3 pods left"), Timestamp::from_second(165).unwrap());
        assert_eq!(
            table,
            [
                "NODE     ROLE    VERSION  PHASE     PODS LEFT  SINCE  MESSAGE",
                "worker1  worker  v1.36.2  draining  3          1:05   3 pods left",
            ]
        );
    }

    #[test]
    fn without_a_terminal_only_what_changed_is_told() {
        let mut board = Board { terminal: false, ..Board::new() };
        let tell = |board: &mut Board, fleet: Option<&Fleet>| {
            let text = board.changes(fleet);
            board.show(fleet, Timestamp::UNIX_EPOCH);
            text
        };
        assert!(tell(&mut board, Some(&fleet("draining", "3 pods left"))).contains("3 pods left"));
        assert_eq!(tell(&mut board, Some(&fleet("draining", "3 pods left"))), "");
        assert!(tell(&mut board, None).contains("does not answer"));
        assert_eq!(tell(&mut board, None), "");
        assert!(tell(&mut board, Some(&fleet("draining", "2 pods left"))).contains("answers again"));
    }

    #[test]
    fn a_second_drawing_replaces_the_first() {
        let mut board = Board { terminal: true, ..Board::new() };
        let first = board.redraw(Some(&fleet("draining", "")), Timestamp::UNIX_EPOCH);
        assert!(first.starts_with("\x1b[?7l"), "{first:?}");
        let second = board.redraw(Some(&fleet("draining", "")), Timestamp::UNIX_EPOCH);
        assert!(second.starts_with("\x1b[4A"), "{second:?}");
    }
}
