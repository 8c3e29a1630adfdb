//! What people and other programs type and read: annotations, the policy, phases, reasons, checks, the report, the holder
//! of a Lease. No rules.

pub mod annotations;
mod check;
mod holder;
pub mod image;
mod kubeadm;
mod mark;
mod phase;
pub mod policy;
mod reason;
mod report;
mod request;
pub mod text;
mod version;

pub use check::Check;
pub use holder::{Holder, LeaseName, TurnId};
pub use kubeadm::KubeadmCommand;
pub use mark::{ApiServerNote, InHand, TurnKind};
pub use phase::Phase;
pub use policy::Policy;
pub use reason::{Explanation, Reason};
pub use report::{Blocked, DrainReport, PassedOver, Report};
pub use request::Request;
pub use version::{
    KUBELET_MAX_MINORS_BEHIND, NotAPackageVersion, NotAVersion, PackageVersion, Unreachable, Version,
    reachable,
};
