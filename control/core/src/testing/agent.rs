//! An agent that runs nothing: tasks go through their states by the clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::assignment::{AssignmentSet, AssignmentUpdate, EndpointView, GapError, Held};
use crate::id::TaskId;
use crate::object::{ContainerStatus, EndpointId, Health, Task, TaskState, TaskStatus};
use crate::time::Timestamp;

/// How an agent's tasks behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behaviour {
    /// Time from one state to the next.
    pub step: Duration,
    /// Time from the signal to stop until the task has stopped.
    pub stop: Duration,
    /// How long connections to a task live on when it gets no new ones. It is stopped once they have ended, or its
    /// time to drain is over.
    pub linger: Duration,
    /// What a task that runs ends as, and after how long; `None`: it runs until it is told to stop.
    pub ends: Option<(Duration, TaskState)>,
    /// The state before RUNNING that a task does not get beyond, and what it ends as one step later.
    pub breaks: Option<(TaskState, TaskState)>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            step: Duration::from_millis(5),
            stop: Duration::from_millis(20),
            linger: Duration::ZERO,
            ends: None,
            breaks: None,
        }
    }
}

/// Time after which a leaving task is stopped whether it is known to be out of all balancers or not.
const CLEARED_WITHIN: Duration = Duration::from_secs(15);

/// An agent with what it was told and what its tasks are doing. Both outlive its sessions.
#[derive(Debug, Clone, Default)]
pub struct FakeAgent {
    /// How its tasks behave.
    pub behaviour: Behaviour,
    /// How the tasks of some images behave, by the image's name.
    pub images: BTreeMap<String, Behaviour>,
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
    /// When leaving tasks get their signal.
    signals: BTreeMap<TaskId, Timestamp>,
    /// Tasks that got it, until somebody asks.
    signalled: Vec<TaskId>,
    /// Version that its network holds,
    applied: u64,
    /// and what gets new flows by that, and should not by what it was told since.
    stale: BTreeSet<EndpointId>,
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

    /// Brings what it was told into its network; gives back the version that this holds now.
    pub fn apply(&mut self) -> u64 {
        self.stale.clear();
        self.applied = self.version;
        self.applied
    }

    /// Version that its network holds.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Whether its network gives new flows to an endpoint.
    pub fn sends_to(&self, endpoint: EndpointId) -> bool {
        self.stale.contains(&endpoint) || self.set.endpoints.get(&endpoint).is_some_and(|view| view.active)
    }

    /// Tasks that got the signal to stop since this was asked last.
    pub fn take_signalled(&mut self) -> Vec<TaskId> {
        std::mem::take(&mut self.signalled)
    }

    /// Loses all that it was told, and knows that.
    pub fn forget(&mut self) {
        (self.set, self.version) = (AssignmentSet::default(), 0);
    }

    /// Loses what it was told, one entry of it, without noticing.
    pub fn corrupt(&mut self) {
        std::sync::Arc::make_mut(&mut self.set.peers).pop_first();
    }

    /// Takes in what the leader sends.
    pub fn receive(&mut self, update: AssignmentUpdate, now: Timestamp) -> Result<(), GapError> {
        let withdrawn = self.withdrawn(&update);
        self.set.apply_update(&mut self.version, update)?;
        self.stale.extend(withdrawn);
        let tasks = &self.set.tasks;
        self.states.retain(|id, _| tasks.contains_key(id));
        self.signals.retain(|id, _| tasks.contains_key(id));
        self.due.retain(|(_, id, _)| tasks.contains_key(id));
        let ids: Vec<_> = tasks.keys().copied().collect();
        for id in ids {
            self.plan(id, now);
        }
        Ok(())
    }

