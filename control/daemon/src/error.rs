//! What can go wrong between a request and the node's life cycle, in the words that Swarm uses.

use std::io;
use std::path::PathBuf;

use mesh_core::command::Refusal;
use mesh_identity::{IdentityError, LockError};

/// How a caller has to react; the API turns it into a status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request itself is wrong (HTTP 400).
    InvalidArgument,
    /// There is nothing to be done (HTTP 409).
    Conflict,
    /// The node is in the wrong state for it (HTTP 503, as Swarm answers).
    Unavailable,
    /// Something broke (HTTP 500).
    Internal,
}

/// A request to the life cycle that was not done.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Asked of a node that is in no cluster.
    #[error(
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this \
         node to swarm and try again."
    )]
    NoCluster,
    /// Asked of a worker.
    #[error(
        "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please \
         run this command on a manager node or promote the current node to a manager."
    )]
    NotManager,
    /// The node is in a cluster already.
    #[error(
        "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and join another \
         one."
    )]
    AlreadyMember,
    /// Asked to leave, but the node is in no cluster.
    #[error("This node is not part of a swarm")]
    NotMember,
    /// The last manager would take the cluster's state with it.
    #[error(
        "You are attempting to leave the swarm on a node that is participating as a manager. Removing the last \
         manager erases all current state of the swarm. Use `--force` to ignore this message."
    )]
    LastManager,
    /// The other managers would have no quorum.
    #[error(
        "You are attempting to leave the swarm on a node that is participating as a manager. Removing this node \
         leaves {left} managers out of {total}. Without a Raft quorum your swarm will be inaccessible. The only \
         way to restore a swarm that has lost consensus is to reinitialize it with `--force-new-cluster`. Use \
         `--force` to suppress this message."
    )]
    LeaveLosesQuorum {
        /// Managers that answer, without this one.
        left: usize,
        /// All managers, this one among them.
        total: usize,
    },
    /// A manager leaves only when it is told so with force.
    #[error(
        "You are attempting to leave the swarm on a node that is participating as a manager. {warning}The only \
         way to restore a swarm that has lost consensus is to reinitialize it with `--force-new-cluster`. Use \
         `--force` to suppress this message."
    )]
    LeavesAsManager {
        /// What may come of it; a sentence and a space, or nothing.
        warning: &'static str,
    },
    /// The managers can decide without going on alone.
    #[error(
        "this cluster has a quorum: to go on alone would split it. Demote or remove the other managers instead \
         (`node demote`, `node rm`)"
    )]
    HasQuorum,
    /// A join goes on in the background.
    #[error(
        "Timeout was reached before node joined. The attempt to join the swarm will continue in the background. \
         Use the \"docker info\" command to see the current swarm status of your node."
    )]
    JoinTimeout,
    /// No manager let a node come back.
    #[error(
        "no manager answered within 20 s: this node is not back in its cluster; see that one is up, and try again"
    )]
    NotBack,
    /// Another init, join or leave is under way.
    #[error("another init, join or leave of this node is under way: wait until it is over")]
    Busy,
    /// A field of the request is not usable.
    #[error("invalid {field} {value:?}: {reason}")]
    InvalidField {
        /// The field's name.
        field: &'static str,
        /// What was given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The node has no address that others could reach it at.
    #[error(
        "could not find the system's IP address - specify one with --advertise-addr or --uplink (no interface \
         that is up has an IPv4 address that others could reach)"
    )]
    NoAddress,
    /// The node has several addresses and none was chosen.
    #[error(
        "could not choose an IP address to advertise since this system has multiple addresses ({}) - specify \
         one with --advertise-addr", .addresses.join(", ")
    )]
    ManyAddresses {
        /// The candidates.
        addresses: Vec<String>,
    },
    /// The manager's keys are sealed, or were to be unsealed and could not.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// This daemon cannot do it.
    #[error("{what} is not available")]
    NotAvailable {
        /// What was asked for.
        what: &'static str,
    },
    /// The manager's state cannot be used; the error says what to do.
    #[error("this node's manager does not run: {error}")]
    ManagerClosed {
        /// What is wrong with it.
        error: String,
    },
    /// The cluster cannot be made as it was asked for.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The token or a certificate was refused on this side.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// No manager of those named could be joined for good.
    #[error("{remote} refused this node: {message}")]
    JoinRefused {
        /// Manager that was asked.
        remote: String,
        /// Its words.
        message: String,
    },
    /// The listening socket could not be opened.
    #[error(
        "cannot listen on {addr} for other nodes: {source}; is another meshd running, or --listen-addr wrong?"
    )]
    Listen {
        /// Address that was tried.
        addr: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A file of the data directory could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file of the data directory does not hold what it should.
    #[error("{path} is corrupt ({reason}): put a copy back, or move it away to start this node anew")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A part of the daemon could not do its work.
    #[error("{part}: {message}")]
    Part {
        /// Which part.
        part: &'static str,
        /// What it said.
        message: String,
    },
}

impl DaemonError {
    /// How a caller has to react.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Lock(LockError::NotLocked) => ErrorKind::Conflict,
            Self::Lock(LockError::Corrupt { .. }) => ErrorKind::Internal,
            Self::Lock(LockError::Locked)
            | Self::NoCluster
            | Self::NotManager
            | Self::AlreadyMember
            | Self::NotMember
            | Self::LastManager
            | Self::LeaveLosesQuorum { .. }
            | Self::LeavesAsManager { .. }
            | Self::HasQuorum
            | Self::JoinTimeout
            | Self::NotBack
            | Self::ManagerClosed { .. }
            | Self::Busy => ErrorKind::Unavailable,
            Self::Lock(LockError::Text { .. } | LockError::WrongKey)
            | Self::InvalidField { .. }
            | Self::NoAddress
            | Self::ManyAddresses { .. }
            | Self::NotAvailable { .. }
            | Self::Refused(_)
            | Self::Identity(_)
            | Self::JoinRefused { .. } => ErrorKind::InvalidArgument,
            Self::Listen { .. } | Self::File { .. } | Self::Corrupt { .. } | Self::Part { .. } => {
                ErrorKind::Internal
            }
        }
    }

    /// An error of `part`, with its words.
    pub fn part(part: &'static str, error: &dyn std::error::Error) -> Self {
        Self::Part { part, message: chain(error) }
    }
}

/// An error and what caused it, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !line.ends_with(&words) {
            line.push_str(": ");
            line.push_str(&words);
        }
        cause = inner.source();
    }
    line
}
