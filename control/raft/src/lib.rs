//! Raft among the managers: the replicated store of [`mesh_core`] on the raft crate and a redb file.
//!
//! From the inside out: [`node`] is raft without I/O, [`replica`] a node with the store its log makes,
//! [`disk`] what must outlive the process, and [`Raft`] the handle that the daemon holds, behind which one
//! thread owns all of it. Nothing here knows what a transaction means, nor how messages reach a peer
//! ([`Transport`]).
//!
//! Invariants: nothing is acknowledged, nor promised to a peer, before it is durable here; an
//! acknowledgement finds its proposal by id; a linearizable read asks a quorum, never a lease.

pub mod disk;
pub mod envelope;
mod log;
mod logger;
pub mod members;
pub mod node;
pub mod replica;
mod shell;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod wire;

/// What managers send each other, and its kinds.
pub use ::raft::eraftpb::{Message, MessageType};
pub use log::Position;
pub use members::{ChangeRefused, Member, MemberChange, Members, Part};
pub use replica::{Committed, Forced};
pub use shell::{
    Alarm, ChangeError, ChangeOptions, NoPeers, OpenError, ProposeError, Raft, RaftConfig, ReadError,
    ResealError, Role, RoleState, TransferError, Transport,
};
