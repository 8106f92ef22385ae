//! Restart policies: whether a task that ended is followed by another.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::instance::ended_by_itself;
use super::{Instance, age};
use crate::object::Task;
use crate::spec::{RestartCondition, RestartPolicy};
use crate::store::{Change, Delta, Store};
use crate::time::Timestamp;

/// Restarts remembered for one instance at most.
const REMEMBERED: usize = 1000;

/// When the tasks of each instance were restarted, as far as a policy with an upper bound asks. A new leader
/// knows what the history of tasks still shows.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    times: BTreeMap<Instance, VecDeque<Timestamp>>,
}

impl Restarts {
    pub(super) fn new(store: &Store) -> Self {
        let mut restarts = Self::default();
        let mut bounded: Vec<_> = store.tasks().filter(|task| is_bounded(&task.spec.restart)).collect();
        bounded.sort_by_key(|task| (Instance::of(task), age(task)));
        for pair in bounded.windows(2) {
            if Instance::of(pair[0]) == Instance::of(pair[1]) && ended_by_itself(pair[0]) {
                restarts.note(Instance::of(pair[1]), pair[1].meta.created_at);
            }
        }
        restarts
    }

    /// Notes a committed change: a task that follows one that ended by itself is a restart.
    pub(super) fn observe(&mut self, store: &Store, change: &Change) {
        match change {
            Change::Task(Delta { old: None, new: Some(task) }) if is_bounded(&task.spec.restart) => {
                let instance = Instance::of(task);
                let others = instance.tasks(store);
                let before = others.iter().rev().find(|other| age(other) < age(task));
                if before.is_some_and(|before| ended_by_itself(before)) {
                    self.note(instance, task.meta.created_at);
                }
            }
            Change::Service(Delta { old: Some(service), new: None }) => {
                self.times.retain(|instance, _| instance.service != service.id);
            }
            _ => {}
        }
    }

    fn note(&mut self, instance: Instance, at: Timestamp) {
        let times = self.times.entry(instance).or_default();
        times.push_back(at);
        if times.len() > REMEMBERED {
            times.pop_front();
        }
    }

    /// Whether the policy of `last`, an instance's youngest task, lets another one follow it.
    pub(super) fn allows(&self, instance: Instance, last: &Task, now: Timestamp) -> bool {
        let policy = &last.spec.restart;
        let condition = match policy.condition {
            RestartCondition::None => false,
            RestartCondition::OnFailure => last.status.state != crate::object::TaskState::Complete,
            RestartCondition::Any => true,
        };
        // A global service's task that went because its node did comes back with it.
        let returns = instance.node.is_some() && !ended_by_itself(last);
        // A task that had to leave its node has used up nothing.
        let attempts =
            !is_bounded(policy) || !ended_by_itself(last) || self.has_attempts(instance, policy, now);
        returns || (condition && attempts)
    }

    fn has_attempts(&self, instance: Instance, policy: &RestartPolicy, now: Timestamp) -> bool {
        let counts = |at: &&Timestamp| policy.window == Duration::ZERO || now.since(**at) < policy.window;
        let used = self.times.get(&instance).map_or(0, |times| times.iter().filter(counts).count());
        u64::try_from(used).unwrap_or(u64::MAX) < policy.max_attempts
    }
}

fn is_bounded(policy: &RestartPolicy) -> bool {
    policy.max_attempts > 0
}
