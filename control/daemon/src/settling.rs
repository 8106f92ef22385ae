//! Waiting until every node's network and names are as the store says, on the manager that leads.

use std::time::Duration;

use mesh_core::id::NodeId;
use mesh_core::leader::Settled;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::leader::Input;

/// Whether the nodes have what was asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// All of them have.
    pub settled: bool,
    /// Those that have not.
    pub waiting: Vec<NodeId>,
}

/// What to ask the leader with; clones ask the same.
#[derive(Clone)]
pub struct Settling {
    /// The leader's inbox; `None` while this manager does not lead.
    pub leader: watch::Receiver<Option<mpsc::Sender<Input>>>,
    /// What the nodes have applied.
    pub nodes: watch::Receiver<Settled>,
}

impl Settling {
    /// Waits until every node has applied all that log entries up to `index` mean for it, or `patience` is
    /// over. `known` is the index of a store that raft read: the leader need not be told of entries up to
    /// there that changed nothing.
    pub async fn wait(mut self, known: u64, index: u64, patience: Duration) -> Settlement {
        match timeout(patience, self.settle(known, index)).await {
            Ok(true) => Settlement { settled: true, waiting: Vec::new() },
            Ok(false) | Err(_) => Settlement { settled: false, waiting: self.nodes.borrow().waiting(index) },
        }
    }

    /// True once it is so; false when there is no leader here.
    async fn settle(&mut self, known: u64, index: u64) -> bool {
        let Some(leader) = self.leader.borrow().clone() else { return false };
        if leader.send(Input::CaughtUp { index: known }).await.is_err() {
            return false;
        }
        self.nodes.wait_for(|nodes| nodes.is_settled(index)).await.is_ok()
    }
}
