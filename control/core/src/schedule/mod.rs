//! The scheduler: gives each pending task a node. Nodes that may not run it are filtered out, and counted,
//! so that the user is told why; of the rest, the one with the fewest tasks of the service gets it, then the
//! one that is least full.
//!
//! Tasks of one spec are placed together. What waits is tried again when a node that changed would take it,
//! which is found out by asking that node alone; so neither many tasks that wait nor many nodes make a change
//! dear.

mod failures;
mod filter;
mod generic;
mod load;
mod spread;
mod succession;
#[cfg(test)]
mod tests;
mod tree;
mod waiting;

use std::sync::Arc;

use crate::id::{NodeId, TaskId};
use crate::leader::draft::{Draft, managed};
use crate::object::{Task, TaskState};
use crate::store::{Change, Delta, Store};
use failures::Failures;
use filter::Explanation;
pub(crate) use filter::suits;
use load::Loads;
use spread::{Ranking, Scale};
use waiting::{Kind, Waiting};

/// The pending tasks and what the nodes carry.
#[derive(Debug)]
pub(crate) struct Scheduler {
    loads: Loads,
    failures: Failures,
    waiting: Waiting,
}

impl Scheduler {
    pub(crate) fn new(store: &Store) -> Self {
        let mut waiting = Waiting::default();
        store.tasks().filter(|task| is_pending(task)).for_each(|task| waiting.add(task));
        Self { loads: Loads::new(store), failures: Failures::default(), waiting }
    }

    /// Notes what a change means, whether it is committed or drafted.
    pub(crate) fn notice(&mut self, change: &Change) {
        match change {
            Change::Node(Delta { old, new }) => {
                let Some(node) = new.as_ref().or(old.as_ref()).map(|node| node.id) else { return };
                let before = self.waiting.before(&self.loads, node, None);
                if let Some(new) = new {
                    self.loads.put_node(new);
                } else {
                    self.loads.remove_node(node);
                    self.failures.forget(node);
                }
                self.waiting.after(&self.loads, node, before);
            }
            Change::Task(Delta { old, new }) => {
                let Some(task) = new.as_ref().or(old.as_ref()) else { return };
                if let (Some(old), Some(new)) = (old, new) {
                    self.failures.note(old, new);
                }
                self.set_task(task.id, new.as_ref());
            }
            Change::Cluster(_)
            | Change::Network(_)
            | Change::Service(_)
            | Change::Secret(_)
            | Change::Config(_) => {}
        }
    }

    pub(crate) fn has_work(&self) -> bool {
        self.waiting.is_due()
    }

    /// Takes a task as the store has it, because a decision about it was not carried out.
    pub(crate) fn look_again(&mut self, id: TaskId, task: Option<&Arc<Task>>) {
        self.set_task(id, task);
        task.filter(|task| is_pending(task)).into_iter().for_each(|task| self.waiting.add(task));
    }

    fn set_task(&mut self, id: TaskId, task: Option<&Arc<Task>>) {
        if self.loads.differs(id, task.map(|task| &**task)) {
            self.change_load(id, task);
        } else {
            self.loads.set_task(id, task);
        }
        match task.filter(|task| is_pending(task)) {
            Some(_) if self.waiting.has(id) => {}
            Some(task) => self.waiting.add(task),
            None => self.waiting.remove(id),
        }
    }

    /// Lets nodes carry a task as it is now. It holds something on one node at a time, and never moves.
    fn change_load(&mut self, id: TaskId, task: Option<&Arc<Task>>) {
        let counted = self.loads.task(id).or(task);
        let Some((node, service)) = counted.and_then(|task| Some((task.node?, task.service))) else { return };
        let before = self.waiting.before(&self.loads, node, Some(service));
        self.loads.set_task(id, task);
        self.waiting.after(&self.loads, node, before);
    }

    /// Places tasks until the batch is full.
    pub(crate) fn plan(&mut self, draft: &mut Draft<'_>) {
        while !draft.is_full()
            && let Some(task) = self.waiting.next_pinned()
        {
            self.place_pinned(draft, task);
        }
        while !draft.is_full()
            && let Some(kind) = self.waiting.next_due()
        {
            self.place_group(draft, &kind);
            self.tell_group(draft, &kind);
        }
    }

