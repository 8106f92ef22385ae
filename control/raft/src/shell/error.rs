//! What the handle answers when it cannot do as asked.

use std::time::Duration;

use mesh_core::store::Conflict;

use super::role::Alarm;
use crate::disk::DiskError;
use crate::envelope::EncodeError;
use crate::members::ChangeRefused;
use crate::replica::{FlushError, ReplicaError};

/// Why a manager's state cannot be opened or made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// What is on the disk.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// The file belongs to another node.
    #[error("{} belongs to raft node {found}, this is node {wanted}", path.display())]
    OtherNode {
        /// The file.
        path: std::path::PathBuf,
        /// Whose it is.
        found: u64,
        /// Whose it should be.
        wanted: u64,
    },
    /// The first transaction does not apply to an empty store.
    #[error("a new cluster cannot begin with this: {0}")]
    First(#[from] Conflict),
    /// The operating system gives no thread, or the thread ended.
    #[error("the raft thread cannot run: {reason}")]
    Thread {
        /// Why.
        reason: String,
    },
}

impl From<FlushError> for OpenError {
    fn from(error: FlushError) -> Self {
        match error {
            FlushError::Disk(error) => Self::Disk(error),
            FlushError::Replica(error) => Self::Replica(error),
        }
    }
}

/// Why a proposal is not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// The store has moved on since the transaction was made. It was not applied.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// Another manager leads, or none. It was not applied.
    #[error("this manager does not lead{}", leader.map(|id| format!(", manager {id} does")).unwrap_or_default())]
    NotLeader {
        /// The leader, where it is known.
        leader: Option<u64>,
    },
    /// It fits no log entry. It was not applied.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// Too much is on its way already. It was not applied.
    #[error("too many proposals wait to be committed")]
    Busy,
    /// This manager takes no writes. It was not applied.
    #[error("no writes are taken: {0}")]
    ReadOnly(Alarm),
    /// It may have been applied, or may yet be.
    #[error("no answer within {} s: it is not known whether the change was made", after.as_secs_f32())]
    Timeout {
        /// How long was waited.
        after: Duration,
    },
    /// It may have been applied, or may be after a restart.
    #[error("{reason}: it is not known whether the change was made")]
    Interrupted {
        /// What happened.
        reason: String,
    },
}

impl ProposeError {
    /// Whether the transaction may have been applied in spite of the error.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Timeout { .. } | Self::Interrupted { .. })
    }
}

/// Why a read is not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No quorum said in time that this manager is up to date.
    #[error("no quorum of managers answered within {} s", after.as_secs_f32())]
    Timeout {
        /// How long was waited.
        after: Duration,
    },
    /// This manager is not up to date, or will soon not be.
    #[error("this manager cannot answer: {0}")]
    Alarm(Alarm),
}

/// Why a state file is not sealed anew.
#[derive(Debug, thiserror::Error)]
pub enum ResealError {
    /// The disk: with [`DiskError::Sealed`] the keys do not open what is there, and nothing was changed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// This manager has stopped, or is held up.
    #[error("the state file was not sealed anew: {0}")]
    Alarm(Alarm),
}

/// Why a change of the members is not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// It was not made.
    #[error(transparent)]
    Refused(#[from] ChangeRefused),
    /// Another leader came before it was committed. It was not made.
    #[error("the leader changed before the managers did: try again")]
    Lost,
    /// This manager takes no writes. It was not made.
    #[error("no writes are taken: {0}")]
    Alarm(Alarm),
    /// It may have been made, or may yet be.
    #[error("no answer within {} s: it is not known whether the managers changed", after.as_secs_f32())]
    Timeout {
        /// How long was waited.
        after: Duration,
    },
    /// It may have been made, or may be after a restart.
    #[error("{reason}: it is not known whether the managers changed")]
    Interrupted {
        /// What happened.
        reason: String,
    },
}

/// Why leadership was not handed over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// This manager does not lead.
    #[error("this manager does not lead{}", leader.map(|id| format!(", manager {id} does")).unwrap_or_default())]
    NotLeader {
        /// The leader, where it is known.
        leader: Option<u64>,
    },
    /// Nobody who votes answers, or not the one that is meant.
    #[error("no other manager that votes answers")]
    NoHeir,
    /// It did not take over in time.
    #[error("nobody took over within {} s", after.as_secs_f32())]
    Timeout {
        /// How long was waited.
        after: Duration,
    },
    /// This manager has stopped, or is held up.
    #[error("leadership cannot be handed over: {0}")]
    Alarm(Alarm),
}
