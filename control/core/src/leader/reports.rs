//! What agents report of their tasks: kept until the store has it, and taken only where it moves a task of
//! that node forward.

use std::collections::BTreeMap;

use super::draft::Draft;
use crate::id::{NodeId, TaskId};
use crate::object::{Task, TaskState, TaskStatus};

/// Longest text of a status.
const TEXT_MAX: usize = 1024;
/// Reports taken in at once, beyond which an agent's are dropped; it tells them again with its next session.
const REPORTS_MAX: usize = 1 << 20;

/// Reports on their way into the store.
#[derive(Debug, Default)]
pub(super) struct Reports {
    waiting: BTreeMap<TaskId, (NodeId, TaskStatus)>,
}

impl Reports {
    /// Takes in what a node says of its tasks.
    pub(super) fn add(&mut self, node: NodeId, statuses: Vec<(TaskId, TaskStatus)>) {
        for (id, mut status) in statuses {
            let newer = match self.waiting.get(&id) {
                Some((of, old)) => *of != node || supersedes(&status, old),
                None => self.waiting.len() < REPORTS_MAX,
            };
            if newer && is_an_agents(status.state) {
                shorten(&mut status.message);
                shorten(&mut status.err);
                self.waiting.insert(id, (node, status));
            }
        }
    }

    pub(super) fn has_work(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Writes the reports that say something new.
    pub(super) fn plan(&mut self, draft: &mut Draft<'_>) {
        let base = draft.base();
        self.waiting.retain(|id, (node, status)| {
            let news = base.task(*id).is_some_and(|task| is_news(task, *node, status));
            if news && !draft.is_full() {
                write(draft, *id, status);
            }
            news
        });
    }
}

fn write(draft: &mut Draft<'_>, id: TaskId, status: &TaskStatus) {
    if let Some(task) = draft.store().task(id).filter(|task| supersedes(status, &task.status)) {
        let task = Task { status: status.clone(), ..Task::clone(task) };
        draft.put_task(task);
    }
}

/// Whether a report moves a task of this node forward.
fn is_news(task: &Task, node: NodeId, status: &TaskStatus) -> bool {
    let given = task.status.state >= TaskState::Assigned;
    task.node == Some(node) && given && supersedes(status, &task.status)
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
