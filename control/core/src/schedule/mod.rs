//! The scheduler: gives each pending task a node. Nodes that may not run it are filtered out, and counted,
//! so that the user is told why; of the rest, the one with the fewest tasks of the service gets it, then
//! the one with the fewest tasks in all.
//!
//! Tasks of one service are placed together: nodes are filtered once for all of them and kept in a heap, so
//! the cost is nodes + tasks, not nodes × tasks.

mod filter;
mod load;
mod spread;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::{ServiceId, TaskId};
use crate::leader::draft::{Draft, managed};
use crate::object::{Task, TaskState};
use crate::store::{Change, Delta, Store};
use filter::Explanation;
use load::Loads;
use spread::Ranking;

/// The pending tasks and what the nodes carry.
#[derive(Debug)]
pub(crate) struct Scheduler {
    loads: Loads,
    fresh: BTreeSet<TaskId>,
    /// Found no node; tried again when a node changes or a task gives one room.
    parked: BTreeSet<TaskId>,
}

impl Scheduler {
    pub(crate) fn new(store: &Store) -> Self {
        let fresh = store.tasks().filter(|task| is_pending(task)).map(|task| task.id).collect();
        Self { loads: Loads::new(store), fresh, parked: BTreeSet::new() }
    }

    /// Notes what a change means, whether it is committed or drafted.
    pub(crate) fn notice(&mut self, change: &Change) {
        match change {
            Change::Node(Delta { old, new }) => {
                match (old, new) {
                    (_, Some(node)) => self.loads.put_node(node),
                    (Some(node), None) => self.loads.remove_node(node.id),
                    (None, None) => {}
                }
                self.fresh.append(&mut self.parked);
            }
            Change::Task(Delta { old, new }) => {
                let Some(task) = new.as_ref().or(old.as_ref()) else { return };
                self.set_task(task.id, new.as_deref());
                if let (Some(old), Some(new)) = (old, new) {
                    self.loads.note_failure(old, new);
                }
                let made_room = old.as_ref().is_some_and(|old| load::weighs(old))
                    && new
                        .as_ref()
                        .is_none_or(|new| !load::weighs(new) || new.desired_state > TaskState::Running);
                if made_room {
                    self.fresh.append(&mut self.parked);
                }
            }
            Change::Cluster(_) | Change::Network(_) | Change::Service(_) => {}
        }
    }

    pub(crate) fn has_work(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// Takes a task as the store has it, because a decision about it was not carried out.
    pub(crate) fn look_again(&mut self, id: TaskId, task: Option<&Task>) {
        self.set_task(id, task);
        self.fresh.append(&mut self.parked);
    }

    fn set_task(&mut self, id: TaskId, task: Option<&Task>) {
        self.loads.set_task(id, task);
        match task.filter(|task| is_pending(task)) {
            Some(_) if self.parked.contains(&id) => {}
            Some(_) => drop(self.fresh.insert(id)),
            None => {
                self.fresh.remove(&id);
                self.parked.remove(&id);
            }
        }
    }

    /// Places tasks until the batch is full.
    pub(crate) fn plan(&mut self, draft: &mut Draft<'_>) {
        let mut groups: BTreeMap<(ServiceId, u64), Vec<Arc<Task>>> = BTreeMap::new();
        for id in std::mem::take(&mut self.fresh) {
            match draft.store().task(id).filter(|task| is_pending(task)) {
                Some(task) if !draft.is_full() => {
                    groups.entry((task.service, task.spec_version)).or_default().push(task.clone());
                }
                Some(_) => drop(self.fresh.insert(id)),
                None => {}
            }
        }
        for tasks in groups.into_values() {
            let (pinned, free): (Vec<_>, Vec<_>) = tasks.into_iter().partition(|task| task.node.is_some());
            for task in pinned {
                self.place_pinned(draft, &task);
            }
            self.place_group(draft, &free);
        }
    }

    fn place_pinned(&mut self, draft: &mut Draft<'_>, task: &Arc<Task>) {
        if draft.is_full() {
            self.fresh.insert(task.id);
            return;
        }
        let mut explanation = Explanation::default();
        let load = task.node.and_then(|node| self.loads.get(node));
        let fits = load.is_some_and(|load| explanation.admits(load, task));
        if fits {
            self.assign(draft, task, task.node);
        } else {
            self.park(draft, task, &explanation);
        }
    }

    /// Places tasks that are alike but for their slot.
    fn place_group(&mut self, draft: &mut Draft<'_>, tasks: &[Arc<Task>]) {
        let Some(first) = tasks.first() else { return };
        let mut ranking = Ranking::new(&self.loads, first, draft.now());
        let mut why = None;
        for task in tasks {
            if draft.is_full() {
                self.fresh.insert(task.id);
                continue;
            }
            if let Some(node) = ranking.take_best(&self.loads, task) {
                self.assign(draft, task, Some(node));
                ranking.put_back(&self.loads, node);
            } else {
                let why = why.get_or_insert_with(|| Explanation::of(&self.loads, task));
                self.park(draft, task, why);
            }
        }
    }

    fn assign(&mut self, draft: &mut Draft<'_>, task: &Task, node: Option<crate::id::NodeId>) {
        let mut task = managed(task, TaskState::Assigned, "scheduler assigned task to node", "", draft.now());
        task.node = node;
        self.loads.set_task(task.id, Some(&task));
        draft.put_task(task);
    }

    fn park(&mut self, draft: &mut Draft<'_>, task: &Task, explanation: &Explanation) {
        self.parked.insert(task.id);
        let err = explanation.to_string();
        if task.status.err != err {
            draft.put_task(managed(task, TaskState::Pending, &task.status.message, &err, draft.now()));
        }
    }
}

fn is_pending(task: &Task) -> bool {
    task.status.state == TaskState::Pending && task.desired_state <= TaskState::Running
}
