//! The shell around [`mesh_core::leader::Leader`]: for as long as this manager leads, hands it what happens
//! and does what it says.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::join_all;
use mesh_core::assignment::{AssignmentUpdate, Held};
use mesh_core::command::depart_node;
use mesh_core::id::{NodeId, SessionId, TaskId};
use mesh_core::leader::{Actions, Event, Leader, Settled};
use mesh_core::object::{NodeDescription, TaskStatus};
use mesh_core::store::{Change, Delta, Store, Transaction};
use mesh_core::time::Timestamp;
use mesh_raft::{Committed, Raft, Role};
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::amend::{Unmade, amend};
use crate::clock::now;
use crate::entropy::SystemEntropy;
use crate::news::News;
use crate::rpc::dispatcher::Outbound;
use crate::rpc::envelope;
use crate::rpc::proto::{Close, ManagerMessage, StatusesTaken, manager_message};
use crate::stop::{Stop, raised};

mod past;

use self::past::Past;

/// Inputs that wait for the leader.
const INBOX: usize = 4096;

/// A session that was opened.
#[derive(Debug)]
pub struct Opened {
    /// The node, from its certificate.
    pub node: NodeId,
    /// The new session.
    pub session: SessionId,
    /// What the node tells of itself.
    pub description: NodeDescription,
    /// Address it is reached at.
    pub addr: IpAddr,
    /// Address its tunnels end at.
    pub data_path_addr: IpAddr,
    /// What its agent has of an earlier session.
    pub held: Option<Held>,
    /// The way to it.
    pub outbound: Outbound,
}

/// What agents say, and who waits for them.
#[derive(Debug)]
pub enum Input {
    /// A session was opened.
    Opened(Box<Opened>),
    /// A session is over.
    Closed {
        /// The node.
        node: NodeId,
        /// The session.
        session: SessionId,
    },
    /// The agent is there.
    Heartbeat {
        /// The node.
        node: NodeId,
        /// The session.
        session: SessionId,
    },
    /// What became of tasks.
    Statuses {
        /// The node.
        node: NodeId,
        /// The session.
        session: SessionId,
        /// The report's number; counts up within a session.
        number: u64,
        /// Tasks and their states.
        statuses: Vec<(TaskId, TaskStatus)>,
    },
    /// What the agent has, to be compared.
    Held {
        /// The node.
        node: NodeId,
        /// The session.
        session: SessionId,
        /// What it has.
        held: Held,
    },
    /// The node's network is as its assignments say.
    Applied {
        /// The node.
        node: NodeId,
        /// The session.
        session: SessionId,
        /// Version of the assignments.
        version: u64,
    },
    /// Raft has told all its changes up to this log entry; those that changed nothing it does not tell.
    CaughtUp {
        /// The log entry.
        index: u64,
    },
    /// The daemon restarts.
    Restart {
        /// The node.
        node: NodeId,
        /// The session.
        session: SessionId,
    },
    /// The node leaves the cluster.
    Leave {
        /// The node.
        node: NodeId,
        /// The session.
        session: SessionId,
    },
}

/// Leads whenever raft says so, until raft ends or `stop` says so. `inbox` holds the leader's inbox while
/// there is one; `nodes` tells what the nodes have applied meanwhile.
pub async fn run(
    raft: Raft,
    inbox: watch::Sender<Option<mpsc::Sender<Input>>>,
    nodes: watch::Sender<Settled>,
    mut stop: Stop,
) {
    let mut past = Past::new(raft.clone());
    while past.follow(&mut stop).await {
        tracing::info!("this manager leads");
        let mut role = raft.role();
        let (sender, inputs) = mpsc::channel(INBOX);
        let mut term = Term::begin(&raft, &mut past, &nodes);
        inbox.send_replace(Some(sender));
        let lost = role.wait_for(|state| state.role != Role::Leader);
        let on_track = tokio::select! {
            () = raised(&mut stop) => true,
            _ = lost => {
                tracing::info!("this manager leads no longer");
                true
            }
            () = term.run(inputs) => false,
        };
        past.go_on(on_track.then_some((term.changes, term.leader.history())));
        inbox.send_replace(None);
        nodes.send_replace(Settled::default());
    }
}

