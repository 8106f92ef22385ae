//! The places of a service that are not in order: an index over what the store says of each.

use std::collections::{BTreeMap, BTreeSet};

use super::place::{Place, Stage};
use crate::orchestrate::Instance;
use crate::time::Timestamp;

/// The places of one service.
#[derive(Debug, Default)]
pub(super) struct Rollout {
    /// Those that are not in order.
    stages: BTreeMap<Instance, Stage>,
    /// The dirty ones that had no turn yet; those where nothing runs first, as they have nothing to lose.
    pub(super) waiting: BTreeSet<(bool, Instance)>,
    /// Those in change, and until when.
    pub(super) busy: BTreeSet<(Timestamp, Instance)>,
    /// When the last of its tasks has run for as long as it is watched.
    pub(super) watched_until: Timestamp,
}

impl Rollout {
    /// Takes in how far a place is.
    pub(super) fn note(&mut self, instance: Instance, place: &Place) {
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
    pub(super) fn release(&mut self, now: Timestamp) {
        while let Some(first) = self.busy.first().copied().filter(|(until, _)| *until <= now) {
            self.busy.remove(&first);
            self.stages.remove(&first.1);
        }
    }
}
