//! Making a cluster and changing its settings.

use super::node::JoinNode;
use super::refusal::Refusal;
use crate::id::{ClusterId, Entropy};
use crate::spec::ClusterSpec;
use crate::store::{Store, Transaction};
use crate::time::Timestamp;

/// What a new cluster begins with.
#[derive(Debug, Clone, PartialEq)]
pub struct InitCluster {
    /// Identifier, the O of every certificate.
    pub id: ClusterId,
    /// Settings.
    pub spec: ClusterSpec,
    /// Root certificate of the cluster's authority, PEM.
    pub root_ca: String,
    /// Secret part of the workers' join token.
    pub worker_token: String,
    /// Secret part of the managers' join token.
    pub manager_token: String,
    /// The first node.
    pub node: JoinNode,
}

/// A change to the cluster; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UpdateCluster {
    /// Version of the cluster that the change was made from.
    pub version: u64,
    /// New settings.
    pub spec: Option<ClusterSpec>,
    /// New secret of the workers' join token.
    pub worker_token: Option<String>,
    /// New secret of the managers' join token.
    pub manager_token: Option<String>,
}

/// Makes the cluster, its first node and the ingress network. `store` must be empty.
pub fn init_cluster(
    store: &Store,
    request: InitCluster,
    now: Timestamp,
    entropy: &mut dyn Entropy,
) -> Result<Transaction, Refusal> {
    let _ = (store, request, now, entropy);
    Err(Refusal::NotAvailable { what: "init_cluster" })
}

/// Changes the cluster's settings or its tokens.
pub fn update_cluster(store: &Store, request: UpdateCluster, now: Timestamp) -> Result<Transaction, Refusal> {
    let _ = (store, request, now);
    Err(Refusal::NotAvailable { what: "update_cluster" })
}
