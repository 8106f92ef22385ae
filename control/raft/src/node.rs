//! Raft without I/O: inputs in, and in two phases out what must be durable, then what may happen.
//!
//! The order is the contract. [`Node::prepare`] says what to write; only when that is durable does
//! [`Node::complete`] release the messages that promise it, and hand over what is committed. Between the two
//! no input is taken. The node knows nothing of what its entries mean: committed data goes to a [`Machine`].

mod input;
mod peers;
#[cfg(any(test, feature = "testing"))]
mod planted;
mod ready;

use std::collections::BTreeMap;

use raft::eraftpb::Snapshot;
use raft::eraftpb::{ConfChange, ConfChangeV2, ConfState, Entry, EntryType, Message, MessageType};
use raft::{Config, RawNode, ReadOnlyOption, ReadState, Ready, SnapshotStatus, StateRole};

use crate::disk::{Saved, Truncate, Write};
use crate::log::{Log, Position};
use crate::logger;

pub use input::{Input, Pace, Refused};

/// Where the log's data goes. Errors are final: the node cannot go on without the entry.
pub trait Machine {
    /// Why it cannot go on.
    type Error;
    /// Takes the place of all state.
    fn install(&mut self, snapshot: &Snapshot) -> Result<(), Self::Error>;
    /// The next committed entry. `data` is empty for an entry that is raft's own.
    fn apply(&mut self, at: Position, data: &[u8]) -> Result<(), Self::Error>;
    /// The next committed entry changed the members to `conf`; `context` is what its proposer gave with it.
    fn reconfigure(&mut self, at: Position, conf: &ConfState, context: &[u8]) -> Result<(), Self::Error>;
}

/// Why a node cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum NodeError<E> {
    /// Raft refuses its own state.
    #[error("raft: {0}")]
    Raft(#[from] raft::Error),
    /// A change of members does not read.
    #[error("log entry {index} is no change of members: {source}")]
    Change {
        /// The entry.
        index: u64,
        /// What the parser says.
        source: protobuf::ProtobufError,
    },
    /// The machine cannot go on.
    #[error(transparent)]
    Machine(E),
}

/// The first phase: write, then [`Node::complete`].
#[derive(Debug)]
pub struct Prepared {
    /// May go out at once: they promise nothing that is not durable.
    pub messages: Vec<Message>,
    /// Must be durable before the second phase; `None`: nothing to write.
    pub write: Option<Write>,
    ready: Ready,
}

/// The second phase.
#[derive(Debug, Default)]
pub struct Completed {
    /// Messages that promise what is durable now.
    pub messages: Vec<Message>,
    /// Answers to [`Input::ReadIndex`].
    pub reads: Vec<ReadState>,
}

/// Who a node is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Follower, candidate or leader.
    pub role: StateRole,
    /// Its term.
    pub term: u64,
    /// The leader it knows.
    pub leader: Option<u64>,
}

/// One member of a raft group.
pub struct Node {
    raw: RawNode<Log>,
    pace: Pace,
    seed: u64,
    stalled: bool,
    /// Ticks since a snapshot went to a peer and nothing was heard of it.
    snapshots: BTreeMap<u64, usize>,
    /// Ticks since something came from a peer.
    heard: BTreeMap<u64, usize>,
    /// The term that it led at the last tick, and the ticks in it.
    led: (u64, usize),
    /// A planted mistake.
    #[cfg(any(test, feature = "testing"))]
    skips_joint: bool,
}

/// Entries that a learner may lack and still count as caught up.
const LAG: u64 = 64;

/// After this many election timeouts a snapshot of which nothing is heard counts as lost: raft would wait
/// for ever.
const SNAPSHOT_PATIENCE: usize = 4;

