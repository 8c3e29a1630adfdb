//! What was observed. Everything here can be seen again, so none of it is stored.

mod access;
mod drain;
mod findings;
mod fleet;
mod host;
mod lease;
mod node;
mod pod;

use crate::time::Mono;

pub use access::Access;
pub use drain::{DrainState, Progress};
pub use findings::{Finding, Findings, Outcome};
pub use fleet::{
    ControlPlanePod, EtcdSeen, FleetLease, FleetNode, FleetSeen, LeaseMark, LocalControlPlane, PolicySeen,
    TurnSeen,
};
pub use host::{Copy, HostSeen, PackageSeen, ToolState, UnitSeen};
pub use lease::LeaseSeen;
pub use node::{NodeSeen, Ready};
pub use pod::{ContainerSeen, Owner, PodSeen, PodsSeen};

/// The world as this agent last saw it; each part is absent until it was seen in this process's life.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// The own Node, from its watch, direct reads and the answers to our writes.
    pub node: Option<NodeSeen>,
    /// When the own Node was last told of.
    pub node_at: Mono,
    /// This host: packages, tools, kubelet's unit.
    pub host: Option<HostSeen>,
    /// The pods of this node.
    pub pods: Option<PodsSeen>,
    /// The Lease this agent's turn needs.
    pub lease: Option<LeaseSeen>,
    /// The fleet on a consistent read.
    pub fleet: Option<FleetSeen>,
    /// What a waiting agent's watches say of Leases and control-plane Nodes.
    pub waiting: Option<TurnSeen>,
    /// The last preflight.
    pub preflight: Option<Findings>,
    /// The drain under way or ended.
    pub drain: Option<Progress>,
    /// The control plane on this host, asked directly.
    pub local: Option<LocalControlPlane>,
    /// The fleet's policy, read or watched last.
    pub policy: PolicySeen,
    /// Whether there is a credential for what agents share.
    pub access: Access,
}

/// Something observed; replaces what was known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// The own Node; none when it does not exist.
    Node(Option<NodeSeen>),
    /// This host.
    Host(HostSeen),
    /// The pods of this node.
    Pods(PodsSeen),
    /// The Lease of the present turn.
    Lease(LeaseSeen),
    /// The fleet on a consistent read.
    Fleet(FleetSeen),
    /// What the watches of a waiting agent say.
    Turn(TurnSeen),
    /// A preflight ended.
    Preflight(Findings),
    /// A drain moved on.
    Drain(Progress),
    /// The control plane on this host.
    Local(LocalControlPlane),
    /// The fleet's policy.
    Policy(PolicySeen),
    /// The coordination credential.
    Access(Access),
}

impl Observation {
    /// A fixed word, for the simulator's schedules.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Node(_) => "observed-node",
            Self::Host(_) => "observed-host",
            Self::Pods(_) => "observed-pods",
            Self::Lease(_) => "observed-lease",
            Self::Fleet(_) => "observed-fleet",
            Self::Turn(_) => "observed-turn",
            Self::Preflight(_) => "observed-preflight",
            Self::Drain(_) => "observed-drain",
            Self::Local(_) => "observed-control-plane",
            Self::Policy(_) => "observed-policy",
            Self::Access(_) => "observed-access",
        }
    }
}

impl Observed {
    /// Takes an observation in that was told at `at`.
    pub fn take(&mut self, observation: Observation, at: Mono) {
        match observation {
            Observation::Node(node) => {
                self.node = node;
                self.node_at = at;
            }
            Observation::Host(host) => self.host = Some(host),
            Observation::Pods(pods) => self.pods = Some(pods),
            Observation::Lease(lease) => self.lease = Some(lease),
            Observation::Fleet(fleet) => {
                if fleet.policy.at >= self.policy.at {
                    self.policy = fleet.policy.clone();
                }
                self.fleet = Some(fleet);
            }
            Observation::Turn(turn) => self.waiting = Some(turn),
            Observation::Preflight(findings) => self.preflight = Some(findings),
            Observation::Drain(progress) => self.drain = Some(progress),
            Observation::Local(local) => self.local = Some(local),
            Observation::Policy(policy) => self.policy = policy,
            Observation::Access(access) => self.access = access,
        }
    }
}