    fn place_pinned(&mut self, draft: &mut Draft<'_>, id: TaskId) {
        let Some(task) = draft.store().task(id).cloned() else { return };
        let outgoing = self.overlook(draft, &task);
        let place = task.node.and_then(|node| self.loads.get(node));
        let mut why = Explanation::default();
        let refusal = place.map(|(node, load)| filter::refusal(node, load, &task));
        self.count_again(&outgoing);
        if let (Some(node), Some(None)) = (task.node, refusal) {
            self.assign(draft, &task, node, "scheduler confirmed task can run on preassigned node");
        } else {
            why.change(None, refusal.flatten());
            tell(draft, &task, &why.to_string());
        }
    }

    /// Places tasks that are alike, the lower slots first, as long as there are nodes for them.
    fn place_group(&mut self, draft: &mut Draft<'_>, kind: &Kind) {
        let Some(group) = self.waiting.group(kind).filter(|group| !group.is_refused()) else { return };
        let example = group.example();
        // The example may run by now: it is what still waits that takes the place of others.
        let next = group.next().and_then(|id| draft.store().task(id).cloned());
        let outgoing = next.map_or_else(Vec::new, |next| self.overlook(draft, &next));
        self.place_all(draft, kind, &example);
        self.count_again(&outgoing);
    }

    /// Leaves out what others take the place of, `task` among them: it is gone when they serve, so it is not
    /// where the service will be.
    fn overlook(&mut self, draft: &Draft<'_>, task: &Task) -> Vec<Arc<Task>> {
        let outgoing = succession::outgoing(draft.store(), task);
        let outgoing: Vec<_> = outgoing.iter().filter_map(|id| self.loads.task(*id).cloned()).collect();
        for task in &outgoing {
            self.loads.overlook(task);
        }
        outgoing
    }

    fn count_again(&mut self, outgoing: &[Arc<Task>]) {
        for task in outgoing {
            self.loads.look_again(task);
        }
    }

    fn place_all(&mut self, draft: &mut Draft<'_>, kind: &Kind, example: &Arc<Task>) {
        let mut ranking = Ranking::new(self.scale(example, draft));
        while !draft.is_full()
            && let Some(id) = self.waiting.group(kind).and_then(|group| group.next())
        {
            let Some(task) = draft.store().task(id).filter(|task| is_pending(task)).cloned() else {
                self.waiting.remove(id);
                continue;
            };
            let Some(node) = ranking.take_best(self.scale(example, draft)) else {
                self.waiting.refuse(kind, Explanation::of(&self.loads, example));
                return;
            };
            self.assign(draft, &task, node, "scheduler assigned task to node");
            ranking.put_back(self.scale(example, draft), node);
        }
    }

    /// Tells the tasks of a group why they wait, if they do.
    fn tell_group(&mut self, draft: &mut Draft<'_>, kind: &Kind) {
        while !draft.is_full() {
            let Some((id, why)) = self.waiting.group(kind).and_then(|group| group.tell()) else {
                return self.waiting.done(kind);
            };
            if let Some(task) = draft.store().task(id).cloned() {
                tell(draft, &task, why);
            }
        }
    }

    fn scale<'a>(&'a self, task: &'a Task, draft: &Draft<'_>) -> Scale<'a> {
        Scale { loads: &self.loads, failures: &self.failures, task, now: draft.now() }
    }

    fn assign(&mut self, draft: &mut Draft<'_>, task: &Task, node: NodeId, message: &str) {
        let claimed = self.loads.get(node).and_then(|(node, load)| generic::claim(node, &load.generic, task));
        let mut task = managed(task, TaskState::Assigned, message, "", draft.now());
        task.node = Some(node);
        task.generic = claimed.unwrap_or_default();
        let id = task.id;
        draft.put_task(task);
        self.set_task(id, draft.store().task(id));
    }
}

/// Writes on a task why it waits.
fn tell(draft: &mut Draft<'_>, task: &Task, why: &str) {
    if task.status.err != why {
        draft.put_task(managed(task, TaskState::Pending, &task.status.message, why, draft.now()));
    }
}

fn is_pending(task: &Task) -> bool {
    task.status.state == TaskState::Pending && task.desired_state <= TaskState::Running
}
