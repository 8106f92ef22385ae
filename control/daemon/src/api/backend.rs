//! What the API needs of the daemon, and nothing more.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use mesh_api::mesh::{Counters, Flow, Vip};
use mesh_core::id::NodeId;
use mesh_core::store::{Conflict, Store, Transaction};
use mesh_raft::{Committed, Forced};

use super::error::ApiError;
use crate::daemon::{InitRequest, JoinRequest, JoinTokens, NodeInfo};
use crate::error::DaemonError;
use crate::rpc::forward::ToLeader;
use crate::settling::Settlement;

/// The node that the API speaks for.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Makes a cluster with this node as its first manager; or, when that is asked for, goes on alone with the
    /// cluster that it has.
    async fn init(&self, request: InitRequest) -> Result<NodeId, DaemonError>;

    /// What going on alone would keep and drop. Nothing is changed.
    async fn survey_new_cluster(&self) -> Result<Forced, DaemonError>;

    /// Joins a cluster.
    async fn join(&self, request: JoinRequest) -> Result<(), DaemonError>;

    /// Leaves the cluster.
    async fn leave(&self, force: bool) -> Result<(), DaemonError>;

    /// Unseals a locked manager's keys with the unlock key and starts the manager.
    async fn unlock(&self, key: &str) -> Result<(), DaemonError>;

    /// Begins to change the cluster's root certificate to a new one; every node renews meanwhile.
    async fn rotate_root(&self) -> Result<(), DaemonError>;

    /// The replicated store, when this node is a manager; else Swarm's words on why not.
    fn manager(&self) -> Result<Arc<dyn Ledger>, DaemonError>;

    /// The way to the manager that leads, when this node is a manager.
    fn to_leader(&self) -> Option<ToLeader>;

    /// Waits until every node has applied what log entries up to `index` mean for it, at most for `patience`;
    /// `known` is the index of a store that was read.
    async fn settled(&self, known: u64, index: u64, patience: Duration) -> Result<Settlement, DaemonError>;

    /// The node, as it sees itself.
    fn info(&self) -> NodeInfo;

    /// Both join tokens.
    fn join_tokens(&self) -> Result<JoinTokens, DaemonError>;

    /// The virtual addresses of this node's dataplane.
    async fn vips(&self) -> Result<Vec<Vip>, ApiError>;

    /// The flows that this node's dataplane remembers.
    async fn flows(&self) -> Result<Vec<Flow>, ApiError>;

    /// What happens to the flows of this node's dataplane from now on.
    async fn follow_flows(&self) -> Result<BoxStream<'static, Flow>, ApiError>;

    /// The counters of this node's dataplane.
    async fn counters(&self) -> Result<Counters, ApiError>;
}

/// The replicated store, as handlers use it.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// The store, with everything that was acknowledged before this call.
    async fn read(&self) -> Result<Store, LedgerError>;

    /// The store as this node has it, without asking anybody.
    fn store(&self) -> Store;

    /// Commits a transaction; returns its index once it is durable and applied here.
    async fn propose(&self, transaction: Transaction) -> Result<u64, LedgerError>;

    /// What is applied from now on.
    fn feed(&self) -> BoxStream<'static, Feed>;

    /// What keeps this manager from taking writes, in words; nothing when all is well.
    fn alarm(&self) -> Option<String>;

    /// The managers, as this one sees them now.
    fn peers(&self) -> Peers;

    /// Raft's numbers of the managers that answer, once this one can tell.
    async fn answering(&self) -> BTreeSet<u64>;

    /// The managers as this one sees them, whenever that changes; now for a start.
    fn follow_peers(&self) -> BoxStream<'static, Peers>;
}

/// The managers as one of them sees them, by raft's numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peers {
    /// The leader, when it is known.
    pub leader: Option<u64>,
    /// Whether the one who looks leads. Only a leader hears from everybody.
    pub leads: bool,
    /// Those heard from within an election timeout.
    pub heard: BTreeSet<u64>,
}

/// Whether a manager takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reachability {
    /// It does.
    Reachable,
    /// It was not heard of within an election timeout.
    Unreachable,
    /// Who was asked cannot tell.
    Unknown,
}

impl Peers {
    /// Whether this manager leads.
    pub fn is_leader(&self, raft_id: u64) -> bool {
        self.leader == Some(raft_id)
    }

    /// Whether this manager takes part.
    pub fn reachability(&self, raft_id: u64) -> Reachability {
        if self.is_leader(raft_id) || self.heard.contains(&raft_id) {
            Reachability::Reachable
        } else if self.leads {
            Reachability::Unreachable
        } else {
            Reachability::Unknown
        }
    }
}

impl Reachability {
    /// The word that Docker has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reachable => "reachable",
            Self::Unreachable => "unreachable",
            Self::Unknown => "unknown",
        }
    }
}

/// A piece of news from the store.
#[derive(Debug, Clone)]
pub enum Feed {
    /// A log entry was applied.
    Applied(Arc<Committed>),
    /// The store changed in a way that is not told, or news was not read in time: look at the store itself.
    Lagged,
}

/// The store could not be asked or changed.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The store moved on: decide anew.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The cluster could not do it now.
    #[error("{message}")]
    Unavailable {
        /// Why.
        message: String,
    },
    /// Something broke.
    #[error("{message}")]
    Internal {
        /// What.
        message: String,
    },
}

impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> Self {
        let retry = !matches!(error, LedgerError::Internal { .. });
        Self::Cluster { message: error.to_string(), retry }
    }
}
