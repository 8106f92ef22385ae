//! The leader's work as one pure state machine: events in, transactions and messages out.
//!
//! The leader keeps a replica of the store of its own and brings it forward by the [`Event::Committed`]
//! that it is handed, so its decisions never rest on a store that is ahead of the changes it has seen.
//! At most one batch of proposals is outstanding: the transactions of [`Actions::propose`] are proposed in
//! order, each is answered by one [`Event::Settled`], and nothing new is proposed before all are. A batch
//! is made from one state of the store and each write expects the version it was made from, so whatever
//! a user changed in between makes it fail whole; the leader then decides anew from what it knows by then.

pub(crate) mod draft;
mod flight;
mod history;
mod leaving;
mod liveness;
mod orphans;
mod reports;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

pub use crate::dispatch::Settled;
pub use history::{HISTORY_CHANGES, History};

use crate::allocate::Allocator;
use crate::assignment::{AssignmentSet, AssignmentUpdate, Held};
use crate::command::{Refusal, check_description};
use crate::dispatch::{self, Dispatcher};
use crate::id::{Entropy, NodeId, SessionId, TaskId};
use crate::object::{NodeDescription, TaskStatus};
use crate::orchestrate::Orchestrator;
use crate::schedule::Scheduler;
use crate::store::{Change, Delta, Object, Store, Transaction};
use crate::time::Timestamp;
use draft::Draft;
use flight::Flight;
use leaving::Clearing;
use liveness::{Liveness, Told};
use orphans::Orphans;
use reports::Reports;

/// What happens to the leader.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A log entry was applied. Every entry after the store that [`Leader::new`] was given must be handed
    /// in, in order (entries that conflicted have no changes and may be left out).
    Committed {
        /// Index of the log entry.
        index: u64,
        /// What it changed.
        changes: Vec<Change>,
    },
    /// One transaction of the outstanding batch is done. May come before or after its `Committed`.
    Settled {
        /// Log entry at which it was applied; `None`: it conflicted, or was lost.
        index: Option<u64>,
    },
    /// The time asked for by [`Actions::wake_at`] has come.
    Wake,
    /// A node's agent opened a session. It is answered by what changed since what the agent has, or by a full
    /// set of assignments; an older session of the node is closed. For a session that is open already, the node
    /// tells of itself anew, and nothing is answered.
    ///
    /// It is handed in when a quorum has confirmed that this leader leads, after all entries of that time: one
    /// that was deposed and does not know it would withdraw tasks and take reports of them for old.
    SessionOpened {
        /// The node, from its certificate.
        node: NodeId,
        /// The new session.
        session: SessionId,
        /// What the node tells of itself.
        description: Box<NodeDescription>,
        /// Address it is reached at.
        addr: IpAddr,
        /// Address that its tunnels end at.
        data_path_addr: IpAddr,
        /// What the agent has of an earlier session.
        held: Option<Held>,
    },
    /// A session's connection is gone. The node stays Ready for as long as its silence may last.
    SessionClosed {
        /// The node.
        node: NodeId,
        /// The session.
        session: SessionId,
    },
    /// The agent is there.
    Heartbeat {
        /// The node.
        node: NodeId,
        /// Its session.
        session: SessionId,
    },
    /// What the agent saw of its tasks; counts as a heartbeat.
    Statuses {
        /// The node.
        node: NodeId,
        /// Its session.
        session: SessionId,
        /// The report's number; counts up within a session.
        number: u64,
        /// Tasks and their observed states.
        statuses: Vec<(TaskId, TaskStatus)>,
    },
    /// The agent says what it has, to be compared; counts as a heartbeat.
    Held {
        /// The node.
        node: NodeId,
        /// Its session.
        session: SessionId,
        /// What it has.
        held: Held,
    },
    /// A node's network and names are as the assignments of a version say; counts as a heartbeat.
    Applied {
        /// The node.
        node: NodeId,
        /// Its session.
        session: SessionId,
        /// The version.
        version: u64,
    },
    /// The daemon of a node restarts and leaves its tasks running.
    RestartAnnounced {
        /// The node.
        node: NodeId,
        /// Its session.
        session: SessionId,
    },
}

/// Why the leader ends a session.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SessionEnd {
    /// The node opened another.
    #[error("replaced by a newer session of this node")]
    Replaced,
    /// It is not the node's session, as far as this leader knows.
    #[error("this manager knows of no such session")]
    Unknown,
    /// The node is not in the store.
    #[error("this node is not in the cluster: it was removed, and has to leave and to join again")]
    Removed,
    /// The node said that it leaves.
    #[error("this node left the cluster")]
    Left,
    /// What the node says of itself cannot be.
    #[error("what this node says of itself is refused: {0}")]
    Description(Refusal),
    /// Nothing was lost: it reports again in its next session.
    #[error("more reports wait than this manager takes")]
    Busy,
}

