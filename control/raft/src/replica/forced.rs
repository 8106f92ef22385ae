//! The way back when most managers are gone for good: the one that is left goes on alone.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use mesh_core::store::Store;
use raft::eraftpb::{ConfState, Entry, EntryType, HardState, Snapshot};

use super::saved::{pack, unpack};
use super::{ReplicaError, State};
use crate::disk::{Saved, Truncate, Write};
use crate::log::Position;
use crate::members::{MemberChange, Note};
use crate::node::{Machine as _, context_of};

/// What a group of one is made of, or would be.
#[derive(Debug, Clone)]
pub struct Forced {
    /// The manager that is left.
    pub node: u64,
    /// Those that are managers no more. Their numbers are not used again.
    pub dropped: BTreeMap<u64, Option<SocketAddr>>,
    /// Entries of the log of which this manager does not know that they were committed. They are kept: one of
    /// them may have been acknowledged.
    pub uncertain: u64,
    /// The last entry that is kept.
    pub last: Position,
    /// The store that it goes on with.
    pub store: Store,
}

/// The write that makes the disk's owner the only voter of its group, with everything that the disk holds.
pub fn force_new_cluster(saved: &Saved) -> Result<(Write, Forced), ReplicaError> {
    let (store, members) = unpack(&saved.snapshot)?;
    let meta = saved.snapshot.get_metadata();
    let first = Position { index: meta.index, term: meta.term };
    let mut others: BTreeMap<u64, Option<SocketAddr>> =
        members.iter().map(|(id, member)| (id, member.addr)).collect();
    let mut known = members.known().clone();
    let mut state = State::new(store, members, first);
    for entry in saved.entries.iter().filter(|entry| entry.index > first.index) {
        let at = Position { index: entry.index, term: entry.term };
        if entry.get_entry_type() == EntryType::EntryNormal {
            state.apply(at, entry.get_data())?;
            continue;
        }
        state.applied = at;
        match change_in(entry)? {
            Some(MemberChange::AddLearner { id, addr } | MemberChange::Move { id, addr }) => {
                others.insert(id, Some(addr));
            }
            Some(MemberChange::Remove { id }) => {
                others.remove(&id);
                known.removed.insert(id);
            }
            Some(MemberChange::Promote { .. }) | None => {}
        }
    }
    let last = state.applied;
    if last.index == 0 {
        return Err(ReplicaError::Nothing);
    }
    let own = others.remove(&saved.node).flatten();
    known.removed.extend(others.keys());
    known.removed.remove(&saved.node);
    known.addrs = own.map(|addr| (saved.node, addr)).into_iter().collect();
    let mut snapshot = Snapshot { data: pack(&known, &state.store)?.into(), ..Snapshot::default() };
    let meta = snapshot.mut_metadata();
    (meta.index, meta.term) = (last.index, last.term);
    meta.set_conf_state(ConfState::from((vec![saved.node], Vec::new())));
    let term = saved.hard_state.term.max(last.term) + 1;
    let write = Write {
        snapshot: Some(snapshot),
        truncate: Some(Truncate::All(last)),
        entries: Vec::new(),
        hard_state: Some(HardState { term, commit: last.index, ..HardState::default() }),
    };
    let uncertain = last.index.saturating_sub(saved.hard_state.commit.max(first.index));
    let forced = Forced { node: saved.node, dropped: others, uncertain, last, store: state.store };
    Ok((write, forced))
}

fn change_in(entry: &Entry) -> Result<Option<MemberChange>, ReplicaError> {
    let context = context_of(entry).map_err(|source| ReplicaError::Change { index: entry.index, source })?;
    let note =
        Note::decode(&context).map_err(|source| ReplicaError::Members { index: entry.index, source })?;
    Ok(note.map(|note| note.change))
}
