//! A node with the store that its log makes: everything a manager's raft does, but for I/O.
//!
//! The thread of [`crate::Raft`] and the simulation both run this, through [`Driver::flush`].

mod change;
mod driver;
mod forced;
#[cfg(any(test, feature = "testing"))]
mod planted;
mod saved;

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_core::store::{Change, Conflict, DecodeError, Store};
use raft::eraftpb::{ConfState, Message, Snapshot};

use crate::disk::{Saved, Write};
use crate::envelope::{self, EnvelopeError, ProposalId};
use crate::log::Position;
use crate::members::{ChangeOutcome, Members, NoteError};
use crate::node::{Input, Machine, Node, NodeError, Pace, Prepared, Refused, Standing};

use change::Underway;
use saved::{pack, unpack};

pub use driver::{Driver, FlushError, Outlet};
pub use forced::{Forced, force_new_cluster};
#[cfg(any(test, feature = "testing"))]
pub use planted::Mistake;
pub(crate) use saved::founder;
pub use saved::{genesis, joiner};

/// When the log is cut. Of a cluster's log its own settings decide; these do before there are any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compaction {
    /// A snapshot is made after this many entries,
    pub every: u64,
    /// or when the entries in memory are this large.
    pub bytes: usize,
    /// Entries before the snapshot that are kept for followers that are a little behind.
    pub keep: u64,
}

impl Default for Compaction {
    fn default() -> Self {
        Self { every: 10_000, bytes: 32 << 20, keep: 500 }
    }
}

/// How a replica runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settings {
    /// Time and sizes.
    pub pace: Pace,
    /// Snapshots.
    pub compaction: Compaction,
    /// Decides election timeouts, and keeps the numbers of reads apart from those before a restart: never
    /// the same twice for one node.
    pub seed: u64,
}

/// An entry that was applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    /// Its index.
    pub index: u64,
    /// What it changed.
    pub changes: Vec<Change>,
    /// The store was replaced whole by a leader's snapshot: `changes` is empty and says nothing.
    pub replaced: bool,
}

/// How a proposal ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It is applied.
    Committed(Arc<Committed>),
    /// It was in the log, and the store would not have it.
    Conflict(Conflict),
    /// Another leader's entry has its place: it was not and never will be applied.
    Lost,
}

/// The number of one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u128);

/// What happened while a replica went on.
#[derive(Debug, Default)]
pub struct Effects {
    /// Entries applied, in order.
    pub committed: Vec<Arc<Committed>>,
    /// Proposals of this node that ended.
    pub outcomes: Vec<(ProposalId, Outcome)>,
    /// Reads that the store answers now.
    pub reads: Vec<ReadId>,
    /// Changes of the members, asked for at this node, that ended.
    pub changes: Vec<(ProposalId, ChangeOutcome)>,
}

