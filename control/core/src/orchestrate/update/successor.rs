//! What takes the place of a task that ended or has to leave, while a service is between two versions.

use super::is_dirty;
use super::status::state;
use crate::object::{Service, Task, UpdateState};
use crate::orchestrate::instance::ended_by_itself;
use crate::store::Store;

/// Whether a place in which nothing is left to run gets its next task by its turn alone: on the way back, what
/// failed is not tried again.
pub(in crate::orchestrate) fn awaits_turn(store: &Store, service: &Service, last: &Task) -> bool {
    let back = state(service) == Some(UpdateState::RollbackStarted);
    back && ended_by_itself(last) && is_dirty(store, service, last)
}

/// Whether what takes the place of `last` is the same version again: an unfinished update has not come to the
/// place yet, and a version that is not known to be good spreads by the update alone.
pub(in crate::orchestrate) fn stays_as_it_was(store: &Store, service: &Service, last: &Task) -> bool {
    let unfinished = matches!(state(service), Some(UpdateState::Updating | UpdateState::Paused));
    unfinished && is_dirty(store, service, last)
}

/// The task that takes the place of `last`, which ended or had to leave; `fresh` is one of the present version.
/// It is watched in the stead of one that did not fail.
pub(in crate::orchestrate) fn successor(store: &Store, service: &Service, last: &Task, fresh: Task) -> Task {
    if stays_as_it_was(store, service, last) {
        let (spec, host_ports) = (last.spec.clone(), last.host_ports.clone());
        return Task { spec, host_ports, spec_version: last.spec_version, ..fresh };
    }
    let same = last.spec_version == service.spec_version;
    Task { watched: same && last.watched && !ended_by_itself(last), ..fresh }
}
