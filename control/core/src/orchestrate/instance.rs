//! One slot, or one node of a global service: at most one live task, a replacement for one that ended, and
//! a history that stays short.

use std::sync::Arc;

use super::{Instance, Orchestrator, history_limit, is_live, new_task};
use crate::id::{Entropy, ServiceId};
use crate::leader::draft::{Draft, managed};
use crate::object::{NodeState, Service, Task, TaskState};
use crate::spec::Availability;
use crate::store::Store;

impl Orchestrator {
    /// Keeps one live task in the instance, if its service's restart policy allows.
    pub(super) fn keep(
        &mut self,
        draft: &mut Draft<'_>,
        service: &Service,
        instance: Instance,
        entropy: &mut dyn Entropy,
    ) {
        let tasks = instance.tasks(draft.store());
        let (mut good, bad): (Vec<_>, Vec<_>) = tasks
            .iter()
            .filter(|task| is_live(task))
            .cloned()
            .partition(|task| can_stay(draft.store(), task));
        for task in &bad {
            retire(draft, task, TaskState::Shutdown);
        }
        // Two live tasks in one place come of a batch that was decided twice; the one that is furthest stays.
        good.sort_by_key(|task| (std::cmp::Reverse(task.status.state), super::age(task)));
        good.iter().skip(1).for_each(|task| retire(draft, task, TaskState::Shutdown));
        match (good.first(), tasks.last()) {
            (Some(current), _) => self.let_start(draft, instance, current),
            (None, Some(last)) if last.desired_state != TaskState::Remove => {
                self.replace(draft, service, instance, last, entropy);
            }
            _ => {}
        }
        clean_up(draft, instance);
    }

    /// Makes the task that takes the place of `last`, the instance's youngest.
    fn replace(
        &mut self,
        draft: &mut Draft<'_>,
        service: &Service,
        instance: Instance,
        last: &Task,
        entropy: &mut dyn Entropy,
    ) {
        if !self.restarts.allows(instance, last, draft.now()) {
            return;
        }
        // A task that failed before its turn to start, as one whose image nobody has does at once, is followed
        // at that turn: so there is one try a delay, not one after the other.
        if ended_by_itself(last) && last.start_at > draft.now() {
            self.wait_until(last.start_at, instance);
            return;
        }
        let mut task = new_task(service, instance, draft.now(), entropy);
        if ended_by_itself(last) {
            task.start_at = draft.now() + last.spec.restart.delay;
        }
        if task.start_at > draft.now() || is_waited_for(draft.store(), last) {
            task.desired_state = TaskState::Ready;
            self.wait_until(task.start_at, instance);
        }
        draft.put_task(task);
    }

    /// Lets a task that was made ready start, once its delay is over and its predecessor is gone.
    fn let_start(&mut self, draft: &mut Draft<'_>, instance: Instance, task: &Arc<Task>) {
        if task.desired_state != TaskState::Ready {
            return;
        }
        if task.start_at > draft.now() {
            self.wait_until(task.start_at, instance);
            return;
        }
        let others = instance.tasks(draft.store());
        let waits = others.iter().any(|other| other.id != task.id && is_waited_for(draft.store(), other));
        if !waits {
            draft.put_task(Task { desired_state: TaskState::Running, ..Task::clone(task) });
        }
    }
}

/// Raises a task's desired state.
pub(super) fn retire(draft: &mut Draft<'_>, task: &Arc<Task>, desired: TaskState) {
    if task.desired_state < desired {
        draft.put_task(Task { desired_state: desired, ..Task::clone(task) });
    }
}

/// Whether a live task may stay where it is: it has not ended, and its node is there, takes tasks and still
/// fulfils the constraints.
fn can_stay(store: &Store, task: &Task) -> bool {
    let placed = task.status.state >= TaskState::Assigned;
    let node = task.node.and_then(|node| store.node(node));
    match node {
        _ if task.status.state.is_final() => false,
        _ if !placed => true,
        None => false,
        Some(node) => {
            let there = !matches!(node.status.state, NodeState::Down | NodeState::Disconnected);
            let takes = node.spec.availability != Availability::Drain;
            there
                && takes
                && task.spec.placement.constraints.iter().all(|constraint| constraint.matches(node))
        }
    }
}

/// Whether the task's end was its own doing, so that its replacement waits for the restart delay.
pub(super) fn ended_by_itself(task: &Task) -> bool {
    matches!(task.status.state, TaskState::Complete | TaskState::Failed | TaskState::Rejected)
}

/// Whether a task still runs where it can be seen to end, so that its replacement waits for that.
fn is_waited_for(store: &Store, task: &Task) -> bool {
    let given = (TaskState::Assigned..=TaskState::Running).contains(&task.status.state);
    let node = task.node.and_then(|node| store.node(node));
    given && node.is_some_and(|node| node.status.state == NodeState::Ready)
}

/// Ends what no agent will end, deletes what is to be deleted, and shortens the history.
pub(super) fn clean_up(draft: &mut Draft<'_>, instance: Instance) {
    for task in instance.tasks(draft.store()) {
        let unseen = task.status.state < TaskState::Assigned;
        match task.desired_state {
            TaskState::Remove if unseen || task.status.state.is_final() => draft.delete_task(&task),
            TaskState::Shutdown if unseen => {
                draft.put_task(managed(
                    &task,
                    TaskState::Shutdown,
                    "shutdown before it was assigned",
                    "",
                    draft.now(),
                ));
            }
            _ => {}
        }
    }
    let limit = history_limit(draft.store().cluster());
    let tasks = instance.tasks(draft.store());
    let surplus = tasks.len().saturating_sub(limit);
    let ended = tasks.iter().filter(|task| task.status.state.is_final() && !is_live(task));
    // The youngest ended task stays when nothing is live: it says why, and that the place is taken.
    let spare = usize::from(!tasks.iter().any(|task| is_live(task)));
    let prunable = ended.clone().count().saturating_sub(spare);
    for task in ended.take(surplus.min(prunable)) {
        draft.delete_task(task);
    }
}

/// Removes every task of a service that is gone; false when the batch was full before.
pub(super) fn remove_all(draft: &mut Draft<'_>, service: ServiceId) -> bool {
    let tasks: Vec<_> = draft.store().service_tasks(service).cloned().collect();
    for task in tasks {
        if draft.is_full() {
            return false;
        }
        remove(draft, &task);
    }
    true
}

/// Deletes a task that no agent has, and asks the agent to end one that it has.
pub(super) fn remove(draft: &mut Draft<'_>, task: &Arc<Task>) {
    if task.status.state < TaskState::Assigned || task.status.state.is_final() {
        draft.delete_task(task);
    } else {
        retire(draft, task, TaskState::Remove);
    }
}
