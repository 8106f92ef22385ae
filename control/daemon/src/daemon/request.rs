//! What is asked of the life cycle, and what it tells.

use std::net::{IpAddr, SocketAddr};

use mesh_core::id::{ClusterId, NodeId};
use mesh_core::object::NodeDescription;
use mesh_core::spec::{Availability, ClusterSpec, Role};

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
    /// Go on alone with the state that this manager has, because the quorum is lost for good.
    pub force_new_cluster: bool,
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
    /// A manager whose keys are sealed: it waits for the unlock key.
    Locked,
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