impl Node {
    /// The node that `saved` belongs to. Entries after the snapshot are handed to the machine again as they
    /// are found committed. `seed` alone decides its election timeouts.
    pub fn new(saved: Saved, pace: Pace, seed: u64) -> Result<Self, raft::Error> {
        let config = Config {
            id: saved.node,
            applied: saved.snapshot.get_metadata().index,
            election_tick: pace.election,
            heartbeat_tick: pace.heartbeat,
            max_size_per_msg: pace.message_bytes,
            max_inflight_msgs: pace.inflight,
            max_uncommitted_size: pace.uncommitted_bytes.max(pace.message_bytes),
            max_committed_size_per_ready: 16 << 20,
            check_quorum: true,
            pre_vote: true,
            // Lease reads count ticks, and a thawed leader's ticks say nothing.
            read_only_option: ReadOnlyOption::Safe,
            ..Config::default()
        };
        let raw = RawNode::new(&config, Log::new(saved), &logger::logger())?;
        let mut node = Self {
            raw,
            pace,
            seed,
            stalled: false,
            snapshots: BTreeMap::new(),
            heard: BTreeMap::new(),
            led: (0, 0),
            #[cfg(any(test, feature = "testing"))]
            skips_joint: false,
        };
        node.draw_timeout();
        Ok(node)
    }

    /// Takes an input. A proposal's answer is the position that it has if it is ever committed.
    pub fn step(&mut self, input: Input) -> Result<Option<Position>, Refused> {
        if self.stalled {
            return Err(Refused::Stalled);
        }
        let taken = self.take(input);
        self.draw_timeout();
        taken
    }

