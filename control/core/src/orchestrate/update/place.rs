//! How far one place of a service is, read from its tasks.

use super::dirty::is_place_dirty;
use super::failure::watch;
use super::status::config;
use crate::leader::draft::Draft;
use crate::object::{Service, Task, TaskState};
use crate::orchestrate::instance::ended_by_itself;
use crate::orchestrate::restart::ended_at;
use crate::orchestrate::{Instance, is_live};
use crate::time::Timestamp;

/// How far one place is.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) stage: Stage,
    /// Until when the update's task in it is watched.
    pub(super) watched_until: Timestamp,
}

/// What an update has to do in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing, or nothing more.
    InOrder,
    /// It is dirty and had no turn yet.
    Waiting {
        /// Something runs in it.
        runs: bool,
    },
    /// It is in change.
    Busy {
        /// When the next place may follow; [`Place::OPEN_END`] while that is not known.
        until: Timestamp,
    },
}

impl Place {
    /// Later than anything.
    pub(super) const OPEN_END: Timestamp = Timestamp(u64::MAX);

    /// `takeover` is when the leader began.
    pub(super) fn look_at(
        draft: &Draft<'_>,
        service: &Service,
        instance: Instance,
        takeover: Timestamp,
    ) -> Self {
        let tasks = instance.tasks(draft.store());
        // One that was taken away before it served, as with a node that went down, was no turn.
        let is_turn = |task: &Task| {
            task.spec_version == service.spec_version && (is_live(task) || ended_by_itself(task))
        };
        if let Some(task) = tasks.iter().rev().find(|task| task.watched && is_turn(task)) {
            return Self::in_change(draft, service, task, takeover);
        }
        let had_turn = tasks.iter().any(|task| is_turn(task));
        let dirty = !had_turn && is_place_dirty(draft.store(), service, instance, &tasks);
        let runs = |task: &Task| is_live(task) && task.status.state == TaskState::Running;
        let runs = tasks.iter().any(|task| runs(task));
        let stage = if dirty { Stage::Waiting { runs } } else { Stage::InOrder };
        Self { stage, watched_until: Timestamp::ZERO }
    }

    /// A place with a task of the update's.
    fn in_change(draft: &Draft<'_>, service: &Service, task: &Task, takeover: Timestamp) -> Self {
        let ended = task.status.state.is_final();
        let since = task.running_at.or_else(|| ended.then(|| ended_at(draft, task)));
        let (until, watched_until) = match since {
            Some(since) => (since + config(service).delay, since.max(takeover) + watch(config(service))),
            None => (Self::OPEN_END, Timestamp::ZERO),
        };
        let stage = if until <= draft.now() { Stage::InOrder } else { Stage::Busy { until } };
        Self { stage, watched_until }
    }
}
