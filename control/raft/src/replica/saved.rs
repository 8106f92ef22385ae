//! What a node's disk begins with, and what its snapshots hold: the members that raft does not know all of,
//! and the store.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use mesh_core::store::Store;
use raft::eraftpb::{ConfState, HardState, Snapshot};

use super::ReplicaError;
use crate::disk::Saved;
use crate::log::Position;
use crate::members::{Known, Members, head, split};

/// The disk of a new group's member: the store with the group's first transaction, at index 1 of term 1, the
/// same on each of `voters`.
pub fn genesis(node: u64, voters: &[u64], store: &Store) -> Result<Saved, ReplicaError> {
    founder(node, voters, BTreeMap::new(), store)
}

/// [`genesis`] with the addresses of the voters.
pub(crate) fn founder(
    node: u64,
    voters: &[u64],
    addrs: BTreeMap<u64, SocketAddr>,
    store: &Store,
) -> Result<Saved, ReplicaError> {
    let known = Known { addrs, ..Known::default() };
    begin(node, Position { index: 1, term: 1 }, voters, &known, store)
}

/// The disk of a node that a group which exists is to take in. It knows whom to listen to, votes for nobody
/// and has nothing: the leader sends it all.
pub fn joiner(node: u64, voters: &[u64], addrs: &BTreeMap<u64, SocketAddr>) -> Result<Saved, ReplicaError> {
    let others: Vec<u64> = voters.iter().copied().filter(|id| *id != node).collect();
    let known = Known { addrs: addrs.clone(), ..Known::default() };
    begin(node, Position::default(), &others, &known, &Store::default())
}

fn begin(
    node: u64,
    first: Position,
    voters: &[u64],
    known: &Known,
    store: &Store,
) -> Result<Saved, ReplicaError> {
    let mut snapshot = Snapshot { data: pack(known, store)?.into(), ..Snapshot::default() };
    let meta = snapshot.mut_metadata();
    (meta.index, meta.term) = (first.index, first.term);
    meta.set_conf_state(ConfState::from((voters.to_vec(), Vec::new())));
    let hard_state = HardState { term: first.term, commit: first.index, ..HardState::default() };
    Ok(Saved { node, hard_state, truncated: first, entries: Vec::new(), snapshot })
}

/// A snapshot's data.
pub(super) fn pack(known: &Known, store: &Store) -> Result<Vec<u8>, ReplicaError> {
    let encoding = |reason: String| ReplicaError::Encoding { reason };
    let mut data = head(known).map_err(|error| encoding(error.to_string()))?;
    data.append(&mut store.to_snapshot().map_err(|error| encoding(error.to_string()))?);
    Ok(data)
}

/// What a snapshot's data says.
pub(super) fn unpack(snapshot: &Snapshot) -> Result<(Store, Members), ReplicaError> {
    let meta = snapshot.get_metadata();
    let index = meta.index;
    let (known, store) =
        split(snapshot.get_data()).map_err(|source| ReplicaError::Members { index, source })?;
    let store = Store::from_snapshot(store).map_err(|source| ReplicaError::Snapshot { index, source })?;
    Ok((store, Members::new(meta.get_conf_state(), known)))
}
