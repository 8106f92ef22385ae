//! What the store was a little while ago: from it follows what an agent that comes back was told last, so that
//! it need not be told everything again.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::content::Content;
use crate::store::{Change, Delta, Store};

/// Most changes that can be taken back. Each keeps one object as it was, about a kibibyte; one that keeps the
/// data of a secret or config counts for more.
pub const HISTORY_CHANGES: usize = 4096;

/// The store with what led to it lately. Every manager keeps one, so that a new leader has it.
#[derive(Debug, Clone, Default)]
pub struct History {
    newest: Option<Store>,
    /// Log index of the oldest state that is known.
    oldest: u64,
    /// What happened since, oldest first.
    entries: VecDeque<Entry>,
    /// Weight of the changes in all entries together.
    changes: usize,
}

/// A log entry that changed something.
#[derive(Debug, Clone)]
struct Entry {
    index: u64,
    changes: Arc<[Change]>,
}

impl History {
    /// Begins with a state whose past is not known.
    pub fn new(store: &Store) -> Self {
        Self { newest: Some(store.clone()), oldest: store.index(), ..Self::default() }
    }

    /// Log entry `index` was applied, and did this. Without a state to begin with nothing is kept.
    pub fn replay(&mut self, index: u64, changes: &[Change]) {
        if let Some(mut store) = self.newest.take_if(|newest| newest.index() < index) {
            store.replay(index, changes);
            self.push(store, changes);
        }
    }

    /// The newest state.
    pub fn newest(&self) -> Option<&Store> {
        self.newest.as_ref()
    }

    /// The objects as they were at log entry `index`, if that is not too long ago. Entries that changed nothing
    /// have the state of the entry before them.
    pub fn at(&self, index: u64) -> Option<Store> {
        let mut store = self.newest.clone().filter(|_| index >= self.oldest)?;
        for entry in self.entries.iter().rev().take_while(|entry| entry.index > index) {
            store.take_back(index, &entry.changes);
        }
        Some(store)
    }

    /// Goes on from `store`: forgets what came after it, and everything if it does not lead there.
    pub(super) fn go_on_from(&mut self, store: &Store) {
        if !self.at(store.index()).is_some_and(|known| known.has_same_objects(store)) {
            *self = Self::new(store);
            return;
        }
        while let Some(entry) = self.entries.pop_back_if(|entry| entry.index > store.index()) {
            self.changes -= weigh(&entry.changes);
        }
        self.newest = Some(store.clone());
    }

    /// Keeps the state after the newest, which these changes led to.
    pub(super) fn push(&mut self, store: Store, changes: &[Change]) {
        self.changes += weigh(changes);
        self.entries.push_back(Entry { index: store.index(), changes: changes.into() });
        self.newest = Some(store);
        while self.changes > HISTORY_CHANGES
            && let Some(entry) = self.entries.pop_front()
        {
            self.changes -= weigh(&entry.changes);
            self.oldest = entry.index;
        }
    }
}

/// Bytes of a secret or config that count as one change.
const DATA_WEIGHT: usize = 16 << 10;

/// How much of the memory for the past the changes take. Data that both sides have is the same memory.
fn weigh(changes: &[Change]) -> usize {
    fn data<K>(delta: &Delta<Content<K>>) -> usize {
        let content = delta.old.as_ref().or(delta.new.as_ref());
        content.map_or(0, |content| content.spec.data.len() / DATA_WEIGHT)
    }
    let weight = |change: &Change| match change {
        Change::Secret(delta) => 1 + data(delta),
        Change::Config(delta) => 1 + data(delta),
        _ => 1,
    };
    changes.iter().map(weight).sum()
}
