//! The updater: replaces a service's tasks by what the service wants now, some places at a time.
//!
//! All that it has done is in the store. A place (a slot of a replicated service, a node of a global one) is
//! dirty when what runs there is not what the service wants; it has had its turn when there is a task of the
//! service's present version. The task that an update puts there is marked as watched: while it is not running
//! yet, and for the update's delay after that, the place is in change, and no more than `parallelism` places are
//! at once. Its failure before it ran for the monitoring period counts, once for each place, since what takes
//! its place by the restart policy is not watched. So a new leader knows how far each place is, and when the
//! next one may follow.
//!
//! What is kept here is an index over the places of those services that are not in order, and can be made
//! from the store at any time.

mod dirty;
mod failure;
mod place;

use std::collections::{BTreeMap, BTreeSet};

pub(super) use dirty::is_dirty;

use super::instance::{change, ended_by_itself};
use super::{Instance, Orchestrator, new_task};
use crate::id::{Entropy, ServiceId};
use crate::leader::draft::Draft;
use crate::object::{Service, Task, UpdateState, UpdateStatus};
use crate::spec::{UpdateConfig, UpdateOrder};
use crate::store::Store;
use crate::time::Timestamp;
use place::{Place, Stage};

/// The updates of all services, as far as they are not in order.
#[derive(Debug, Default)]
pub(super) struct Updater {
    /// When this leader took over. What ended shortly before it may not have heard yet, so no task is watched
    /// for less than the whole time under it.
    takeover: Timestamp,
    rollouts: BTreeMap<ServiceId, Rollout>,
    /// Those that may go a step further.
    touched: BTreeSet<ServiceId>,
    /// When the others may.
    timers: BTreeMap<ServiceId, Timestamp>,
}

/// The places of one service.
#[derive(Debug, Default)]
struct Rollout {
    /// Those that are not in order.
    stages: BTreeMap<Instance, Stage>,
    /// The dirty ones that had no turn yet; those where nothing runs first, as they have nothing to lose.
    waiting: BTreeSet<(bool, Instance)>,
    /// Those in change, and until when.
    busy: BTreeSet<(Timestamp, Instance)>,
    /// When the last of its tasks has run for as long as it is watched.
    watched_until: Timestamp,
}

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

/// Jobs are not updated, they run again.
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
        slots: dirty::dirty_places(store, service),
        failed: BTreeSet::new(),
    })
}

fn state(service: &Service) -> Option<UpdateState> {
    service.update.as_ref().map(|update| update.state)
}

/// Whether an update of the service is neither at its end nor paused.
fn is_under_way(service: &Service) -> bool {
    matches!(state(service), Some(UpdateState::Updating | UpdateState::RollbackStarted))
}

/// Whether the service is being taken back to its previous spec.
fn is_rollback(service: &Service) -> bool {
    matches!(state(service), Some(UpdateState::RollbackStarted | UpdateState::RollbackPaused))
}

/// Whether an update that is under way made the task, and reads from it how far the task's place is.
pub(super) fn is_of_update(service: &Service, task: &Task) -> bool {
    is_under_way(service) && task.watched && task.spec_version == service.spec_version
}

/// Whether the service's update stopped after failures.
pub(super) fn is_paused(service: &Service) -> bool {
    matches!(state(service), Some(UpdateState::Paused | UpdateState::RollbackPaused))
}

/// Whether the service was never changed in a way that its tasks would have to follow.
fn is_new(service: &Service) -> bool {
    service.spec_version == 1 && service.update.is_none()
}

/// Whether a place in which nothing is left to run gets its next task by its turn alone: on the way back, what
/// failed is not tried again.
pub(super) fn awaits_turn(store: &Store, service: &Service, last: &Task) -> bool {
    let back = state(service) == Some(UpdateState::RollbackStarted);
    back && ended_by_itself(last) && is_dirty(store, service, last)
}

/// Whether what takes the place of `last` is the same version again: an unfinished update has not come to the
/// place yet, and a version that is not known to be good spreads by the update alone.
pub(super) fn stays_as_it_was(store: &Store, service: &Service, last: &Task) -> bool {
    let unfinished = matches!(state(service), Some(UpdateState::Updating | UpdateState::Paused));
    unfinished && is_dirty(store, service, last)
}

/// The task that takes the place of `last`, which ended or had to leave; `fresh` is one of the present version.
/// It is watched in the stead of one that did not fail.
pub(super) fn successor(store: &Store, service: &Service, last: &Task, fresh: Task) -> Task {
    if stays_as_it_was(store, service, last) {
        let (spec, host_ports) = (last.spec.clone(), last.host_ports.clone());
        return Task { spec, host_ports, spec_version: last.spec_version, ..fresh };
    }
    let same = last.spec_version == service.spec_version;
    Task { watched: same && last.watched && !ended_by_itself(last), ..fresh }
}

/// How the service's tasks are replaced now.
fn config(service: &Service) -> &UpdateConfig {
    if is_rollback(service) { &service.spec.rollback } else { &service.spec.update }
}

/// Which of the old and the new task goes first now.
pub(super) fn order(service: &Service) -> UpdateOrder {
    config(service).order
}

impl Updater {
    pub(super) fn new(takeover: Timestamp) -> Self {
        Self { takeover, ..Self::default() }
    }

