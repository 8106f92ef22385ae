//! What a manager is in its group, as the daemon watches it.

use std::path::PathBuf;

/// A manager's part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Role {
    /// It leads, and its store holds all that earlier leaders committed.
    Leader,
    /// It follows.
    #[default]
    Follower,
    /// An election is on, or was just won.
    Candidate,
    /// Its thread has ended.
    Stopped,
}

/// What hinders a manager.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Alarm {
    /// The disk is full; writing goes on by itself when there is space again.
    #[error("no space left for {}: free some", path.display())]
    DiskFull {
        /// The state file.
        path: PathBuf,
    },
    /// The thread ended.
    #[error("raft has stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}

/// A manager's part, and what hinders it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoleState {
    /// Its part.
    pub role: Role,
    /// Raft's term.
    pub term: u64,
    /// The leader it knows, by raft's number.
    pub leader: Option<u64>,
    /// What hinders it.
    pub alarm: Option<Alarm>,
}

impl RoleState {
    /// Whether this manager leads and takes writes.
    pub fn is_leader(&self) -> bool {
        self.role == Role::Leader && self.alarm.is_none()
    }
}
