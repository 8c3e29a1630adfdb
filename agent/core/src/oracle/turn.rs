//! Rules 8 and 9: a turn serves what is asked for, and one that goes back leaves the node as it was.

use super::lease::PROOF_AGE;
use super::record::Node;
use super::tenure::Tenure;
use super::{Judged, Rule, Violation, What, Who};
use crate::api::{PackageVersion, Version};

pub(super) fn judge(judged: &Judged<'_>) -> Vec<Violation> {
    let node = judged.node();
    let broken = match &judged.event.what {
        What::TargetSet(target) => {
            let begun = node.tenure.as_ref().filter(|tenure| tenure.past_return.is_none());
            if begun.is_some_and(|tenure| is_cancelled(tenure, *target)) {
                judged.arose(Rule::Cancel);
            }
            return Vec::new();
        }
        What::Evicted { by: Who::Agent(_), .. } => {
            vec![cancelled(judged, "a pod was evicted", judged.expectations.notice)]
        }
        What::ToolStarted { kubeadm, .. } if super::host::runs_once_more(node, *kubeadm) => Vec::new(),
        What::ToolStarted { tool, kubeadm } if super::host::changes(tool) && !judged.may_put_back(tool) => {
            let tolerance = judged.expectations.notice.max(PROOF_AGE);
            let what = format!("{tool} was started");
            // A degraded node goes to what is asked for, be it what it came from.
            let asked = kubeadm.is_some_and(|(_, version)| node.asks_for() == Some(version));
            let cancelled = if asked { None } else { cancelled(judged, &what, tolerance) };
            vec![cancelled, of_another_target(judged, kubeadm.map(|(_, v)| v))]
        }
        What::PackageInstalled { package, by: Who::Agent(_), .. } => {
            let since = judged.goes_forward_since(package);
            let tolerance = judged.expectations.notice.max(PROOF_AGE);
            vec![since.and_then(|since| cancelled(judged, "kubeadm was installed", tolerance + since))]
        }
        // Without its Lease, the cordon is the last thing of its own that it takes back.
        What::Uncordoned { by: Who::Agent(_) } if node.tenure.as_ref().is_some_and(|t| t.lost.is_some()) => {
            vec![files_back(judged), package_back(judged)]
        }
        What::LeaseReleased { by: Who::Agent(_), .. } => vec![files_back(judged), package_back(judged)],
        _ => Vec::new(),
    };
    broken.into_iter().flatten().collect()
}

/// Whether this target takes back what a turn works for: a newer one does not, for it may be on the way there.
fn is_cancelled(tenure: &Tenure, target: Option<Version>) -> bool {
    target.is_none_or(|target| tenure.towards.is_some_and(|towards| target < towards))
}

fn cancelled(judged: &Judged<'_>, what: &str, tolerance: u64) -> Option<Violation> {
    let node = judged.node();
    let tenure = node.tenure.as_ref().filter(|tenure| tenure.past_return.is_none())?;
    let target = node.target.filter(|target| judged.age(target.by) > tolerance)?;
    is_cancelled(tenure, target.is).then(|| {
        let message = format!("{what} though the target was removed or set lower");
        judged.broken(Rule::Cancel, message, &[Some(tenure.taken), Some(target.by)])
    })
}

/// A fresh cordon is a step forward too.
pub(super) fn asked_for(judged: &Judged<'_>) -> Option<Violation> {
    cancelled(judged, "it was cordoned", judged.expectations.notice)
}

/// kubeadm run for another patch of the minor that is asked for: no intermediate hop leads there.
fn of_another_target(judged: &Judged<'_>, runs_for: Option<Version>) -> Option<Violation> {
    let node = judged.node();
    let tolerance = judged.expectations.notice.max(PROOF_AGE);
    let target = node.target.filter(|target| judged.age(target.by) > tolerance)?;
    let before_return = node.tenure.as_ref().is_none_or(|tenure| tenure.past_return.is_none());
    let (runs_for, asked) = (runs_for?, target.is?);
    let other = (runs_for.major, runs_for.minor) == (asked.major, asked.minor) && runs_for != asked;
    (other && before_return).then(|| {
        let message = format!("kubeadm was run for {runs_for}, and the target is {asked}");
        judged.broken(Rule::Cancel, message, &[Some(target.by)])
    })
}

/// The tenure of a node that goes back without having changed kubelet's package, if nobody else changed packages.
fn going_back<'a>(judged: &Judged<'a>) -> Option<(&'a Node, &'a Tenure)> {
    let node = judged.node();
    let tenure = node.tenure.as_ref()?;
    let by_hand = node.by_hand.is_some_and(|by_hand| by_hand > tenure.taken);
    (!by_hand && !tenure.changed.contains("kubelet")).then_some((node, tenure))
}

fn files_back(judged: &Judged<'_>) -> Option<Violation> {
    let (node, tenure) = going_back(judged)?;
    // One whose kubelet a person had brought to the target has not gone back.
    if tenure.towards.is_some() && node.kubelet() == tenure.towards && node.current == tenure.towards {
        return None;
    }
    let files = node.files.filter(|files| files.by > tenure.taken)?;
    if node.copies_lost > tenure.begun {
        return None;
    }
    judged.arose(Rule::KubeletFilesBack);
    let as_before = Some(files.is) == tenure.files_before || Some(files.is) == node.kubelet();
    (!as_before).then(|| {
        let message = format!("it went back, and its kubelet's files are those of {}", files.is);
        judged.broken(Rule::KubeletFilesBack, message, &[Some(tenure.taken), Some(files.by)])
    })
}

/// A way back that failed, or a repository that lost the old package, is a reason to leave the new kubeadm.
fn package_back(judged: &Judged<'_>) -> Option<Violation> {
    let (node, tenure) = going_back(judged)?;
    if !tenure.changed.contains("kubeadm") || tenure.past_return.is_some() || tenure.is_at_rest {
        return None;
    }
    judged.arose(Rule::PackageBack);
    let (is, was) = (node.installed.get("kubeadm")?, tenure.from.get("kubeadm")?);
    // A node whose kubelet was at the target already is done without that package.
    let done = is.kubernetes().is_some() && is.kubernetes() == node.kubelet();
    let withdrawn = was.kubernetes().is_some_and(|was| judged.fleet.withdrawn.contains(&was));
    // Without memory nobody knows who installed what.
    let lost = node.causes.lost_memory();
    let cannot = tenure.not_put_back.is_some() || withdrawn || lost || node.causes.went_wrong();
    (is != was && !done && !cannot).then(|| {
        let [is, was] = [is, was].map(PackageVersion::as_str);
        let message = format!("it went back and left kubeadm at {is}, which was {was}");
        judged.broken(Rule::PackageBack, message, &[Some(tenure.taken), tenure.staged])
    })
}
