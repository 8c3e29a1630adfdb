//! The rules by name.

macro_rules! rules {
    ($($(#[$doc:meta])+ $name:ident = $number:literal,)+) => {
        /// A safety rule that can be seen to be broken. The numbers are those of the list of safety rules.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Rule {
            $($(#[$doc])+ $name,)+
        }

        impl Rule {
            /// Every rule.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The number in the list of safety rules; 0 for what is said outside that list.
            pub const fn number(self) -> u8 {
                match self {
                    $(Self::$name => $number,)+
                }
            }
        }
    };
}

rules! {
    /// No more nodes out of service than slots, the down ones counted.
    Budget = 1,
    /// While a control-plane node is worked on, no other node is.
    ControlPlaneAlone = 2,
    /// Workers wait for control-plane nodes with an unmet target.
    ControlPlaneFirst = 2,
    /// A control plane is upgraded while its node is in service.
    ControlPlaneInService = 2,
    /// A control-plane node begins only while the others, and etcd, are whole.
    ControlPlaneWholeBefore = 2,
    /// No kubelet is newer than any API server that it may talk to.
    KubeletNotNewer = 2,
    /// The verb fits the node and does not change before it succeeded.
    Verb = 3,
    /// kubeadm-config never goes back.
    ConfigNeverBack = 3,
    /// A control-plane node's turn ends with its static pods at one version, and `current` does not go past them.
    StaticPodsAtOneVersion = 3,
    /// `CoreDNS` and kube-proxy are the control plane's when the last of its nodes has ended its turn.
    AddonsLast = 3,
    /// A control plane goes up by one minor, a worker by at most three.
    Hops = 4,
    /// Nothing is installed that is older than what people have, except our own way back.
    NoDowngrade = 5,
    /// A refusal costs no downtime.
    RefusedUntouched = 6,
    /// A refusal has a cause that only a person can take away.
    CauseOfRefused = 6,
    /// Pods are evicted only from a cordoned node that holds its Lease; the host is changed after the drain.
    Drain = 7,
    /// The Lease is given back after the node is back in service.
    ReleaseLast = 8,
    /// A node that goes back before kubelet's package changed has its kubelet's files as they were.
    KubeletFilesBack = 8,
    /// And its kubeadm package.
    PackageBack = 8,
    /// Nothing that waits while the node is cordoned waits for ever.
    CordonedTime = 8,
    /// Retreats and failed tools come to an end that a person has to lift.
    Attempts = 8,
    /// A node goes back into service only when Ready at a version that was chosen.
    ReadyBeforeService = 9,
    /// A node whose kubelet was changed goes back into service only when `verifying` was seen, as far as events
    /// tell: CSI drivers and `minReadySeconds` are not among them.
    VerifiedBeforeService = 9,
    /// The host is changed only while the node is out of service.
    ChangedInService = 9,
    /// No node begins towards the version another is degraded at.
    HaltOnDegraded = 9,
    /// After the target was removed or set lower, nothing goes forward before the point of no return.
    Cancel = 9,
    /// A degraded node has a cause.
    CauseOfDegraded = 9,
    /// A degraded node answers a newer target.
    WayOut = 9,
    /// One tool at a time on one node.
    OneTool = 10,
    /// Other people's cordons stay.
    OthersCordons = 11,
    /// A control-plane node's turn ends with its API server and etcd whole.
    ControlPlaneWholeAfter = 11,
    /// A Lease is not taken while somebody holds it.
    LeaseStolen = 12,
    /// Nothing disturbing is begun without the Lease.
    LeaseHeld = 12,
    /// A Lease names the Node that exists now and a turn, and is good for that Node alone.
    LeaseIdentity = 12,
    /// Claims that lead to nothing are bounded.
    ClaimsWithoutProgress = 12,
    /// A Lease that no turn explains is given back.
    OrphanGivenBack = 12,
    /// An agent changes its own node alone.
    OwnNode = 13,
    /// The contract: no node begins while the policy bars claims: paused, not to be read, gone, of a later protocol.
    Paused = 0,
    /// The contract: `current` is written when the node is back in service, and is true.
    CurrentLast = 0,
    /// Section 8: an agent with nothing to do sends next to nothing.
    RequestsPerHour = 0,
}
