//! What a raft thread is told, and how it reaches its peers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use raft::eraftpb::Message;

use crate::disk::Sealing;
use crate::replica::Settings;

/// How messages reach the other managers. Called on the raft thread: it must not block, and may lose what
/// it cannot send. It tells of a peer that it cannot reach by [`crate::Raft::unreachable`], and of how a
/// snapshot fared by [`crate::Raft::snapshot_sent`].
pub trait Transport: Send + Sync + 'static {
    /// Sends each message to the node that its `to` names.
    fn send(&self, messages: Vec<Message>);
}

/// The transport of a manager that is alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPeers;

impl Transport for NoPeers {
    fn send(&self, messages: Vec<Message>) {
        drop(messages);
    }
}

/// How a raft thread runs.
#[derive(Clone)]
pub struct RaftConfig {
    /// The state file; its directory must exist.
    pub path: PathBuf,
    /// How what is in it is sealed.
    pub sealing: Sealing,
    /// Raft's number of this node, not 0 and never used again for another.
    pub node: u64,
    /// Members of a new group. A group that exists knows its own.
    pub voters: Vec<u64>,
    /// Their management addresses, and this node's own.
    pub addrs: BTreeMap<u64, SocketAddr>,
    /// Length of a tick.
    pub tick: Duration,
    /// Elections, sizes, snapshots and the seed.
    pub settings: Settings,
    /// How long [`crate::Raft::propose`] waits for the outcome.
    pub propose_deadline: Duration,
    /// How long [`crate::Raft::read`] waits for a quorum.
    pub read_deadline: Duration,
    /// Peers.
    pub transport: Arc<dyn Transport>,
}

impl RaftConfig {
    /// A manager that is alone. `seed` must be drawn anew for each start: it keeps the numbers of proposals
    /// and reads apart from those before a restart.
    pub fn new(path: impl Into<PathBuf>, node: u64, seed: u64) -> Self {
        Self {
            path: path.into(),
            sealing: Sealing::Plain,
            node,
            voters: vec![node],
            addrs: BTreeMap::new(),
            tick: Duration::from_millis(50),
            settings: Settings { seed, ..Settings::default() },
            propose_deadline: Duration::from_secs(10),
            read_deadline: Duration::from_secs(5),
            transport: Arc::new(NoPeers),
        }
    }
}
