//! The mesh's own API under `/mesh/v1`: what Docker has no word for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::blank;
use crate::engine::network::Network;
use crate::engine::node::Node;
use crate::engine::service::Service;
use crate::engine::task::Task;

/// Label of the cluster that says how replies of published ports travel: `through` or `direct`.
pub const INGRESS_REPLY_LABEL: &str = "mesh.ingress-reply";

/// Label of a container that has it probed over HTTP: `PORT` or `PORT/PATH`.
pub const HEALTH_HTTP_LABEL: &str = "mesh.health-http";

/// A virtual address, or a published port, with what takes its flows; as the asked node's dataplane has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Vip {
    /// The service's name.
    pub service: String,
    /// The network's name, where the asked node knows it; empty for a published port.
    #[serde(skip_serializing_if = "blank")]
    pub network: String,
    /// VXLAN network identifier; 0 for a published port.
    #[serde(rename = "VNI", skip_serializing_if = "blank")]
    pub vni: u32,
    /// The address; empty for a published port, which answers on every address of the node's uplinks.
    #[serde(skip_serializing_if = "blank")]
    pub address: String,
    /// The published port; 0 for a virtual address.
    #[serde(skip_serializing_if = "blank")]
    pub published_port: u16,
    /// `tcp` or `udp`, of a published port.
    #[serde(skip_serializing_if = "blank")]
    pub protocol: String,
    /// What takes new flows.
    pub backends: Vec<Backend>,
}

/// One backend of a virtual address or published port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Backend {
    /// Number in the dataplane.
    #[serde(rename = "ID")]
    pub id: u32,
    /// Address in the network.
    pub address: String,
    /// Task's name, where the asked node knows it.
    #[serde(skip_serializing_if = "blank")]
    pub task: String,
    /// Node's host name where the asked node knows it, else the address its tunnels end at; empty for the asked
    /// node itself.
    #[serde(skip_serializing_if = "blank")]
    pub node: String,
}

/// One flow of the asked node's dataplane: remembered now (`State`), or told of as it happens (`Event`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Flow {
    /// RFC 3339: when the event happened, or when the flow was made.
    pub time: String,
    /// `new`, `closed`; of events only.
    #[serde(skip_serializing_if = "blank")]
    pub event: String,
    /// `opening`, `replied`, `established`, `closing`; of remembered flows only.
    #[serde(skip_serializing_if = "blank")]
    pub state: String,
    /// Nanoseconds since a packet came from the opener; of remembered flows only.
    #[serde(skip_serializing_if = "blank")]
    pub idle: u64,
    /// `vip`, `direct`, `published`.
    pub kind: String,
    /// `tcp`, `udp`.
    pub protocol: String,
    /// VXLAN network identifier of the opener; 0 for a client from outside.
    #[serde(rename = "VNI", skip_serializing_if = "blank")]
    pub vni: u32,
    /// `address:port` of the opener.
    pub client: String,
    /// `address:port` that the opener sends to.
    pub frontend: String,
    /// `address:port` that the backend receives on.
    pub backend: String,
    /// The backend's number.
    pub endpoint: u32,
    /// The backend's task, where the asked node knows it.
    #[serde(skip_serializing_if = "blank")]
    pub task: String,
    /// The service, as far as it is known still.
    #[serde(skip_serializing_if = "blank")]
    pub service: String,
    /// Node that received the request for a published port, when that is another.
    #[serde(skip_serializing_if = "blank")]
    pub ingress_node: String,
}

/// Counters of the asked node's dataplane since its maps were made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Counters {
    /// Traffic by the name of its way.
    pub paths: BTreeMap<String, Traffic>,
    /// Dropped packets by the name of the reason.
    pub drops: BTreeMap<String, u64>,
    /// Steps that put right what somebody else had changed, since meshd started.
    pub healed: u64,
    /// Flows that were forgotten for their age, since meshd started.
    pub flows_expired: u64,
}

/// Packets and bytes that took one way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// How far a rebalance of a service is (`POST /mesh/v1/services/ID/rebalance?parallelism=N`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Rebalance {
    /// Tasks that move at once at most.
    pub parallelism: u32,
    /// When it was asked for, RFC 3339.
    pub started_at: String,
    /// Tasks that move now.
    pub moving: u64,
    /// Tasks that were moved.
    pub moved: u64,
}

/// Digest of the replicated store: equal on managers that applied the same entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Digest {
    /// SHA-256 in hexadecimal.
    pub digest: String,
}

/// Whether every node's network and names are as the store says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Settled {
    /// All of them are.
    pub settled: bool,
    /// Index of the store that was asked about.
    pub index: u64,
    /// Host names of the nodes that are not; those that are down do not count.
    pub waiting: Vec<String>,
}

/// What a manager that has lost the others for good would go on with: answer to `POST /swarm/init?dryRun=1` with
/// `ForceNewCluster`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NewCluster {
    /// Managers that are none afterwards; they come back by joining anew.
    pub dropped: Vec<DroppedManager>,
    /// Changes at the end of the log of which this manager does not know whether they were acknowledged; they
    /// are kept.
    pub uncertain: u64,
    /// Index of the last change that is kept.
    pub index: u64,
    /// Nodes that are kept.
    pub nodes: u64,
    /// Services that are kept.
    pub services: u64,
    /// Networks that are kept.
    pub networks: u64,
    /// Tasks that are kept.
    pub tasks: u64,
}

/// A manager that would be none any more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DroppedManager {
    /// The node; empty when the store does not know it.
    #[serde(rename = "NodeID", skip_serializing_if = "blank")]
    pub node_id: String,
    /// Its host name.
    #[serde(skip_serializing_if = "blank")]
    pub hostname: String,
    /// `address:port`.
    #[serde(skip_serializing_if = "blank")]
    pub addr: String,
}

/// One line of `GET /mesh/v1/watch`.
///
/// It begins with the objects as they are (all, or with `since` those changed later), then says which exist
/// ([`WatchEvent::Synced`]), then tells each change as it is applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "Type", rename_all_fields = "PascalCase")]
pub enum WatchEvent {
    /// The object is new or changed.
    Put {
        /// Index to resume after.
        index: u64,
        /// The object.
        object: Object,
        /// It is a task, and not what its service wants now: an update replaces it.
        #[serde(default, skip_serializing_if = "blank")]
        outdated: bool,
    },
    /// The object is gone.
    Delete {
        /// Index to resume after.
        index: u64,
        /// Kind of the object.
        kind: ObjectKind,
        /// Its id.
        #[serde(rename = "ID")]
        id: String,
    },
    /// The beginning is told; what is not among `present` no longer exists.
    Synced {
        /// Index to resume after.
        index: u64,
        /// Ids of all watched objects.
        present: Vec<String>,
    },
}

/// An object that can be watched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "Kind", content = "Value", rename_all = "lowercase")]
pub enum Object {
    /// A node.
    Node(Box<Node>),
    /// A service.
    Service(Box<Service>),
    /// A task.
    Task(Box<Task>),
    /// A network.
    Network(Box<Network>),
}

/// Kind of a watched object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectKind {
    /// Nodes.
    Node,
    /// Services.
    Service,
    /// Tasks.
    Task,
    /// Networks.
    Network,
}

impl Object {
    /// The object's kind.
    pub fn kind(&self) -> ObjectKind {
        match self {
            Self::Node(_) => ObjectKind::Node,
            Self::Service(_) => ObjectKind::Service,
            Self::Task(_) => ObjectKind::Task,
            Self::Network(_) => ObjectKind::Network,
        }
    }
}
