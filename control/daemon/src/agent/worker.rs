//! The agent's loop: takes in what happens, asks the state machine of each task what to do, writes down what
//! must not be forgotten, and only then does it.

mod operations;
mod rendering;
mod takeover;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use mesh_core::assignment::{AssignmentSet, AssignmentUpdate, Held, Standing};
use mesh_core::id::TaskId;
use mesh_core::object::{Leaving, TaskState};
use mesh_runtime::task::{Found, RuntimeEvent};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::entry::Entry;
use super::facts::{NodeFacts, next_dns_client};
use super::leaving::UNHEARD;
use super::outbox::Outbox;
use super::saved::{Saved, SavedFile};
use super::seam::{NodeNetwork, TaskRuntime};
use super::task::{Departure, Failure, Operation, Presence, Process, Step, TaskRun, Wanted, next};
use super::versions::Versions;
use super::ways::{AgentState, Event, Inbox, Outcome};
use super::{placing, probing};
use crate::error::DaemonError;
use crate::stop::{Stop, raised};

/// The agent.
pub struct Worker<R> {
    node: NodeFacts,
    runtime: R,
    file: SavedFile,
    outbox: Outbox,
    /// To itself, for results of operations.
    events: mpsc::UnboundedSender<Event>,
    views: watch::Sender<placing::Numbered>,
    state: watch::Sender<AgentState>,
    standing: watch::Sender<Option<Standing>>,
    set: AssignmentSet,
    version: u64,
    /// Versions on their way into the network.
    versions: Versions,
    tasks: BTreeMap<TaskId, Entry>,
    /// What the runtime has and this node has not heard of, until the managers tell what it should have.
    unknown: BTreeMap<TaskId, Found>,
    last_dns_client: Option<Ipv4Addr>,
    /// Something changed that must be on disk before it is acted upon.
    unsaved: bool,
    /// Number of the view that the network is as,
    applied: u64,
    /// but for these endpoints.
    failed: BTreeSet<u32>,
    /// The newest view that could not be made whole, and why.
    trouble: Option<(u64, String)>,
    operations: Vec<(TaskId, Operation)>,
}

/// Starts an agent: reads what it knew, takes over the tasks that are there, and serves on. The agent ends
/// when `stop` says so; tasks and network stay.
pub async fn start<R: TaskRuntime, N: NodeNetwork>(
    node: NodeFacts,
    runtime: R,
    network: N,
    file: SavedFile,
    inbox: Inbox,
    stop: Stop,
) -> Result<(), DaemonError> {
    let saved = file.load()?;
    let happenings = runtime.events();
    let found = runtime.adopt().await;
    let Inbox { handle, events, state, standing } = inbox;
    let (views, placed) = watch::channel(placing::Numbered::default());
    tokio::spawn(placing::run(network, placed, handle.events.clone(), stop.clone()));
    let mut worker = Worker {
        node,
        runtime,
        file,
        outbox: handle.outbox,
        events: handle.events,
        views,
        state,
        standing,
        set: AssignmentSet::default(),
        version: 0,
        versions: Versions::default(),
        tasks: BTreeMap::new(),
        unknown: BTreeMap::new(),
        last_dns_client: None,
        unsaved: false,
        applied: 0,
        failed: BTreeSet::new(),
        trouble: None,
        operations: Vec::new(),
    };
    worker.adopt(saved, found);
    tokio::spawn(worker.run(events, happenings, stop));
    Ok(())
}

impl<R: TaskRuntime> Worker<R> {
    async fn run(
        mut self,
        mut events: mpsc::UnboundedReceiver<Event>,
        mut happenings: mpsc::Receiver<RuntimeEvent>,
        mut stop: Stop,
    ) {
        self.act().await;
        loop {
            let event = tokio::select! {
                () = raised(&mut stop) => return,
                Some(event) = events.recv() => event,
                Some(event) = happenings.recv() => Event::Runtime(event),
                else => return,
            };
            self.take_in(event);
            while let Ok(event) = events.try_recv() {
                self.take_in(event);
            }
            self.act().await;
        }
    }

