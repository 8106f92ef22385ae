//! One task in the agent's hands.

use std::net::Ipv4Addr;

use mesh_core::object::{Task, TaskStatus};

use super::facts::LocalTask;
use super::saved::SavedTask;
use super::task::{Presence, Report, TaskRun, Wanted};
use crate::clock::now;

/// A task, with what the agent knows and has told of it.
pub(super) struct Entry {
    pub task: Task,
    pub run: TaskRun,
    pub status: TaskStatus,
    pub dns_client: Option<Ipv4Addr>,
    /// Number of the view that brings the task to its place.
    pub settles_at: u64,
}

impl Entry {
    pub fn new(task: &Task) -> Self {
        let wanted = Wanted::of(task.desired_state);
        let run = TaskRun::adopted(wanted, task.status.state, None);
        let status = task.status.clone();
        Self { task: task.clone(), run, status, dns_client: None, settles_at: u64::MAX }
    }

    pub fn report(&mut self, report: Report) {
        self.run.state = report.state;
        self.status = TaskStatus {
            state: report.state,
            timestamp: now(),
            message: report.message.to_owned(),
            err: report.err,
            container: self.run.container(),
        };
    }

    pub fn saved(&self) -> SavedTask {
        SavedTask { task: self.task.clone(), status: self.status.clone(), dns_client: self.dns_client }
    }

    pub fn local(&self) -> Option<LocalTask> {
        if self.run.presence == Presence::Absent {
            return None;
        }
        Some(LocalTask {
            netns: self.run.prepared.as_ref()?.netns.clone(),
            dns_client: self.dns_client?,
            endpoints: self.task.endpoints.clone(),
            serving: self.run.serves(),
        })
    }
}
