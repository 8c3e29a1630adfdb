//! Which command of kubeadm brings a control-plane node to a version (rule 3).

use crate::api::KubeadmCommand;
use crate::api::LeaseName;
use crate::api::Version;
use crate::observed::FleetSeen;

/// `node` only where the Lease `control-plane` carries the note that `apply` has ended well for this version, and kubeadm-config
/// names it; else `apply`, on whichever node comes. Once more after an end is harmless; to miss it is not: a power cut after its
/// `upload-config` leaves everything visible at the target, and RBAC and addons never done.
pub fn control_plane(fleet: Option<&FleetSeen>, target: Version) -> KubeadmCommand {
    let applied = fleet.is_some_and(|fleet| {
        let lease = fleet.leases.iter().find(|lease| lease.name == LeaseName::ControlPlane);
        fleet.kubeadm_config == Some(target) && lease.is_some_and(|lease| lease.applied == Some(target))
    });
    if applied { KubeadmCommand::NodeControlPlane } else { KubeadmCommand::Apply }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::FleetLease;

    #[test]
    fn apply_is_run_until_it_is_noted_and_kubeadm_config_names_the_version() {
        let target = Version::new(1, 36, 3);
        let older = Version::new(1, 36, 2);
        let fleet = |applied, kubeadm_config| {
            let lease = FleetLease { name: LeaseName::ControlPlane, holder: None, mark: None, applied };
            FleetSeen { leases: vec![lease], kubeadm_config, ..FleetSeen::default() }
        };
        for (applied, config, expected) in [
            (None, None, KubeadmCommand::Apply),
            (None, Some(target), KubeadmCommand::Apply),
            (Some(older), Some(target), KubeadmCommand::Apply),
            (Some(target), Some(older), KubeadmCommand::Apply),
            (Some(target), Some(target), KubeadmCommand::NodeControlPlane),
        ] {
            assert_eq!(
                control_plane(Some(&fleet(applied, config)), target),
                expected,
                "{applied:?} {config:?}"
            );
        }
        assert_eq!(control_plane(None, target), KubeadmCommand::Apply);
    }
}
