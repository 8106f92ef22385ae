//! The service and its tasks, as told so far.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_api::engine::service::Service;
use mesh_api::engine::task::Task;
use mesh_api::mesh::{Object, ObjectKind, WatchEvent};

use super::picture::{Known, job_picture, service_picture};
use super::update::Standing;
use crate::output::words::counted;

/// The service and its tasks.
#[derive(Default)]
pub struct Seen {
    service: Option<Service>,
    tasks: BTreeMap<String, Told>,
    /// The beginning of the watch is told, so what is missing does not exist.
    whole: bool,
    removed: bool,
}

/// A task.
struct Told {
    task: Task,
    /// It is not what the service wants now.
    outdated: bool,
}

/// The tasks of one slot, or of one node.
#[derive(Default)]
pub struct Place<'a> {
    /// The newest that is wanted and as the service wants it.
    pub current: Option<&'a Task>,
    /// The newest that ended by itself.
    pub ended: Option<&'a Task>,
    /// The newest that is wanted, but not as the service wants it now.
    pub outdated: Option<&'a Task>,
}

impl Place<'_> {
    /// Something in it is wanted.
    pub fn is_live(&self) -> bool {
        self.current.is_some() || self.outdated.is_some()
    }
}

/// Places by slot of a replicated service, or by the node of a global one's.
pub type Places<'a> = BTreeMap<(u64, &'a str), Place<'a>>;

impl Seen {
    /// Takes in what is told.
    pub fn learn(&mut self, event: WatchEvent) {
        match event {
            WatchEvent::Put { object: Object::Service(service), .. } => self.service = Some(*service),
            WatchEvent::Put { object: Object::Task(task), outdated, .. } => {
                self.tasks.insert(task.id.clone(), Told { task: *task, outdated });
            }
            WatchEvent::Put { .. } => {}
            WatchEvent::Delete { kind: ObjectKind::Service, .. } => self.removed = true,
            WatchEvent::Delete { id, .. } => {
                self.tasks.remove(&id);
            }
            WatchEvent::Synced { present, .. } => {
                self.tasks.retain(|id, _| present.contains(id));
                self.removed = self.service.as_ref().is_none_or(|service| !present.contains(&service.id));
                self.whole = true;
            }
        }
    }

    /// The service is gone.
    pub fn is_removed(&self) -> bool {
        self.removed
    }

    /// The service, once all is told.
    pub fn service(&self) -> Option<&Service> {
        self.service.as_ref().filter(|_| self.whole)
    }

    /// How far the service is, and with `rebalance` how far that is; `None` as long as not all is told.
    pub fn picture(&self, standing: &Standing, rebalance: bool) -> Option<Known> {
        let service = self.service()?;
        let mode = service.spec.mode.clone().unwrap_or_default();
        if let Some(job) = &service.job_status {
            let places = self.places(mode.global_job.is_some(), Some(job.job_iteration.index));
            return Some(job_picture(mode.replicated_job, &places));
        }
        let replicas =
            mode.global.is_none().then(|| mode.replicated.and_then(|counted| counted.replicas).unwrap_or(1));
        let mut places = self.places(replicas.is_none(), None);
        // What ended stands for its place until something else does.
        let live = places.values().filter(|place| place.is_live()).count() as u64;
        if replicas.is_none_or(|replicas| live >= replicas) {
            places.retain(|_, place| place.is_live());
        }
        let monitor = service.spec.update_config.as_ref().map(|config| config.monitor);
        let monitor = monitor.and_then(|nanos| u64::try_from(nanos).ok()).map(Duration::from_nanos);
        let mut known = service_picture(replicas, &places, standing, monitor);
        if let Some(moves) = service.rebalance.as_ref().filter(|_| rebalance) {
            known.goal = None;
            known.shown.heads.push(format!("rebalance: {} moved", counted(moves.moved, "task")));
        }
        Some(known)
    }

    /// The tasks by place; of a job those of its last run alone.
    fn places(&self, by_node: bool, run: Option<u64>) -> Places<'_> {
        let mut places: Places<'_> = BTreeMap::new();
        for Told { task, outdated } in self.tasks.values() {
            if run.is_some() && task.job_iteration.map(|version| version.index) != run {
                continue;
            }
            let key = if by_node { (0, task.node_id.as_str()) } else { (task.slot, "") };
            let place = places.entry(key).or_default();
            let ended = matches!(task.status.state.as_str(), "complete" | "failed" | "rejected");
            match (ended, is_wanted(task), *outdated) {
                (true, _, false) => keep_newest(&mut place.ended, task),
                (false, true, false) => keep_newest(&mut place.current, task),
                (false, true, true) => keep_newest(&mut place.outdated, task),
                _ => {}
            }
        }
        places.retain(|_, place| place.is_live() || place.ended.is_some());
        places
    }
}

fn keep_newest<'a>(kept: &mut Option<&'a Task>, task: &'a Task) {
    if kept.is_none_or(|known| known.created_at < task.created_at) {
        *kept = Some(task);
    }
}

fn is_wanted(task: &Task) -> bool {
    !matches!(task.desired_state.as_str(), "shutdown" | "remove" | "orphaned")
}

#[cfg(test)]
mod tests;
