//! The agent's network as a view: assignments and what is known here in, desired state and names out.

use super::Worker;
use crate::agent::facts::LocalFacts;
use crate::agent::seam::{TaskRuntime, View};
use crate::agent::task::Presence;
use crate::agent::ways::Event;
use crate::agent::{placing, view};

impl<R: TaskRuntime> Worker<R> {
    fn facts(&self) -> LocalFacts {
        let local = self.tasks.iter().filter_map(|(id, entry)| Some((*id, entry.local()?)));
        LocalFacts { node: self.node.clone(), tasks: local.collect() }
    }

    /// Hands the network a new view when it differs from the last, and notes which view brings each task to
    /// its place.
    pub(super) fn render(&mut self) {
        let facts = self.facts();
        let state = view::desired_state(&self.set, &facts);
        let names = view::dns_table(&self.set, &facts, 0);
        let fresh = View { state, names };
        let generation = self.views.borrow().generation;
        let changed = self.views.borrow().view.as_ref() != Some(&fresh);
        if changed {
            self.views.send_replace(placing::Numbered { generation: generation + 1, view: Some(fresh) });
        }
        let generation = self.views.borrow().generation;
        let version = self.versions.rendered(generation);
        self.acknowledge(version);
        let mut waiting = false;
        for entry in
            self.tasks.values_mut().filter(|entry| entry.settles_at == u64::MAX && !entry.run.settled)
        {
            entry.settles_at = generation;
            waiting = true;
        }
        if waiting && generation <= self.tried() {
            // Nobody else tells of this view any more.
            let _ = self.events.send(Event::Again);
        }
    }

    /// Number of the newest view that was made, or could not be.
    fn tried(&self) -> u64 {
        self.trouble.as_ref().map_or(self.applied, |(unmade, _)| self.applied.max(*unmade))
    }

    /// Marks tasks whose place in the network was made. What cannot be made keeps no task from leaving.
    pub(super) fn settle(&mut self) {
        let (tried, applied, failed) = (self.tried(), self.applied, &self.failed);
        for entry in self.tasks.values_mut() {
            let missing = entry.task.endpoints.iter().any(|endpoint| failed.contains(&endpoint.id.0));
            entry.run.settled |= match entry.run.presence {
                Presence::Attached => entry.settles_at <= applied && !missing,
                Presence::Withdrawn | Presence::Absent => entry.settles_at <= tried,
            };
        }
    }

    /// Says of the tasks that wait for their place in the network what keeps them from it.
    pub(super) fn explain(&mut self) {
        let Some((generation, reason)) = &self.trouble else { return };
        for (id, entry) in &mut self.tasks {
            if entry.settles_at <= *generation && entry.is_kept_by(reason) {
                self.outbox.put(*id, entry.status.clone());
            }
        }
    }
}
