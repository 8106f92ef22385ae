//! Managers as members of raft's group: entering it, leaving it, and what the others can do without.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::node::{changed, find};
use super::refusal::Refusal;
use crate::id::NodeId;
use crate::object::{ManagerStatus, Node};
use crate::spec::Role;
use crate::store::{Store, Transaction, Write};
use crate::time::Timestamp;

/// Notes that a node is a member of raft's group, now that it is one. Refused for a node that is not to be a
/// manager (any more) and for a number that another node has.
pub fn enter_raft(
    store: &Store,
    id: NodeId,
    status: ManagerStatus,
    now: Timestamp,
) -> Result<Transaction, Refusal> {
    let known = find(store, id)?;
    if known.spec.role != Role::Manager {
        return Err(Refusal::NodeNotManager { node: id });
    }
    if status.raft_id == 0 {
        return Err(Refusal::invalid("raft id", "0 is nobody's"));
    }
    let has_it = |node: &&Arc<Node>| node.id != id && raft_id(node) == Some(status.raft_id);
    if let Some(owner) = store.nodes().find(has_it) {
        return Err(Refusal::RaftIdTaken { raft_id: status.raft_id, owner: owner.id });
    }
    Ok(changed(known, Node { manager: Some(status), ..Node::clone(known) }, now))
}

/// Notes that a node is no member of raft's group, now that it is none.
pub fn leave_raft(store: &Store, id: NodeId, now: Timestamp) -> Result<Transaction, Refusal> {
    let known = find(store, id)?;
    Ok(changed(known, Node { manager: None, ..Node::clone(known) }, now))
}

/// The one manager that is left goes on alone: no other node is a manager any more, or to be one. Services,
/// networks, tokens and tasks stay as they are.
pub fn force_new_cluster(
    store: &Store,
    survivor: NodeId,
    status: &ManagerStatus,
    now: Timestamp,
) -> Result<Transaction, Refusal> {
    find(store, survivor)?;
    let alone = |node: &Arc<Node>| {
        let mut alone = Node::clone(node);
        let survives = node.id == survivor;
        alone.manager = survives.then(|| status.clone());
        alone.spec.role = if survives { Role::Manager } else { Role::Worker };
        (alone != **node).then_some(alone)
    };
    // Numbers move from one node to another only by way of nobody.
    let (given, freed): (Vec<_>, Vec<_>) =
        store.nodes().filter_map(alone).partition(|node| node.id == survivor);
    let writes = freed.into_iter().chain(given).map(|node| Write::update(node.into())).collect();
    Ok(Transaction { at: now, writes })
}

/// Refuses to make a worker of the last manager, and of one without which the others have no quorum.
pub(super) fn check_demotion(store: &Store, node: &Node, reachable: &BTreeSet<u64>) -> Result<(), Refusal> {
    if node.manager.is_some() && node.spec.role == Role::Manager && staying(store, node.id).is_empty() {
        return Err(Refusal::LastManager);
    }
    check_loss(store, node, reachable)
}

/// Refuses to lose a manager without which the others have no quorum.
pub(super) fn check_loss(store: &Store, node: &Node, reachable: &BTreeSet<u64>) -> Result<(), Refusal> {
    if node.manager.is_none() || node.spec.role == Role::Worker {
        return Ok(());
    }
    let staying = staying(store, node.id);
    if has_quorum(&staying, reachable) { Ok(()) } else { Err(Refusal::QuorumLoss) }
}

/// Whether more than half of the `voters` answer.
pub(crate) fn has_quorum(voters: &BTreeSet<u64>, reachable: &BTreeSet<u64>) -> bool {
    voters.intersection(reachable).count() > voters.len() / 2
}

/// Raft's numbers of the managers that are to stay ones without this node.
fn staying(store: &Store, without: NodeId) -> BTreeSet<u64> {
    let others = store.nodes().filter(|node| node.id != without && node.spec.role == Role::Manager);
    others.filter_map(|node| raft_id(node)).collect()
}

fn raft_id(node: &Node) -> Option<u64> {
    node.manager.as_ref().map(|manager| manager.raft_id)
}
