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
mod rollout;
mod status;
mod successor;

use std::collections::{BTreeMap, BTreeSet};

pub(super) use dirty::is_dirty;
pub(super) use failure::is_alike;
pub(crate) use status::{begin, begin_rollback};
pub(super) use status::{is_of_update, is_paused, order};
pub(super) use successor::{awaits_turn, stays_as_it_was, successor};

use super::instance::change;
use super::{Instance, Orchestrator, new_task};
use crate::id::{Entropy, ServiceId};
use crate::leader::draft::Draft;
use crate::object::{Service, Task};
use crate::time::Timestamp;
use place::{Place, Stage};
use rollout::Rollout;
use status::{complete, config, is_new, is_under_way, state};

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