/// One term of leadership; dropping it ends all sessions.
struct Term<'a> {
    raft: Raft,
    leader: Leader,
    /// Index of the last entry the leader knows.
    seen: u64,
    changes: News,
    sessions: HashMap<SessionId, Outbound>,
    /// How proposals ended.
    outcomes: (mpsc::UnboundedSender<Option<u64>>, mpsc::UnboundedReceiver<Option<u64>>),
    /// What the nodes have applied.
    nodes: &'a watch::Sender<Settled>,
    wake_at: Option<Timestamp>,
}

impl<'a> Term<'a> {
    fn begin(raft: &Raft, past: &mut Past, nodes: &'a watch::Sender<Settled>) -> Self {
        let changes = raft.changes();
        // The past is asked after the store, so that it reaches up to it.
        let store = raft.store();
        nodes.send_replace(Settled::new(store.index()));
        Self {
            leader: Leader::new(&store, past.history(), now()),
            seen: store.index(),
            changes,
            sessions: HashMap::new(),
            outcomes: mpsc::unbounded_channel(),
            nodes,
            wake_at: None,
            raft: raft.clone(),
        }
    }

    /// Runs until it has lost track of the store, or nothing can happen any more.
    async fn run(&mut self, mut inputs: mpsc::Receiver<Input>) {
        self.step(Event::Wake);
        loop {
            let wait = self.wake_at.map_or(Duration::MAX, |at| at.since(now()));
            tokio::select! {
                biased;
                committed = self.changes.recv() => {
                    // Lagging or ended: a new term starts from the store as it is.
                    let Ok(committed) = committed else { return };
                    if !self.committed(&committed) {
                        return;
                    }
                }
                Some(index) = self.outcomes.1.recv() => self.step(Event::Settled { index }),
                input = inputs.recv() => match input {
                    Some(Input::CaughtUp { index }) if !self.catch_up(index) => return,
                    Some(input) => self.input(input),
                    None => return,
                },
                () = sleep(wait) => {
                    self.wake_at = None;
                    self.step(Event::Wake);
                }
            }
        }
    }

    /// Takes in what an entry changed; false when it replaced the store whole.
    fn committed(&mut self, committed: &Committed) -> bool {
        if committed.index > self.seen && !committed.replaced {
            self.seen = committed.index;
            self.step(Event::Committed { index: committed.index, changes: committed.changes.clone() });
            self.nodes.send_modify(|nodes| {
                for change in &committed.changes {
                    if let Change::Node(Delta { new: Some(node), .. }) = change {
                        nodes.node(node.id, node.status.state);
                    }
                }
                nodes.reach(committed.index);
            });
        }
        !committed.replaced
    }

    /// Takes in the changes that are told already, which are all up to `index`; false when it has lost track
    /// of the store.
    fn catch_up(&mut self, index: u64) -> bool {
        loop {
            match self.changes.try_recv() {
                Ok(committed) if self.committed(&committed) => {}
                Err(TryRecvError::Empty) => break,
                Ok(_) | Err(_) => return false,
            }
        }
        self.nodes.send_modify(|nodes| nodes.reach(index));
        true
    }

    fn input(&mut self, input: Input) {
        let event = match input {
            Input::Opened(opened) => self.opened(*opened),
            Input::CaughtUp { .. } => return,
            Input::Applied { node, session, version } => {
                self.nodes.send_modify(|nodes| nodes.applied(session, version));
                Event::Applied { node, session, version }
            }
            Input::Closed { node, session } => {
                self.end(session);
                Event::SessionClosed { node, session }
            }
            Input::Heartbeat { node, session } => Event::Heartbeat { node, session },
            Input::Statuses { node, session, number, statuses } => {
                Event::Statuses { node, session, number, statuses }
            }
            Input::Held { node, session, held } => Event::Held { node, session, held },
            Input::Restart { node, session } => Event::RestartAnnounced { node, session },
            Input::Leave { node, session } => {
                self.end(session);
                tokio::spawn(mark_left(self.raft.clone(), node));
                Event::SessionClosed { node, session }
            }
        };
        self.step(event);
    }

