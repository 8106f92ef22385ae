//! The cluster: what it is, and how a node gets into it and out.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Map, Version};
use crate::blank;

/// The cluster as the API shows it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Swarm {
    /// Identifier.
    #[serde(rename = "ID")]
    pub id: String,
    /// Version to send back with an update.
    pub version: Version,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
    /// Settings.
    pub spec: SwarmSpec,
    /// What its certificates hang on.
    #[serde(rename = "TLSInfo")]
    pub tls_info: TlsInfo,
    /// The root is being replaced.
    pub root_rotation_in_progress: bool,
    /// Ranges that networks are cut from.
    pub default_addr_pool: Vec<String>,
    /// Prefix length of those.
    pub subnet_size: u32,
    /// UDP port of the overlay.
    pub data_path_port: u32,
    /// Tokens; not shown by `/info`.
    #[serde(skip_serializing_if = "blank")]
    pub join_tokens: Option<JoinTokens>,
}

/// What the cluster's certificates hang on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TlsInfo {
    /// Root certificate, PEM.
    #[serde(skip_serializing_if = "blank")]
    pub trust_root: String,
    /// Subject, DER in base64.
    #[serde(skip_serializing_if = "blank")]
    pub cert_issuer_subject: String,
    /// Public key, DER in base64.
    #[serde(skip_serializing_if = "blank")]
    pub cert_issuer_public_key: String,
}

/// Join tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct JoinTokens {
    /// For workers.
    pub worker: String,
    /// For managers.
    pub manager: String,
}

/// Settings of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SwarmSpec {
    /// `default`.
    #[serde(skip_serializing_if = "blank")]
    pub name: String,
    /// Labels.
    pub labels: Map,
    /// History of tasks.
    pub orchestration: Orchestration,
    /// Raft's numbers.
    pub raft: Raft,
    /// Heartbeats.
    pub dispatcher: Dispatcher,
    /// Certificates.
    #[serde(rename = "CAConfig")]
    pub ca_config: CaConfig,
    /// Defaults of tasks.
    pub task_defaults: TaskDefaults,
    /// Encryption at rest.
    pub encryption_config: EncryptionConfig,
}

/// History of tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Orchestration {
    /// Tasks kept for each slot.
    #[serde(skip_serializing_if = "blank")]
    pub task_history_retention_limit: Option<i64>,
}

/// Raft's numbers. Ticks are shown and not settable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Raft {
    /// Entries between snapshots.
    #[serde(skip_serializing_if = "blank")]
    pub snapshot_interval: u64,
    /// Old snapshots kept.
    #[serde(skip_serializing_if = "blank")]
    pub keep_old_snapshots: Option<u64>,
    /// Entries kept for slow followers.
    #[serde(skip_serializing_if = "blank")]
    pub log_entries_for_slow_followers: u64,
    /// Ticks without a leader until an election.
    pub election_tick: i64,
    /// Ticks between heartbeats of a leader.
    pub heartbeat_tick: i64,
}

/// Heartbeats of agents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Dispatcher {
    /// Nanoseconds.
    #[serde(skip_serializing_if = "blank")]
    pub heartbeat_period: i64,
}

/// Certificates.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CaConfig {
    /// Nanoseconds that a node's certificate is valid.
    #[serde(skip_serializing_if = "blank")]
    pub node_cert_expiry: i64,
    /// Authorities elsewhere.
    #[serde(rename = "ExternalCAs", skip_serializing_if = "blank")]
    pub external_cas: Option<Value>,
    /// A root certificate to change to.
    #[serde(rename = "SigningCACert", skip_serializing_if = "blank")]
    pub signing_ca_cert: String,
    /// Its key.
    #[serde(rename = "SigningCAKey", skip_serializing_if = "blank")]
    pub signing_ca_key: String,
    /// Counted up to make a new root.
    #[serde(skip_serializing_if = "blank")]
    pub force_rotate: u64,
}

/// Defaults of tasks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TaskDefaults {
    /// Where output goes.
    #[serde(skip_serializing_if = "blank")]
    pub log_driver: Option<Value>,
}

/// Encryption at rest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EncryptionConfig {
    /// Managers start locked; not said: as it is.
    #[serde(skip_serializing_if = "blank")]
    pub auto_lock_managers: Option<bool>,
}

/// Answer to `GET /swarm/unlockkey`, and body of `POST /swarm/unlock`. Its `Debug` form hides the key.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UnlockKey {
    /// `SWMKEY-1-…`; empty when managers are not locked.
    pub unlock_key: String,
}

impl std::fmt::Debug for UnlockKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UnlockKey(…)")
    }
}

/// Body of `POST /swarm/init`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InitRequest {
    /// `address:port` to listen on for management.
    pub listen_addr: String,
    /// Address that others reach the node at.
    pub advertise_addr: String,
    /// Address that tunnels end at.
    pub data_path_addr: String,
    /// UDP port of the overlay; 0 is the default.
    pub data_path_port: u32,
    /// Start over with this node's state.
    pub force_new_cluster: bool,
    /// Settings.
    pub spec: SwarmSpec,
    /// Managers start locked.
    pub auto_lock_managers: bool,
    /// Whether this node takes tasks.
    pub availability: String,
    /// Ranges that networks are cut from.
    pub default_addr_pool: Vec<String>,
    /// Prefix length of those; 0 is the default.
    pub subnet_size: u32,
}

/// Body of `POST /swarm/join`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct JoinRequest {
    /// `address:port` to listen on for management.
    pub listen_addr: String,
    /// Address that others reach the node at.
    pub advertise_addr: String,
    /// Address that tunnels end at.
    pub data_path_addr: String,
    /// Managers to ask.
    pub remote_addrs: Vec<String>,
    /// The token.
    pub join_token: String,
    /// Whether this node takes tasks.
    pub availability: String,
}
