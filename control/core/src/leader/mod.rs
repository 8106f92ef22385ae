//! The leader's work as one pure state machine: events in, transactions and messages out.
//!
//! The leader keeps a replica of the store of its own and brings it forward by the [`Event::Committed`]
//! that it is handed, so its decisions never rest on a store that is ahead of the changes it has seen.
//! At most one batch of proposals is outstanding: the transactions of [`Actions::propose`] are proposed in
//! order, each is answered by one [`Event::Settled`], and nothing new is proposed before all are. A batch
//! is made from one state of the store and each write expects the version it was made from, so whatever
//! a user changed in between makes it fail whole; the leader then decides anew from what it knows by then.

use std::net::IpAddr;

use crate::assignment::AssignmentUpdate;
use crate::id::{Entropy, NodeId, SessionId, TaskId};
use crate::object::{NodeDescription, TaskStatus};
use crate::store::{Change, Store, Transaction};
use crate::time::Timestamp;

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
    /// A node's agent opened a session. It is answered by a full set of assignments; an older session of
    /// the node is closed.
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
        /// Tasks and their observed states.
        statuses: Vec<(TaskId, TaskStatus)>,
    },
    /// The daemon of a node restarts and leaves its tasks running.
    RestartAnnounced {
        /// The node.
        node: NodeId,
        /// Its session.
        session: SessionId,
    },
}

/// What the leader wants done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Actions {
    /// Transactions to propose, in this order; each is answered by one [`Event::Settled`].
    pub propose: Vec<Transaction>,
    /// Messages to agents.
    pub send: Vec<(SessionId, AssignmentUpdate)>,
    /// Sessions to end: replaced by a newer one, or of a node that is not (or no longer) in the cluster.
    pub close: Vec<SessionId>,
    /// When to hand in [`Event::Wake`], if nothing else happens before; replaces what was asked for before.
    pub wake_at: Option<Timestamp>,
}

/// The leader. It lives as long as one term of leadership.
#[derive(Debug)]
pub struct Leader {
    store: Store,
}

impl Leader {
    /// Takes over at a state of the store. Every node gets a full grace period from `now`.
    pub fn new(store: &Store, now: Timestamp) -> Self {
        let _ = now;
        Self { store: store.clone() }
    }

    /// Handles one event. Call it once with [`Event::Wake`] right after [`Leader::new`].
    pub fn step(&mut self, event: Event, now: Timestamp, entropy: &mut dyn Entropy) -> Actions {
        let _ = (event, now, entropy, &self.store);
        Actions::default()
    }
}
