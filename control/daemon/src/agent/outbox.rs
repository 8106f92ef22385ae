//! What the managers have yet to hear of this node: the last status of each task, kept until the task is
//! forgotten, so that a new session can tell everything again; and which assignments its network holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use mesh_core::id::TaskId;
use mesh_core::object::TaskStatus;
use tokio::sync::Notify;

/// Statuses on their way to the managers; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Outbox {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    statuses: Mutex<Statuses>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Statuses {
    last: BTreeMap<TaskId, TaskStatus>,
    unsent: BTreeSet<TaskId>,
    /// Version of the assignments that the network holds, until it is told.
    applied: Option<u64>,
}

impl Outbox {
    fn with<T>(&self, work: impl FnOnce(&mut Statuses) -> T) -> T {
        work(&mut self.inner.statuses.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A task's status is now this.
    pub fn put(&self, task: TaskId, status: TaskStatus) {
        self.with(|statuses| {
            statuses.last.insert(task, status);
            statuses.unsent.insert(task);
        });
        self.inner.changed.notify_one();
    }

    /// The managers have forgotten the task.
    pub fn forget(&self, task: TaskId) {
        self.with(|statuses| {
            statuses.last.remove(&task);
            statuses.unsent.remove(&task);
        });
    }

    /// The network is as the assignments of this version say.
    pub fn put_applied(&self, version: u64) {
        self.with(|statuses| statuses.applied = Some(version));
        self.inner.changed.notify_one();
    }

    /// A new session begins: every status is to be told. Its assignments are not applied yet.
    pub fn all_unsent(&self) {
        self.with(|statuses| {
            statuses.unsent = statuses.last.keys().copied().collect();
            statuses.applied = None;
        });
        self.inner.changed.notify_one();
    }

    /// Statuses that were not told yet.
    pub fn take(&self) -> Vec<(TaskId, TaskStatus)> {
        self.with(|statuses| {
            let unsent = std::mem::take(&mut statuses.unsent);
            unsent.into_iter().filter_map(|id| Some((id, statuses.last.get(&id)?.clone()))).collect()
        })
    }

    /// The newest version that was applied, if that was not told yet.
    pub fn take_applied(&self) -> Option<u64> {
        self.with(|statuses| statuses.applied.take())
    }

    /// Resolves when there is something to tell.
    pub async fn changed(&self) {
        self.inner.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use mesh_core::object::TaskState;
    use mesh_core::time::Timestamp;

    use super::*;

    fn status(state: TaskState) -> TaskStatus {
        TaskStatus {
            state,
            timestamp: Timestamp::ZERO,
            message: String::new(),
            err: String::new(),
            container: None,
        }
    }

    #[tokio::test]
    async fn the_last_status_of_each_task_is_told_once_a_session() {
        let (outbox, one, two) = (Outbox::default(), TaskId::from_bits(1), TaskId::from_bits(2));
        outbox.put(one, status(TaskState::Accepted));
        outbox.put(one, status(TaskState::Running));
        outbox.put(two, status(TaskState::Failed));
        outbox.changed().await;
        let told = vec![(one, status(TaskState::Running)), (two, status(TaskState::Failed))];
        assert_eq!(outbox.take(), told);
        assert_eq!(outbox.take(), []);
        outbox.all_unsent();
        assert_eq!(outbox.take(), told);
        outbox.put(one, status(TaskState::Failed));
        outbox.forget(one);
        outbox.all_unsent();
        assert_eq!(outbox.take(), told[1..]);
    }

    #[tokio::test]
    async fn the_newest_applied_version_is_told_once_and_in_its_session_only() {
        let outbox = Outbox::default();
        outbox.put_applied(3);
        outbox.put_applied(4);
        outbox.changed().await;
        assert_eq!(outbox.take_applied(), Some(4));
        assert_eq!(outbox.take_applied(), None);
        outbox.put_applied(5);
        outbox.all_unsent();
        assert_eq!(outbox.take_applied(), None);
    }
}
