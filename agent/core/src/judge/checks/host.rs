//! What this host says of itself: dpkg's database, kubelet's unit, cgroups.

use crate::api::Version;
use crate::observed::Outcome;

/// The unit of the kubelet package.
pub const KUBELET_UNIT: &str = "kubelet.service";
/// From this minor on kubelet refuses cgroup v1 unless told otherwise (`failCgroupV1`).
const CGROUP_V2_MINOR: u32 = 35;

/// dpkg is sane, or can be repaired: `holder` is the process that holds its lock, `broken` are packages that only a reinstallation
/// mends, `interrupted` says that `dpkg --configure -a` has something to do.
pub fn dpkg(holder: Option<&str>, interrupted: bool, broken: &[String]) -> Outcome {
    // Whoever holds the lock is at work on what looks broken, and a drained node would wait for it.
    if let Some(holder) = holder {
        Outcome::Pending(format!("dpkg's lock is held by {holder}; the upgrade waits until it is free"))
    } else if !broken.is_empty() {
        let names = broken.join(", ");
        Outcome::Failed(format!(
            "dpkg holds half-installed packages that only a reinstallation mends (apt-get install --reinstall): {names}"
        ))
    } else if interrupted {
        Outcome::Passed(
            "dpkg was interrupted; `dpkg --configure -a` comes before any installation".to_owned(),
        )
    } else {
        Outcome::Passed("dpkg's database is sane".to_owned())
    }
}

/// The state of kubelet's unit, in systemd's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubeletUnit {
    /// Whether it is active.
    pub active: bool,
    /// `ActiveState`.
    pub state: String,
    /// `SubState`.
    pub sub_state: String,
}

/// kubelet's unit is healthy.
pub fn kubelet_unit(unit: &KubeletUnit) -> Outcome {
    let KubeletUnit { active, state, sub_state } = unit;
    if *active {
        Outcome::Passed(format!("{KUBELET_UNIT} is active"))
    } else {
        Outcome::Pending(format!(
            "{KUBELET_UNIT} is {state} ({sub_state}), and an upgrade would hide why; see journalctl --unit {KUBELET_UNIT}"
        ))
    }
}

/// How this host's cgroups stand to kubelet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cgroups {
    /// Whether they are of version 2.
    pub unified: bool,
    /// Whether kubelet's configuration says `failCgroupV1: false`.
    pub v1_allowed: bool,
}

/// cgroup v2, where the target insists on it.
pub fn cgroups(seen: Cgroups, target: Version) -> Outcome {
    if seen.unified {
        Outcome::Passed("cgroup v2".to_owned())
    } else if target.minor < CGROUP_V2_MINOR {
        Outcome::Passed(format!("cgroup v1, which kubelet refuses from v1.{CGROUP_V2_MINOR} on"))
    } else if seen.v1_allowed {
        Outcome::Passed("cgroup v1, which failCgroupV1: false in kubelet's configuration allows".to_owned())
    } else {
        Outcome::Failed(format!(
            "this host uses cgroup v1, which the kubelet of {target} refuses: boot with cgroup v2, or set \
             failCgroupV1: false in the ConfigMap kube-system/kubelet-config and in kubelet's config.yaml"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_dpkg_is_repaired_later_and_a_broken_package_is_for_people() {
        let broken = ["kubelet".to_owned()];
        for (interrupted, broken, passes, told) in [
            (false, &[][..], true, "is sane"),
            (true, &[][..], true, "dpkg --configure -a"),
            (false, &broken[..], false, "--reinstall): kubelet"),
            (true, &broken[..], false, "--reinstall): kubelet"),
        ] {
            let outcome = dpkg(None, interrupted, broken);
            assert_eq!(matches!(outcome, Outcome::Passed(_) | Outcome::Noted(_)), passes, "{outcome:?}");
            let (Outcome::Passed(text)
            | Outcome::Noted(text)
            | Outcome::Failed(text)
            | Outcome::Pending(text)) = outcome;
            assert!(text.contains(told), "{text}");
        }
    }

    #[test]
    fn a_lock_of_dpkg_that_another_holds_is_waited_for_and_its_holder_named() {
        for (interrupted, broken) in [(false, &[][..]), (true, &["kubelet".to_owned()][..])] {
            let outcome = dpkg(Some("process 4711 (unattended-upgr)"), interrupted, broken);
            assert!(
                matches!(outcome, Outcome::Pending(text) if text.contains("process 4711 (unattended-upgr)"))
            );
        }
    }

    #[test]
    fn a_kubelet_that_does_not_run_is_looked_at_before_it_is_replaced() {
        let unit = |active, state: &str| KubeletUnit {
            active,
            state: state.to_owned(),
            sub_state: "auto-restart".to_owned(),
        };
        assert!(matches!(kubelet_unit(&unit(true, "active")), Outcome::Passed(_)));
        let Outcome::Pending(text) = kubelet_unit(&unit(false, "activating")) else {
            panic!("not waited for")
        };
        assert!(text.starts_with("kubelet.service is activating (auto-restart), and"), "{text}");
    }

    #[test]
    fn cgroup_v1_is_refused_where_the_new_kubelet_refuses_it() {
        for (unified, v1_allowed, target, passes) in [
            (true, false, "v1.36.3", true),
            (false, false, "v1.34.9", true),
            (false, false, "v1.35.0", false),
            (false, true, "v1.35.0", true),
        ] {
            let outcome = cgroups(Cgroups { unified, v1_allowed }, target.parse().unwrap());
            assert_eq!(matches!(outcome, Outcome::Passed(_)), passes, "{outcome:?}");
            assert_eq!(matches!(outcome, Outcome::Failed(_)), !passes, "{outcome:?}");
        }
    }
}
