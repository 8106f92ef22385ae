//! The thread that owns the node and its disk, and the handle that the rest of the daemon holds.

mod change;
mod config;
mod error;
mod forced;
mod handle;
mod role;
mod surface;
mod waiting;
mod worker;

pub use change::ChangeOptions;
pub use config::{NoPeers, RaftConfig, Transport};
pub use error::{ChangeError, OpenError, ProposeError, ReadError, ResealError, TransferError};
pub use handle::Raft;
pub use role::{Alarm, Role, RoleState};
