//! What agents report of their tasks: kept until the store has it, and taken only where it moves a task of
//! that node forward. An agent is told that a report was taken when nothing in it waits any more: each status
//! is committed, or follows on nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::draft::Draft;
use crate::id::{NodeId, SessionId, TaskId};
use crate::object::{Task, TaskState, TaskStatus};
use crate::store::{Change, Store};

/// Longest text of a status.
const TEXT_MAX: usize = 1024;
/// Statuses that wait at once. An agent with more to say has to say it again in another session.
const WAITING_MAX: usize = 1 << 20;

/// Reports on their way into the store.
#[derive(Debug, Default)]
pub(super) struct Reports {
    waiting: BTreeMap<TaskId, (NodeId, TaskStatus)>,
    /// Reports that are not taken yet, in the order in which each session brought them.
    open: BTreeMap<SessionId, VecDeque<Open>>,
    /// The session that each node reported over last.
    sessions: BTreeMap<NodeId, SessionId>,
    /// Sessions of which a report may be taken now.
    maybe: BTreeSet<SessionId>,
}

/// A report that is not taken yet.
#[derive(Debug)]
struct Open {
    number: u64,
    /// Tasks that it speaks of and that may still wait.
    tasks: Vec<TaskId>,
}

/// There is no room for a report.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overflow;

impl Reports {
    /// Takes in a report: what a node says of its tasks.
    pub(super) fn add(
        &mut self,
        store: &Store,
        node: NodeId,
        session: SessionId,
        number: u64,
        statuses: Vec<(TaskId, TaskStatus)>,
    ) -> Result<(), Overflow> {
        if self.waiting.len() + statuses.len() > WAITING_MAX {
            return Err(Overflow);
        }
        let mut tasks = Vec::with_capacity(statuses.len());
        for (id, mut status) in statuses {
            tasks.push(id);
            shorten(&mut status.message);
            shorten(&mut status.err);
            let newer = self.waiting.get(&id).is_none_or(|(of, old)| *of != node || supersedes(&status, old));
            let news = store.task(id).is_some_and(|task| is_news(task, node, &status));
            if newer && news {
                self.waiting.insert(id, (node, status));
            }
        }
        self.open.entry(session).or_default().push_back(Open { number, tasks });
        self.sessions.insert(node, session);
        self.maybe.insert(session);
        Ok(())
    }

    /// Forgets whom to tell; what was reported stays.
    pub(super) fn close(&mut self, session: SessionId) {
        self.open.remove(&session);
        self.maybe.remove(&session);
    }

    /// Takes in a committed change.
    pub(super) fn observe(&mut self, store: &Store, change: &Change) {
        let Change::Task(delta) = change else { return };
        let Some(id) = delta.new.as_ref().or(delta.old.as_ref()).map(|task| task.id) else { return };
        let Some((node, status)) = self.waiting.get(&id) else { return };
        if !store.task(id).is_some_and(|task| is_news(task, *node, status)) {
            self.maybe.extend(self.sessions.get(node));
            self.waiting.remove(&id);
        }
    }

    /// The sessions whose reports were taken since this was asked last, each with the number up to which.
    pub(super) fn taken(&mut self) -> Vec<(SessionId, u64)> {
        let mut taken = Vec::new();
        for session in std::mem::take(&mut self.maybe) {
            let Some(open) = self.open.get_mut(&session) else { continue };
            let mut number = None;
            while let Some(report) = open.front_mut() {
                while report.tasks.pop_if(|id| !self.waiting.contains_key(id)).is_some() {}
                if !report.tasks.is_empty() {
                    break;
                }
                number = open.pop_front().map(|report| report.number);
            }
            taken.extend(number.map(|number| (session, number)));
            if open.is_empty() {
                self.open.remove(&session);
            }
        }
        taken
    }

    pub(super) fn has_work(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Writes what waits, as far as the batch has room.
    pub(super) fn plan(&self, draft: &mut Draft<'_>) {
        for (id, (_, status)) in &self.waiting {
            if draft.is_full() {
                return;
            }
            write(draft, *id, status);
        }
    }
}

fn write(draft: &mut Draft<'_>, id: TaskId, status: &TaskStatus) {
    if let Some(task) = draft.store().task(id).filter(|task| supersedes(status, &task.status)) {
        let runs = Some(draft.now()).filter(|_| status.state == TaskState::Running);
        let running_at = task.running_at.or(runs);
        let task = Task { status: status.clone(), running_at, ..Task::clone(task) };
        draft.put_task(task);
    }
}

/// Whether a report moves a task of this node forward.
fn is_news(task: &Task, node: NodeId, status: &TaskStatus) -> bool {
    let given = task.status.state >= TaskState::Assigned;
    task.node == Some(node) && given && is_an_agents(status.state) && supersedes(status, &task.status)
}

/// Whether one status follows on another: a later state, or more about the same one.
fn supersedes(new: &TaskStatus, old: &TaskStatus) -> bool {
    let more = (&new.message, &new.err, &new.container) != (&old.message, &old.err, &old.container);
    !old.state.is_final() && (new.state > old.state || (new.state == old.state && more))
}

/// The states that agents observe; the others are the managers' own.
fn is_an_agents(state: TaskState) -> bool {
    (TaskState::Accepted..=TaskState::Rejected).contains(&state)
}

fn shorten(text: &mut String) {
    if text.len() > TEXT_MAX {
        let end = (0..=TEXT_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
}
