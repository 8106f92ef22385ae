//! Nodes: join, update, remove.

use std::net::IpAddr;

use super::refusal::Refusal;
use crate::id::NodeId;
use crate::object::{ManagerStatus, NodeDescription};
use crate::spec::NodeSpec;
use crate::store::{Store, Transaction};
use crate::time::Timestamp;

/// A node that joins.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinNode {
    /// Identifier, the CN of its certificate.
    pub id: NodeId,
    /// Role and availability that it joins with.
    pub spec: NodeSpec,
    /// What it tells of itself.
    pub description: NodeDescription,
    /// Address it is reached at.
    pub addr: IpAddr,
    /// Address that its tunnels end at.
    pub data_path_addr: IpAddr,
    /// Its part in Raft, when it is a manager.
    pub manager: Option<ManagerStatus>,
}

/// Adds a node, not heard of yet. A node that is known already is left as it is: joining twice is no error.
pub fn join_node(store: &Store, request: JoinNode, now: Timestamp) -> Result<Transaction, Refusal> {
    let _ = (store, request, now);
    Err(Refusal::NotAvailable { what: "join_node" })
}

/// Changes what the operator wants of a node: its name, labels and availability.
pub fn update_node(
    store: &Store,
    id: NodeId,
    version: u64,
    spec: NodeSpec,
    now: Timestamp,
) -> Result<Transaction, Refusal> {
    let _ = (store, id, version, spec, now);
    Err(Refusal::NotAvailable { what: "update_node" })
}

/// Forgets a node that is down; with `force` also one that is not. Its tasks are replaced.
pub fn remove_node(store: &Store, id: NodeId, force: bool, now: Timestamp) -> Result<Transaction, Refusal> {
    let _ = (store, id, force, now);
    Err(Refusal::NotAvailable { what: "remove_node" })
}
