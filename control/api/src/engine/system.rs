//! The daemon itself: version and state of the node.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Map;
use crate::blank;

/// Answer to `GET /version`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VersionResponse {
    /// Who made it.
    pub platform: PlatformName,
    /// Parts and their versions.
    pub components: Vec<Component>,
    /// Version of meshd.
    pub version: String,
    /// Newest API version answered.
    pub api_version: String,
    /// Oldest API version answered.
    #[serde(rename = "MinAPIVersion")]
    pub min_api_version: String,
    /// Source it was built from.
    pub git_commit: String,
    /// Shown in Go's place; names the language.
    pub go_version: String,
    /// `linux`
    pub os: String,
    /// `amd64`, `arm64`
    pub arch: String,
    /// Release of the kernel.
    pub kernel_version: String,
    /// When it was built.
    #[serde(skip_serializing_if = "blank")]
    pub build_time: String,
}

/// Who made it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PlatformName {
    /// Name.
    pub name: String,
}

/// One part of the daemon.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Component {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// More about it.
    pub details: Map,
}

/// Answer to `GET /info`; what Docker says of its own containers and images stays empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SystemInfo {
    /// Identifier of this daemon.
    #[serde(rename = "ID")]
    pub id: String,
    /// Tasks on this node.
    pub containers: u64,
    /// Of these, running.
    pub containers_running: u64,
    /// Of these, paused.
    pub containers_paused: u64,
    /// Of these, ended.
    pub containers_stopped: u64,
    /// Images on this node.
    pub images: u64,
    /// How root file systems are stacked.
    pub driver: String,
    /// What plugins there are.
    pub plugins: Plugins,
    /// Memory can be limited.
    pub memory_limit: bool,
    /// CPU can be limited.
    pub cpu_cfs_period: bool,
    /// CPU can be limited.
    pub cpu_cfs_quota: bool,
    /// Processes can be limited.
    pub pids_limit: bool,
    /// IPv4 is forwarded.
    #[serde(rename = "IPv4Forwarding")]
    pub ipv4_forwarding: bool,
    /// `cgroupfs`
    pub cgroup_driver: String,
    /// `1` or `2`
    pub cgroup_version: String,
    /// Release of the kernel.
    pub kernel_version: String,
    /// The distribution.
    pub operating_system: String,
    /// `linux`
    #[serde(rename = "OSType")]
    pub os_type: String,
    /// `x86_64`
    pub architecture: String,
    /// Processors.
    #[serde(rename = "NCPU")]
    pub ncpu: u64,
    /// Bytes.
    pub mem_total: u64,
    /// Where the state is.
    pub docker_root_dir: String,
    /// Host name.
    pub name: String,
    /// Engine labels.
    pub labels: Vec<String>,
    /// Nothing here is experimental in Docker's sense.
    pub experimental_build: bool,
    /// Version of meshd.
    pub server_version: String,
    /// Runtimes by name.
    pub runtimes: std::collections::BTreeMap<String, Value>,
    /// The runtime in use.
    pub default_runtime: String,
    /// The cluster, seen from here.
    pub swarm: SwarmInfo,
    /// Isolation in force.
    pub security_options: Vec<String>,
    /// RFC 3339, the node's clock.
    pub system_time: String,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// Plugins by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Plugins {
    /// Volume drivers.
    pub volume: Vec<String>,
    /// Network drivers.
    pub network: Vec<String>,
    /// Log drivers.
    pub log: Vec<String>,
}

/// The cluster, seen from one node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SwarmInfo {
    /// This node's id.
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// Address others reach it at.
    pub node_addr: String,
    /// `inactive`, `pending`, `active`, `error`, `locked`.
    pub local_node_state: String,
    /// It is a manager.
    pub control_available: bool,
    /// What is wrong.
    pub error: String,
    /// Managers it knows.
    pub remote_managers: Option<Vec<RemoteManager>>,
    /// Nodes in all; on managers.
    #[serde(skip_serializing_if = "blank")]
    pub nodes: u64,
    /// Managers in all; on managers.
    #[serde(skip_serializing_if = "blank")]
    pub managers: u64,
    /// The cluster; on managers.
    #[serde(skip_serializing_if = "blank")]
    pub cluster: Option<super::swarm::Swarm>,
}

/// A manager that a node knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RemoteManager {
    /// Identifier.
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// `address:port`.
    pub addr: String,
}
