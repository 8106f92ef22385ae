//! What the store says of a service's update, in Swarm's words.

use std::collections::BTreeSet;

use super::dirty::dirty_places;
use crate::leader::draft::Draft;
use crate::object::{Service, Task, UpdateState, UpdateStatus};
use crate::spec::{UpdateConfig, UpdateOrder};
use crate::store::Store;
use crate::time::Timestamp;

/// What a service that was given another spec has before it; `None` when its tasks are what it wants.
pub(crate) fn begin(store: &Store, service: &Service, now: Timestamp) -> Option<UpdateStatus> {
    let update = status(store, service, UpdateState::Updating, "update in progress", now)?;
    (update.slots > 0).then_some(update)
}

/// The same for one that was given its previous spec.
pub(crate) fn begin_rollback(
    store: &Store,
    service: &Service,
    message: &str,
    now: Timestamp,
) -> Option<UpdateStatus> {
    status(store, service, UpdateState::RollbackStarted, message, now)
}

/// Jobs have none: they are not updated, they run again.
fn status(
    store: &Store,
    service: &Service,
    state: UpdateState,
    message: &str,
    now: Timestamp,
) -> Option<UpdateStatus> {
    (!service.spec.mode.is_job()).then(|| UpdateStatus {
        state,
        started_at: now,
        completed_at: None,
        message: message.to_owned(),
        slots: dirty_places(store, service),
        failed: BTreeSet::new(),
    })
}

/// How far its last update is.
pub(super) fn state(service: &Service) -> Option<UpdateState> {
    service.update.as_ref().map(|update| update.state)
}

/// Whether an update of the service is neither at its end nor paused.
pub(super) fn is_under_way(service: &Service) -> bool {
    matches!(state(service), Some(UpdateState::Updating | UpdateState::RollbackStarted))
}

/// Whether the service is being taken back to its previous spec.
pub(super) fn is_rollback(service: &Service) -> bool {
    matches!(state(service), Some(UpdateState::RollbackStarted | UpdateState::RollbackPaused))
}

/// Whether an update that is under way made the task, and reads from it how far the task's place is.
pub(in crate::orchestrate) fn is_of_update(service: &Service, task: &Task) -> bool {
    is_under_way(service) && task.watched && task.spec_version == service.spec_version
}

/// Whether the service's update stopped after failures.
pub(in crate::orchestrate) fn is_paused(service: &Service) -> bool {
    matches!(state(service), Some(UpdateState::Paused | UpdateState::RollbackPaused))
}

/// Whether the service was never changed in a way that its tasks would have to follow.
pub(super) fn is_new(service: &Service) -> bool {
    service.spec_version == 1 && service.update.is_none()
}

/// How the service's tasks are replaced now.
pub(super) fn config(service: &Service) -> &UpdateConfig {
    if is_rollback(service) { &service.spec.rollback } else { &service.spec.update }
}

/// Which of the old and the new task goes first now.
pub(in crate::orchestrate) fn order(service: &Service) -> UpdateOrder {
    config(service).order
}

/// Ends an update, or the way back, as done.
pub(super) fn complete(draft: &mut Draft<'_>, service: &Service) {
    let (state, message) = if is_rollback(service) {
        (UpdateState::RollbackCompleted, "rollback completed")
    } else {
        (UpdateState::Completed, "update completed")
    };
    let (message, completed_at) = (message.to_owned(), Some(draft.now()));
    let update = service.update.clone().map(|update| UpdateStatus { state, completed_at, message, ..update });
    draft.put_service(Service { update, ..service.clone() });
}
