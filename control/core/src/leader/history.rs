//! What the store was a little while ago: from it follows what an agent that comes back was told last, so that
//! it need not be told everything again.

use std::collections::VecDeque;

use crate::store::{Change, Store};

/// Most states that are kept.
pub const HISTORY_STATES: usize = 1024;
/// Most changes between the oldest and the newest of them, which is what they cost: states share all that did
/// not change from one to the next.
pub const HISTORY_CHANGES: usize = 8192;

/// Recent states of the store, oldest first. Every manager keeps one, so that a new leader has it.
#[derive(Debug, Clone, Default)]
pub struct History {
    states: VecDeque<State>,
    /// Changes in all states together.
    changes: usize,
}

#[derive(Debug, Clone)]
struct State {
    store: Store,
    /// Changes that led to it from the one before.
    changes: usize,
}

impl History {
    /// Begins with a state whose past is not known.
    pub fn new(store: &Store) -> Self {
        let mut history = Self::default();
        history.push(store.clone(), 0);
        history
    }

    /// Log entry `index` was applied, and did this. Without a state to begin with nothing is kept.
    pub fn replay(&mut self, index: u64, changes: &[Change]) {
        if let Some(mut store) = self.newest().filter(|newest| newest.index() < index).cloned() {
            store.replay(index, changes);
            self.push(store, changes.len());
        }
    }

    /// The newest state.
    pub fn newest(&self) -> Option<&Store> {
        self.states.back().map(|state| &state.store)
    }

    /// The state at log entry `index`, if that is not too long ago. Entries that changed nothing have the state
    /// of the entry before them.
    pub fn at(&self, index: u64) -> Option<&Store> {
        let after = self.states.partition_point(|state| state.store.index() <= index);
        self.states.get(after.checked_sub(1)?).map(|state| &state.store)
    }

    /// Goes on from `store`: forgets what came after it, and keeps it as the newest.
    pub(super) fn go_on_from(&mut self, store: &Store) {
        let stays = self.states.partition_point(|state| state.store.index() < store.index());
        let gone = self.states.drain(stays..).map(|state| state.changes);
        self.changes -= gone.sum::<usize>();
        self.push(store.clone(), 0);
    }

    /// Keeps the state after the newest.
    pub(super) fn push(&mut self, store: Store, changes: usize) {
        self.changes += changes;
        self.states.push_back(State { store, changes });
        while self.states.len() > 1 && (self.states.len() > HISTORY_STATES || self.changes > HISTORY_CHANGES)
        {
            let oldest = self.states.pop_front();
            self.changes -= oldest.map_or(0, |state| state.changes);
        }
    }
}
