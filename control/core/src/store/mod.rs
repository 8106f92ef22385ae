//! The replicated state machine: every object of the cluster, the indexes over them, and the one way in
//! ([`Store::apply`]).
//!
//! Invariants: `apply` is deterministic and all-or-nothing; names, addresses, VNIs, endpoint ids,
//! published ports and raft's numbers belong to one object at a time; VNIs and endpoint ids are never given
//! twice; a task's states only move forward. Cloning costs nothing that grows: the maps share their nodes.

mod apply;
mod claims;
mod contents;
mod lookup;
mod read;
mod snapshot;
#[cfg(test)]
mod tests;
mod transaction;

use std::net::IpAddr;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::id::{ConfigKind, NetworkId, NodeId, SecretKind, ServiceId, TaskId};
use crate::object::{Cluster, Network, Node, Service, Task};
use crate::port::{Port, Protocol};
use crate::spec::TaskSpec;

pub use contents::ContentTable;
pub use lookup::{Kind, LookupError};
pub use snapshot::{SNAPSHOT_FORMAT, SNAPSHOT_MAX};
pub use transaction::{
    Change, Claim, Conflict, DecodeError, Delta, Expect, Key, Object, TRANSACTION_FORMAT, TRANSACTION_MAX,
    Transaction, Write,
};

/// Everything the cluster knows, as of one log entry.
#[derive(Debug, Clone, Default)]
pub struct Store {
    index: u64,
    cluster: Option<Arc<Cluster>>,
    nodes: OrdMap<NodeId, Arc<Node>>,
    networks: OrdMap<NetworkId, Arc<Network>>,
    services: OrdMap<ServiceId, Arc<Service>>,
    tasks: OrdMap<TaskId, Arc<Task>>,
    secrets: ContentTable<SecretKind>,
    configs: ContentTable<ConfigKind>,
    /// Address given last in each network, so that the next one is given after it.
    cursors: OrdMap<NetworkId, IpAddr>,
    /// What each service's tasks are now, for the tasks to share.
    task_specs: OrdMap<ServiceId, Arc<TaskSpec>>,
    service_names: OrdMap<String, ServiceId>,
    network_names: OrdMap<String, NetworkId>,
    service_networks: OrdSet<(NetworkId, ServiceId)>,
    slots: OrdSet<(ServiceId, u32, TaskId)>,
    placed: OrdSet<(NodeId, TaskId)>,
    addresses: OrdMap<(NetworkId, IpAddr), Key>,
    ingress_ports: OrdMap<(Port, Protocol), ServiceId>,
    host_ports: OrdSet<(Port, Protocol, ServiceId)>,
    ingress: Option<NetworkId>,
}