/// What the leader wants done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Actions {
    /// Transactions to propose, in this order; each is answered by one [`Event::Settled`].
    pub propose: Vec<Transaction>,
    /// Messages to agents.
    pub send: Vec<(SessionId, AssignmentUpdate)>,
    /// Sessions of which all reports up to this number are durable.
    pub taken: Vec<(SessionId, u64)>,
    /// Sessions to end, and why.
    pub close: Vec<(SessionId, SessionEnd)>,
    /// Nodes that are there and have not brought what they were told into their networks for too long: tasks
    /// leave without waiting for them.
    pub overdue: Vec<NodeId>,
    /// When to hand in [`Event::Wake`], if nothing else happens before; replaces what was asked for before.
    pub wake_at: Option<Timestamp>,
}

/// The leader. It lives as long as one term of leadership.
#[derive(Debug)]
pub struct Leader {
    store: Store,
    history: History,
    flight: Flight,
    liveness: Liveness,
    orphans: Orphans,
    reports: Reports,
    clearing: Clearing,
    orchestrator: Orchestrator,
    allocator: Allocator,
    scheduler: Scheduler,
    dispatcher: Dispatcher,
    /// When it asked to be woken last.
    alarm: Option<Timestamp>,
}

impl Leader {
    /// Takes over at a state of the store, of which `history` holds the past. Every node gets a full grace
    /// period from `now`.
    pub fn new(store: &Store, mut history: History, now: Timestamp) -> Self {
        history.go_on_from(store);
        let dispatcher = Dispatcher::new(store);
        Self {
            store: store.clone(),
            history,
            flight: Flight::default(),
            liveness: Liveness::new(store, now),
            orphans: Orphans::new(store),
            reports: Reports::default(),
            clearing: Clearing::new(store, &dispatcher, now),
            orchestrator: Orchestrator::new(store, now),
            allocator: Allocator::new(store),
            scheduler: Scheduler::new(store),
            dispatcher,
            alarm: None,
        }
    }

    /// The store as this leader knows it.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What the store was a little while ago.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Everything that a node is told, to compare with what its agent has.
    pub fn assignments(&self, node: NodeId) -> AssignmentSet {
        dispatch::full(&self.store, node, &dispatch::Others::of(&self.store))
    }

    /// Handles one event. Call it once with [`Event::Wake`] right after [`Leader::new`].
    pub fn step(&mut self, event: Event, now: Timestamp, entropy: &mut dyn Entropy) -> Actions {
        let mut actions = Actions::default();
        if let Some(alarm) = self.alarm {
            self.liveness.forgive_stall(alarm, now);
        }
        self.handle(event, now, &mut actions);
        self.liveness.expire(now);
        actions.overdue = self.clearing.expire(&self.store, now);
        if self.flight.is_landed(self.store.index(), now) && self.has_work(now) {
            self.propose(now, entropy, &mut actions);
        }
        actions.taken = self.reports.taken();
        actions.wake_at = self.next_wake();
        self.alarm = actions.wake_at;
        actions
    }

    fn handle(&mut self, event: Event, now: Timestamp, actions: &mut Actions) {
        match event {
            Event::Wake => {}
            Event::Committed { index, changes } => self.committed(index, &changes, now, actions),
            Event::Settled { index } => {
                if let Some(lost) = self.flight.settle(index, now) {
                    for object in &lost {
                        self.look_again(object);
                    }
                }
            }
            Event::SessionOpened { node, session, description, addr, data_path_addr, held } => {
                let told = Told { description: *description, addr, data_path_addr };
                self.open(node, session, told, held, now, actions);
            }
            Event::SessionClosed { node, session } => self.close(node, session),
            Event::Heartbeat { node, session } => drop(self.hear(node, session, now, actions)),
            Event::Statuses { node, session, number, statuses } => {
                if self.hear(node, session, now, actions)
                    && self.reports.add(&self.store, node, session, number, statuses).is_err()
                {
                    self.close(node, session);
                    actions.close.push((session, SessionEnd::Busy));
                }
            }
            Event::Held { node, session, held } => {
                if self.hear(node, session, now, actions) {
                    let anew = self.dispatcher.check(&self.store, node, session, held);
                    actions.send.extend(anew.map(|update| (session, update)));
                }
            }
            Event::Applied { node, session, version } => {
                if self.hear(node, session, now, actions) {
                    self.clearing.applied(&self.store, &self.dispatcher, node, version);
                }
            }
            Event::RestartAnnounced { node, session } => {
                self.liveness.announce_restart(node, session, now);
            }
        }
    }