    /// When a place may have its turn, or an update is done, without anything else happening.
    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        self.timers.values().min().copied()
    }

    pub(super) fn has_work(&self) -> bool {
        !self.touched.is_empty()
    }

    /// Looks at every place of a service, because what it wants has changed.
    pub(super) fn survey(&mut self, draft: &Draft<'_>, service: &Service) {
        self.forget(service.id);
        if is_new(service) {
            return;
        }
        let tasks = draft.store().service_tasks(service.id);
        let places: BTreeSet<_> = tasks.map(|task| Instance::of(task)).collect();
        for instance in places {
            self.look(draft, service, instance);
        }
        if is_under_way(service) {
            self.touched.insert(service.id);
        }
    }

    /// Looks at one place of a service.
    pub(super) fn look(&mut self, draft: &Draft<'_>, service: &Service, instance: Instance) {
        if is_new(service) {
            return;
        }
        let place = Place::look_at(draft, service, instance, self.takeover);
        let known = self.rollouts.contains_key(&service.id);
        if known || place.stage != Stage::InOrder || is_under_way(service) {
            self.rollouts.entry(service.id).or_default().note(instance, &place);
            self.touched.insert(service.id);
        }
    }

    /// The service is gone.
    pub(super) fn forget(&mut self, service: ServiceId) {
        self.rollouts.remove(&service);
        self.touched.remove(&service);
        self.timers.remove(&service);
    }

    fn take_due(&mut self, now: Timestamp) {
        let due = self.timers.extract_if(.., |_, at| *at <= now).map(|(service, _)| service);
        self.touched.extend(due);
    }
}

impl Rollout {
    fn note(&mut self, instance: Instance, place: &Place) {
        match self.stages.remove(&instance) {
            Some(Stage::Waiting { runs }) => drop(self.waiting.remove(&(runs, instance))),
            Some(Stage::Busy { until }) => drop(self.busy.remove(&(until, instance))),
            Some(Stage::InOrder) | None => {}
        }
        match place.stage {
            Stage::Waiting { runs } => drop(self.waiting.insert((runs, instance))),
            Stage::Busy { until } => drop(self.busy.insert((until, instance))),
            Stage::InOrder => {}
        }
        if place.stage != Stage::InOrder {
            self.stages.insert(instance, place.stage);
        }
        self.watched_until = self.watched_until.max(place.watched_until);
    }

    /// Forgets the places whose turn is over.
    fn release(&mut self, now: Timestamp) {
        while let Some(first) = self.busy.first().copied().filter(|(until, _)| *until <= now) {
            self.busy.remove(&first);
            self.stages.remove(&first.1);
        }
    }
}

impl Orchestrator {
    /// Lets updates go on, until the batch is full.
    pub(super) fn update(&mut self, draft: &mut Draft<'_>, entropy: &mut dyn Entropy) {
        self.updater.take_due(draft.now());
        while let Some(id) = self.updater.touched.first().copied().filter(|_| !draft.is_full()) {
            self.updater.touched.remove(&id);
            self.updater.timers.remove(&id);
            let service = draft.store().service(id).cloned();
            let rollout = self.updater.rollouts.remove(&id);
            if let Some((service, rollout)) = service.map(|service| (service, rollout.unwrap_or_default())) {
                self.advance(draft, &service, rollout, entropy);
            }
        }
    }

    /// Gives as many places their turn as may be in change at once.
    fn advance(
        &mut self,
        draft: &mut Draft<'_>,
        service: &Service,
        mut rollout: Rollout,
        entropy: &mut dyn Entropy,
    ) {
        rollout.release(draft.now());
        let places = match config(service).parallelism {
            0 => usize::MAX,
            most => usize::try_from(most).unwrap_or(usize::MAX),
        };
        while rollout.busy.len() < places && !is_paused(service) && !draft.is_full() {
            let Some((_, instance)) = rollout.waiting.first().copied() else { break };
            let task = new_task(service, instance, draft.now(), entropy);
            change(draft, instance, order(service), Task { watched: true, ..task });
            rollout.note(instance, &Place::look_at(draft, service, instance, self.updater.takeover));
        }
        let open = !rollout.waiting.is_empty() || !rollout.busy.is_empty();
        // Whoever follows the service sees each state, and so the reason of a rollback that has nothing to do.
        let committed = draft.base().service(service.id).map(|base| state(base));
        let begun = is_under_way(service) && committed == Some(state(service));
        if begun && !open && rollout.watched_until <= draft.now() {
            complete(draft, service);
            return;
        }
        if open || is_under_way(service) {
            self.updater.wait(service, rollout);
        }
    }
}

impl Updater {
    /// Keeps what is not in order, and when to look at it again.
    fn wait(&mut self, service: &Service, rollout: Rollout) {
        let next = match rollout.busy.first() {
            Some((until, _)) => Some(*until).filter(|until| *until < Place::OPEN_END),
            None => {
                Some(rollout.watched_until).filter(|_| rollout.waiting.is_empty() && is_under_way(service))
            }
        };
        self.timers.extend(next.map(|at| (service.id, at)));
        self.rollouts.insert(service.id, rollout);
    }
}

fn complete(draft: &mut Draft<'_>, service: &Service) {
    let (state, message) = if is_rollback(service) {
        (UpdateState::RollbackCompleted, "rollback completed")
    } else {
        (UpdateState::Completed, "update completed")
    };
    let (message, completed_at) = (message.to_owned(), Some(draft.now()));
    let update = service.update.clone().map(|update| UpdateStatus { state, completed_at, message, ..update });
    draft.put_service(Service { update, ..service.clone() });
}
