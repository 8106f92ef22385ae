//! What the managers have yet to hear of this node: the last status of each task, kept until the task is
//! forgotten; and which assignments its network holds.
//!
//! Reports are numbered within a session, and the manager says up to which one all are durable. A new session
//! tells everything again, taken or not: the manager that took it may be gone with what it had, and a status
//! that is known already costs nothing.

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

/// What is to be told, and what was.
#[derive(Debug, Default)]
struct Statuses {
    last: BTreeMap<TaskId, TaskStatus>,
    unsaid: BTreeSet<TaskId>,
    /// Number of this session's last report,
    said: u64,
    /// and of the last one that is durable with all before it.
    taken: u64,
    /// Version of the assignments that the network holds, until it is told.
    applied: Option<u64>,
}

/// A report: its number in the session, and what it says.
pub type Report = (u64, Vec<(TaskId, TaskStatus)>);

impl Statuses {
    fn begin_session(&mut self) {
        self.unsaid = self.last.keys().copied().collect();
        (self.said, self.taken) = (0, 0);
        self.applied = None;
    }

    fn report(&mut self) -> Option<Report> {
        let unsaid = std::mem::take(&mut self.unsaid);
        let status = |id: TaskId| Some((id, self.last.get(&id)?.clone()));
        let statuses: Vec<_> = unsaid.into_iter().filter_map(status).collect();
        if statuses.is_empty() {
            return None;
        }
        self.said += 1;
        Some((self.said, statuses))
    }

    fn is_taken(&self) -> bool {
        self.unsaid.is_empty() && self.taken >= self.said
    }
}

impl Outbox {
    fn with<T>(&self, work: impl FnOnce(&mut Statuses) -> T) -> T {
        work(&mut self.inner.statuses.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A task's status is now this.
    pub fn put(&self, task: TaskId, status: TaskStatus) {
        self.with(|statuses| {
            statuses.last.insert(task, status);
            statuses.unsaid.insert(task);
        });
        self.inner.changed.notify_one();
    }

    /// The managers have forgotten the task.
    pub fn forget(&self, task: TaskId) {
        self.with(|statuses| {
            statuses.last.remove(&task);
            statuses.unsaid.remove(&task);
        });
    }

    /// The network is as the assignments of this version say.
    pub fn put_applied(&self, version: u64) {
        self.with(|statuses| statuses.applied = Some(version));
        self.inner.changed.notify_one();
    }

    /// A new session begins: every status is to be told. Its assignments are not applied yet.
    pub fn begin_session(&self) {
        self.with(Statuses::begin_session);
        self.inner.changed.notify_one();
    }

    /// The next report, if anything is to be told.
    pub fn report(&self) -> Option<Report> {
        self.with(Statuses::report)
    }

    /// All reports of this session up to this number are durable.
    pub fn taken(&self, number: u64) {
        self.with(|statuses| statuses.taken = statuses.taken.max(number));
    }

    /// Whether all that there is to tell is durable.
    pub fn is_taken(&self) -> bool {
        self.with(|statuses| statuses.is_taken())
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

    const ONE: TaskId = TaskId::from_bits(1);
    const TWO: TaskId = TaskId::from_bits(2);

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
        let outbox = Outbox::default();
        outbox.put(ONE, status(TaskState::Accepted));
        outbox.put(ONE, status(TaskState::Running));
        outbox.put(TWO, status(TaskState::Failed));
        outbox.changed().await;
        let told = vec![(ONE, status(TaskState::Running)), (TWO, status(TaskState::Failed))];
        assert_eq!(outbox.report(), Some((1, told.clone())));
        assert_eq!(outbox.report(), None);
        outbox.begin_session();
        assert_eq!(outbox.report(), Some((1, told.clone())), "numbers begin anew with the session");
        outbox.put(ONE, status(TaskState::Failed));
        outbox.forget(ONE);
        assert_eq!(outbox.report(), None);
        outbox.begin_session();
        assert_eq!(outbox.report(), Some((1, told[1..].to_vec())));
    }

    #[test]
    fn what_was_not_taken_and_what_was_is_told_again_in_the_next_session() {
        let outbox = Outbox::default();
        outbox.put(ONE, status(TaskState::Running));
        assert_eq!(outbox.report().unwrap().0, 1);
        outbox.taken(1);
        outbox.put(TWO, status(TaskState::Running));
        assert_eq!(outbox.report().unwrap().0, 2);
        outbox.begin_session();
        let (_, told) = outbox.report().unwrap();
        assert_eq!(told.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [ONE, TWO]);
    }

    #[test]
    fn all_is_taken_when_the_last_report_is_and_nothing_came_since() {
        let outbox = Outbox::default();
        assert!(outbox.is_taken());
        outbox.put(ONE, status(TaskState::Running));
        assert!(!outbox.is_taken(), "not told yet");
        outbox.report();
        assert!(!outbox.is_taken(), "not durable yet");
        outbox.put(TWO, status(TaskState::Running));
        outbox.report();
        outbox.taken(1);
        assert!(!outbox.is_taken());
        outbox.taken(2);
        assert!(outbox.is_taken());
        outbox.begin_session();
        assert!(!outbox.is_taken());
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
        outbox.begin_session();
        assert_eq!(outbox.take_applied(), None);
    }
}
