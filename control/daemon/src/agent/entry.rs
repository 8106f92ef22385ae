//! One task in the agent's hands.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::time::Duration;

use mesh_core::object::{Health, Leaving, Task, TaskState, TaskStatus};
use mesh_core::time::Timestamp;
use tokio::sync::oneshot;

use super::facts::LocalTask;
use super::probing::Probing;
use super::saved::SavedTask;
use super::task::{Departure, Presence, Process, Report, TaskRun};
use crate::clock::now;

/// A task, with what the agent knows and has told of it.
pub(super) struct Entry {
    pub task: Task,
    pub run: TaskRun,
    pub status: TaskStatus,
    pub dns_client: Option<Ipv4Addr>,
    /// Number of the view that brings the task to its place.
    pub settles_at: u64,
    /// Since when it is in its state, where an earlier daemon started it.
    adopted: Option<Timestamp>,
    /// Its probes, while it is probed.
    pub probing: Option<Probing>,
    /// What its probe says is not told yet.
    pub health_untold: bool,
    /// Longest time that its connections get when it leaves,
    pub drain: Duration,
    /// until when that is,
    pub drains_until: Option<Timestamp>,
    /// and what ends it before.
    pub cut: Option<oneshot::Sender<Infallible>>,
}

impl Entry {
    /// A task as it was told or saved last, with what is known of it now.
    pub fn new(saved: SavedTask, mut run: TaskRun) -> Self {
        let SavedTask { task, status, dns_client, drains_until } = saved;
        if let Some(container) = status.container.as_ref().filter(|_| run.prepared.is_some()) {
            run.health = container.health;
            run.complaint.clone_from(&status.err);
        }
        let runs = matches!(run.process, Process::Running { .. });
        Self {
            task,
            run,
            adopted: runs.then_some(status.timestamp),
            status,
            dns_client,
            settles_at: u64::MAX,
            probing: None,
            health_untold: false,
            drain: Duration::ZERO,
            drains_until,
            cut: None,
        }
    }

    /// How long ago it was started, when its probes begin: just now, or as far as is known by an earlier daemon.
    pub fn age(&self) -> Duration {
        self.adopted.map_or(Duration::ZERO, |since| now().since(since))
    }

    /// Its probe says something else; it is told with the next report, or by [`Self::tell_health`].
    pub fn set_health(&mut self, health: Health, complaint: Option<String>) {
        self.run.health = health;
        self.run.complaint = complaint.unwrap_or_default();
        self.health_untold = true;
    }

    /// The same state with what the probe says, if that is still to be told.
    pub fn tell_health(&mut self) -> bool {
        let untold = std::mem::take(&mut self.health_untold);
        if untold {
            self.status.container = self.run.container();
            self.status.err.clone_from(&self.run.complaint);
        }
        untold
    }

    /// The managers say how it leaves. True when it has to wait for more word from now on.
    pub fn leave(&mut self, leaving: Option<Leaving>) -> bool {
        let (told, before) = (Departure::of(leaving), self.run.departure);
        // What it has come to is not taken back, but it may have to hurry.
        self.run.departure = if told == Departure::AtOnce { told } else { told.max(before) };
        self.drain = leaving.map_or(Duration::ZERO, |leaving| leaving.drain);
        if self.run.departure == Departure::AtOnce {
            self.cut = None;
        }
        self.run.departure == Departure::Sought && before != Departure::Sought
    }

    /// Notes until when its connections have time, unless an earlier daemon did.
    pub fn set_drain_time(&mut self) {
        self.drains_until.get_or_insert(now() + self.drain);
    }

    /// Begins to drain: how long that may take, and what ends it before.
    pub fn begin_drain(&mut self) -> (Duration, oneshot::Receiver<Infallible>) {
        let (cut, ends) = oneshot::channel();
        self.cut = Some(cut);
        let left = self.drains_until.map_or(Duration::ZERO, |until| until.since(now()));
        // The clock may have been set back.
        (left.min(self.drain), ends)
    }

    pub fn report(&mut self, report: Report) {
        self.health_untold = false;
        self.run.state = report.state;
        self.status = TaskStatus {
            state: report.state,
            timestamp: now(),
            message: report.message.to_owned(),
            err: report.err,
            container: self.run.container(),
        };
    }

    /// Notes what keeps a task that does not run yet from its place in the network; whether that is news.
    pub fn is_kept_by(&mut self, reason: &str) -> bool {
        let waits = self.run.presence == Presence::Attached && !self.run.settled;
        let news = waits && self.run.state < TaskState::Running && self.status.err != reason;
        if news {
            reason.clone_into(&mut self.status.err);
            self.status.timestamp = now();
        }
        news
    }

    pub fn saved(&self) -> SavedTask {
        SavedTask {
            task: self.task.clone(),
            status: self.status.clone(),
            dns_client: self.dns_client,
            drains_until: self.drains_until,
        }
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
