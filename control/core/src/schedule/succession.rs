//! Tasks that others are about to take the place of: start-first, the old one runs until the new one serves.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::TaskId;
use crate::object::Task;
use crate::orchestrate::{age, is_live};
use crate::store::Store;

/// The tasks of `task`'s service that a younger one in their slot, or on their node, takes the place of; none when
/// nothing runs where `task` is to run, as then nothing is under way start-first. Looks at every task of the
/// service that has slots, else at those of its node.
pub(super) fn outgoing(store: &Store, task: &Task) -> Vec<TaskId> {
    let takes_over = |other: &&Arc<Task>| other.id != task.id && is_there(other);
    if task.slot == 0 {
        let there = task.node.into_iter().flat_map(|node| store.node_tasks(node));
        let others = there.filter(|other| other.service == task.service).filter(takes_over);
        return others.map(|other| other.id).collect();
    }
    if !store.slot_tasks(task.service, task.slot).any(|other| takes_over(&other)) {
        return Vec::new();
    }
    let mut slots: BTreeMap<u32, Vec<&Arc<Task>>> = BTreeMap::new();
    for task in store.service_tasks(task.service).filter(|task| is_there(task)) {
        slots.entry(task.slot).or_default().push(task);
    }
    slots.into_values().filter(|tasks| tasks.len() > 1).flat_map(|tasks| older(&tasks)).collect()
}

fn older(tasks: &[&Arc<Task>]) -> Vec<TaskId> {
    let youngest = tasks.iter().map(|task| age(task)).max();
    tasks.iter().filter(|task| Some(age(task)) != youngest).map(|task| task.id).collect()
}

fn is_there(task: &Task) -> bool {
    is_live(task) && !task.status.state.is_final()
}
