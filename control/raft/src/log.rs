//! The log as raft reads it: all of it in memory, from the last compaction on.
//!
//! Disk reads would make raft's steps fail in the middle; the tail that is kept is small enough (see
//! [`crate::replica::Settings`]) to be held. The disk gets the same entries by [`crate::disk::Write`] first:
//! nothing enters here that is not durable.

use std::cell::Cell;
use std::collections::VecDeque;

use protobuf::Message as _;
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use crate::disk::Saved;

/// A position in the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Number of the entry, from 1.
    pub index: u64,
    /// Term of the leader that wrote it.
    pub term: u64,
}

/// Durable log entries after the last compaction, the newest snapshot and the hard state.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    hard_state: HardState,
    snapshot: Snapshot,
    /// The last entry that was compacted away.
    truncated: Position,
    entries: VecDeque<Entry>,
    bytes: usize,
    /// A peer needs a newer snapshot than there is.
    outdated: Cell<bool>,
}

impl Log {
    /// The log as a disk held it. What the hard state lags behind the snapshot is made good: a snapshot is
    /// made of committed entries alone.
    pub fn new(saved: Saved) -> Self {
        let mut hard_state = saved.hard_state;
        let meta = saved.snapshot.get_metadata();
        hard_state.commit = hard_state.commit.max(meta.index);
        hard_state.term = hard_state.term.max(meta.term);
        let bytes = saved.entries.iter().map(size).sum();
        Self {
            hard_state,
            snapshot: saved.snapshot,
            truncated: saved.truncated,
            entries: saved.entries.into(),
            bytes,
            outdated: Cell::new(false),
        }
    }

    pub fn hard_state(&self) -> &HardState {
        &self.hard_state
    }

    pub fn newest_snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Whether a peer was refused the snapshot because it is too old for it.
    pub fn wants_snapshot(&self) -> bool {
        self.outdated.get()
    }

    /// Bytes of the entries that are kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state = hard_state;
    }

    pub fn set_commit(&mut self, commit: u64) {
        self.hard_state.commit = commit;
    }

    /// Puts `entries` after what precedes them; a tail that conflicts goes.
    pub fn append(&mut self, entries: Vec<Entry>) {
        let Some(first) = entries.first() else { return };
        while self.entries.back().is_some_and(|last| last.index >= first.index) {
            self.bytes -= self.entries.pop_back().as_ref().map_or(0, size);
        }
        self.bytes += entries.iter().map(size).sum::<usize>();
        self.entries.extend(entries);
    }

    /// A snapshot from the leader takes the place of everything.
    pub fn install(&mut self, snapshot: Snapshot) {
        let meta = snapshot.get_metadata();
        self.truncated = Position { index: meta.index, term: meta.term };
        self.hard_state.commit = self.hard_state.commit.max(meta.index);
        self.snapshot = snapshot;
        self.entries.clear();
        self.bytes = 0;
    }

    /// A snapshot of this node's own state; entries up to `truncate` are forgotten.
    pub fn checkpoint(&mut self, snapshot: Snapshot, truncate: Position) {
        self.snapshot = snapshot;
        self.outdated.set(false);
        while self.entries.front().is_some_and(|first| first.index <= truncate.index) {
            self.bytes -= self.entries.pop_front().as_ref().map_or(0, size);
        }
        self.truncated = self.truncated.max(truncate);
    }

    fn first(&self) -> u64 {
        self.truncated.index + 1
    }

    fn last(&self) -> u64 {
        self.entries.back().map_or(self.truncated.index, |entry| entry.index)
    }

    /// Where `index` stands in `entries`; `index` must be in the kept range.
    fn offset(&self, index: u64) -> usize {
        usize::try_from(index - self.first()).unwrap_or(usize::MAX)
    }
}

fn names(conf: &ConfState, peer: u64) -> bool {
    [&conf.voters, &conf.learners, &conf.voters_outgoing].iter().any(|peers| peers.contains(&peer))
}

fn size(entry: &Entry) -> usize {
    usize::try_from(entry.compute_size()).unwrap_or(usize::MAX)
}