    fn opened(&mut self, opened: Opened) -> Event {
        let Opened { node, session, description, addr, data_path_addr, held, outbound } = opened;
        if self.sessions.insert(session, outbound).is_none() {
            self.nodes.send_modify(|nodes| nodes.open(node, session));
        }
        let description = Box::new(description);
        Event::SessionOpened { node, session, description, addr, data_path_addr, held }
    }

    fn step(&mut self, event: Event) {
        let actions = self.leader.step(event, now(), &mut SystemEntropy);
        let Actions { propose, send, taken, close, overdue, wake_at } = actions;
        self.wake_at = wake_at;
        for node in overdue {
            tracing::warn!(%node, "a node does not bring what it is told into its network; tasks leave without waiting for it");
        }
        for (session, update) in send {
            self.assign(session, &update);
            self.nodes.send_modify(|nodes| nodes.sent(session, update.version()));
        }
        for (session, number) in taken {
            self.tell(session, manager_message::Kind::Taken(StatusesTaken { number }));
        }
        for (session, end) in close {
            self.tell(session, manager_message::Kind::Close(Close { reason: end.to_string() }));
            self.end(session);
        }
        self.propose(propose);
    }

    fn assign(&mut self, session: SessionId, update: &AssignmentUpdate) {
        match envelope::seal("an assignment update", update) {
            Ok(sealed) => self.tell(session, manager_message::Kind::Assignments(sealed)),
            Err(error) => {
                tracing::error!(%error, "a session is ended");
                self.end(session);
            }
        }
    }

    /// Says something to an agent. One that does not keep up loses its session, and gets everything anew.
    fn tell(&mut self, session: SessionId, kind: manager_message::Kind) {
        let Some(outbound) = self.sessions.get(&session) else { return };
        if outbound.try_send(Ok(ManagerMessage { kind: Some(kind) })).is_err() {
            self.end(session);
        }
    }

    fn end(&mut self, session: SessionId) {
        self.sessions.remove(&session);
        self.nodes.send_modify(|nodes| nodes.close(session));
    }

    /// Proposes a batch, in order, and has each outcome handed in.
    fn propose(&self, batch: Vec<Transaction>) {
        if batch.is_empty() {
            return;
        }
        let (raft, outcomes) = (self.raft.clone(), self.outcomes.0.clone());
        tokio::spawn(async move {
            let done = join_all(batch.into_iter().map(|transaction| raft.propose(transaction))).await;
            for outcome in done {
                let index = outcome.map(|committed| committed.index).map_err(|error| {
                    tracing::debug!(%error, "a proposal of the leader was not made");
                });
                // The term may be over.
                let _ = outcomes.send(index.ok());
            }
        });
    }
}

/// Writes down that a node has left, so that its tasks are replaced at once. When that fails, its silence
/// tells the same a little later.
async fn mark_left(raft: Raft, id: NodeId) {
    // It goes whatever the others need: nobody is asked here.
    let left =
        |store: &Store| Ok::<_, Infallible>(depart_node(store, id, true, &BTreeSet::new(), now()).ok());
    match amend(&raft, left).await {
        Ok(()) | Err(Unmade::Moved(_)) => {}
        Err(Unmade::Propose(error)) => {
            tracing::warn!(node = %id, %error, "a node left, and that was not written down");
        }
        Err(Unmade::Refused(never)) => match never {},
    }
}

/// Addresses of the managers in a store.
pub fn managers(store: &Store) -> Vec<String> {
    store.nodes().filter_map(|node| node.manager.as_ref()).map(|manager| manager.addr.to_string()).collect()
}