    /// Endpoints that an update takes out of the balancers.
    fn withdrawn(&self, update: &AssignmentUpdate) -> Vec<EndpointId> {
        let was = |id: &EndpointId| self.set.endpoints.get(id).is_some_and(|view| view.active);
        match update {
            AssignmentUpdate::Full { set, .. } => {
                let is = |id: &EndpointId| set.endpoints.get(id).is_some_and(|view| view.active);
                self.set.endpoints.keys().filter(|id| was(id) && !is(id)).copied().collect()
            }
            AssignmentUpdate::Increment { changes, .. } => {
                let is = |new: &Option<EndpointView>| new.as_ref().is_some_and(|view| view.active);
                let ended = changes.endpoints.iter().filter(|(id, new)| was(id) && !is(new));
                ended.map(|(id, _)| *id).collect()
            }
        }
    }

    /// Lets a task end now.
    pub fn end(&mut self, task: TaskId, state: TaskState, now: Timestamp) {
        self.due.insert((now, task, state));
    }

    /// The probe of a task that runs says this from now on.
    pub fn report_health(&mut self, task: TaskId, health: Health) {
        let Some(status) = self.states.get_mut(&task) else { return };
        status.container = Some(ContainerStatus { health, ..status.container.take().unwrap_or_default() });
        self.unsaid.insert(task);
    }

    /// Loses every task, as in a power cut. What comes after a restart finds them ended.
    pub fn crash(&mut self, now: Timestamp) {
        self.due.clear();
        self.signals.clear();
        for id in self.states.keys() {
            self.due.insert((now, *id, TaskState::Failed));
        }
    }

    /// When its next task moves on.
    pub fn wake_at(&self) -> Option<Timestamp> {
        let signal = self.signals.values().min().copied();
        self.due.first().map(|(at, _, _)| *at).into_iter().chain(signal).min()
    }

    /// Moves its tasks on up to `now`.
    pub fn advance(&mut self, now: Timestamp) {
        let signals: Vec<_> = self.signals.extract_if(.., |_, at| *at <= now).collect();
        for (id, at) in signals {
            self.signalled.push(id);
            let behaviour = self.set.tasks.get(&id).map_or(&self.behaviour, |task| self.behaviour_of(task));
            self.due.insert((at + behaviour.stop, id, TaskState::Shutdown));
        }
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
        let Behaviour { step, ends, breaks, .. } = *self.behaviour_of(task);
        let broken = breaks.filter(|(at, _)| state >= *at && state < TaskState::Running);
        let next = match (next_state(task, state), broken) {
            (Some(TaskState::Shutdown), _) => {
                let signal = self.signal_at(task, now);
                return self.leave(id, signal);
            }
            (_, Some((_, end))) => Some((now + step, end)),
            (Some(next), None) => Some((now + step, next)),
            (None, None) if state == TaskState::Running => ends.map(|(after, end)| (now + after, end)),
            (None, None) => None,
        };
        let planned =
            self.due.iter().any(|(_, of, to)| *of == id && next.is_some_and(|(_, next)| next == *to));
        self.due.extend(next.filter(|_| !planned).map(|(at, next)| (at, id, next)));
    }
}

impl FakeAgent {
    fn behaviour_of(&self, task: &Task) -> &Behaviour {
        self.images.get(&task.spec.container.image).unwrap_or(&self.behaviour)
    }

    /// When a task that is to end gets its signal.
    fn signal_at(&self, task: &Task, now: Timestamp) -> Timestamp {
        match task.leaving {
            None => now,
            Some(leaving) if leaving.cleared => now + self.behaviour_of(task).linger.min(leaving.drain),
            Some(_) => now + CLEARED_WITHIN,
        }
    }

    /// Notes when a task gets its signal, unless it gets it sooner, or had it.
    fn leave(&mut self, id: TaskId, at: Timestamp) {
        let ends = self.due.iter().any(|(_, of, to)| *of == id && *to == TaskState::Shutdown);
        if !ends {
            let signal = self.signals.entry(id).or_insert(at);
            *signal = at.min(*signal);
        }
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
