//! What the API needs of the daemon, and nothing more.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use mesh_api::mesh::{Counters, Flow, Vip};
use mesh_core::id::NodeId;
use mesh_core::store::{Conflict, Store, Transaction};
use mesh_raft::Committed;

use super::error::ApiError;
use crate::daemon::{InitRequest, JoinRequest, JoinTokens, NodeInfo};
use crate::error::DaemonError;
use crate::settling::Settlement;

/// The node that the API speaks for.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Makes a cluster with this node as its first manager.
    async fn init(&self, request: InitRequest) -> Result<NodeId, DaemonError>;

    /// Joins a cluster.
    async fn join(&self, request: JoinRequest) -> Result<(), DaemonError>;

    /// Leaves the cluster.
    async fn leave(&self, force: bool) -> Result<(), DaemonError>;

    /// The replicated store, when this node is a manager; else Swarm's words on why not.
    fn manager(&self) -> Result<Arc<dyn Ledger>, DaemonError>;

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

    /// Raft's number of the leader, when it is known.
    fn leader(&self) -> Option<u64>;
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
