//! How often tasks of a service failed on a node lately.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::id::{NodeId, ServiceId, TaskId};
use crate::object::{Task, TaskState};
use crate::time::Timestamp;

/// Failures of a service on a node that make the node rank lower.
const FAILURES: usize = 5;
/// Time in which they must have happened.
const WINDOW: Duration = Duration::from_mins(5);
/// Failures remembered for one service on one node.
const REMEMBERED: usize = 64;

/// Failures by service, version of its spec, and node: another spec is another chance.
#[derive(Debug, Default)]
pub(super) struct Failures {
    times: BTreeMap<(ServiceId, u64, NodeId), VecDeque<(TaskId, Timestamp)>>,
    cleaned_at: Timestamp,
}

impl Failures {
    /// Remembers a task that failed where it ran. Told twice of one, when it is drafted and when it is
    /// committed, it counts it once, with the later time.
    pub(super) fn note(&mut self, old: &Task, new: &Task) {
        let failed = matches!(new.status.state, TaskState::Failed | TaskState::Rejected);
        let Some(node) = new.node.filter(|_| failed && !old.status.state.is_final()) else { return };
        let at = new.meta.updated_at;
        let times = self.times.entry((new.service, new.spec_version, node)).or_default();
        times.retain(|(task, _)| *task != new.id);
        times.push_back((new.id, at));
        if times.len() > REMEMBERED {
            times.pop_front();
        }
        if at.since(self.cleaned_at) >= WINDOW {
            self.cleaned_at = at;
            self.times.retain(|_, times| times.iter().any(|(_, failed)| is_recent(*failed, at)));
        }
    }

    /// Forgets a node.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.times.retain(|(_, _, of), _| *of != node);
    }

    /// How often tasks as this one failed on the node lately; 0 as long as that is not too often.
    pub(super) fn trouble(&self, task: &Task, node: NodeId, now: Timestamp) -> usize {
        let times = self.times.get(&(task.service, task.spec_version, node));
        times.map_or(0, |times| too_often(times, now))
    }

    /// The nodes where tasks as this one failed too often.
    pub(super) fn troubled(&self, task: &Task, now: Timestamp) -> impl Iterator<Item = NodeId> {
        let from = (task.service, task.spec_version, NodeId::from_bits(0));
        let to = (task.service, task.spec_version, NodeId::from_bits(u128::MAX));
        let of_task = self.times.range(from..=to);
        of_task.filter(move |(_, times)| too_often(times, now) > 0).map(|((_, _, node), _)| *node)
    }
}

fn too_often(times: &VecDeque<(TaskId, Timestamp)>, now: Timestamp) -> usize {
    let recent = times.iter().filter(|(_, at)| is_recent(*at, now)).count();
    if recent >= FAILURES { recent } else { 0 }
}

fn is_recent(at: Timestamp, now: Timestamp) -> bool {
    now.since(at) < WINDOW
}
