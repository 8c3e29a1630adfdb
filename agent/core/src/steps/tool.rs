//! Running a tool of a step, and what follows where it fails: each run has a unit of its own name, so a run that ended is told from
//! one that never began.

use std::time::Duration;

use crate::act::{Act, Tool};
use crate::api::PackageVersion;
use crate::api::{Explanation, Reason};
use crate::backoff::Pauses;
use crate::decide::Next;
use crate::decide::context::{Context, HOST_AGE, Look, START_AGE, wait};
use crate::memory::Turn;
use crate::observed::{HostSeen, ToolState};

use super::{Failure, Rules, can_turn_back};

/// After so many failures of one step the turn turns back or is degraded (rule 8).
pub(crate) const MAX_ATTEMPTS: u32 = 3;

/// Between two runs of a tool that failed.
const PAUSES: Pauses = Pauses { first: Duration::from_secs(15), factor: 4, cap: Duration::from_mins(4) };

/// Whether this version is there whole, neither half-installed nor unconfigured.
pub(super) fn is_installed(host: &HostSeen, package: &str, version: &PackageVersion) -> bool {
    host.packages.get(package).is_some_and(|seen| seen.configured && seen.version == *version)
}

/// Whether the present run of this tool is there, running or ended.
pub(super) fn is_begun(cx: &Context<'_>, turn: &Turn, tool: &Tool) -> bool {
    let unit = tool.unit(&turn.holder.turn, turn.unit_serial);
    cx.observed.host.as_ref().is_some_and(|host| host.tools.contains_key(&unit))
}

/// Starts the tool, or counts its failure. A tool that ended and left the step undone has failed, whatever it exited with.
pub(super) fn run(cx: &Context<'_>, turn: &Turn, tool: Tool, rules: &dyn Rules) -> Look<Next> {
    let host = cx.host(HOST_AGE)?;
    let unit = tool.unit(&turn.holder.turn, turn.unit_serial);
    match host.tools.get(&unit) {
        Some(ToolState::Running) => Ok(Next::Do(Act::Await { unit })),
        Some(ToolState::Ended(status)) => Ok(failed(cx, turn, &failure(host, &tool, &unit, *status), rules)),
        None => {
            if let Some(at) = turn.not_before.pending(cx.now) {
                return Ok(wait(
                    Reason::ToolFailed,
                    format!("{} failed; it is tried again soon", tool.word()),
                    Some(at),
                ));
            }
            cx.host(START_AGE)?;
            Ok(Next::Do(Act::Run { unit, tool }))
        }
    }
}

/// Finishes an interrupted dpkg. Where that cannot be done any more the step that needs it fails.
pub(crate) fn repair_dpkg(cx: &Context<'_>, turn: &Turn) -> Look<Next> {
    run(cx, turn, Tool::RepairDpkg, super::rules(turn.reached))
}

/// What a failed tool said.
pub(super) fn failure(host: &HostSeen, tool: &Tool, unit: &str, status: i32) -> String {
    let words = host.last_words.get(unit).map_or_else(String::new, |words| format!(": {words}"));
    format!("{} failed with exit status {status}{words}", tool.word())
}

/// One more failed attempt of the present step: tried again after a pause, or the end of trying.
pub(super) fn failed(cx: &Context<'_>, turn: &Turn, what: &str, rules: &dyn Rules) -> Next {
    let attempts = turn.attempts() + 1;
    if attempts < MAX_ATTEMPTS {
        return cx.remember(turn.clone().failed(PAUSES.after(attempts), cx.now));
    }
    given_up(cx, turn, what, rules)
}

/// The end of trying.
pub(super) fn given_up(cx: &Context<'_>, turn: &Turn, what: &str, rules: &dyn Rules) -> Next {
    let message = format!(
        "{what}; tried {MAX_ATTEMPTS} times. Then set a new value of the annotation node-upgrade-agent/retry"
    );
    let why = Explanation::new(Reason::ToolFailed, message);
    let goes_back = turn.is_forward() && can_turn_back(cx, turn).unwrap_or(false);
    let turn = turn.clone().failed(Duration::ZERO, cx.now);
    cx.remember(match rules.failed() {
        Failure::BackOut if goes_back => turn.back(why, cx.now),
        Failure::BackOut | Failure::Degraded => Turn { degraded: Some(why), ..turn },
    })
}
