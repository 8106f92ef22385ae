//! Jobs: tasks that come to an end. A replicated job has a slot for each completion, of which so many are under
//! way at once; a global job has one completion on each node that matches, also on those that come later.
//!
//! Tasks belong to a run of their job. Those of earlier runs are stopped and count for nothing; the ended ones
//! stay as history.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::global::standing;
use super::{Instance, Orchestrator, instance, is_live, new_task, restart};
use crate::id::Entropy;
use crate::leader::draft::Draft;
use crate::object::{Service, Task, TaskState};

/// How far a place of a job is, in the present run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Nothing ran there yet.
    None,
    /// A task runs, or one is to.
    UnderWay,
    /// A task ended with success.
    Complete,
    /// The last task failed and the restart policy lets no other follow.
    Spent,
}

impl Orchestrator {
    /// Brings a replicated job in order; false when the batch was full before it was.
    pub(super) fn plan_replicated_job(
        &mut self,
        draft: &mut Draft<'_>,
        service: &Service,
        (max_concurrent, total): (u32, u32),
        entropy: &mut dyn Entropy,
    ) -> bool {
        let mut slots: BTreeMap<u32, Progress> = BTreeMap::new();
        for slot in slots_of(draft, service) {
            if draft.is_full() {
                return false;
            }
            slots.insert(slot, self.keep_job(draft, service, Instance::slot(service.id, slot), entropy));
        }
        let (total, most) = (to_usize(total), to_usize(max_concurrent));
        withdraw(draft, service, &mut slots, total);
        let under_way = slots.values().filter(|progress| **progress == Progress::UnderWay).count();
        let fresh = most.saturating_sub(under_way).min(total.saturating_sub(slots.len()));
        let free = (1..=u32::MAX).filter(|slot| !slots.contains_key(slot));
        for slot in free.take(fresh) {
            if draft.is_full() {
                return false;
            }
            draft.put_task(new_task(service, Instance::slot(service.id, slot), draft.now(), entropy));
        }
        true
    }

    /// Looks at one slot of a replicated job. What ends there makes room for another.
    pub(super) fn plan_job_slot(
        &mut self,
        draft: &mut Draft<'_>,
        service: &Service,
        instance: Instance,
        entropy: &mut dyn Entropy,
    ) {
        if self.keep_job(draft, service, instance, entropy) != Progress::UnderWay {
            self.services.insert(service.id);
        }
    }

    /// Keeps one task in a place of a job until one has completed, if the restart policy allows.
    fn keep_job(
        &mut self,
        draft: &mut Draft<'_>,
        service: &Service,
        instance: Instance,
        entropy: &mut dyn Entropy,
    ) -> Progress {
        let earlier = instance.tasks(draft.store());
        for task in earlier.iter().filter(|task| !is_of_this_run(service, task)) {
            if !task.status.state.is_final() {
                instance::remove(draft, task);
            }
        }
        match progress(draft, service, instance) {
            Progress::UnderWay => self.keep(draft, service, instance, entropy),
            Progress::None => instance::clean_up(draft, instance),
            Progress::Complete | Progress::Spent => close(draft, service, instance),
        }
        progress(draft, service, instance)
    }

    /// Looks at one node of a global job.
    pub(super) fn plan_job_node(
        &mut self,
        draft: &mut Draft<'_>,
        service: &Service,
        instance: Instance,
        entropy: &mut dyn Entropy,
    ) {
        let (belongs, takes_new) = standing(draft.store(), service, instance);
        if !belongs {
            close(draft, service, instance);
        } else if self.keep_job(draft, service, instance, entropy) == Progress::None && takes_new {
            draft.put_task(new_task(service, instance, draft.now(), entropy));
        }
    }
}

/// Whether a task belongs to the present run of its job.
fn is_of_this_run(service: &Service, task: &Task) -> bool {
    task.job_iteration == service.job.map(|job| job.iteration)
}

fn progress(draft: &Draft<'_>, service: &Service, instance: Instance) -> Progress {
    let mut tasks = instance.tasks(draft.store());
    tasks.retain(|task| is_of_this_run(service, task) && task.desired_state != TaskState::Remove);
    let Some(last) = tasks.last() else { return Progress::None };
    let follows = || !last.status.state.is_final() || restart::allows(draft, service, instance, last);
    if tasks.iter().any(|task| task.status.state == TaskState::Complete) {
        Progress::Complete
    } else if tasks.iter().any(|task| is_live(task) && !task.status.state.is_final()) || follows() {
        Progress::UnderWay
    } else {
        Progress::Spent
    }
}

/// Ends what is left in a place in which nothing is to follow. What is complete is as it should be.
fn close(draft: &mut Draft<'_>, service: &Service, instance: Instance) {
    for task in instance.tasks(draft.store()) {
        if is_live(&task) && !(is_of_this_run(service, &task) && task.status.state == TaskState::Complete) {
            instance::retire(draft, &task, TaskState::Shutdown);
        }
    }
    instance::clean_up(draft, instance);
}

fn slots_of(draft: &Draft<'_>, service: &Service) -> std::collections::BTreeSet<u32> {
    draft.store().service_tasks(service.id).map(|task| task.slot).collect()
}

/// Leaves the slots of the present run. Takes away those that are too many since the job wants fewer
/// completions: not the complete ones, the highest numbers first, and what earlier runs left beyond them.
fn withdraw(draft: &mut Draft<'_>, service: &Service, slots: &mut BTreeMap<u32, Progress>, total: usize) {
    let left: Vec<u32> =
        slots.extract_if(.., |_, progress| *progress == Progress::None).map(|(slot, _)| slot).collect();
    let open = slots.iter().rev().filter(|(_, progress)| **progress != Progress::Complete);
    let surplus: Vec<u32> = open.map(|(slot, _)| *slot).take(slots.len().saturating_sub(total)).collect();
    for slot in &surplus {
        slots.remove(slot);
    }
    for slot in left.into_iter().filter(|slot| to_usize(*slot) > total).chain(surplus) {
        let tasks: Vec<Arc<Task>> = draft.store().slot_tasks(service.id, slot).cloned().collect();
        tasks.iter().for_each(|task| instance::remove(draft, task));
    }
}

fn to_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
