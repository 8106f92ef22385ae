//! The thread that owns the node and its disk, and the handle that the rest of the daemon holds.

mod config;
mod error;
mod handle;
mod role;
mod worker;

pub use config::{NoPeers, RaftConfig, Transport};
pub use error::{OpenError, ProposeError, ReadError};
pub use handle::Raft;
pub use role::{Alarm, Role, RoleState};
