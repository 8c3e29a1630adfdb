//! What goes wrong, and what other people do, as data: a schedule can be printed, replayed and shrunk.

use upgrade_core::version::Version;

/// Faults, and when they strike.
pub type Schedule = Vec<Planned>;

/// Some faults that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// When the first can strike.
    pub when: When,
    /// Each with its delay after that moment, in milliseconds.
    pub faults: Vec<(u64, Fault)>,
}

impl Planned {
    /// One fault at one time.
    pub fn at(millis: u64, fault: Fault) -> Self {
        Self { when: When::At(millis), faults: vec![(0, fault)] }
    }
}

/// When something strikes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// At this millisecond of the run.
    At(u64),
    /// At this point of one step of one node: the steps are what its agents are asked to carry out, counted over all
    /// its lives.
    Cut {
        /// The node.
        node: String,
        /// Counted from zero.
        step: usize,
        /// Where in the step.
        point: Point,
    },
}

/// Where in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// Nothing of it has been done.
    Before,
    /// It was asked for; it may still come about.
    Sent,
    /// Its effect has come about (a tool or a drain has begun); nobody was told.
    Done,
    /// The agent was told, and what it then wanted to do is not done.
    Answered,
}

impl Point {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Before, Self::Sent, Self::Done, Self::Answered];
}

/// One thing that goes wrong, or that somebody else does. Durations are milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The agent's process is killed and started again after this time; tools go on.
    Kill {
        /// On which node.
        node: String,
        /// Until it starts again.
        restart: u64,
    },
    /// The host loses its power and boots after this time; tools die.
    PowerCut {
        /// Which.
        node: String,
        /// Until it boots.
        boot: u64,
    },
    /// What the agent watches reaches it late.
    WatchLag {
        /// Whom.
        node: String,
        /// How late.
        lag: u64,
        /// How long.
        lasts: u64,
    },
    /// Requests have their effect, and their answers are lost.
    LostAnswers {
        /// Whose.
        node: String,
        /// How long.
        lasts: u64,
    },
    /// No API server answers anybody.
    Outage {
        /// How long.
        lasts: u64,
    },
    /// This host reaches no API server.
    Partition {
        /// Which.
        node: String,
        /// How long.
        lasts: u64,
    },
    /// The kubelet runs and is not Ready.
    KubeletSick {
        /// Where.
        node: String,
        /// How long.
        lasts: u64,
    },
    /// A tool fails.
    ToolFails {
        /// Where.
        node: String,
        /// Which: [`upgrade_core::act::Tool::word`].
        tool: &'static str,
        /// So many times.
        times: u32,
        /// At its end instead of at its beginning.
        late: bool,
    },
    /// Evictions are refused by a disruption budget.
    BudgetBlocks {
        /// How long.
        lasts: u64,
    },
    /// The fleet's policy says pause.
    Paused {
        /// How long.
        lasts: u64,
    },
    /// Somebody sets, changes or removes the target.
    Target {
        /// Of which node.
        node: String,
        /// To this.
        target: Option<Version>,
    },
    /// Somebody asks for another try.
    Retry {
        /// Of which node.
        node: String,
    },
    /// `kubectl cordon`.
    PersonCordons {
        /// Which node.
        node: String,
    },
    /// `kubectl uncordon`.
    PersonUncordons {
        /// Which node.
        node: String,
    },
    /// Somebody clears the holder of whatever Lease this node holds.
    LeaseFreed {
        /// Whose.
        node: String,
    },
    /// Somebody upgrades kubeadm and kubelet with apt and restarts kubelet.
    ByHand {
        /// Where.
        node: String,
        /// To this version.
        version: Version,
    },
    /// The Node object is deleted; it comes back as another one when its kubelet is restarted.
    NodeDeleted {
        /// Which.
        node: String,
        /// Until then.
        back: u64,
    },
    /// The agent's journal is lost; the agent is killed and started again.
    JournalLost {
        /// Where.
        node: String,
    },
}

impl Fault {
    /// How long after its moment it still works, in milliseconds.
    pub fn lasts(&self) -> u64 {
        match self {
            Self::Kill { restart, .. } => *restart,
            Self::PowerCut { boot, .. } => *boot,
            Self::WatchLag { lasts, lag, .. } => lasts.saturating_add(*lag),
            Self::LostAnswers { lasts, .. }
            | Self::Outage { lasts }
            | Self::Partition { lasts, .. }
            | Self::KubeletSick { lasts, .. }
            | Self::BudgetBlocks { lasts }
            | Self::Paused { lasts } => *lasts,
            Self::NodeDeleted { back, .. } => *back,
            Self::ToolFails { .. }
            | Self::Target { .. }
            | Self::Retry { .. }
            | Self::PersonCordons { .. }
            | Self::PersonUncordons { .. }
            | Self::LeaseFreed { .. }
            | Self::ByHand { .. }
            | Self::JournalLost { .. } => 0,
        }
    }
}
