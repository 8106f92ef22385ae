//! Replicated services: so many slots, the lowest free numbers first; what is too much leaves the nodes
//! with the most copies first.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Instance, Orchestrator, instance, is_live};
use crate::id::{Entropy, NodeId};
use crate::leader::draft::Draft;
use crate::object::{Service, Task, TaskState};

impl Orchestrator {
    /// Brings a replicated service in order; false when the batch was full before it was.
    pub(super) fn plan_replicated(
        &mut self,
        draft: &mut Draft<'_>,
        service: &Service,
        replicas: u32,
        entropy: &mut dyn Entropy,
    ) -> bool {
        let keep = |draft: &mut Draft<'_>, slot| self.keep(draft, service, slot, entropy);
        if !instance::each_slot(draft, service, keep) {
            return false;
        }
        let slots = occupied(draft, service);
        let wanted = usize::try_from(replicas).unwrap_or(usize::MAX);
        if slots.len() > wanted {
            return scale_down(draft, service, slots, wanted);
        }
        let free = (1..=u32::MAX).filter(|slot| !slots.contains_key(slot));
        for slot in free.take(wanted - slots.len()) {
            if draft.is_full() {
                return false;
            }
            let instance = Instance::slot(service.id, slot);
            instance::begin(draft, service, instance, entropy);
        }
        true
    }
}

/// The slots that count as replicas, each with its live task, the one that runs where there are two, or with
/// the last one where the restart policy left none.
fn occupied(draft: &Draft<'_>, service: &Service) -> BTreeMap<u32, Arc<Task>> {
    let mut slots: BTreeMap<u32, Arc<Task>> = BTreeMap::new();
    for task in draft.store().service_tasks(service.id).filter(|task| task.desired_state != TaskState::Remove)
    {
        let runs = |task: &Task| is_live(task) && task.status.state == TaskState::Running;
        let rank = |task: &Task| (is_live(task), runs(task), super::age(task));
        let better = |have: &Arc<Task>| rank(task) > rank(have);
        if slots.get(&task.slot).is_none_or(better) {
            slots.insert(task.slot, task.clone());
        }
    }
    slots
}

/// Removes slots until `wanted` are left.
fn scale_down(
    draft: &mut Draft<'_>,
    service: &Service,
    slots: BTreeMap<u32, Arc<Task>>,
    wanted: usize,
) -> bool {
    let mut slots: Vec<_> = slots.into_iter().collect();
    // Running ones stay before the others, then the lower numbers.
    slots.sort_by_key(|(slot, task)| (task.status.state != TaskState::Running || !is_live(task), *slot));
    let mut copies: BTreeMap<NodeId, u32> = BTreeMap::new();
    let mut ranked: Vec<(u32, u32)> = slots
        .into_iter()
        .map(|(slot, task)| {
            // The nth copy on its node; a task that has no node goes before any that has.
            let nth = task.node.filter(|_| is_live(&task)).map_or(u32::MAX, |node| {
                let count = copies.entry(node).or_default();
                *count += 1;
                *count
            });
            (nth, slot)
        })
        .collect();
    ranked.sort_by_key(|(nth, _)| *nth);
    for (_, slot) in ranked.split_off(wanted) {
        let tasks: Vec<_> = draft.store().slot_tasks(service.id, slot).cloned().collect();
        for task in &tasks {
            instance::remove(draft, task);
        }
        if draft.is_full() {
            return false;
        }
    }
    true
}
