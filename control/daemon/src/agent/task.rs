//! One task's way through its states, as a pure state machine: [`next`] looks at what is known of a task and
//! says the one thing to do; the agent does it, writes down what came of it, and asks again.
//!
//! Invariants: states only move forward; a process is started only when the task's namespace is in the
//! node's network; a task that has served is out of every node's balancers, and its connections have had their
//! time, before it gets its signal; a task that has run is never started again; a task is RUNNING once its probe,
//! if it has one, says so.

use mesh_core::object::{ContainerStatus, Health, Leaving, TaskState};
use mesh_runtime::health::HealthCheck;
use mesh_runtime::task::{Prepared, RunState};

/// Exit status that a process has after SIGKILL, also assumed of one that vanished.
pub const KILLED: i32 = 137;

/// What the managers want of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// Prepared, but not started yet.
    Ready,
    /// Running.
    Running,
    /// Stopped.
    Stopped,
    /// Stopped and forgotten: the managers tell of it no longer, so nobody waits for its last status.
    Gone,
}

impl Wanted {
    /// What a desired state means. A task to be removed is kept until the managers have heard its end.
    pub fn of(desired: TaskState) -> Self {
        match desired {
            state if state > TaskState::Running && state != TaskState::Complete => Self::Stopped,
            state if state >= TaskState::Starting => Self::Running,
            _ => Self::Ready,
        }
    }
}

/// A task's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// Never started.
    None,
    /// Runs.
    Running {
        /// Its process id.
        pid: u32,
    },
    /// Ended.
    Exited {
        /// Its exit status.
        code: i32,
    },
}

/// A task's place in the node's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Not there.
    Absent,
    /// Has its interfaces, and new flows when the managers say so.
    Attached,
    /// Has its interfaces, gets no new flows.
    Withdrawn,
}

/// How far a task that is to be stopped has come with that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Departure {
    /// Nothing is waited for.
    AtOnce,
    /// Other nodes may still send it new flows.
    Sought,
    /// None does; its connections have some time to end.
    Cleared,
    /// They had it.
    Drained,
}

impl Departure {
    /// What the managers say about it.
    pub fn of(leaving: Option<Leaving>) -> Self {
        match leaving {
            None => Self::AtOnce,
            Some(Leaving { cleared: false, .. }) => Self::Sought,
            Some(Leaving { cleared: true, .. }) => Self::Cleared,
        }
    }
}

/// Something that takes time; one at a time for each task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Make namespace and file system.
    Prepare,
    /// Start the process.
    Start,
    /// Wait until nobody is connected, or the time for that is over.
    Drain,
    /// Stop the process.
    Stop,
    /// Wait until what the process said last has arrived.
    Flush,
    /// Remove everything it has.
    Remove,
}

/// Why a task cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In words.
    pub error: String,
    /// The task can never run on this node.
    pub rejected: bool,
}

/// What is known of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRun {
    /// What the managers want.
    pub wanted: Wanted,
    /// State reported last.
    pub state: TaskState,
    /// Namespace and container, while it has them.
    pub prepared: Option<Prepared>,
    /// Its process.
    pub process: Process,
    /// What its probe says,
    pub health: Health,
    /// and what it said when it failed last; empty while it does not.
    pub complaint: String,
    /// Where it shall be in the node's network,
    pub presence: Presence,
    /// and whether it is.
    pub settled: bool,
    /// How it leaves, when it is to be stopped.
    pub departure: Departure,
    /// What its process said last has arrived.
    pub flushed: bool,
    /// What is under way.
    pub busy: Option<Operation>,
    /// What keeps it from going on.
    pub failure: Option<Failure>,
    /// Everything of it was removed.
    pub removed: bool,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing until something happens.
    Wait,
    /// The task is now in this state.
    Report(Report),
    /// Begin this.
    Run(Operation),
    /// Change its place in the network.
    Place(Presence),
    /// Nothing is left of it.
    Forget,
}

