//! Whether the new kubelet accepts this node's flags: it is run with them and `--version`, again and again without
//! the flag it refused, until it accepts the rest or fails for another reason.

use crate::api::Version;
use crate::observed::Outcome;

/// Written by kubeadm; holds `KUBELET_KUBEADM_ARGS`.
pub const KUBEADM_FLAGS: &str = "/var/lib/kubelet/kubeadm-flags.env";
/// For people; holds `KUBELET_EXTRA_ARGS`. RPM-based guides use another path, this agent does not.
pub const EXTRA_FLAGS: &str = "/etc/default/kubelet";

/// Flags that the new kubeadm itself takes out of kubeadm-flags.env (and from nowhere else), by the one minor that
/// does: its `post-upgrade` phase, kubernetes/kubernetes#133778. A plan over that minor does not take them out.
const REMOVED_BY_KUBEADM: [(&str, u32); 1] = [("--pod-infra-container-image", 35)];

/// This node's flags.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flags {
    /// From kubeadm-flags.env.
    pub kubeadm: Vec<String>,
    /// From /etc/default/kubelet.
    pub extra: Vec<String>,
    /// The arguments of the kubelet that runs; empty if none does.
    pub running: Vec<String>,
}

/// How the last run of the new kubelet ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It told its version.
    Accepted,
    /// It failed, and not for a flag that could be left out.
    Failed {
        /// Its exit status.
        status: i32,
        /// The end of what it said.
        words: String,
    },
    /// It could not be run, for this reason.
    NotRun(String),
}

/// What came of trying.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// The flags it refused, one after another.
    pub refused: Vec<String>,
    /// How it ended without them.
    pub ending: Ending,
}

impl Flags {
    /// Every argument the next kubelet may get.
    pub fn all(&self) -> Vec<String> {
        let mut all = self.running.clone();
        for flag in self.kubeadm.iter().chain(&self.extra) {
            if !all.contains(flag) {
                all.push(flag.clone());
            }
        }
        all
    }

    /// Where a flag stands, and what to do about it; none where the upgrade itself takes it away.
    fn complaint(&self, flag: &str, target: Version) -> Option<String> {
        let names = |args: &[String]| args.iter().any(|arg| arg.split('=').next() == Some(flag));
        let migrated = REMOVED_BY_KUBEADM.contains(&(flag, target.minor));
        if names(&self.extra) {
            Some(format!("{flag} stands in {EXTRA_FLAGS}: take it out of KUBELET_EXTRA_ARGS"))
        } else if names(&self.kubeadm) {
            let text = format!("{flag} stands in {KUBEADM_FLAGS}: take it out of KUBELET_KUBEADM_ARGS");
            (!migrated).then_some(text)
        } else {
            Some(format!(
                "{flag} was given to the kubelet that runs and stands in neither {KUBEADM_FLAGS} nor \
                 {EXTRA_FLAGS}: look for it with `systemctl cat kubelet`"
            ))
        }
    }
}

/// The new kubelet accepts this node's flags, or the upgrade itself takes away what it refuses.
pub fn kubelet_flags(flags: &Flags, trial: &Trial, target: Version) -> Outcome {
    let mut complaints: Vec<String> =
        trial.refused.iter().filter_map(|flag| flags.complaint(flag, target)).collect();
    match &trial.ending {
        Ending::Accepted => {}
        Ending::Failed { status, words } => {
            complaints.push(format!("it ended with status {status}: {words}"));
        }
        Ending::NotRun(why) => {
            return Outcome::Failed(format!("the kubelet of {target} was to tell its version: {why}"));
        }
    }
    if complaints.is_empty() {
        Outcome::Passed(format!("the kubelet of {target} accepts this node's flags"))
    } else {
        Outcome::Failed(format!(
            "the kubelet of {target} refuses this node's flags: {}",
            complaints.join("; ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: &str = "--pod-infra-container-image";

    fn flags(kubeadm: &[&str], extra: &[&str], running: &[&str]) -> Flags {
        let owned = |all: &[&str]| all.iter().map(|&flag| flag.to_owned()).collect();
        Flags { kubeadm: owned(kubeadm), extra: owned(extra), running: owned(running) }
    }

    fn judged(flags: &Flags, refused: &[&str], ending: Ending, target: &str) -> Outcome {
        let refused = refused.iter().map(|&flag| flag.to_owned()).collect();
        kubelet_flags(flags, &Trial { refused, ending }, target.parse().unwrap())
    }

    #[test]
    fn flags_that_are_accepted_pass() {
        let outcome = judged(&flags(&["--a"], &["--b"], &["--a"]), &[], Ending::Accepted, "v1.36.3");
        assert!(matches!(outcome, Outcome::Passed(_)), "{outcome:?}");
    }

    #[test]
    fn every_refused_flag_is_told_with_the_place_to_take_it_out_of() {
        let flags = flags(&["--k=1"], &["--e"], &["--k=1", "--r"]);
        let Outcome::Failed(text) = judged(&flags, &["--k", "--e", "--r"], Ending::Accepted, "v1.36.3")
        else {
            panic!("passed")
        };
        for told in [
            "--k stands in /var/lib/kubelet/kubeadm-flags.env: take",
            "--e stands in /etc/default/kubelet: take",
            "--r was given to the kubelet that runs and stands in neither",
        ] {
            assert!(text.contains(told), "{text}");
        }
    }

    #[test]
    fn what_kubeadm_takes_out_itself_is_forgiven_where_and_when_it_does() {
        let by_kubeadm = flags(&["--pod-infra-container-image=pause"], &[], &[]);
        let by_hand = flags(&[], &["--pod-infra-container-image=pause"], &[]);
        for (flags, target, passes) in
            [(&by_kubeadm, "v1.35.4", true), (&by_kubeadm, "v1.36.3", false), (&by_hand, "v1.35.4", false)]
        {
            let outcome = judged(flags, &[PAUSE], Ending::Accepted, target);
            assert_eq!(matches!(outcome, Outcome::Passed(_)), passes, "{outcome:?}");
        }
    }

    #[test]
    fn a_kubelet_that_fails_otherwise_or_cannot_be_run_is_quoted() {
        let failed = Ending::Failed { status: 2, words: "unknown command stray".to_owned() };
        let Outcome::Failed(text) = judged(&Flags::default(), &[], failed, "v1.36.3") else {
            panic!("passed")
        };
        assert!(text.contains("it ended with status 2: unknown command stray"), "{text}");
        let not_run = Ending::NotRun("no such file".to_owned());
        let Outcome::Failed(text) = judged(&Flags::default(), &["--x"], not_run, "v1.36.3") else {
            panic!("passed")
        };
        assert_eq!(text, "the kubelet of v1.36.3 was to tell its version: no such file");
    }

    #[test]
    fn a_flag_that_stands_in_several_places_is_tried_once() {
        assert_eq!(flags(&["--a", "--b"], &["--b"], &["--a"]).all(), ["--a", "--b"]);
    }
}