    fn take_in(&mut self, event: Event) {
        match event {
            Event::Update(update) => self.update(update),
            // Who asked may have given up.
            Event::Recall(reply) => drop(reply.send(self.held())),
            Event::Runtime(RuntimeEvent::Exited { task, code }) => self.exited(task, code),
            Event::Health { task, health, complaint } => {
                if let Some(entry) = self.tasks.get_mut(&task).filter(|entry| entry.run.check().is_some()) {
                    entry.set_health(health, complaint);
                }
            }
            Event::Again => {}
            Event::Unheard { task } => self.unheard(task),
            Event::Done { task, outcome } => self.done(task, outcome),
            Event::Unmade { generation, reason } => self.trouble = Some((generation, reason)),
            Event::Applied { generation, failed, whole } => {
                self.applied = generation;
                self.failed = failed;
                if whole {
                    self.trouble = None;
                    let version = self.versions.applied(generation);
                    self.acknowledge(version);
                }
            }
        }
    }

    /// What it has of its assignments.
    fn held(&self) -> Option<Held> {
        (self.version > 0).then(|| Held { version: self.version, digest: self.set.digest() })
    }

    fn update(&mut self, update: AssignmentUpdate) {
        if let Err(error) = self.set.apply_update(&mut self.version, update) {
            // The session checks versions before it hands updates in.
            tracing::error!(%error, "an assignment update was lost");
            return;
        }
        self.versions.take_in(self.version);
        self.unsaved = true;
        self.standing.send_if_modified(|told| {
            let changed = told.as_ref() != Some(&self.set.standing);
            if changed {
                *told = Some(self.set.standing.clone());
            }
            changed
        });
        let set = &self.set;
        for entry in self.tasks.values_mut().filter(|entry| !set.tasks.contains_key(&entry.task.id)) {
            entry.run.wanted = Wanted::Gone;
            entry.leave(None);
        }
        self.take_over_told();
        self.discard_unknown();
        let mut leaving = Vec::new();
        for (id, task) in &self.set.tasks {
            let Some(entry) = self.tasks.get_mut(id) else { continue };
            let wanted = Wanted::of(task.desired_state);
            entry.run.wanted = entry.run.wanted.max(wanted);
            leaving.extend((wanted >= Wanted::Stopped).then_some((*id, task.leaving)));
        }
        for (id, leaving) in leaving {
            self.leave(id, leaving);
        }
    }

    /// A task leaves, as the managers say, or goes on with it.
    fn leave(&mut self, id: TaskId, leaving: Option<Leaving>) {
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        if entry.leave(leaving) {
            let events = self.events.clone();
            tokio::spawn(async move {
                sleep(UNHEARD).await;
                // The agent may have ended meanwhile; the next one waits anew.
                let _ = events.send(Event::Unheard { task: id });
            });
        }
    }

    fn unheard(&mut self, id: TaskId) {
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        if entry.run.departure == Departure::Sought {
            tracing::warn!(task = %id, "a task leaves without word that no node sends to it any more");
            entry.run.departure = Departure::Cleared;
        }
    }

    fn done(&mut self, id: TaskId, outcome: Outcome) {
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        let run = &mut entry.run;
        run.busy = None;
        match outcome {
            Outcome::Prepared(prepared) => run.set_prepared(prepared),
            Outcome::Started(pid) if run.process == Process::None => run.process = Process::Running { pid },
            Outcome::Drained if run.departure == Departure::Cleared => run.departure = Departure::Drained,
            // It ended meanwhile, or had to hurry.
            Outcome::Started(_) | Outcome::Drained => {}
            Outcome::Flushed => run.flushed = true,
            Outcome::Stopped(code) => {
                run.process = Process::Exited { code: code.unwrap_or(super::task::KILLED) };
            }
            Outcome::Removed => run.removed = true,
            Outcome::Failed(failure) => run.failure = Some(failure),
        }
    }

