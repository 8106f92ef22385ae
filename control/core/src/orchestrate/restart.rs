//! Restart policies: whether a task that ended is followed by another. The restarts that a policy counts are
//! carried by the tasks themselves, from each to its successor, so that they do not depend on how many ended
//! tasks are kept, nor on who leads.

use std::time::Duration;

use super::Instance;
use super::instance::ended_by_itself;
use super::update::stays_as_it_was;
use crate::leader::draft::Draft;
use crate::object::{Service, Task, TaskState};
use crate::spec::RestartCondition;
use crate::time::Timestamp;

/// Restarts that one task carries at most. A policy with more attempts than that within its window is one
/// without a bound.
const REMEMBERED: usize = 1000;

/// Whether the restart policy of `last`, an instance's youngest task, lets another one follow it.
pub(super) fn allows(draft: &Draft<'_>, service: &Service, instance: Instance, last: &Task) -> bool {
    let policy = &last.spec.restart;
    let condition = match policy.condition {
        RestartCondition::None => false,
        RestartCondition::Any if !service.spec.mode.is_job() => true,
        RestartCondition::OnFailure | RestartCondition::Any => last.status.state != TaskState::Complete,
    };
    // A global service's task that went because its node did comes back with it, and what was taken from a job is
    // begun again.
    let returns = (instance.node.is_some() || service.spec.mode.is_job()) && !ended_by_itself(last);
    returns || (condition && (!ended_by_itself(last) || has_attempts(draft, service, last)))
}

/// The restarts that the successor of `last` carries. Being moved is none, and a new spec begins anew.
pub(super) fn carried(successor: &Task, last: &Task, now: Timestamp) -> Vec<Timestamp> {
    if last.spec.restart.max_attempts == 0 || last.spec_version != successor.spec_version {
        return Vec::new();
    }
    let this = ended_by_itself(last).then_some(now);
    let window = last.spec.restart.window;
    let counts = |at: &Timestamp| window == Duration::ZERO || now.since(*at) < window;
    let restarts: Vec<_> = last.restarts.iter().copied().filter(counts).chain(this).collect();
    let surplus = restarts.len().saturating_sub(REMEMBERED);
    restarts.into_iter().skip(surplus).collect()
}

fn has_attempts(draft: &Draft<'_>, service: &Service, last: &Task) -> bool {
    let policy = &last.spec.restart;
    let anew = last.spec_version != service.spec_version && !stays_as_it_was(draft.store(), service, last);
    if policy.max_attempts == 0 || anew {
        return true;
    }
    let ended = ended_at(draft, last);
    let counts = |at: &&Timestamp| policy.window == Duration::ZERO || ended.since(**at) < policy.window;
    let used = last.restarts.iter().filter(counts).count();
    u64::try_from(used).unwrap_or(u64::MAX) < policy.max_attempts
}

/// When the managers heard that a task ended. The window is counted back from there, so that a place whose
/// attempts are used up stays empty however late it is looked at.
pub(super) fn ended_at(draft: &Draft<'_>, task: &Task) -> Timestamp {
    let known = draft.base().task(task.id).filter(|known| known.status.state.is_final());
    known.map_or(draft.now(), |known| known.meta.updated_at)
}
