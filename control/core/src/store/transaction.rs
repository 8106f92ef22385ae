//! What goes through the log: transactions of whole objects, each with what it expects to find.

use std::cmp::Ordering;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::content::{Config, Content, ContentKind, Secret};
use crate::id::{ConfigId, NetworkId, NodeId, SecretId, ServiceId, TaskId};
use crate::object::{Cluster, Meta, Network, Node, Service, Task};
use crate::time::Timestamp;

/// Version of [`Transaction`]'s encoding; a node refuses entries of a version it does not know.
pub const TRANSACTION_FORMAT: u16 = 2;

/// Largest encoded transaction, in bytes.
pub const TRANSACTION_MAX: usize = 16 << 20;

/// Changes that are made together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Transaction {
    /// When it was made, by the proposer's clock; becomes the objects' `created_at` and `updated_at`.
    pub at: Timestamp,
    /// Changes, in order; a later one sees the earlier ones.
    pub writes: Vec<Write>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Write {
    /// Makes or replaces an object. Its [`Meta`] is filled in by the store.
    Put {
        /// The object as it shall be.
        object: Object,
        /// What must be there.
        expect: Expect,
    },
    /// Deletes an object.
    Delete {
        /// Which one.
        key: Key,
        /// What must be there; [`Expect::New`] never holds.
        expect: Expect,
    },
}

/// What a write expects of the object that it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expect {
    /// There is none yet.
    New,
    /// It is there, last changed at this version.
    Version(u64),
    /// It is there, whatever its version.
    Any,
}

/// An object of any kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Object {
    /// The cluster.
    Cluster(Arc<Cluster>),
    /// A node.
    Node(Arc<Node>),
    /// A network.
    Network(Arc<Network>),
    /// A service.
    Service(Arc<Service>),
    /// A task.
    Task(Arc<Task>),
    /// A secret.
    Secret(Arc<Secret>),
    /// A config.
    Config(Arc<Config>),
}

/// Which object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Key {
    /// The cluster.
    Cluster,
    /// A node.
    Node(NodeId),
    /// A network.
    Network(NetworkId),
    /// A service.
    Service(ServiceId),
    /// A task.
    Task(TaskId),
    /// A secret.
    Secret(SecretId),
    /// A config.
    Config(ConfigId),
}

/// What a transaction did to one object: at least one of the two sides is there.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// To the cluster.
    Cluster(Delta<Cluster>),
    /// To a node.
    Node(Delta<Node>),
    /// To a network.
    Network(Delta<Network>),
    /// To a service.
    Service(Delta<Service>),
    /// To a task.
    Task(Delta<Task>),
    /// To a secret.
    Secret(Delta<Secret>),
    /// To a config.
    Config(Delta<Config>),
}

/// An object before and after.
#[derive(Debug, Clone, PartialEq)]
pub struct Delta<T> {
    /// Before; `None`: it was made.
    pub old: Option<Arc<T>>,
    /// After; `None`: it was deleted.
    pub new: Option<Arc<T>>,
}

/// Why a transaction was not applied. The proposer reads the store again and decides anew.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// An object to be made is there already.
    #[error("{key} already exists")]
    Exists {
        /// The object.
        key: Key,
    },
    /// An object to be changed is not there.
    #[error("{key} does not exist")]
    Missing {
        /// The object.
        key: Key,
    },
    /// An object was changed since it was read.
    #[error("{key} is at version {found}, not {expected}")]
    Version {
        /// The object.
        key: Key,
        /// Version that the proposer read.
        expected: u64,
        /// Version that is there.
        found: u64,
    },
    /// Something that belongs to one object only is taken by another.
    #[error("{key} wants {what}, which belongs to {owner}")]
    Taken {
        /// The object that wants it.
        key: Key,
        /// A name, an address, a number or a port.
        what: Claim,
        /// Who has it.
        owner: Key,
    },
    /// An object refers to another that is not there.
    #[error("{key} refers to {target}, which does not exist")]
    Dangling {
        /// The object.
        key: Key,
        /// What it refers to.
        target: Key,
    },
    /// An object is still referred to by another.
    #[error("{key} is in use by {user}")]
    InUse {
        /// The object to be deleted.
        key: Key,
        /// Who refers to it.
        user: Key,
    },
    /// A task's state would move back, or a final one change.
    #[error("{key} cannot move back")]
    Backwards {
        /// The task.
        key: Key,
    },
    /// The cluster itself cannot be deleted.
    #[error("the cluster cannot be deleted")]
    ClusterDeleted,
}

/// What belongs to one object only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Claim {
    /// A name, compared without case.
    #[error("name {0}")]
    Name(String),
    /// An address in a network.
    #[error("address {1} in network {0}")]
    Address(NetworkId, std::net::IpAddr),
    /// Being the routing mesh's network.
    #[error("the part of the ingress network")]
    Ingress,
    /// A VXLAN network identifier.
    #[error("VNI {0}")]
    Vni(u32),
    /// An endpoint id.
    #[error("endpoint id {0}")]
    Endpoint(u32),
    /// Raft's number of a manager.
    #[error("raft id {0}")]
    RaftId(u64),
    /// A published port.
    #[error("published port {0}/{1}")]
    Port(crate::port::Port, crate::port::Protocol),
}