/// A new state, with the words for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The state.
    pub state: TaskState,
    /// What is going on.
    pub message: &'static str,
    /// What went wrong; empty when nothing did.
    pub err: String,
}

impl TaskRun {
    /// A task that nothing was done for yet.
    pub fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            state: TaskState::Assigned,
            prepared: None,
            process: Process::None,
            health: Health::None,
            complaint: String::new(),
            presence: Presence::Absent,
            settled: true,
            departure: Departure::AtOnce,
            flushed: false,
            busy: None,
            failure: None,
            removed: false,
        }
    }

    /// A task that an earlier daemon had brought to `state`, with what the runtime still has of it.
    pub fn adopted(wanted: Wanted, state: TaskState, found: Option<(Prepared, RunState)>) -> Self {
        let mut run = Self { state, ..Self::new(wanted) };
        let started = state >= TaskState::Starting;
        if let Some((prepared, process)) = found {
            run.set_prepared(prepared);
            run.process = match process {
                RunState::Running { pid } => Process::Running { pid },
                RunState::Exited { code } => Process::Exited { code },
                RunState::Prepared if state >= TaskState::Running => Process::Exited { code: KILLED },
                RunState::Prepared => Process::None,
            };
            if !is_final(state) {
                run.presence = Presence::Attached;
                run.settled = false;
            }
        } else if started {
            run.process = Process::Exited { code: KILLED };
            run.removed = true;
        }
        run
    }

    /// It has its namespace now, and from then on what it says of itself, or nothing.
    pub fn set_prepared(&mut self, prepared: Prepared) {
        self.health = if prepared.health.is_some() { Health::Starting } else { Health::None };
        self.prepared = Some(prepared);
    }

    /// How it is to be probed now, if at all.
    pub fn check(&self) -> Option<&HealthCheck> {
        let runs = matches!(self.process, Process::Running { .. }) && !is_final(self.state);
        let matters = self.wanted < Wanted::Stopped && self.health != Health::Unhealthy;
        self.prepared.as_ref()?.health.as_ref().filter(|_| runs && matters)
    }

    /// Whether new flows may go to it as far as this node knows.
    pub fn serves(&self) -> bool {
        let ended = matches!(self.process, Process::Exited { .. });
        self.presence == Presence::Attached && !ended && self.health.serves()
    }

    /// What is told of its process.
    pub fn container(&self) -> Option<ContainerStatus> {
        let container_id = self.prepared.as_ref()?.container_id.clone();
        let (pid, exit_code) = match self.process {
            Process::None => (0, None),
            Process::Running { pid } => (pid, None),
            Process::Exited { code } => (0, Some(code)),
        };
        Some(ContainerStatus { container_id, pid, exit_code, health: self.health })
    }
}

/// Whether a task in this state has come to its end.
pub fn is_final(state: TaskState) -> bool {
    state > TaskState::Running
}

/// The one thing to do next for a task.
pub fn next(run: &TaskRun) -> Step {
    if run.busy.is_some() {
        return Step::Wait;
    }
    if is_final(run.state) {
        return clean_up(run);
    }
    if let Some(failure) = &run.failure {
        let state = if failure.rejected { TaskState::Rejected } else { TaskState::Failed };
        return report(state, "failed", failure.error.clone());
    }
    if run.wanted >= Wanted::Stopped {
        return wind_down(run);
    }
    if run.health == Health::Unhealthy && matches!(run.process, Process::Running { .. }) {
        return place(run, Presence::Withdrawn).unwrap_or(Step::Run(Operation::Stop));
    }
    match run.state {
        TaskState::New | TaskState::Pending | TaskState::Assigned => told(TaskState::Accepted, "accepted"),
        TaskState::Accepted => told(TaskState::Preparing, "preparing"),
        TaskState::Preparing => settle_in(run).unwrap_or_else(|| told(TaskState::Ready, "prepared")),
        TaskState::Ready => settle_in(run).unwrap_or_else(|| wait_for_start(run)),
        TaskState::Starting => settle_in(run).unwrap_or_else(|| start(run)),
        _ => watch(run),
    }
}