impl Storage for Log {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let conf: ConfState = self.snapshot.get_metadata().get_conf_state().clone();
        Ok(RaftState::new(self.hard_state.clone(), conf))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low < self.first() {
            return Err(StorageError::Compacted.into());
        }
        if high > self.last() + 1 {
            return Err(StorageError::Unavailable.into());
        }
        let limit = max_size.into().unwrap_or(u64::MAX);
        let mut taken = 0_u64;
        let fits = |entry: &&Entry| {
            let first = taken == 0;
            taken = taken.saturating_add(u64::from(entry.compute_size()).max(1));
            first || taken <= limit
        };
        Ok(self.entries.range(self.offset(low)..self.offset(high)).take_while(fits).cloned().collect())
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.truncated.index {
            return Ok(self.truncated.term);
        }
        if index < self.first() {
            return Err(StorageError::Compacted.into());
        }
        self.entries
            .get(self.offset(index))
            .map(|entry| entry.term)
            .ok_or_else(|| StorageError::Unavailable.into())
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        let meta = self.snapshot.get_metadata();
        // A peer refuses a snapshot of a time when it was no member.
        if meta.index < request_index || !names(meta.get_conf_state(), to) {
            self.outdated.set(true);
            return Err(StorageError::SnapshotTemporarilyUnavailable.into());
        }
        Ok(self.snapshot.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, term: u64) -> Entry {
        Entry { index, term, data: vec![7; 10].into(), ..Entry::default() }
    }

    fn snapshot(index: u64, term: u64) -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.mut_metadata().index = index;
        snapshot.mut_metadata().term = term;
        snapshot.mut_metadata().mut_conf_state().set_voters(vec![1, 2]);
        snapshot
    }

    fn log(entries: Vec<Entry>) -> Log {
        Log::new(Saved {
            node: 1,
            hard_state: HardState::default(),
            truncated: Position { index: 1, term: 1 },
            entries,
            snapshot: snapshot(1, 1),
        })
    }

    fn read(log: &Log, low: u64, high: u64, max: Option<u64>) -> Vec<(u64, u64)> {
        let entries = log.entries(low, high, max, GetEntriesContext::empty(false)).expect("in range");
        entries.iter().map(|entry| (entry.index, entry.term)).collect()
    }

    #[test]
    fn a_conflicting_tail_is_replaced() {
        let mut log = log(vec![entry(2, 1), entry(3, 1), entry(4, 1)]);
        log.append(vec![entry(3, 2)]);
        assert_eq!(read(&log, 2, 4, None), [(2, 1), (3, 2)]);
        assert_eq!(log.last_index(), Ok(3));
        assert_eq!(log.bytes(), 2 * size(&entry(2, 1)));
    }

    #[test]
    fn reads_are_bounded_but_never_empty() {
        let log = log(vec![entry(2, 1), entry(3, 1), entry(4, 1)]);
        assert_eq!(read(&log, 2, 5, Some(0)), [(2, 1)]);
        let two = 2 * u64::try_from(size(&entry(2, 1))).expect("small");
        assert_eq!(read(&log, 2, 5, Some(two)), [(2, 1), (3, 1)]);
    }

    #[test]
    fn a_checkpoint_forgets_entries_and_keeps_the_term_before_the_first() {
        let mut log = log(vec![entry(2, 1), entry(3, 2), entry(4, 3)]);
        log.checkpoint(snapshot(4, 3), Position { index: 3, term: 2 });
        assert_eq!(log.first_index(), Ok(4));
        assert_eq!(log.term(3), Ok(2));
        assert_eq!(log.term(2), Err(StorageError::Compacted.into()));
        assert_eq!(log.snapshot(4, 2).map(|kept| kept.get_metadata().index), Ok(4));
        assert!(!log.wants_snapshot());
        for (index, peer) in [(5, 2), (4, 3)] {
            assert_eq!(log.snapshot(index, peer), Err(StorageError::SnapshotTemporarilyUnavailable.into()));
        }
        assert!(log.wants_snapshot(), "a newer one is made for them");
    }

    #[test]
    fn an_installed_snapshot_replaces_the_log() {
        let mut log = log(vec![entry(2, 1), entry(3, 1)]);
        log.install(snapshot(9, 4));
        assert_eq!((log.first_index(), log.last_index()), (Ok(10), Ok(9)));
        assert_eq!(log.term(9), Ok(4));
        assert_eq!(log.hard_state().commit, 9);
    }
}
