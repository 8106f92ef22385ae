//! What the rest of the daemon (the API first of all) may ask of this node: become part of a cluster, leave
//! it, tell how it stands, and hand out the parts that serve reads.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mesh_core::id::{ClusterId, NodeId};
use mesh_core::object::NodeDescription;
use mesh_core::spec::{Availability, ClusterSpec, Role};
use mesh_dataplane::Dataplane;
use mesh_raft::Raft;

use crate::error::DaemonError;

/// `swarm init`, as the API understood it.
#[derive(Debug, Clone, Default)]
pub struct InitRequest {
    /// Address and port to listen on for other nodes; unset: the daemon's `--listen-addr`.
    pub listen_addr: Option<String>,
    /// Address (with or without port), or name of an interface, that others reach this node at; unset: the
    /// daemon's `--advertise-addr`, else the only address of the machine.
    pub advertise_addr: Option<String>,
    /// Address or interface that tunnels end at; unset: the daemon's `--data-path-addr`, else the
    /// advertised one.
    pub data_path_addr: Option<String>,
    /// Settings of the new cluster.
    pub spec: ClusterSpec,
    /// Whether this node takes tasks.
    pub availability: Availability,
}

/// `swarm join`, as the API understood it.
#[derive(Debug, Clone, Default)]
pub struct JoinRequest {
    /// Managers to ask, `address[:port]`, in order.
    pub remotes: Vec<String>,
    /// Join token.
    pub token: String,
    /// As in [`InitRequest`].
    pub listen_addr: Option<String>,
    /// As in [`InitRequest`].
    pub advertise_addr: Option<String>,
    /// As in [`InitRequest`].
    pub data_path_addr: Option<String>,
    /// Whether this node takes tasks.
    pub availability: Availability,
}

/// How this node stands to its cluster, as `docker info` says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalState {
    /// In no cluster.
    Inactive,
    /// A join is under way; with what went wrong at the last try, empty when nothing did.
    Pending {
        /// Words of the last error.
        error: String,
    },
    /// Member, and served.
    Active,
    /// Member, but something keeps it from working.
    Error {
        /// What.
        error: String,
    },
}

/// This node, as it sees itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// How it stands to its cluster.
    pub state: LocalState,
    /// Its identifier, once it has one.
    pub node: Option<NodeId>,
    /// The cluster's identifier.
    pub cluster: Option<ClusterId>,
    /// Its role, from its certificate.
    pub role: Option<Role>,
    /// Address it advertises.
    pub addr: Option<IpAddr>,
    /// Managers it knows of.
    pub managers: Vec<SocketAddr>,
    /// Host name, platform, resources.
    pub description: NodeDescription,
    /// Tasks that run on this node now.
    pub running_tasks: usize,
}

/// Both join tokens, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinTokens {
    /// Makes a worker.
    pub worker: String,
    /// Makes a manager.
    pub manager: String,
}

/// The daemon's life cycle; a cheap handle.
#[derive(Clone)]
pub struct Daemon {
    inner: Arc<()>,
}

impl Daemon {
    /// Makes a cluster with this node as its first manager; returns when the cluster accepts writes.
    pub async fn init(&self, request: InitRequest) -> Result<NodeId, DaemonError>;

    /// Joins a cluster; returns when a manager serves this node, or with [`DaemonError::JoinTimeout`] after
    /// 20 s while the attempt goes on.
    pub async fn join(&self, request: JoinRequest) -> Result<(), DaemonError>;

    /// Stops this node's tasks, clears its dataplane and forgets the cluster. The last manager refuses
    /// without `force`.
    pub async fn leave(&self, force: bool) -> Result<(), DaemonError>;

    /// The replicated store, when this node is a manager; else Swarm's words on why not.
    pub fn manager(&self) -> Result<Raft, DaemonError>;

    /// The node's dataplane (`vips()`, `flows()`, `counters()`), when it is in a cluster.
    pub fn dataplane(&self) -> Result<Dataplane, DaemonError>;

    /// This node, as it sees itself.
    pub fn info(&self) -> NodeInfo;

    /// Both join tokens, from the store.
    pub fn join_tokens(&self) -> Result<JoinTokens, DaemonError>;
}
