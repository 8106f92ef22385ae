//! The mesh's own API under `/mesh/v1`: what Docker has no word for.

use serde::{Deserialize, Serialize};

use crate::blank;
use crate::engine::network::Network;
use crate::engine::node::Node;
use crate::engine::service::{PortConfig, Service};
use crate::engine::task::Task;

/// A virtual address, or a published port, with what takes its flows; as the asked node has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Vip {
    /// The service's name.
    pub service: String,
    /// The service's id.
    #[serde(rename = "ServiceID")]
    pub service_id: String,
    /// The network's name.
    pub network: String,
    /// VXLAN network identifier.
    #[serde(rename = "VNI")]
    pub vni: u32,
    /// The address.
    pub address: String,
    /// Ports published through the routing mesh; of the ingress network's address only.
    #[serde(skip_serializing_if = "blank")]
    pub ports: Vec<PortConfig>,
    /// What takes its flows.
    pub backends: Vec<Backend>,
}

/// One backend of a virtual address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Backend {
    /// Number in the dataplane.
    #[serde(rename = "ID")]
    pub id: u32,
    /// Address in the network.
    pub address: String,
    /// Task's name.
    pub task: String,
    /// Node's host name, or its id where the name is not known.
    pub node: String,
    /// `active`, `draining`.
    pub state: String,
}

/// One flow that the asked node's dataplane told of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Flow {
    /// RFC 3339.
    pub time: String,
    /// `new`, `closed`, `dropped`.
    pub event: String,
    /// `overlay`, `vip`, `ingress`.
    pub path: String,
    /// `tcp`, `udp`, `icmp`.
    pub protocol: String,
    /// `address:port` that began it.
    pub source: String,
    /// `address:port` that was asked for.
    pub destination: String,
    /// `address:port` that it went to, when that is another.
    #[serde(skip_serializing_if = "blank")]
    pub backend: String,
    /// The service, when it went to one.
    #[serde(skip_serializing_if = "blank")]
    pub service: String,
    /// VXLAN network identifier; 0 outside networks.
    #[serde(rename = "VNI", skip_serializing_if = "blank")]
    pub vni: u32,
    /// Why it was dropped.
    #[serde(skip_serializing_if = "blank")]
    pub drop_reason: String,
}

/// Digest of the replicated store: equal on managers that applied the same entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Digest {
    /// SHA-256 in hexadecimal.
    pub digest: String,
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
