//! What a node is told, and why it may not take it.

use raft::eraftpb::{ConfChangeV2, Message, MessageType};

/// How a node keeps time and how much it sends. Times are in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Ticks from one heartbeat to the next.
    pub heartbeat: usize,
    /// Ticks of silence after which an election begins; each time between this and twice this.
    pub election: usize,
    /// Most bytes of entries in one message.
    pub message_bytes: u64,
    /// Most messages on their way to one peer.
    pub inflight: usize,
    /// Most bytes of proposals that are not committed.
    pub uncommitted_bytes: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { heartbeat: 2, election: 10, message_bytes: 1 << 20, inflight: 64, uncommitted_bytes: 64 << 20 }
    }
}

/// What happens to a node.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A tick of the clock.
    Tick,
    /// A message from a peer.
    Message(Box<Message>),
    /// Data for the log.
    Propose(Vec<u8>),
    /// A change of the members.
    Change(ConfChangeV2),
    /// Up to which entry must be applied for a read that begins now? Answered by a [`raft::ReadState`] with this
    /// context, or never: ask again. The context must never repeat, not even after a restart.
    ReadIndex(Vec<u8>),
    /// Do not wait for the election timeout.
    Campaign,
    /// Hand leadership to this peer.
    Transfer(u64),
    /// A message to this peer was lost.
    Unreachable(u64),
    /// A snapshot for this peer arrived, or did not.
    SnapshotSent {
        /// The peer.
        to: u64,
        /// Whether it arrived.
        arrived: bool,
    },
}

/// Why an input is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A proposal belongs to the leader.
    #[error("this node does not lead")]
    NotLeader,
    /// Too much is on its way already.
    #[error("too many bytes of proposals wait to be committed")]
    Busy,
    /// A message for another node, or of a kind that does not travel.
    #[error("message {kind:?} from {from} to {to} does not belong here")]
    Misdelivered {
        /// Kind of message.
        kind: MessageType,
        /// Sender.
        from: u64,
        /// Receiver.
        to: u64,
    },
    /// What was prepared is not complete.
    #[error("a write waits to become durable")]
    Stalled,
    /// Raft itself says no.
    #[error("raft: {0}")]
    Raft(String),
}
