//! An agent that runs nothing: tasks go through their states by the clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::assignment::{AssignmentSet, AssignmentUpdate, GapError, Held};
use crate::id::TaskId;
use crate::object::{Task, TaskState, TaskStatus};
use crate::time::Timestamp;

/// How an agent's tasks behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behaviour {
    /// Time from one state to the next.
    pub step: Duration,
    /// Time from the order to stop until the task has stopped.
    pub stop: Duration,
    /// What a task that runs ends as, and after how long; `None`: it runs until it is told to stop.
    pub ends: Option<(Duration, TaskState)>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { step: Duration::from_millis(5), stop: Duration::from_millis(20), ends: None }
    }
}

/// An agent with what it was told and what its tasks are doing. Both outlive its sessions.
#[derive(Debug, Clone, Default)]
pub struct FakeAgent {
    /// How its tasks behave.
    pub behaviour: Behaviour,
    set: AssignmentSet,
    version: u64,
    states: BTreeMap<TaskId, TaskStatus>,
    /// Tasks whose states are to be reported.
    unsaid: BTreeSet<TaskId>,
    /// Reports of this session that were not taken yet.
    said: VecDeque<(u64, Vec<(TaskId, TaskState)>)>,
    /// Number of this session's last report.
    number: u64,
    due: BTreeSet<(Timestamp, TaskId, TaskState)>,
}

impl FakeAgent {
    /// What it was told.
    pub fn set(&self) -> &AssignmentSet {
        &self.set
    }

    /// Log index that this stands for.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What it has, for a new session.
    pub fn held(&self) -> Option<Held> {
        let held = Held { version: self.version, digest: self.set.digest() };
        Some(held).filter(|held| held.version > 0)
    }

    /// Begins a new session: what was said in the last one and not taken is said again.
    pub fn begin_session(&mut self) {
        self.number = 0;
        let said = self.said.drain(..).flat_map(|(_, states)| states);
        self.unsaid.extend(said.map(|(task, _)| task));
    }

    /// What is to be reported, with the report's number.
    pub fn report(&mut self) -> Option<(u64, Vec<(TaskId, TaskStatus)>)> {
        let tasks = std::mem::take(&mut self.unsaid);
        let status = |id: &TaskId| Some((*id, self.states.get(id)?.clone()));
        let statuses: Vec<_> = tasks.iter().filter_map(status).collect();
        if statuses.is_empty() {
            return None;
        }
        self.number += 1;
        self.said.push_back((self.number, statuses.iter().map(|(id, status)| (*id, status.state)).collect()));
        Some((self.number, statuses))
    }

    /// Whether anything it saw may not be known to the managers.
    pub fn has_unsaid(&self) -> bool {
        !self.unsaid.is_empty() || !self.said.is_empty()
    }

    /// The manager has all reports up to this number; gives back what they said.
    pub fn taken(&mut self, number: u64) -> Vec<(TaskId, TaskState)> {
        let count = self.said.partition_point(|(said, _)| *said <= number);
        self.said.drain(..count).flat_map(|(_, states)| states).collect()
    }

    /// Loses all that it was told, and knows that.
    pub fn forget(&mut self) {
        (self.set, self.version) = (AssignmentSet::default(), 0);
    }

    /// Loses what it was told, one entry of it, without noticing.
    pub fn corrupt(&mut self) {
        self.set.peers.pop_first();
    }

    /// Takes in what the leader sends.
    pub fn receive(&mut self, update: AssignmentUpdate, now: Timestamp) -> Result<(), GapError> {
        self.set.apply_update(&mut self.version, update)?;
        let tasks = &self.set.tasks;
        self.states.retain(|id, _| tasks.contains_key(id));
        self.due.retain(|(_, id, _)| tasks.contains_key(id));
        let ids: Vec<_> = tasks.keys().copied().collect();
        for id in ids {
            self.plan(id, now);
        }
        Ok(())
    }

    /// Lets a task end now.
    pub fn end(&mut self, task: TaskId, state: TaskState, now: Timestamp) {
        self.due.insert((now, task, state));
    }

    /// Loses every task, as in a power cut. What comes after a restart finds them ended.
    pub fn crash(&mut self, now: Timestamp) {
        self.due.clear();
        for id in self.states.keys() {
            self.due.insert((now, *id, TaskState::Failed));
        }
    }

    /// When its next task moves on.
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _, _)| *at)
    }

    /// Moves its tasks on up to `now`.
    pub fn advance(&mut self, now: Timestamp) {
        while let Some((at, id, state)) = self.due.first().copied().filter(|(at, _, _)| *at <= now) {
            self.due.remove(&(at, id, state));
            let known = self.states.get(&id).map_or(TaskState::Assigned, |status| status.state);
            if state > known && !known.is_final() {
                self.states.insert(id, status(state, at));
                self.unsaid.insert(id);
                self.plan(id, at);
            }
        }
    }

    /// Notes what a task does next.
    fn plan(&mut self, id: TaskId, now: Timestamp) {
        let Some(task) = self.set.tasks.get(&id) else { return };
        let state = self.states.get(&id).map_or(TaskState::Assigned, |status| status.state);
        if state.is_final() {
            return;
        }
        let Behaviour { step, stop, ends } = self.behaviour;
        let next = match next_state(task, state) {
            Some(TaskState::Shutdown) => Some((now + stop, TaskState::Shutdown)),
            Some(next) => Some((now + step, next)),
            None if state == TaskState::Running => ends.map(|(after, end)| (now + after, end)),
            None => None,
        };
        let planned =
            self.due.iter().any(|(_, of, to)| *of == id && next.is_some_and(|(_, next)| next == *to));
        self.due.extend(next.filter(|_| !planned).map(|(at, next)| (at, id, next)));
    }
}

fn next_state(task: &Task, state: TaskState) -> Option<TaskState> {
    match state {
        _ if task.desired_state > TaskState::Running => Some(TaskState::Shutdown),
        TaskState::Assigned => Some(TaskState::Accepted),
        TaskState::Accepted => Some(TaskState::Preparing),
        TaskState::Preparing => Some(TaskState::Ready),
        TaskState::Ready if task.desired_state == TaskState::Running => Some(TaskState::Starting),
        TaskState::Starting => Some(TaskState::Running),
        _ => None,
    }
}

fn status(state: TaskState, at: Timestamp) -> TaskStatus {
    let err = if state == TaskState::Failed { "task: non-zero exit (1)" } else { "" };
    TaskStatus { state, timestamp: at, message: state.to_string(), err: err.to_owned(), container: None }
}