    fn open(
        &mut self,
        node: NodeId,
        session: SessionId,
        told: Told,
        held: Option<Held>,
        now: Timestamp,
        actions: &mut Actions,
    ) {
        let wrong = match self.store.node(node) {
            Some(_) => check_description(&told.description).err().map(SessionEnd::Description),
            None => Some(SessionEnd::Removed),
        };
        if let Some(end) = wrong {
            actions.close.push((session, end));
            return;
        }
        if let Some(old) = self.liveness.open(node, session, told, now) {
            self.reports.close(old);
            actions.close.push((old, SessionEnd::Replaced));
        }
        if self.dispatcher.is_open(node, session) {
            return;
        }
        self.clearing.open(node);
        let first = self.dispatcher.open(&self.store, &self.history, node, session, held);
        actions.send.push((session, first));
    }

    fn close(&mut self, node: NodeId, session: SessionId) {
        self.liveness.close(node, session);
        self.dispatcher.close(node, session);
        self.reports.close(session);
    }

    fn hear(&mut self, node: NodeId, session: SessionId, now: Timestamp, actions: &mut Actions) -> bool {
        let known = self.liveness.hear(&self.store, node, session, now);
        if !known {
            actions.close.push((session, SessionEnd::Unknown));
        }
        known
    }

    fn committed(&mut self, index: u64, changes: &[Change], now: Timestamp, actions: &mut Actions) {
        let before = self.store.clone();
        self.store.replay(index, changes);
        self.history.push(self.store.clone(), changes);
        for change in changes {
            self.orphans.observe(change);
            self.reports.observe(&self.store, change);
            if let Some((node, session)) = self.liveness.observe(&self.store, change, now) {
                self.close(node, session);
                let gone = self.store.node(node).is_none();
                let end = if gone { SessionEnd::Removed } else { SessionEnd::Left };
                actions.close.push((session, end));
            }
        }
        let store = self.store.clone();
        self.notice(&store, changes);
        actions.send.extend(self.dispatcher.observe(&before, &self.store, changes));
        self.clearing.committed(&self.store, &self.dispatcher, changes, now);
    }

    fn has_work(&self, now: Timestamp) -> bool {
        let timers = [self.orchestrator.wake_at(), self.orphans.wake_at()];
        timers.into_iter().flatten().any(|at| at <= now)
            || self.liveness.has_work()
            || self.reports.has_work()
            || self.clearing.has_work()
            || self.orchestrator.has_work()
            || self.allocator.has_work()
            || self.scheduler.has_work()
    }

    /// Makes the next batch.
    fn propose(&mut self, now: Timestamp, entropy: &mut dyn Entropy, actions: &mut Actions) {
        let base = self.store.clone();
        let mut draft = Draft::new(&base, now);
        self.liveness.plan(&mut draft);
        self.reports.plan(&mut draft);
        self.orphans.plan(&mut draft);
        self.clearing.plan(&mut draft);
        self.take_note(&mut draft);
        self.orchestrator.plan(&mut draft, entropy);
        self.take_note(&mut draft);
        self.allocator.plan(&mut draft);
        self.take_note(&mut draft);
        self.scheduler.plan(&mut draft);
        self.take_note(&mut draft);
        let (transactions, touched) = draft.finish();
        self.flight.launch(base.index(), transactions.len(), touched);
        actions.propose = transactions;
    }

    fn take_note(&mut self, draft: &mut Draft<'_>) {
        let fresh = draft.take_fresh();
        self.notice(draft.store(), &fresh);
    }

    /// Tells the stages what changed, in the store or in a draft of it.
    fn notice(&mut self, store: &Store, changes: &[Change]) {
        for change in changes {
            self.orchestrator.notice(store, change);
            self.allocator.notice(change);
            self.scheduler.notice(change);
        }
    }

    /// Looks again at an object whose drafted change was not carried out.
    fn look_again(&mut self, object: &Object) {
        match object {
            Object::Node(node) => {
                self.liveness.look_again(node.id);
                if let Some(node) = self.store.node(node.id) {
                    self.scheduler.notice(&Change::Node(Delta { old: None, new: Some(node.clone()) }));
                }
            }
            Object::Task(task) => {
                self.orchestrator.look_again(task.service);
                self.allocator.look_again(task.id);
                self.scheduler.look_again(task.id, self.store.task(task.id));
            }
            Object::Service(service) => self.orchestrator.look_again(service.id),
            Object::Cluster(_) | Object::Network(_) | Object::Secret(_) | Object::Config(_) => {}
        }
    }

    fn next_wake(&self) -> Option<Timestamp> {
        let own = [self.liveness.wake_at(), self.flight.wake_at(), self.clearing.wake_at()];
        // While a batch is on its way nothing can be decided; its end is an event.
        let waits = [self.orchestrator.wake_at(), self.orphans.wake_at()];
        let waits = waits.into_iter().filter(|_| self.flight.is_idle());
        own.into_iter().chain(waits).flatten().min()
    }
}