fn report(state: TaskState, message: &'static str, err: String) -> Step {
    Step::Report(Report { state, message, err })
}

fn told(state: TaskState, message: &'static str) -> Step {
    report(state, message, String::new())
}

/// Namespace first, then its place in the network; `None` when it has both (or has run already).
fn settle_in(run: &TaskRun) -> Option<Step> {
    if matches!(run.process, Process::Exited { .. }) {
        None
    } else if run.prepared.is_none() {
        Some(Step::Run(Operation::Prepare))
    } else {
        place(run, Presence::Attached)
    }
}

/// Brings the task to its place in the network; `None` when it is there.
fn place(run: &TaskRun, presence: Presence) -> Option<Step> {
    if run.presence != presence {
        Some(Step::Place(presence))
    } else if !run.settled {
        Some(Step::Wait)
    } else {
        None
    }
}

fn wait_for_start(run: &TaskRun) -> Step {
    if run.wanted == Wanted::Running { told(TaskState::Starting, "starting") } else { Step::Wait }
}

fn start(run: &TaskRun) -> Step {
    match run.process {
        Process::None => Step::Run(Operation::Start),
        Process::Running { .. } if run.health.serves() => told(TaskState::Running, "started"),
        Process::Running { .. } => Step::Wait,
        Process::Exited { code } => ended(run, code),
    }
}

fn watch(run: &TaskRun) -> Step {
    match run.process {
        Process::Exited { code } => ended(run, code),
        // Brings a task back into the network after a restart of the daemon; it runs on meanwhile.
        _ => place(run, Presence::Attached).unwrap_or(Step::Wait),
    }
}

/// A process that ended by itself, or because it was unhealthy.
fn ended(run: &TaskRun, code: i32) -> Step {
    let unhealthy =
        (run.health == Health::Unhealthy).then(|| format!("unhealthy container ({})", run.complaint));
    let err = match (code, unhealthy) {
        (0, None) => return told(TaskState::Complete, "finished"),
        (0, Some(why)) => format!("task: {why}"),
        (_, None) => format!("task: non-zero exit ({code})"),
        (_, Some(why)) => format!("task: non-zero exit ({code}): {why}"),
    };
    report(TaskState::Failed, "started", err)
}

/// Out of the balancers, then the signal, then the report. Until the other nodes' balancers know, it serves on.
fn wind_down(run: &TaskRun) -> Step {
    match run.process {
        Process::Running { .. } if run.departure == Departure::Sought => Step::Wait,
        Process::Running { .. } => place(run, Presence::Withdrawn).unwrap_or_else(|| stop(run)),
        Process::Exited { .. } if has_to_flush(run) => Step::Run(Operation::Flush),
        Process::None | Process::Exited { .. } => told(TaskState::Shutdown, "shutdown"),
    }
}

fn stop(run: &TaskRun) -> Step {
    Step::Run(if run.departure == Departure::Cleared { Operation::Drain } else { Operation::Stop })
}

/// The kernel goes on for a process that ended, as long as its namespace is in the network.
fn has_to_flush(run: &TaskRun) -> bool {
    let ended = matches!(run.process, Process::Exited { .. });
    ended && !run.flushed && run.prepared.is_some() && run.presence != Presence::Absent
}

/// Out of the network, then out of the runtime, then, when the managers forget it, forgotten.
fn clean_up(run: &TaskRun) -> Step {
    if has_to_flush(run) {
        Step::Run(Operation::Flush)
    } else if let Some(step) = place(run, Presence::Absent) {
        step
    } else if !run.removed {
        Step::Run(Operation::Remove)
    } else if run.wanted == Wanted::Gone {
        Step::Forget
    } else {
        Step::Wait
    }
}

#[cfg(test)]
#[path = "task_tests.rs"]
mod tests;
