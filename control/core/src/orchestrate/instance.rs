//! One slot, or one node of a global service: one live task, or two while a new one takes the place of an old
//! one that serves; a replacement for one that ended; and a history that stays short.
//!
//! Whoever wants an instance to have another task (updater, drain, constraints) calls [`Orchestrator::change`]
//! once. What follows is seen from the store: an older live task goes when a younger one serves, and a younger
//! one that does not serve yet goes when nothing speaks against the older one any more.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::job::is_result;
use super::rebalance::is_moving;
use super::update::{awaits_turn, is_dirty, is_of_update, is_paused, order, stays_as_it_was, successor};
use super::{Instance, Orchestrator, history_limit, is_live, new_task, restart};
use crate::id::{Entropy, ServiceId};
use crate::leader::draft::{Draft, managed};
use crate::object::{AllocatedPort, Leaving, NodeState, Service, Task, TaskState};
use crate::schedule::suits;
use crate::spec::{Availability, UpdateOrder};
use crate::store::Store;

/// Time from one look at a task that waits for a port of its predecessor to the next: what ends elsewhere is not
/// noticed here.
const CONTENTION: Duration = Duration::from_secs(1);

/// The live tasks that an instance keeps.
#[derive(Debug, Default)]
struct Tenants {
    /// The one that serves.
    holder: Option<Arc<Task>>,
    /// The one that is to serve next, or first of all.
    next: Option<Arc<Task>>,
}

