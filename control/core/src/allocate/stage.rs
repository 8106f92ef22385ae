//! The leader's allocator: gives new tasks their addresses and makes them pending.

use std::collections::BTreeSet;

use super::{NoAddress, task_endpoints, task_networks};
use crate::id::{NetworkId, TaskId};
use crate::leader::draft::{Draft, managed};
use crate::object::{Task, TaskState};
use crate::store::{Change, Delta, Store};

/// The tasks that have no addresses yet.
#[derive(Debug, Default)]
pub(crate) struct Allocator {
    fresh: BTreeSet<TaskId>,
    /// Found no address; tried again when one is given up.
    stuck: BTreeSet<TaskId>,
}

impl Allocator {
    pub(crate) fn new(store: &Store) -> Self {
        let fresh = store.tasks().filter(|task| needs_addresses(task)).map(|task| task.id).collect();
        Self { fresh, stuck: BTreeSet::new() }
    }

    /// Notes what a change means, whether it is committed or drafted.
    pub(crate) fn notice(&mut self, change: &Change) {
        match change {
            Change::Task(Delta { old, new }) => {
                if let Some(task) = new.as_ref().filter(|task| needs_addresses(task)) {
                    let known =
                        old.as_ref().is_some_and(|old| needs_addresses(old)) && self.stuck.contains(&task.id);
                    if !known {
                        self.fresh.insert(task.id);
                    }
                }
                let held = |task: &Task| !task.endpoints.is_empty() && !task.status.state.is_final();
                if old.as_ref().is_some_and(|old| held(old)) && !new.as_ref().is_some_and(|new| held(new)) {
                    self.fresh.append(&mut self.stuck);
                }
            }
            Change::Service(Delta { old: Some(old), new }) => {
                if new.as_ref().is_none_or(|new| new.endpoint != old.endpoint) {
                    self.fresh.append(&mut self.stuck);
                }
            }
            Change::Network(_) => self.fresh.append(&mut self.stuck),
            Change::Cluster(_)
            | Change::Node(_)
            | Change::Service(_)
            | Change::Secret(_)
            | Change::Config(_) => {}
        }
    }

    pub(crate) fn has_work(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// Looks at a task again, because a decision about it was not carried out.
    pub(crate) fn look_again(&mut self, task: TaskId) {
        self.fresh.insert(task);
    }

    /// Gives out addresses until the batch is full.
    pub(crate) fn plan(&mut self, draft: &mut Draft<'_>) {
        let mut full: BTreeSet<NetworkId> = BTreeSet::new();
        while let Some(id) = self.fresh.first().copied().filter(|_| !draft.is_full()) {
            self.fresh.remove(&id);
            let Some(task) = draft.store().task(id).filter(|task| needs_addresses(task)).cloned() else {
                continue;
            };
            // Nobody gives up an address while this runs, so a full network is looked through once.
            let known = !task.status.err.is_empty() && !full.is_empty();
            if known && task_networks(draft.store(), &task).iter().any(|network| full.contains(network)) {
                self.stuck.insert(id);
                continue;
            }
            match task_endpoints(draft.store(), &task) {
                Ok(endpoints) => {
                    let pending =
                        managed(&task, TaskState::Pending, "pending task scheduling", "", draft.now());
                    draft.put_task(Task { endpoints, ..pending });
                }
                Err(error) => {
                    self.stuck.insert(id);
                    if let NoAddress::Full { id, .. } = &error {
                        full.insert(*id);
                    }
                    let err = error.to_string();
                    if task.status.err != err {
                        draft.put_task(managed(
                            &task,
                            TaskState::New,
                            "allocation failed",
                            &err,
                            draft.now(),
                        ));
                    }
                }
            }
        }
    }
}

fn needs_addresses(task: &Task) -> bool {
    task.status.state == TaskState::New && task.desired_state <= TaskState::Running
}
