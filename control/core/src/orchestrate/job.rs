//! Jobs: tasks that come to an end. A replicated job has a slot for each completion, of which so many are under
//! way at once; a global job has one completion on each node that matches, also on those that come later.
//!
//! Tasks belong to a run of their job. Those of earlier runs are stopped and count for nothing; the ended ones
//! stay as history.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::global::standing;
use super::{Instance, Orchestrator, age, instance, is_live, restart};
use crate::id::Entropy;
use crate::leader::draft::Draft;
use crate::object::{Service, Task, TaskState};
use crate::spec::ServiceMode;

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
        entropy: &mut dyn Entropy,
    ) -> bool {
        let keep = |draft: &mut Draft<'_>, slot| {
            self.keep_job(draft, service, slot, entropy);
        };
        instance::each_slot(draft, service, keep) && fill(draft, service, entropy)
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
            self.roomy.insert(service.id);
        }
    }

    /// Begins what jobs have room for since something in them ended, until the batch is full.
    pub(super) fn fill_jobs(&mut self, draft: &mut Draft<'_>, entropy: &mut dyn Entropy) {
        while let Some(id) = self.roomy.first().copied().filter(|_| !draft.is_full()) {
            let service = draft.store().service(id).cloned();
            if service.is_none_or(|service| fill(draft, &service, entropy)) {
                self.roomy.remove(&id);
            }
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
        let tasks = instance.tasks(draft.store());
        let earlier = tasks.iter().filter(|task| !is_of_this_run(service, task));
        for task in earlier.filter(|task| !task.status.state.is_final()) {
            instance::remove(draft, task);
        }
        let progress = progress(draft, service, instance, &tasks.iter().collect::<Vec<_>>());
        match progress {
            Progress::UnderWay => self.keep(draft, service, instance, entropy),
            Progress::None => instance::clean_up(draft, instance),
            Progress::Complete | Progress::Spent => close(draft, service, instance),
        }
        progress
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
        if instance.is_gone(draft.store()) {
            instance::empty(draft, instance);
        } else if !belongs {
            close(draft, service, instance);
        } else if self.keep_job(draft, service, instance, entropy) == Progress::None && takes_new {
            instance::begin(draft, service, instance, entropy);
        }
    }
}

/// Whether a task is one of the completions of its job's present run.
pub(super) fn is_result(service: &Service, task: &Task) -> bool {
    service.job.is_some() && is_of_this_run(service, task) && task.status.state == TaskState::Complete
}

/// Whether a task belongs to the present run of its job.
fn is_of_this_run(service: &Service, task: &Task) -> bool {
    task.job_iteration == service.job.map(|job| job.iteration)
}

/// How far a place is. Its tasks may come in any order.
fn progress(draft: &Draft<'_>, service: &Service, instance: Instance, tasks: &[&Arc<Task>]) -> Progress {
    let present = || {
        let tasks = tasks.iter().filter(|task| task.desired_state != TaskState::Remove);
        tasks.filter(|task| is_of_this_run(service, task))
    };
    let Some(last) = present().max_by_key(|task| age(task)) else { return Progress::None };
    let follows = || !last.status.state.is_final() || restart::allows(draft, service, instance, last);
    if present().any(|task| is_result(service, task)) {
        Progress::Complete
    } else if present().any(|task| is_live(task) && !task.status.state.is_final()) || follows() {
        Progress::UnderWay
    } else {
        Progress::Spent
    }
}

/// How far each slot of a job is that has tasks.
fn survey(draft: &Draft<'_>, service: &Service) -> BTreeMap<u32, Progress> {
    let tasks: Vec<_> = draft.store().service_tasks(service.id).collect();
    let slots = tasks.chunk_by(|one, other| one.slot == other.slot);
    let slots = slots.filter_map(|tasks| Some((tasks.first()?.slot, tasks)));
    slots
        .map(|(slot, tasks)| (slot, progress(draft, service, Instance::slot(service.id, slot), tasks)))
        .collect()
}

/// Begins as many completions of a replicated job as may be under way at once; false when the batch was full
/// before.
fn fill(draft: &mut Draft<'_>, service: &Service, entropy: &mut dyn Entropy) -> bool {
    let ServiceMode::ReplicatedJob { max_concurrent, total_completions } = service.spec.mode else {
        return true;
    };
    let (most, total) = (to_usize(max_concurrent), to_usize(total_completions));
    let mut slots = survey(draft, service);
    withdraw(draft, service, &mut slots, total);
    let under_way = slots.values().filter(|progress| **progress == Progress::UnderWay).count();
    let fresh = most.saturating_sub(under_way).min(total.saturating_sub(slots.len()));
    let free = (1..=u32::MAX).filter(|slot| !slots.contains_key(slot));
    for slot in free.take(fresh) {
        if draft.is_full() {
            return false;
        }
        instance::begin(draft, service, Instance::slot(service.id, slot), entropy);
    }
    true
}

/// Ends what is left in a place in which nothing is to follow. What is complete is as it should be.
fn close(draft: &mut Draft<'_>, service: &Service, instance: Instance) {
    for task in instance.tasks(draft.store()) {
        if is_live(&task) && !is_result(service, &task) {
            instance::retire(draft, &task, TaskState::Shutdown);
        }
    }
    instance::clean_up(draft, instance);
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
        for task in &tasks {
            instance::remove(draft, task);
        }
    }
}

fn to_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