/// Visits the slots of a service that have tasks; false when the batch was full before the last.
pub(super) fn each_slot(
    draft: &mut Draft<'_>,
    service: &Service,
    mut visit: impl FnMut(&mut Draft<'_>, Instance),
) -> bool {
    let slots: BTreeSet<u32> = draft.store().service_tasks(service.id).map(|task| task.slot).collect();
    for slot in slots {
        if draft.is_full() {
            return false;
        }
        visit(draft, Instance::slot(service.id, slot));
    }
    true
}

/// Puts the first task into an instance. Where an earlier one is yet to end, it is prepared and starts after that,
/// but for a service whose tasks may stand beside each other.
pub(super) fn begin(draft: &mut Draft<'_>, service: &Service, instance: Instance, entropy: &mut dyn Entropy) {
    let mut task = new_task(service, instance, draft.now(), entropy);
    let beside = !service.spec.mode.is_job() && order(service) == UpdateOrder::StartFirst;
    if !beside && is_vacating(draft.store(), instance) {
        task.desired_state = TaskState::Ready;
    }
    draft.put_task(task);
}

/// Takes everything out of an instance.
pub(super) fn empty(draft: &mut Draft<'_>, instance: Instance) {
    for task in instance.tasks(draft.store()) {
        remove(draft, &task);
    }
    clean_up(draft, instance);
}

impl Orchestrator {
    /// Keeps one task in the instance, if its service's restart policy allows.
    pub(super) fn keep(
        &mut self,
        draft: &mut Draft<'_>,
        service: &Service,
        instance: Instance,
        entropy: &mut dyn Entropy,
    ) {
        let tasks = instance.tasks(draft.store());
        let Tenants { holder, next } = Tenants::sift(draft, service, &tasks);
        match (holder, next, tasks.last()) {
            (holder, Some(next), _) if !has_to_move(draft.store(), service, &next) => {
                self.let_start(draft, instance, &next, holder.is_some());
                if holder.is_some_and(|holder| contends(&holder, &next)) {
                    self.wait_until(draft.now().next(CONTENTION), instance);
                }
            }
            (_, Some(next), _) => {
                retire(draft, &next, TaskState::Shutdown);
                self.replace(draft, service, instance, &next, entropy);
            }
            (Some(holder), None, Some(last)) => {
                self.keep_holder(draft, service, instance, (&holder, last), entropy);
            }
            (None, None, Some(last)) if awaits_turn(draft.store(), service, last) => {}
            (None, None, Some(last)) if last.desired_state != TaskState::Remove => {
                self.replace(draft, service, instance, last, entropy);
            }
            _ => {}
        }
        clean_up(draft, instance);
    }

    /// Looks at a task that serves and has no successor; `last` is the instance's youngest task.
    fn keep_holder(
        &mut self,
        draft: &mut Draft<'_>,
        service: &Service,
        instance: Instance,
        (holder, last): (&Arc<Task>, &Arc<Task>),
        entropy: &mut dyn Entropy,
    ) {
        let moves = has_to_move(draft.store(), service, holder);
        // A successor was tried and failed: the next try is a restart, after the delay and within the attempts,
        // and none at all while the update that made it is paused.
        let (store, changes) = (draft.store(), is_dirty(draft.store(), service, holder));
        let updates = changes && !is_paused(service) && !is_dirty(store, service, last);
        let stays = stays_as_it_was(store, service, holder);
        let version = if stays { holder.spec_version } else { service.spec_version };
        let tried = last.id != holder.id && ended_by_itself(last);
        if tried && (updates || (moves && last.spec_version == version)) {
            self.replace(draft, service, instance, last, entropy);
        } else if moves && restart::allows(draft, service, instance, holder) {
            let fresh = new_task(service, instance, draft.now(), entropy);
            let task = successor(draft.store(), service, holder, fresh);
            change(draft, instance, order(service), task);
        } else if moves {
            retire(draft, holder, TaskState::Shutdown);
        }
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
        if !restart::allows(draft, service, instance, last) {
            return;
        }
        // A task that failed before its turn to start, as one whose image nobody has does at once, is followed
        // at that turn: so there is one try a delay, not one after the other.
        if ended_by_itself(last) && last.start_at > draft.now() {
            self.wait_until(last.start_at, instance);
            return;
        }
        let fresh = new_task(service, instance, draft.now(), entropy);
        let mut task = successor(draft.store(), service, last, fresh);
        task.restarts = restart::carried(&task, last, draft.now());
        if ended_by_itself(last) {
            task.start_at = draft.now() + last.spec.restart.delay;
        }
        let waits = is_waited_for(draft.store(), last) || is_vacating(draft.store(), instance);
        if task.start_at > draft.now() || waits {
            task.desired_state = TaskState::Ready;
            self.wait_until(task.start_at, instance);
        }
        draft.put_task(task);
    }

    /// Lets a task that was made ready start, once its delay is over and, unless it comes to stand beside one
    /// that serves, its predecessors are gone.
    fn let_start(&mut self, draft: &mut Draft<'_>, instance: Instance, task: &Arc<Task>, beside: bool) {
        if task.desired_state != TaskState::Ready {
            return;
        }
        if task.start_at > draft.now() {
            self.wait_until(task.start_at, instance);
            return;
        }
        if beside || !is_vacating(draft.store(), instance) {
            draft.put_task(Task { desired_state: TaskState::Running, ..Task::clone(task) });
        }
    }
}

/// Puts a new task in the place of the live ones. With [`UpdateOrder::StartFirst`] one that serves stays until
/// the new one does; otherwise the new one is prepared, and starts when the old ones have ended.
pub(super) fn change(draft: &mut Draft<'_>, instance: Instance, order: UpdateOrder, mut task: Task) {
    let mut live = instance.tasks(draft.store());
    live.retain(|task| is_live(task) && !is_lost(draft.store(), task));
    let serving = live.iter().filter(|task| order == UpdateOrder::StartFirst && service_rank(task) > 0);
    let stays = serving.max_by_key(|task| (service_rank(task), super::age(task))).map(|task| task.id);
    for task in live.iter().filter(|task| Some(task.id) != stays) {
        match draft.base().task(task.id) {
            Some(_) => retire(draft, task, TaskState::Shutdown),
            None => draft.delete_task(task),
        }
    }
    if let Some(last) = live.last() {
        task.restarts = restart::carried(&task, last, draft.now());
    }
    if stays.is_none() && is_vacating(draft.store(), instance) {
        task.desired_state = TaskState::Ready;
    }
    draft.put_task(task);
}

impl Tenants {
    /// Retires the live tasks that have ended, that lost their node, and those that are one too many.
    fn sift(draft: &mut Draft<'_>, service: &Service, tasks: &[Arc<Task>]) -> Self {
        let (lost, live): (Vec<_>, Vec<_>) =
            tasks.iter().filter(|task| is_live(task)).partition(|task| is_lost(draft.store(), task));
        let holder = live.iter().filter(|task| service_rank(task) > 0);
        let holder =
            holder.max_by_key(|task| (service_rank(task), super::age(task))).map(|task| Arc::clone(task));
        let younger =
            |task: &Task| holder.as_ref().is_none_or(|holder| super::age(task) > super::age(holder));
        let next = live.last().filter(|task| younger(task)).map(|task| Arc::clone(task));
        let mut tenants = Self { holder, next };
        if let (Some(holder), Some(next)) = (&tenants.holder, &tenants.next) {
            let store = draft.store();
            let leaves = has_to_move(store, service, holder) || is_dirty(store, service, holder);
            let stops = order(service) == UpdateOrder::StopFirst || is_in_the_way(store, holder, next);
            if !leaves && !is_moving(service, holder) {
                tenants.next = None;
            } else if leaves && stops {
                tenants.holder = None;
            }
        }
        let surplus = live.into_iter().filter(|task| !tenants.has(task));
        lost.into_iter().chain(surplus).for_each(|task| retire(draft, task, TaskState::Shutdown));
        tenants
    }

    fn has(&self, task: &Task) -> bool {
        [&self.holder, &self.next].into_iter().flatten().any(|tenant| tenant.id == task.id)
    }
}

/// Whether a new task finds no node because of the ports that the old one has on a good one, and nothing else
/// of the service is about to give them up. Then the old one has to go first, or neither would ever move.
fn is_in_the_way(store: &Store, holder: &Task, next: &Task) -> bool {
    let (needs, frees) = (&next.spec.resources, &holder.spec.resources);
    let fits = needs.reservations.nano_cpus <= frees.reservations.nano_cpus
        && needs.reservations.memory_bytes <= frees.reservations.memory_bytes
        && needs.generic == frees.generic;
    let node = holder.node.and_then(|node| store.node(node));
    let leaves = |task: &Task| !is_live(task) && is_waited_for(store, task);
    contends(holder, next)
        && fits
        && node.is_some_and(|node| suits(node, &next.spec.placement))
        && !store.service_tasks(next.service).any(|task| leaves(task))
}

/// Whether a new task that finds no node wants ports that the old one has on its node.
fn contends(holder: &Task, next: &Task) -> bool {
    let takes = |port: &AllocatedPort| (port.published, port.protocol);
    let clashes = |port| holder.host_ports.iter().any(|held| takes(held) == takes(port));
    let waits = next.status.state == TaskState::Pending && !next.status.err.is_empty();
    waits && next.host_ports.iter().any(clashes)
}

/// How well a live task serves: 2 when it is sent to, 1 when it runs.
fn service_rank(task: &Task) -> u8 {
    let healthy = task.status.container.as_ref().is_none_or(|container| container.health.serves());
    match task.status.state {
        TaskState::Running if healthy => 2,
        TaskState::Running => 1,
        _ => 0,
    }
}

/// Raises a task's desired state to one in which it ends; one that serves leaves in order.
pub(super) fn retire(draft: &mut Draft<'_>, task: &Arc<Task>, desired: TaskState) {
    let leaving = leaving(draft.store(), task);
    let hurries = leaving.is_none() && task.leaving.is_some();
    if task.desired_state < desired || hurries {
        let desired_state = desired.max(task.desired_state);
        draft.put_task(Task { desired_state, leaving, ..Task::clone(task) });
    }
}

/// How a task leaves that is to end. One that never served has nothing to wait for; nor has one whose service is
/// gone, for nobody is sent to it any more.
fn leaving(store: &Store, task: &Task) -> Option<Leaving> {
    let service = store.service(task.service).filter(|_| task.status.state == TaskState::Running)?;
    let begun = Leaving { drain: service.spec.drain(&task.spec), cleared: task.endpoints.is_empty() };
    Some(task.leaving.unwrap_or(begun))
}

/// Whether a live task is no more: it has ended, or its node cannot be asked for it.
fn is_lost(store: &Store, task: &Task) -> bool {
    let placed = task.status.state >= TaskState::Assigned;
    let node = task.node.and_then(|node| store.node(node));
    task.status.state.is_final() || (placed && node.is_none_or(|node| node.status.state.is_away()))
}

/// Whether a live task cannot stay where it is: its node gives its tasks away, or does not fulfil the
/// constraints. These are the service's of now, as they can change without making a task outdated; one that is
/// outdated all the same is the updater's.
fn has_to_move(store: &Store, service: &Service, task: &Task) -> bool {
    let placed = task.status.state >= TaskState::Assigned;
    let Some(node) = task.node.and_then(|node| store.node(node)).filter(|_| placed) else { return false };
    let spec = if is_dirty(store, service, task) { &task.spec } else { &service.spec.task };
    node.spec.availability == Availability::Drain
        || !spec.placement.constraints.iter().all(|constraint| constraint.matches(node))
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

/// Whether a retired task of the instance still runs where it can be seen to end.
fn is_vacating(store: &Store, instance: Instance) -> bool {
    instance.tasks(store).iter().any(|task| !is_live(task) && is_waited_for(store, task))
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
    let service = draft.store().service(instance.service).cloned();
    let needed = |task: &Task| {
        service.as_deref().is_some_and(|service| is_of_update(service, task) || is_result(service, task))
    };
    let ended = tasks.iter().filter(|task| task.status.state.is_final() && !is_live(task) && !needed(task));
    // The youngest task stays when it has ended: it says why, that the place is taken, and that a try failed.
    let spare = usize::from(tasks.last().is_some_and(|task| !is_live(task)));
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
