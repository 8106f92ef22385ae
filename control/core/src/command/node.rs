//! Nodes: join, come back, update, leave, remove.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::refusal::Refusal;
use super::{cluster, members, validate};
use crate::id::NodeId;
use crate::object::{ManagerStatus, Meta, Node, NodeDescription, NodeState, NodeStatus};
use crate::spec::{GenericAmount, NodeSpec, Role};
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
        return Ok(nothing(now));
    }
    check_twin(store, &request)?;
    let node = new_node(request)?;
    Ok(Transaction { at: now, writes: vec![Write::create(node.into())] })
}

/// A node that the store knows comes back with a new certificate: it keeps its labels and its availability,
/// and is from now on what the token makes it, a manager or a worker. `reachable` is as in [`update_node`].
pub fn rejoin_node(
    store: &Store,
    request: JoinNode,
    reachable: &BTreeSet<u64>,
    now: Timestamp,
) -> Result<Transaction, Refusal> {
    let known = find(store, request.id)?;
    check_twin(store, &request)?;
    if request.spec.role == Role::Worker {
        members::check_demotion(store, known, reachable)?;
    }
    let back = new_node(request)?;
    let mut node = Node::clone(known);
    node.spec.role = back.spec.role;
    (node.description, node.issuer) = (back.description, back.issuer);
    (node.status.addr, node.status.data_path_addr) = (back.status.addr, back.status.data_path_addr);
    if node.status.state == NodeState::Disconnected {
        (node.status.state, node.status.message) = (NodeState::Down, back.status.message);
    }
    Ok(changed(known, node, now))
}

/// Changes what the operator wants of a node: its name, labels, availability and role. Being a manager comes
/// and goes in steps after that ([`super::enter_raft`], [`crate::roles`]). `reachable` holds raft's numbers of
/// the managers that answer, the leader's own among them.
pub fn update_node(
    store: &Store,
    id: NodeId,
    version: u64,
    spec: NodeSpec,
    reachable: &BTreeSet<u64>,
    now: Timestamp,
) -> Result<Transaction, Refusal> {
    let known = find(store, id)?;
    if known.meta.version != version {
        return Err(Refusal::OutOfSequence);
    }
    validate::node(&spec)?;
    if spec.role == Role::Worker {
        members::check_demotion(store, known, reachable)?;
    }
    let mut node = Node::clone(known);
    node.spec = spec;
    Ok(Transaction { at: now, writes: vec![Write::update(node.into())] })
}

/// Forgets a node that is down; its tasks are replaced. With `force` also one that is not, and one that is a
/// manager: raft is told afterwards. What would leave no quorum is refused all the same.
pub fn remove_node(
    store: &Store,
    id: NodeId,
    force: bool,
    reachable: &BTreeSet<u64>,
    now: Timestamp,
) -> Result<Transaction, Refusal> {
    let node = find(store, id)?;
    if node.manager.is_some() && !force {
        return Err(Refusal::NodeIsManager { node: id });
    }
    if node.status.state == NodeState::Ready && !force {
        return Err(Refusal::NodeNotDown { node: id });
    }
    members::check_loss(store, node, reachable)?;
    let writes = vec![Write::Delete { key: Key::Node(id), expect: Expect::Version(node.meta.version) }];
    Ok(Transaction { at: now, writes })
}

/// A node says that it leaves: its tasks end and are replaced at once, and nobody waits for it. A manager is one
/// no more from here on, which is refused without `force` where the others could not go on without it.
pub fn depart_node(
    store: &Store,
    id: NodeId,
    force: bool,
    reachable: &BTreeSet<u64>,
    now: Timestamp,
) -> Result<Transaction, Refusal> {
    let known = find(store, id)?;
    if !force {
        members::check_demotion(store, known, reachable)?;
    }
    let mut node = Node::clone(known);
    (node.manager, node.spec.role) = (None, Role::Worker);
    node.status.state = NodeState::Disconnected;
    "the node left the cluster".clone_into(&mut node.status.message);
    Ok(changed(known, node, now))
}

/// A node has a new certificate, signed by the root with this SHA-256 (of its DER).
pub fn renew_node(
    store: &Store,
    id: NodeId,
    issuer: [u8; 32],
    now: Timestamp,
) -> Result<Transaction, Refusal> {
    let known = find(store, id)?;
    Ok(changed(known, Node { issuer, ..Node::clone(known) }, now))
}

/// Two nodes that are there do not share an address.
fn check_twin(store: &Store, request: &JoinNode) -> Result<(), Refusal> {
    let twin = |node: &&Arc<Node>| {
        node.id != request.id
            && node.status.data_path_addr == request.data_path_addr
            && node.status.state == NodeState::Ready
    };
    match store.nodes().find(twin) {
        Some(other) => {
            let reason = format!("{} is the address of node {} already", request.data_path_addr, other.id);
            Err(Refusal::invalid("data path address", reason))
        }
        None => Ok(()),
    }
}

pub(super) fn find(store: &Store, id: NodeId) -> Result<&Arc<Node>, Refusal> {
    let missing = || LookupError::NotFound { kind: Kind::Node, text: id.to_string() };
    Ok(store.node(id).ok_or_else(missing)?)
}

/// From a node as it is known to one as it shall be. The same again is no change.
pub(super) fn changed(known: &Node, node: Node, now: Timestamp) -> Transaction {
    let change = Some(node).filter(|node| node != known);
    Transaction { at: now, writes: change.map(|node| Write::update(node.into())).into_iter().collect() }
}

fn nothing(now: Timestamp) -> Transaction {
    Transaction { at: now, writes: Vec::new() }
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
    for (kind, amount) in &description.generic {
        validate::generic_kind(kind)?;
        if let GenericAmount::Named(names) = amount {
            validate::generic_names(names)?;
        }
    }
    for (field, found) in [
        ("generic resources", description.generic.len()),
        ("routes", description.routes.len()),
        ("listening ports", description.listening.len()),
    ] {
        if found > DESCRIPTION_ENTRIES_MAX {
            return Err(Refusal::invalid(field, format!("more than {DESCRIPTION_ENTRIES_MAX} entries")));
        }
    }
    Ok(())
}
