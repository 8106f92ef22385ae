//! Nodes: join, update, remove.

use std::net::IpAddr;
use std::sync::Arc;

use super::refusal::Refusal;
use super::{cluster, validate};
use crate::id::NodeId;
use crate::object::{ManagerStatus, Meta, Node, NodeDescription, NodeState, NodeStatus};
use crate::spec::{NodeSpec, Role};
use crate::store::{Expect, Key, Kind, LookupError, Store, Transaction, Write};
use crate::time::Timestamp;

/// Most routes and listening ports that a node tells of itself.
const DESCRIPTION_ENTRIES_MAX: usize = 4096;

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
    /// Its part in Raft, when it is a manager already.
    pub manager: Option<ManagerStatus>,
    /// SHA-256 of the root certificate (DER) that signed its own.
    pub issuer: [u8; 32],
}

/// Adds a node, not heard of yet. A node that is known already is left as it is: joining twice is no error.
pub fn join_node(store: &Store, request: JoinNode, now: Timestamp) -> Result<Transaction, Refusal> {
    cluster::current(store)?;
    if store.node(request.id).is_some() {
        return Ok(Transaction { at: now, writes: Vec::new() });
    }
    let same_address = |node: &&Arc<Node>| node.status.data_path_addr == request.data_path_addr;
    let alive = |node: &&Arc<Node>| node.status.state == NodeState::Ready;
    if let Some(other) = store.nodes().filter(same_address).find(alive) {
        let reason = format!("{} is the address of node {} already", request.data_path_addr, other.id);
        return Err(Refusal::invalid("data path address", reason));
    }
    let node = new_node(request)?;
    Ok(Transaction { at: now, writes: vec![Write::create(node.into())] })
}

/// Changes what the operator wants of a node: its name, labels and availability.
pub fn update_node(
    store: &Store,
    id: NodeId,
    version: u64,
    spec: NodeSpec,
    now: Timestamp,
) -> Result<Transaction, Refusal> {
    let mut node = Node::clone(find(store, id)?);
    if node.meta.version != version {
        return Err(Refusal::OutOfSequence);
    }
    validate::node(&spec)?;
    if spec.role != node.spec.role {
        return Err(Refusal::NotAvailable { what: "changing the role of a node" });
    }
    node.spec = spec;
    Ok(Transaction { at: now, writes: vec![Write::update(node.into())] })
}

/// Forgets a node that is down; with `force` also one that is not. Its tasks are replaced.
pub fn remove_node(store: &Store, id: NodeId, force: bool, now: Timestamp) -> Result<Transaction, Refusal> {
    let node = find(store, id)?;
    if node.spec.role == Role::Manager || node.manager.is_some() {
        return Err(Refusal::NodeIsManager { node: id });
    }
    if node.status.state == NodeState::Ready && !force {
        return Err(Refusal::NodeNotDown { node: id });
    }
    let writes = vec![Write::Delete { key: Key::Node(id), expect: Expect::Version(node.meta.version) }];
    Ok(Transaction { at: now, writes })
}

fn find(store: &Store, id: NodeId) -> Result<&Arc<Node>, Refusal> {
    let missing = || LookupError::NotFound { kind: Kind::Node, text: id.to_string() };
    Ok(store.node(id).ok_or_else(missing)?)
}

pub(super) fn new_node(request: JoinNode) -> Result<Node, Refusal> {
    let JoinNode { id, spec, description, addr, data_path_addr, manager, issuer } = request;
    validate::node(&spec)?;
    check_description(&description)?;
    let fixed = |address: IpAddr| !address.is_unspecified() && !address.is_multicast();
    if !fixed(data_path_addr) || !data_path_addr.is_ipv4() {
        return Err(Refusal::invalid(
            "data path address",
            format!("{data_path_addr} is not an IPv4 address of a node"),
        ));
    }
    if !fixed(addr) {
        return Err(Refusal::invalid("advertise address", format!("{addr} is not an address of a node")));
    }
    let message = "not heard of yet".to_owned();
    let status = NodeStatus { state: NodeState::Unknown, message, addr, data_path_addr };
    Ok(Node { id, meta: Meta::default(), spec, description, status, manager, issuer })
}

/// Bounds on what a node tells of itself.
pub(crate) fn check_description(description: &NodeDescription) -> Result<(), Refusal> {
    validate::labels(&description.engine_labels, "engine labels")?;
    if description.hostname.is_empty() || description.hostname.len() > 255 {
        return Err(Refusal::invalid("hostname", "must have 1 to 255 bytes"));
    }
    for (field, found) in
        [("routes", description.routes.len()), ("listening ports", description.listening.len())]
    {
        if found > DESCRIPTION_ENTRIES_MAX {
            return Err(Refusal::invalid(field, format!("more than {DESCRIPTION_ENTRIES_MAX} entries")));
        }
    }
    Ok(())
}
