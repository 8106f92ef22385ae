//! What a manager is opened with: its socket, and how raft keeps its state.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use mesh_core::id::Entropy;
use mesh_raft::RaftConfig;
use mesh_raft::disk::Sealing;
use tokio::net::TcpListener;

use crate::entropy::SystemEntropy;
use crate::error::DaemonError;
use crate::keys::Keys;
use crate::state::StateDir;
use crate::transport::{Own, PeerTransport};

/// Raft's number of the first manager.
pub const FIRST_MANAGER: u64 = 1;

/// How raft is opened or made, and what will carry its messages. The keys that seal its state are on disk by
/// then.
pub fn raft_config(
    state: &StateDir,
    keys: &Keys,
    own: Own,
) -> Result<(RaftConfig, PeerTransport), DaemonError> {
    let dir = state.raft();
    mesh_identity::files::create_private_dir(&dir)
        .map_err(|source| DaemonError::File { path: dir.clone(), source })?;
    let seed = SystemEntropy.below(u64::MAX);
    let transport = PeerTransport::default();
    let config = RaftConfig {
        addrs: BTreeMap::from([(own.raft_id, own.addr)]),
        transport: Arc::new(transport.clone()),
        sealing: Sealing::Key(keys.take_office()?),
        ..RaftConfig::new(state.raft_file(), own.raft_id, seed)
    };
    Ok((config, transport))
}

/// A number for a new member of the group; never one that was used before, as far as chance goes.
pub(super) fn draw_raft_id() -> u64 {
    SystemEntropy.below(u64::MAX - FIRST_MANAGER) + FIRST_MANAGER + 1
}

/// Opens the socket for other nodes.
pub async fn listen(addr: SocketAddr) -> Result<TcpListener, DaemonError> {
    TcpListener::bind(addr).await.map_err(|source| DaemonError::Listen { addr: addr.to_string(), source })
}
