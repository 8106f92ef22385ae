//! From a user's request to a transaction, or to a refusal with a reason. Whatever the new objects need
//! (addresses, ports, numbers) is allocated in the same transaction.
//!
//! These functions read one state of the store; when the store has moved on by the time the transaction
//! is applied, [`crate::store::Store::apply`] answers with a conflict and the caller asks again.

mod cluster;
mod content;
mod members;
mod network;
mod node;
mod rebalance;
mod references;
mod refusal;
mod root;
mod service;
#[cfg(test)]
mod tests;
mod validate;

pub use cluster::{InitCluster, UpdateCluster, init_cluster, update_cluster};
pub use content::{create_content, remove_content, update_content};
pub(crate) use members::has_quorum;
pub use members::{enter_raft, force_new_cluster, leave_raft};
pub use network::{create_network, remove_network};
pub(crate) use node::check_description;
pub use node::{JoinNode, depart_node, join_node, rejoin_node, remove_node, renew_node, update_node};
pub use rebalance::rebalance_service;
pub use references::REFERENCES_MAX;
pub use refusal::{PortUsage, Refusal, RefusalKind};
pub use root::{NewRoot, RootStage, begin_root_rotation, finish_root_rotation, root_stage};
pub(crate) use service::restored;
pub use service::{create_service, remove_service, rollback_service, scale_service, update_service};
pub use validate::{
    ALIASES_MAX, CONSTRAINTS_MAX, LABELS_BYTES_MAX, LABELS_MAX, NETWORKS_MAX, PORTS_MAX, REPLICAS_MAX,
    WORDS_BYTES_MAX, WORDS_MAX,
};