/// Why a replica cannot go on; a restart meets the same.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// An entry cannot be read.
    #[error("log entry {index}: {source}")]
    Entry {
        /// The entry.
        index: u64,
        /// What is wrong with it.
        source: EnvelopeError,
    },
    /// A snapshot cannot be read.
    #[error("snapshot at log entry {index}: {source}")]
    Snapshot {
        /// Where it ends.
        index: u64,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The store has no encoding.
    #[error("the store cannot be made a snapshot: {reason}")]
    Encoding {
        /// What the encoder says.
        reason: String,
    },
    /// Raft refuses its own state.
    #[error("raft: {0}")]
    Raft(#[from] raft::Error),
    /// A change of members cannot be read.
    #[error("log entry {index} is no change of members: {source}")]
    Change {
        /// The entry.
        index: u64,
        /// What the parser says.
        source: protobuf::ProtobufError,
    },
    /// The group never took this node in.
    #[error("this manager has no state: it was never taken in")]
    Nothing,
    /// What an entry or a snapshot says of the members cannot be read.
    #[error("members as of log entry {index}: {source}")]
    Members {
        /// The entry.
        index: u64,
        /// What is wrong.
        source: NoteError,
    },
}

impl From<NodeError<Self>> for ReplicaError {
    fn from(error: NodeError<Self>) -> Self {
        match error {
            NodeError::Raft(error) => Self::Raft(error),
            NodeError::Change { index, source } => Self::Change { index, source },
            NodeError::Machine(error) => error,
        }
    }
}

/// A node and its store.
pub struct Replica {
    node: Node,
    state: State,
    settings: Settings,
    reads: u64,
}

/// The store, and who waits for it.
struct State {
    store: Store,
    members: Members,
    applied: Position,
    /// The change of members that was asked for here and has not ended.
    change: Option<Underway>,
    /// Proposals made here, by the index they have if they are ever committed.
    proposed: BTreeMap<u64, (u64, ProposalId)>,
    /// Reads that wait for the store to reach an index.
    waiting: BTreeMap<u64, Vec<ReadId>>,
    effects: Effects,
    /// A planted mistake.
    #[cfg(any(test, feature = "testing"))]
    unchecked: bool,
}

impl Replica {
    /// The replica that `saved` belongs to, its store as of the snapshot. A group of one leads at once.
    pub fn new(saved: Saved, settings: Settings) -> Result<Self, ReplicaError> {
        let (store, members) = unpack(&saved.snapshot)?;
        let meta = saved.snapshot.get_metadata();
        let applied = Position { index: meta.index, term: meta.term };
        let alone = meta.get_conf_state().get_voters() == [saved.node];
        let mut node = Node::new(saved, settings.pace, settings.seed)?;
        if alone {
            // A refusal leaves it to the election timeout.
            let _ = node.step(Input::Campaign);
        }
        Ok(Self { node, state: State::new(store, members, applied), settings, reads: 0 })
    }

    /// Takes an input that has no answer of its own.
    pub fn step(&mut self, input: Input) -> Result<(), Refused> {
        self.node.step(input).map(drop)
    }

    /// Puts a transaction, encoded by [`envelope::encode`] with the same `id`, into the log. Only the leader
    /// takes it, and only once its store holds all that earlier leaders committed.
    pub fn propose(&mut self, id: ProposalId, entry: Vec<u8>) -> Result<(), Refused> {
        if !self.leads() {
            return Err(Refused::NotLeader);
        }
        if let Some(at) = self.node.step(Input::Propose(entry))? {
            // What an earlier term put there or later is gone from the log.
            let gone = self.state.proposed.split_off(&at.index);
            self.state.effects.outcomes.extend(gone.into_values().map(|(_, id)| (id, Outcome::Lost)));
            self.state.proposed.insert(at.index, (at.term, id));
        }
        Ok(())
    }

    /// Begins a read. It may never be answered: begin another then.
    pub fn read(&mut self) -> Result<ReadId, Refused> {
        self.reads += 1;
        let origin = u128::from(crate::node::mix(self.settings.seed ^ self.node.id()));
        let id = ReadId(origin << 64 | u128::from(self.reads));
        self.node.step(Input::ReadIndex(id.0.to_le_bytes().to_vec()))?;
        Ok(id)
    }

    /// Leader, with a store that holds all that earlier leaders committed.
    pub fn leads(&self) -> bool {
        let standing = self.node.standing();
        standing.role == raft::StateRole::Leader && self.state.applied.term == standing.term
    }

    /// Who it is at the moment.
    pub fn standing(&self) -> Standing {
        self.node.standing()
    }

    /// Raft's number of this node.
    pub fn id(&self) -> u64 {
        self.node.id()
    }

    /// The members as of the last entry applied.
    pub fn members(&self) -> ConfState {
        self.node.members()
    }

    /// The same with their addresses.
    pub fn membership(&self) -> &Members {
        &self.state.members
    }

    /// The node inside.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The store as of the last entry applied.
    pub fn store(&self) -> &Store {
        &self.state.store
    }

    /// The last entry applied.
    pub fn applied(&self) -> Position {
        self.state.applied
    }

    /// The write of a node that stops; see [`Node::farewell`].
    pub fn farewell(&self) -> Write {
        self.node.farewell()
    }

    fn complete(&mut self, prepared: Prepared) -> Result<(Vec<Message>, Effects), ReplicaError> {
        let completed = self.node.complete(prepared, &mut self.state)?;
        for read in completed.reads {
            if let Ok(id) = <[u8; 16]>::try_from(read.request_ctx.as_slice()) {
                let id = ReadId(u128::from_le_bytes(id));
                self.state.waiting.entry(read.index).or_default().push(id);
            }
        }
        self.state.answer_reads();
        Ok((completed.messages, std::mem::take(&mut self.state.effects)))
    }

    /// What the cluster's settings say of it; before there is a cluster, what this node's do.
    fn compaction(&self) -> Compaction {
        let own = self.settings.compaction;
        self.state.store.cluster().map_or(own, |cluster| Compaction {
            every: cluster.spec.snapshot_interval.max(1),
            keep: cluster.spec.entries_kept,
            ..own
        })
    }

    fn checkpoint(&self) -> Result<Option<Write>, ReplicaError> {
        let Compaction { every, bytes, keep } = self.compaction();
        let entries = self.state.applied.index - self.node.snapshot_position().index;
        let large = entries > keep && self.node.log_bytes() >= bytes;
        let wanted = entries > 0 && self.node.wants_snapshot();
        if entries < every && !large && !wanted {
            return Ok(None);
        }
        let data = pack(self.state.members.known(), &self.state.store)?;
        Ok(Some(self.node.checkpoint(self.state.applied, data, keep)?))
    }
}

impl State {
    fn new(store: Store, members: Members, applied: Position) -> Self {
        Self {
            store,
            members,
            applied,
            change: None,
            proposed: BTreeMap::new(),
            waiting: BTreeMap::new(),
            effects: Effects::default(),
            #[cfg(any(test, feature = "testing"))]
            unchecked: false,
        }
    }

    fn answer_reads(&mut self) {
        let later = self.waiting.split_off(&(self.applied.index + 1));
        let answered = std::mem::replace(&mut self.waiting, later);
        self.effects.reads.extend(answered.into_values().flatten());
    }

    /// The proposal made here for the place that is filled now, unless another has it.
    fn settle(&mut self, at: Position, found: Option<ProposalId>) -> Option<ProposalId> {
        let (term, id) = self.proposed.remove(&at.index)?;
        if term == at.term && found == Some(id) {
            return Some(id);
        }
        self.effects.outcomes.push((id, Outcome::Lost));
        None
    }
}

impl Machine for State {
    type Error = ReplicaError;

    fn install(&mut self, snapshot: &Snapshot) -> Result<(), ReplicaError> {
        (self.store, self.members) = unpack(snapshot)?;
        self.settle_change_by_snapshot();
        let meta = snapshot.get_metadata();
        self.applied = Position { index: meta.index, term: meta.term };
        // How the proposals before it ended is not to be seen in it: their owners hear nothing.
        self.proposed = self.proposed.split_off(&(meta.index + 1));
        let committed = Committed { index: meta.index, changes: Vec::new(), replaced: true };
        self.effects.committed.push(Arc::new(committed));
        Ok(())
    }

    fn apply(&mut self, at: Position, data: &[u8]) -> Result<(), ReplicaError> {
        self.applied = at;
        self.settle_change(at, None);
        if data.is_empty() {
            self.settle(at, None);
            return Ok(());
        }
        let (id, transaction) =
            envelope::decode(data).map_err(|source| ReplicaError::Entry { index: at.index, source })?;
        let result = self.store.apply(at.index, &transaction);
        #[cfg(any(test, feature = "testing"))]
        let result = match result {
            Err(conflict) if self.unchecked => {
                planted::apply_unchecked(&mut self.store, at.index, &transaction, conflict)
            }
            result => result,
        };
        let owner = self.settle(at, Some(id));
        let outcome = match result {
            Ok(changes) => {
                let committed = Arc::new(Committed { index: at.index, changes, replaced: false });
                self.effects.committed.push(Arc::clone(&committed));
                Outcome::Committed(committed)
            }
            Err(conflict) => Outcome::Conflict(conflict),
        };
        self.effects.outcomes.extend(owner.map(|id| (id, outcome)));
        Ok(())
    }

    fn reconfigure(&mut self, at: Position, conf: &ConfState, context: &[u8]) -> Result<(), ReplicaError> {
        self.applied = at;
        self.settle(at, None);
        self.change_members(at, conf, context)
    }
}