    /// Brings every task forward as far as it goes, saves, then does what was decided.
    async fn act(&mut self) {
        self.settle();
        let ids: Vec<TaskId> = self.tasks.keys().copied().collect();
        for id in ids {
            self.advance(id);
            self.observe(id);
        }
        self.save().await;
        self.render();
        self.explain();
        for (task, operation) in std::mem::take(&mut self.operations) {
            self.begin(task, operation);
        }
        self.tell();
    }

    fn advance(&mut self, id: TaskId) {
        while let Some(entry) = self.tasks.get_mut(&id) {
            match next(&entry.run) {
                Step::Wait => return,
                Step::Report(report) => {
                    self.unsaved |= report.state >= TaskState::Starting;
                    entry.report(report);
                    self.outbox.put(id, entry.status.clone());
                }
                Step::Run(operation) => {
                    if operation == Operation::Drain {
                        entry.set_drain_time();
                        self.unsaved = true;
                    }
                    entry.run.busy = Some(operation);
                    self.operations.push((id, operation));
                }
                Step::Place(presence) => self.place(id, presence),
                Step::Forget => {
                    self.tasks.remove(&id);
                    self.outbox.forget(id);
                    self.unsaved = true;
                }
            }
        }
    }

    /// Probes the task, or does not any more, and tells what its probe says.
    fn observe(&mut self, id: TaskId) {
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        if entry.tell_health() {
            self.unsaved = true;
            self.outbox.put(id, entry.status.clone());
        }
        match (entry.run.check(), &entry.probing) {
            (None, _) => entry.probing = None,
            (Some(_), Some(_)) => {}
            (Some(check), None) => {
                let known = probing::Known { age: entry.age(), health: entry.run.health };
                let (runtime, events) = (self.runtime.clone(), self.events.clone());
                entry.probing = Some(probing::begin(runtime, id, check.clone(), known, events));
            }
        }
    }

    fn place(&mut self, id: TaskId, presence: Presence) {
        let client = (presence == Presence::Attached).then(|| self.dns_client(id));
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        entry.run.presence = presence;
        entry.run.settled = false;
        entry.settles_at = u64::MAX;
        match client {
            Some(None) => {
                let error = "no address is left for its questions for names".to_owned();
                entry.run.failure = Some(Failure { error, rejected: false });
            }
            Some(client) => entry.dns_client = client,
            None => {}
        }
    }

    fn dns_client(&mut self, id: TaskId) -> Option<Ipv4Addr> {
        if let Some(client) = self.tasks.get(&id).and_then(|entry| entry.dns_client) {
            return Some(client);
        }
        let used: BTreeSet<Ipv4Addr> = self.tasks.values().filter_map(|entry| entry.dns_client).collect();
        let client = next_dns_client(&used, self.last_dns_client)?;
        self.last_dns_client = Some(client);
        self.unsaved = true;
        Some(client)
    }

    async fn save(&mut self) {
        if !std::mem::take(&mut self.unsaved) {
            return;
        }
        let tasks = self.tasks.iter().map(|(id, entry)| (*id, entry.saved())).collect();
        let set = self.set.clone();
        let saved = Saved { set, version: self.version, tasks, last_dns_client: self.last_dns_client };
        if let Err(error) = self.file.store(&saved).await {
            // Serving on with what is in memory is better than not serving.
            tracing::error!(%error, "what this node knows could not be saved");
            self.unsaved = true;
        }
    }

    fn acknowledge(&self, applied: Option<u64>) {
        if let Some(version) = applied {
            self.outbox.put_applied(version);
        }
    }

    fn tell(&self) {
        let count = |test: fn(&TaskRun) -> bool| self.tasks.values().filter(|entry| test(&entry.run)).count();
        let state = AgentState {
            running: count(|run| matches!(run.process, Process::Running { .. })),
            present: count(|run| !run.removed),
        };
        self.state.send_if_modified(|old| {
            let changed = *old != state;
            *old = state;
            changed
        });
    }
}