/// An encoded transaction that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Written by a newer meshd.
    #[error("format {found} is newer than this meshd knows ({known}): upgrade it")]
    Newer {
        /// Format found.
        found: u16,
        /// Newest format known.
        known: u16,
    },
    /// Written by an older meshd.
    #[error(
        "format {found} is older than this meshd reads ({known}): it was written by a meshd before this one"
    )]
    Older {
        /// Format found.
        found: u16,
        /// Oldest format known.
        known: u16,
    },
    /// Longer than anything this project writes.
    #[error("{bytes} bytes are more than the {limit} allowed")]
    TooLarge {
        /// Length found.
        bytes: usize,
        /// Longest allowed.
        limit: usize,
    },
    /// Not what was written.
    #[error("damaged: {reason}")]
    Damaged {
        /// What did not fit.
        reason: String,
    },
}

impl Transaction {
    /// The log entry: two bytes of format, then postcard.
    pub fn to_bytes(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_extend(self, TRANSACTION_FORMAT.to_le_bytes().to_vec())
    }

    /// Reads a log entry back.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode(bytes, TRANSACTION_FORMAT, TRANSACTION_MAX)
    }
}

/// Reads what was written as two bytes of format, then postcard, to its last byte.
pub(super) fn decode<T: serde::de::DeserializeOwned>(
    bytes: &[u8],
    known: u16,
    limit: usize,
) -> Result<T, DecodeError> {
    let damaged = |reason: &dyn std::fmt::Display| DecodeError::Damaged { reason: reason.to_string() };
    if bytes.len() > limit {
        return Err(DecodeError::TooLarge { bytes: bytes.len(), limit });
    }
    let (format, body) = bytes.split_first_chunk::<2>().ok_or_else(|| damaged(&"too short"))?;
    let found = u16::from_le_bytes(*format);
    match found.cmp(&known) {
        Ordering::Less => return Err(DecodeError::Older { found, known }),
        Ordering::Greater => return Err(DecodeError::Newer { found, known }),
        Ordering::Equal => {}
    }
    let (value, rest) = postcard::take_from_bytes(body).map_err(|error| damaged(&error))?;
    if rest.is_empty() { Ok(value) } else { Err(damaged(&"bytes left over")) }
}

impl Write {
    /// Makes an object.
    pub fn create(object: Object) -> Self {
        Self::Put { object, expect: Expect::New }
    }

    /// Replaces an object that was read at the version it carries.
    pub fn update(object: Object) -> Self {
        let expect = Expect::Version(object.meta().version);
        Self::Put { object, expect }
    }
}

impl Object {
    /// The object's key.
    pub fn key(&self) -> Key {
        match self {
            Self::Cluster(_) => Key::Cluster,
            Self::Node(node) => Key::Node(node.id),
            Self::Network(network) => Key::Network(network.id),
            Self::Service(service) => Key::Service(service.id),
            Self::Task(task) => Key::Task(task.id),
            Self::Secret(secret) => Key::Secret(secret.id),
            Self::Config(config) => Key::Config(config.id),
        }
    }

    /// The object's bookkeeping.
    pub fn meta(&self) -> Meta {
        match self {
            Self::Cluster(cluster) => cluster.meta,
            Self::Node(node) => node.meta,
            Self::Network(network) => network.meta,
            Self::Service(service) => service.meta,
            Self::Task(task) => task.meta,
            Self::Secret(secret) => secret.meta,
            Self::Config(config) => config.meta,
        }
    }
}

impl Change {
    /// Which object changed.
    pub fn key(&self) -> Option<Key> {
        fn side<T>(delta: &Delta<T>) -> Option<&Arc<T>> {
            delta.new.as_ref().or(delta.old.as_ref())
        }
        Some(match self {
            Self::Cluster(delta) => side(delta).map(|_| Key::Cluster)?,
            Self::Node(delta) => Key::Node(side(delta)?.id),
            Self::Network(delta) => Key::Network(side(delta)?.id),
            Self::Service(delta) => Key::Service(side(delta)?.id),
            Self::Task(delta) => Key::Task(side(delta)?.id),
            Self::Secret(delta) => Key::Secret(side(delta)?.id),
            Self::Config(delta) => Key::Config(side(delta)?.id),
        })
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cluster => f.write_str("cluster"),
            Self::Node(id) => write!(f, "node {id}"),
            Self::Network(id) => write!(f, "network {id}"),
            Self::Service(id) => write!(f, "service {id}"),
            Self::Task(id) => write!(f, "task {id}"),
            Self::Secret(id) => write!(f, "secret {id}"),
            Self::Config(id) => write!(f, "config {id}"),
        }
    }
}

impl From<Cluster> for Object {
    fn from(object: Cluster) -> Self {
        Self::Cluster(Arc::new(object))
    }
}

impl From<Node> for Object {
    fn from(object: Node) -> Self {
        Self::Node(Arc::new(object))
    }
}

impl From<Network> for Object {
    fn from(object: Network) -> Self {
        Self::Network(Arc::new(object))
    }
}

impl From<Service> for Object {
    fn from(object: Service) -> Self {
        Self::Service(Arc::new(object))
    }
}

impl From<Task> for Object {
    fn from(object: Task) -> Self {
        Self::Task(Arc::new(object))
    }
}

impl<K: ContentKind> From<Content<K>> for Object {
    fn from(object: Content<K>) -> Self {
        K::object(Arc::new(object))
    }
}
