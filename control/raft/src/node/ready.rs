//! The two phases: what must be durable, then what may happen.

use raft::Ready;
use raft::StateRole;
use raft::eraftpb::{ConfChange, ConfChangeV2, Entry, EntryType, HardState};

use super::{Completed, Machine, Node, NodeError, Prepared, position_of};
use crate::disk::{Truncate, Write};
use crate::log::Position;

impl Node {
    /// What there is to do, if anything.
    pub fn prepare(&mut self) -> Option<Prepared> {
        if self.stalled || !self.raw.has_ready() {
            return None;
        }
        self.stalled = true;
        let mut ready = self.raw.ready();
        let messages = ready.take_messages();
        self.note_snapshots(&messages);
        Some(Prepared { messages, write: self.write(&ready), ready })
    }

    /// What of `ready` must be durable. A commit index alone need not be: it is found again.
    fn write(&self, ready: &Ready) -> Option<Write> {
        if !ready.must_sync() {
            return None;
        }
        let snapshot = (!ready.snapshot().is_empty()).then(|| ready.snapshot().clone());
        let truncate = snapshot.as_ref().map(|snapshot| Truncate::All(position_of(snapshot)));
        Some(Write {
            snapshot,
            truncate,
            entries: ready.entries().clone(),
            hard_state: Some(self.hard_state_after(ready)),
        })
    }

    fn hard_state_after(&self, ready: &Ready) -> HardState {
        let mut state = ready.hs().cloned().unwrap_or_else(|| self.raw.store().hard_state().clone());
        state.commit = state.commit.max(ready.snapshot().get_metadata().index);
        state
    }

    /// Goes on after what [`Node::prepare`] asked for is durable.
    pub fn complete<M: Machine>(
        &mut self,
        prepared: Prepared,
        machine: &mut M,
    ) -> Result<Completed, NodeError<M::Error>> {
        let mut ready = prepared.ready;
        let hard_state = self.hard_state_after(&ready);
        let log = self.raw.mut_store();
        if !ready.snapshot().is_empty() {
            log.install(ready.snapshot().clone());
            machine.install(ready.snapshot()).map_err(NodeError::Machine)?;
        }
        log.append(ready.entries().clone());
        log.set_hard_state(hard_state);

        let answers = ready.take_read_states();
        let mut messages = ready.take_persisted_messages();
        let committed = ready.take_committed_entries();
        self.apply(committed, machine)?;
        let mut light = self.raw.advance_append(ready);
        if let Some(commit) = light.commit_index() {
            self.raw.mut_store().set_commit(commit);
        }
        messages.extend(light.take_messages());
        self.apply(light.take_committed_entries(), machine)?;
        self.raw.advance_apply();
        self.stalled = false;
        self.leave_joint();
        self.step_down_when_removed();
        self.draw_timeout();
        self.note_snapshots(&messages);
        Ok(Completed { messages, reads: answers })
    }

    fn apply<M: Machine>(&mut self, entries: Vec<Entry>, machine: &mut M) -> Result<(), NodeError<M::Error>> {
        for entry in entries {
            let at = Position { index: entry.index, term: entry.term };
            let applied = match entry.get_entry_type() {
                EntryType::EntryNormal => machine.apply(at, entry.get_data()),
                EntryType::EntryConfChange => {
                    let change = parse::<ConfChange, M::Error>(&entry)?;
                    let conf = self.raw.apply_conf_change(&change)?;
                    machine.reconfigure(at, &conf, change.get_context())
                }
                EntryType::EntryConfChangeV2 => {
                    // An empty one means something: leave the joint configuration.
                    let change = parse::<ConfChangeV2, M::Error>(&entry)?;
                    let conf = self.raw.apply_conf_change(&change)?;
                    #[cfg(any(test, feature = "testing"))]
                    let conf = self.leave_at_once(conf)?;
                    machine.reconfigure(at, &conf, change.get_context())
                }
            };
            applied.map_err(NodeError::Machine)?;
        }
        Ok(())
    }

    /// The leader that entered a joint configuration may be gone before it left it again.
    fn leave_joint(&mut self) {
        let raft = &self.raw.raft;
        if raft.state == StateRole::Leader && self.is_joint() && !raft.has_pending_conf() {
            // Refused proposals are made again after the next step.
            let _ = self.raw.propose_conf_change(Vec::new(), ConfChangeV2::default());
        }
    }
}

fn parse<T: protobuf::Message, E>(entry: &Entry) -> Result<T, NodeError<E>> {
    T::parse_from_bytes(entry.get_data()).map_err(|source| NodeError::Change { index: entry.index, source })
}
