//! Nodes.

use serde::{Deserialize, Serialize};

use super::service::{Platform, ResourceAmount};
use super::{Map, Version};
use crate::blank;

/// A node as the API shows it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Node {
    /// Identifier.
    #[serde(rename = "ID")]
    pub id: String,
    /// Version to send back with an update.
    pub version: Version,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
    /// What its operator wants.
    pub spec: NodeSpec,
    /// What it told of itself.
    pub description: NodeDescription,
    /// What the managers see.
    pub status: NodeStatus,
    /// Its part in Raft.
    #[serde(skip_serializing_if = "blank")]
    pub manager_status: Option<ManagerStatus>,
}

/// What its operator wants.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeSpec {
    /// Operator's name for it.
    #[serde(skip_serializing_if = "blank")]
    pub name: String,
    /// Labels.
    pub labels: Map,
    /// `manager`, `worker`.
    #[serde(skip_serializing_if = "blank")]
    pub role: String,
    /// `active`, `pause`, `drain`.
    #[serde(skip_serializing_if = "blank")]
    pub availability: String,
}

/// What a node told of itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeDescription {
    /// Host name.
    pub hostname: String,
    /// Machine and system.
    pub platform: Platform,
    /// What tasks may use in all.
    pub resources: ResourceAmount,
    /// The daemon.
    pub engine: EngineDescription,
    /// The cluster's trust.
    #[serde(rename = "TLSInfo", skip_serializing_if = "blank")]
    pub tls_info: Option<super::swarm::TlsInfo>,
}

/// The daemon of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EngineDescription {
    /// Version of meshd.
    pub engine_version: String,
    /// Engine labels.
    #[serde(skip_serializing_if = "blank")]
    pub labels: Map,
    /// Plugins.
    pub plugins: Vec<Plugin>,
}

/// A plugin that a node has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Plugin {
    /// `Network`, …
    #[serde(rename = "Type")]
    pub kind: String,
    /// `overlay`, …
    pub name: String,
}

/// What the managers see of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeStatus {
    /// `unknown`, `ready`, `down`, `disconnected`.
    pub state: String,
    /// Why.
    #[serde(skip_serializing_if = "blank")]
    pub message: String,
    /// Address it is reached at.
    pub addr: String,
}

/// A manager's part in Raft.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ManagerStatus {
    /// Leads now.
    #[serde(skip_serializing_if = "blank")]
    pub leader: bool,
    /// `reachable`, `unreachable`, `unknown`.
    pub reachability: String,
    /// `address:port`.
    pub addr: String,
}
