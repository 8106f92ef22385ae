//! The agent's network as a view: assignments and what is known here in, desired state and names out.

use super::Worker;
use crate::agent::facts::LocalFacts;
use crate::agent::seam::{TaskRuntime, View};
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
        if waiting && generation <= self.applied {
            // The network already is as these tasks need it: look at them again.
            let failed = self.failed.clone();
            let _ = self.events.send(Event::Applied { generation, failed, whole: false });
        }
    }
}