    fn take(&mut self, input: Input) -> Result<Option<Position>, Refused> {
        match input {
            Input::Tick => {
                self.raw.tick();
                self.age_snapshots();
                self.age_peers();
                self.age_leadership();
            }
            Input::Message(message) => self.receive(*message)?,
            Input::Propose(data) => return self.propose(|raw| raw.propose(Vec::new(), data)),
            Input::Change(change) => {
                return self.propose(|raw| raw.propose_conf_change(Vec::new(), change));
            }
            Input::ReadIndex(context) => self.raw.read_index(context),
            Input::Campaign => self.raw.campaign().map_err(|error| Refused::Raft(error.to_string()))?,
            Input::Transfer(peer) => self.raw.transfer_leader(peer),
            Input::Unreachable(peer) => self.raw.report_unreachable(peer),
            Input::SnapshotSent { to, arrived } => {
                let status = if arrived { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
                self.snapshots.remove(&to);
                self.raw.report_snapshot(to, status);
            }
        }
        Ok(None)
    }

    fn age_snapshots(&mut self) {
        let patience = SNAPSHOT_PATIENCE * self.pace.election;
        self.snapshots.values_mut().for_each(|age| *age += 1);
        let lost: Vec<u64> =
            self.snapshots.iter().filter(|(_, age)| **age >= patience).map(|(peer, _)| *peer).collect();
        for peer in lost {
            self.snapshots.remove(&peer);
            self.raw.report_snapshot(peer, SnapshotStatus::Failure);
        }
    }

    fn age_peers(&mut self) {
        self.heard.values_mut().for_each(|age| *age += 1);
        let patience = self.pace.election;
        self.heard.retain(|_, age| *age < patience);
    }

    fn note_snapshots(&mut self, messages: &[Message]) {
        let sent = messages.iter().filter(|message| message.get_msg_type() == MessageType::MsgSnapshot);
        self.snapshots.extend(sent.map(|message| (message.to, 0)));
    }

    fn receive(&mut self, message: Message) -> Result<(), Refused> {
        let (kind, from, to) = (message.get_msg_type(), message.from, message.to);
        // Proposals are made at the leader, so that each has one owner who is told of its end.
        if to != self.id() || from == self.id() || from == 0 || kind == MessageType::MsgPropose {
            return Err(Refused::Misdelivered { kind, from, to });
        }
        self.heard.insert(from, 0);
        match self.raw.step(message) {
            Ok(()) | Err(raft::Error::StepPeerNotFound) => Ok(()),
            Err(raft::Error::StepLocalMsg) => Err(Refused::Misdelivered { kind, from, to }),
            Err(error) => Err(Refused::Raft(error.to_string())),
        }
    }

    fn propose(
        &mut self,
        propose: impl FnOnce(&mut RawNode<Log>) -> raft::Result<()>,
    ) -> Result<Option<Position>, Refused> {
        if self.raw.raft.state != StateRole::Leader {
            return Err(Refused::NotLeader);
        }
        match propose(&mut self.raw) {
            Ok(()) => {
                Ok(Some(Position { index: self.raw.raft.raft_log.last_index(), term: self.raw.raft.term }))
            }
            Err(raft::Error::ProposalDropped) => Err(Refused::Busy),
            Err(error) => Err(Refused::Raft(error.to_string())),
        }
    }

    /// The crate draws election timeouts from the thread's generator, which no seed replays. After every
    /// step they are set to what seed, node and term say.
    fn draw_timeout(&mut self) {
        let raft = &mut self.raw.raft;
        let draw = mix(self.seed ^ mix(raft.id ^ mix(raft.term)));
        let election = self.pace.election;
        let spread = usize::try_from(draw % u64::try_from(election).unwrap_or(1)).unwrap_or(0);
        raft.set_randomized_election_timeout(election + spread);
    }

    /// Raft's number of this node.
    pub fn id(&self) -> u64 {
        self.raw.raft.id
    }

    /// Who it is at the moment.
    pub fn standing(&self) -> Standing {
        let raft = &self.raw.raft;
        let leader = (raft.leader_id != 0).then_some(raft.leader_id);
        Standing { role: raft.state, term: raft.term, leader }
    }

    /// Whether a peer waits for a newer snapshot than there is.
    pub fn wants_snapshot(&self) -> bool {
        self.raw.store().wants_snapshot()
    }

    /// Bytes of log entries in memory.
    pub fn log_bytes(&self) -> usize {
        self.raw.store().bytes()
    }

    /// Where the newest snapshot ends.
    pub fn snapshot_position(&self) -> Position {
        position_of(self.raw.store().newest_snapshot())
    }

    /// The write with which a node that stops keeps its commit index, so that it finds its store again before
    /// it hears from a peer.
    pub fn farewell(&self) -> Write {
        Write { hard_state: Some(self.raw.store().hard_state().clone()), ..Write::default() }
    }

    /// The write that makes a snapshot of the machine's state at `at`, the last entry applied, and forgets
    /// log entries but for the last `keep` of them. Once it is durable: [`Node::checkpointed`].
    pub fn checkpoint(&self, at: Position, data: Vec<u8>, keep: u64) -> Result<Write, raft::Error> {
        use raft::Storage as _;
        let log = self.raw.store();
        let mut snapshot = Snapshot { data: data.into(), ..Snapshot::default() };
        let meta = snapshot.mut_metadata();
        (meta.index, meta.term) = (at.index, at.term);
        meta.set_conf_state(self.members());
        let index = at.index.saturating_sub(keep).max(log.first_index()? - 1);
        let truncate = Position { index, term: log.term(index)? };
        Ok(Write {
            snapshot: Some(snapshot),
            truncate: Some(Truncate::UpTo(truncate)),
            entries: Vec::new(),
            hard_state: Some(log.hard_state().clone()),
        })
    }

    /// The checkpoint is durable.
    pub fn checkpointed(&mut self, write: Write) {
        if let (Some(snapshot), Some(Truncate::UpTo(position))) = (write.snapshot, write.truncate) {
            self.raw.mut_store().checkpoint(snapshot, position);
        }
    }
}

/// What a change of members, not applied yet, carries for the machine.
pub(crate) fn context_of(entry: &Entry) -> Result<Vec<u8>, protobuf::ProtobufError> {
    use protobuf::Message as _;
    let data = entry.get_data();
    Ok(match entry.get_entry_type() {
        EntryType::EntryConfChange => ConfChange::parse_from_bytes(data)?.get_context().to_vec(),
        _ => ConfChangeV2::parse_from_bytes(data)?.get_context().to_vec(),
    })
}

fn position_of(snapshot: &Snapshot) -> Position {
    let meta = snapshot.get_metadata();
    Position { index: meta.index, term: meta.term }
}

/// splitmix64's output function (Steele, Lea, Flood 2014): every input bit reaches every output bit.
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
