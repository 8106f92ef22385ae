//! Tasks.

use serde::{Deserialize, Serialize};

use super::generic::GenericResource;
use super::network::Network;
use super::service::{PortConfig, TaskSpec};
use super::{Map, Version};
use crate::blank;

/// A task as the API shows it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Task {
    /// Identifier.
    #[serde(rename = "ID")]
    pub id: String,
    /// Version.
    pub version: Version,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
    /// `SERVICE.SLOT.ID`, by which the task's DNS name is known too.
    #[serde(skip_serializing_if = "blank")]
    pub name: String,
    /// Labels.
    pub labels: Map,
    /// What it runs.
    pub spec: TaskSpec,
    /// The service.
    #[serde(rename = "ServiceID")]
    pub service_id: String,
    /// Which of the replicas, from 1, of a replicated job from 0; 0 for a global service.
    #[serde(skip_serializing_if = "blank")]
    pub slot: u64,
    /// Where it runs; empty until it is placed.
    #[serde(rename = "NodeID", skip_serializing_if = "blank")]
    pub node_id: String,
    /// Where it is.
    pub status: TaskStatus,
    /// Where it should be.
    pub desired_state: String,
    /// Generic resources that it was given, by the name that Docker's own clients read.
    #[serde(skip_serializing_if = "blank")]
    pub generic_resources: Vec<GenericResource>,
    /// The same by the name that Docker's documentation and the clients made from it have.
    #[serde(skip_serializing_if = "blank")]
    pub assigned_generic_resources: Vec<GenericResource>,
    /// Networks and addresses.
    #[serde(skip_serializing_if = "blank")]
    pub networks_attachments: Vec<NetworkAttachment>,
    /// The run of its job that it belongs to.
    #[serde(skip_serializing_if = "blank")]
    pub job_iteration: Option<Version>,
}

/// Where a task is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TaskStatus {
    /// RFC 3339, by the observer's clock.
    pub timestamp: String,
    /// `new`, `pending`, … `orphaned`.
    pub state: String,
    /// In words.
    #[serde(skip_serializing_if = "blank")]
    pub message: String,
    /// What went wrong.
    #[serde(skip_serializing_if = "blank")]
    pub err: String,
    /// The process.
    #[serde(skip_serializing_if = "blank")]
    pub container_status: Option<ContainerStatus>,
    /// Ports taken on the node.
    pub port_status: PortStatus,
}

/// The process of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerStatus {
    /// 64 hexadecimal digits.
    #[serde(rename = "ContainerID")]
    pub container_id: String,
    /// Process id on its node.
    #[serde(rename = "PID")]
    pub pid: u64,
    /// Exit status.
    pub exit_code: i64,
    /// `starting`, `healthy`, `failing` or `unhealthy`; empty without a probe. Docker has no such field.
    #[serde(skip_serializing_if = "blank")]
    pub health: String,
}

/// Ports taken on the node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PortStatus {
    /// Ports published with `mode=host`.
    #[serde(skip_serializing_if = "blank")]
    pub ports: Vec<PortConfig>,
}

/// A task's place in a network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkAttachment {
    /// The network.
    pub network: AttachedNetwork,
    /// `address/prefix` each.
    pub addresses: Vec<String>,
}

/// A network as a task names it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AttachedNetwork {
    /// Identifier.
    #[serde(rename = "ID")]
    pub id: String,
    /// Version.
    pub version: Version,
    /// Name and the like.
    pub spec: AttachedNetworkSpec,
}

/// What a task says of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AttachedNetworkSpec {
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: Map,
    /// The routing mesh's own.
    #[serde(skip_serializing_if = "blank")]
    pub ingress: bool,
    /// `swarm`
    pub scope: String,
}

impl From<&Network> for AttachedNetwork {
    fn from(network: &Network) -> Self {
        Self {
            id: network.id.clone(),
            version: Version::default(),
            spec: AttachedNetworkSpec {
                name: network.name.clone(),
                labels: network.labels.clone(),
                ingress: network.ingress,
                scope: network.scope.clone(),
            },
        }
    }
}
