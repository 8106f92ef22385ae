//! What one node gets of the cluster: its tasks, and as much of the networks as it needs to forward and to
//! resolve names. The dispatcher computes it from the store; an agent needs nothing else.

mod compare;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub(crate) use compare::{others_digest, same_work};

use crate::id::{NetworkId, NodeId, ServiceId, TaskId};
use crate::object::{EndpointId, Task, Vni};
use crate::port::{Port, Protocol};
use crate::spec::{IngressReply, Role};

/// Everything a node is told. Each table is keyed, so that a change is told as the keys it touches.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AssignmentSet {
    /// Tasks placed on this node that have not ended, with their specs; one that leaves the table is cleaned up.
    pub tasks: BTreeMap<TaskId, Task>,
    /// Settings of the cluster that every node follows.
    pub settings: ClusterSettings,
    /// What the node itself is to be.
    pub standing: Standing,
    /// Where managers answer, by node.
    pub managers: BTreeMap<NodeId, SocketAddr>,
    /// Every node, by id, with the address its tunnels end at. It is the same for all of them, so that they can
    /// share it.
    pub peers: Arc<BTreeMap<NodeId, IpAddr>>,
    /// Networks that a task of this node is in, and the ingress network.
    pub networks: BTreeMap<NetworkId, NetworkView>,
    /// Endpoints, on any node, in those networks.
    pub endpoints: BTreeMap<EndpointId, EndpointView>,
    /// Services with a VIP, a name or a published port in those networks.
    pub services: BTreeMap<ServiceId, ServiceView>,
}

/// What the cluster wants of the node itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Manager or worker. A node whose certificate says otherwise has it renewed.
    pub role: Role,
    /// Roots to trust, PEM.
    pub trust: String,
    /// SHA-256 of the root (DER) that has to have signed the node's certificate; else it has it renewed.
    pub signer: [u8; 32],
}

/// Assignments that an agent has from an earlier session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Log index that they stand for.
    pub version: u64,
    /// [`AssignmentSet::digest`] of them.
    pub digest: [u8; 32],
}

/// Settings of the cluster that the dataplane follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSettings {
    /// UDP port of the overlay.
    pub data_path_port: u16,
    /// How replies of published ports travel.
    pub ingress_reply: IngressReply,
    /// How often the agent reports in.
    pub heartbeat: std::time::Duration,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        let cluster = crate::spec::ClusterSpec::default();
        Self {
            data_path_port: cluster.data_path_port,
            ingress_reply: cluster.ingress_reply,
            heartbeat: cluster.heartbeat,
        }
    }
}

/// A network as a node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkView {
    /// Name, also the second label of `SERVICE.NETWORK`.
    pub name: String,
    /// VXLAN network identifier.
    pub vni: Vni,
    /// Address range.
    pub subnet: IpNet,
    /// Address of the gateway.
    pub gateway: IpAddr,
    /// No way out.
    pub internal: bool,
    /// The routing mesh's own network.
    pub ingress: bool,
    /// Largest packet inside; `None` is the path's less 50.
    pub mtu: Option<u16>,
}

/// A task's place in a network, as a node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointView {
    /// The network.
    pub network: NetworkId,
    /// Address in it.
    pub address: IpAddr,
    /// Node that the task runs on.
    pub node: NodeId,
    /// The task.
    pub task: TaskId,
    /// The task's DNS name.
    pub task_name: String,
    /// The container's host name, when the spec sets one.
    pub hostname: Option<String>,
    /// The service, whose backend this is.
    pub service: ServiceId,
    /// Whether new flows may go to it: running, healthy and not leaving. Until then the endpoint exists (its
    /// addresses are routed) and is in no balancer and no answer for its service.
    pub active: bool,
}

/// A service as a node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Name.
    pub name: String,
    /// Virtual address by network; empty with DNS round robin.
    pub vips: BTreeMap<NetworkId, IpAddr>,
    /// Networks it is in, with its further names there.
    pub aliases: BTreeMap<NetworkId, Vec<String>>,
    /// Ports published through the routing mesh, answered on every node.
    pub published: Vec<PublishedView>,
}

/// One published port, as a node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedView {
    /// Port that clients use.
    pub published: Port,
    /// Port that the task listens on.
    pub target: Port,
    /// Transport protocol.
    pub protocol: Protocol,
}

/// What the leader sends to a node's session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum AssignmentUpdate {
    /// Everything; what the agent had before is void.
    Full {
        /// Log index that the set stands for.
        version: u64,
        /// Everything.
        set: Box<AssignmentSet>,
    },
    /// What changed.
    Increment {
        /// Version that the agent must have; with any other it asks for a new session.
        from: u64,
        /// Version that it has afterwards.
        to: u64,
        /// What changed.
        changes: Box<AssignmentChanges>,
    },
}

/// Keys that changed in each table, with what they hold now; `None` removes the key.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AssignmentChanges {
    /// Tasks. One whose status alone changed is not told: its agent knows.
    pub tasks: BTreeMap<TaskId, Option<Task>>,
    /// Settings, when they changed.
    pub settings: Option<ClusterSettings>,
    /// What the node is to be, when that changed.
    pub standing: Option<Standing>,
    /// Managers.
    pub managers: BTreeMap<NodeId, Option<SocketAddr>>,
    /// Peers.
    pub peers: BTreeMap<NodeId, Option<IpAddr>>,
    /// Networks.
    pub networks: BTreeMap<NetworkId, Option<NetworkView>>,
    /// Endpoints.
    pub endpoints: BTreeMap<EndpointId, Option<EndpointView>>,
    /// Services.
    pub services: BTreeMap<ServiceId, Option<ServiceView>>,
}

/// An increment that does not follow on what the agent has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an increment from version {from} does not follow on version {have}")]
pub struct GapError {
    /// Version that the agent has.
    pub have: u64,
    /// Version that the increment begins at.
    pub from: u64,
}

impl AssignmentChanges {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl AssignmentUpdate {
    /// Version that the agent has afterwards.
    pub fn version(&self) -> u64 {
        match self {
            Self::Full { version, .. } => *version,
            Self::Increment { to, .. } => *to,
        }
    }
}

impl AssignmentSet {
    /// Takes in an update. `version` is what this set stands for, 0 at first, and is brought forward.
    /// On an error the set is as before; the agent then opens a new session.
    pub fn apply_update(&mut self, version: &mut u64, update: AssignmentUpdate) -> Result<(), GapError> {
        match update {
            AssignmentUpdate::Full { version: new, set } => {
                *self = *set;
                *version = new;
            }
            AssignmentUpdate::Increment { from, to, changes } => {
                if from != *version {
                    return Err(GapError { have: *version, from });
                }
                self.apply_changes(*changes);
                *version = to;
            }
        }
        Ok(())
    }

    /// Takes in what changed.
    pub fn apply_changes(&mut self, changes: AssignmentChanges) {
        fn merge<K: Ord, V>(table: &mut BTreeMap<K, V>, changes: BTreeMap<K, Option<V>>) {
            for (key, value) in changes {
                match value {
                    Some(value) => table.insert(key, value),
                    None => table.remove(&key),
                };
            }
        }
        self.settings = changes.settings.unwrap_or(self.settings);
        if let Some(standing) = changes.standing {
            self.standing = standing;
        }
        merge(&mut self.managers, changes.managers);
        merge(&mut self.tasks, changes.tasks);
        if !changes.peers.is_empty() {
            merge(Arc::make_mut(&mut self.peers), changes.peers);
        }
        merge(&mut self.networks, changes.networks);
        merge(&mut self.endpoints, changes.endpoints);
        merge(&mut self.services, changes.services);
    }
}
