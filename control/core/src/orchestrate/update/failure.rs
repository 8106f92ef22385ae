//! Failures of an update's tasks: counted, and answered as the update's configuration says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::status::{config, is_of_update, is_rollback, is_under_way};
use crate::command::restored;
use crate::id::{ServiceId, TaskId};
use crate::leader::draft::Draft;
use crate::object::{Service, Task, UpdateState, UpdateStatus};
use crate::orchestrate::instance::ended_by_itself;
use crate::orchestrate::restart::ended_at;
use crate::orchestrate::{Instance, Orchestrator, age, is_live};
use crate::spec::{FailureAction, UpdateConfig};
use crate::time::Timestamp;

impl Orchestrator {
    /// Counts what failed in the places that are looked at, before anything takes its place.
    pub(in crate::orchestrate) fn count_failures(&mut self, draft: &mut Draft<'_>) {
        let takeover = self.updater.takeover;
        let mut failures: BTreeMap<ServiceId, BTreeSet<TaskId>> = BTreeMap::new();
        let mut note = |draft: &Draft<'_>, task: &Task| {
            if draft
                .store()
                .service(task.service)
                .is_some_and(|service| counts(draft, service, task, takeover))
            {
                failures.entry(task.service).or_default().insert(task.id);
            }
        };
        let updates = |id: &ServiceId| draft.store().service(*id).is_some_and(|it| is_under_way(it));
        for service in self.services.iter().filter(|service| updates(service)) {
            draft.store().service_tasks(*service).for_each(|task| note(draft, task));
        }
        for instance in self.instances.iter().filter(|instance| updates(&instance.service)) {
            instance.tasks(draft.store()).iter().for_each(|task| note(draft, task));
        }
        for (id, failed) in failures {
            if let Some(service) = draft.store().service(id).cloned() {
                let answered = answer(draft, &service, &failed);
                if !is_alike(&service, &answered) {
                    self.services.insert(id);
                }
                draft.put_service(answered);
            }
        }
    }
}

/// Whether two versions of a service differ at most in the failures that were counted: nothing is to be done for
/// those.
pub(in crate::orchestrate) fn is_alike(old: &Service, new: &Service) -> bool {
    let (Some(before), Some(after)) = (&old.update, &new.update) else { return false };
    if before.failed.len() == after.failed.len() {
        return false;
    }
    let update = Some(UpdateStatus { failed: after.failed.clone(), ..before.clone() });
    Service { update, meta: new.meta, ..old.clone() } == *new
}

/// Whether a task is a failure of its service's update that was not counted yet.
fn counts(draft: &Draft<'_>, service: &Service, task: &Task, takeover: Timestamp) -> bool {
    let known = service.update.as_ref().is_some_and(|update| update.failed.contains(&task.id));
    is_of_update(service, task)
        && !known
        && !was_taken_away(draft, task)
        && is_failure(draft, config(service), task, takeover)
}

/// Whether a task was to go before it ended, as with a node that went down: what its agent says of its end when it
/// is back is no failure. Another is watched in its stead only where it did not fail.
fn was_taken_away(draft: &Draft<'_>, task: &Task) -> bool {
    let retired = |known: &Arc<Task>| !is_live(known) && !known.status.state.is_final();
    let in_its_stead = |other: &Arc<Task>| {
        age(other) > age(task) && other.watched && other.spec_version == task.spec_version
    };
    draft.base().task(task.id).is_some_and(retired)
        || Instance::of(task).tasks(draft.store()).iter().any(in_its_stead)
}

/// Whether a task ended before it ran for as long as it is watched. One that was asked to leave did not fail.
fn is_failure(draft: &Draft<'_>, config: &UpdateConfig, task: &Task, takeover: Timestamp) -> bool {
    let watched = |at: Timestamp| ended_at(draft, task) <= at.max(takeover) + watch(config);
    let early = task.running_at.is_none_or(watched);
    ended_by_itself(task) && task.leaving.is_none() && early
}

/// How long a new task is watched: no shorter than what lies between two of them, so that the one is judged
/// before the other is touched.
pub(super) fn watch(config: &UpdateConfig) -> std::time::Duration {
    config.monitor.max(config.delay)
}

/// The service after some of its update's tasks failed.
fn answer(draft: &Draft<'_>, service: &Service, failures: &BTreeSet<TaskId>) -> Service {
    let Some(mut update) = service.update.clone() else { return service.clone() };
    for task in failures {
        update.failed.insert(*task);
        if is_too_much(&update, config(service)) {
            let service = Service { update: Some(update), ..service.clone() };
            return act(draft, service, *task);
        }
    }
    Service { update: Some(update), ..service.clone() }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a service has at most 100,000 tasks; f32 is exact up to 2^24"
)]
fn is_too_much(update: &UpdateStatus, config: &UpdateConfig) -> bool {
    update.failed.len() as f32 / update.slots.max(1) as f32 > config.max_failure_ratio
}

/// Does what the configuration says of too many failures, of which `task` is the last. A rollback is never
/// rolled back; nor is what has nothing to go back to, or cannot have it back any more.
fn act(draft: &Draft<'_>, service: Service, task: TaskId) -> Service {
    let reason = format!("due to failure or early termination of task {task}");
    let paused = format!("update paused {reason}");
    match config(&service).failure_action {
        FailureAction::Continue => service,
        FailureAction::Pause => pause(service, paused),
        FailureAction::Rollback if is_rollback(&service) => {
            pause(service, format!("rollback paused {reason}"))
        }
        FailureAction::Rollback => {
            let message = format!("update rolled back {reason}");
            restored(draft.store(), &service, &message, draft.now())
                .unwrap_or_else(|refusal| pause(service, format!("{paused}; no rollback: {refusal}")))
        }
    }
}

fn pause(service: Service, message: String) -> Service {
    let state = if is_rollback(&service) { UpdateState::RollbackPaused } else { UpdateState::Paused };
    let update = service.update.map(|update| UpdateStatus { state, message, ..update });
    Service { update, ..service }
}
