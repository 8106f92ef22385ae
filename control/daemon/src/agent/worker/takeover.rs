//! Tasks that were there before this daemon: those that its file tells of, and those that only the runtime has.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_core::id::{ServiceId, TaskId};
use mesh_core::name::NameError;
use mesh_core::object::{Meta, Task, TaskState, TaskStatus};
use mesh_core::spec::{ContainerSpec, Placement, RestartPolicy, TaskSpec};
use mesh_core::time::Timestamp;
use mesh_runtime::task::{Found, RunState, TaskLaunch};

use super::Worker;
use crate::agent::entry::Entry;
use crate::agent::saved::{Saved, SavedTask};
use crate::agent::seam::TaskRuntime;
use crate::agent::task::{Presence, Process, TaskRun, Wanted};
use crate::clock::now;

impl<R: TaskRuntime> Worker<R> {
    /// Takes over from an earlier daemon. What the runtime has and nobody knows of is left alone until the
    /// managers tell what this node should have.
    pub(super) fn adopt(&mut self, saved: Saved, found: Vec<Found>) {
        self.last_dns_client = saved.last_dns_client;
        self.unknown = found.into_iter().map(|found| (found.launch.id, found)).collect();
        for (id, task) in saved.tasks {
            let known = saved.set.tasks.get(&id);
            let wanted = known.map_or(Wanted::Gone, |task| Wanted::of(task.desired_state));
            self.outbox.put(id, task.status.clone());
            self.take_over(task, wanted);
            self.leave(id, known.and_then(|task| task.leaving));
        }
        for id in self.unknown.keys() {
            tracing::warn!(task = %id, "a task that this node does not know of runs on until a manager is asked");
        }
        (self.set, self.version) = (saved.set, saved.version);
    }

    /// Goes on with a task as the runtime has it, or begins it.
    pub(super) fn take_over(&mut self, saved: SavedTask, wanted: Wanted) {
        let id = saved.task.id;
        let found = self.unknown.remove(&id).map(|found| (found.prepared, found.state));
        let mut run = TaskRun::adopted(wanted, saved.status.state, found);
        if saved.dns_client.is_none() {
            // It had no place in the network yet: it gets one in its turn.
            run.presence = Presence::Absent;
            run.settled = true;
        }
        self.tasks.insert(id, Entry::new(saved, run));
    }

    /// Takes over what the managers tell of and this node does not have yet.
    pub(super) fn take_over_told(&mut self) {
        let told = self.set.tasks.values().filter(|task| !self.tasks.contains_key(&task.id));
        let told: Vec<Task> = told.cloned().collect();
        for task in told {
            let wanted = Wanted::of(task.desired_state);
            self.take_over(SavedTask::told(task), wanted);
        }
    }

    /// Stops and removes what the managers, who told all, did not tell of.
    pub(super) fn discard_unknown(&mut self) {
        for (id, Found { launch, prepared, state }) in std::mem::take(&mut self.unknown) {
            let reached = if state == RunState::Prepared { TaskState::Ready } else { TaskState::Running };
            let task = match launched(&launch, reached) {
                Ok(task) => task,
                Err(error) => {
                    tracing::error!(task = %id, %error, "a task that nobody knows of is left alone");
                    continue;
                }
            };
            tracing::warn!(task = %id, "a task that no manager knows of is stopped and removed");
            let mut run = TaskRun::adopted(Wanted::Gone, reached, Some((prepared, state)));
            // No view has its namespace.
            run.presence = Presence::Withdrawn;
            run.settled = true;
            self.tasks.insert(id, Entry::new(SavedTask::told(task), run));
        }
    }

    /// A task's process ended.
    pub(super) fn exited(&mut self, id: TaskId, code: i32) {
        if let Some(entry) = self.tasks.get_mut(&id) {
            entry.run.process = Process::Exited { code };
            entry.cut = None;
        } else if let Some(found) = self.unknown.get_mut(&id) {
            found.state = RunState::Exited { code };
        }
    }
}

/// The task that was launched so, as far as that tells: enough to end it.
fn launched(launch: &TaskLaunch, state: TaskState) -> Result<Task, NameError> {
    let status = TaskStatus {
        state,
        timestamp: now(),
        message: "found".to_owned(),
        err: String::new(),
        container: None,
    };
    let spec = TaskSpec {
        container: ContainerSpec { image: launch.image.clone(), ..ContainerSpec::default() },
        resources: launch.resources.clone(),
        restart: RestartPolicy::default(),
        placement: Placement::default(),
        networks: Vec::new(),
        force_update: 0,
    };
    Ok(Task {
        id: launch.id,
        meta: Meta::default(),
        service: ServiceId::from_bits(0),
        service_name: launch.name.split('.').next().unwrap_or_default().parse()?,
        spec: Arc::new(spec),
        spec_version: 0,
        slot: 0,
        node: None,
        desired_state: TaskState::Remove,
        status,
        endpoints: Vec::new(),
        host_ports: Vec::new(),
        start_at: Timestamp::ZERO,
        restarts: Vec::new(),
        running_at: None,
        leaving: None,
        generic: BTreeMap::new(),
        job_iteration: None,
        watched: false,
    })
}
