//! Why a request is refused: the field, the reason, and the words that docker's users know.

use crate::id::{NodeId, ServiceId};
use crate::port::{Port, Protocol};
use crate::store::{Kind, LookupError};

/// What sort of refusal it is; the API gives each a status of its own. The list is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// What the request names is not there.
    NotFound,
    /// What the request names could be several objects.
    Ambiguous,
    /// What the request wants to make is there already.
    AlreadyExists,
    /// The object was changed since the request's author read it.
    OutOfSequence,
    /// The request itself is wrong, whatever the cluster's state.
    InvalidArgument,
    /// The request is right but the cluster's state forbids it.
    FailedPrecondition,
    /// Nothing is left of what the request needs (addresses, ports, numbers).
    Exhausted,
    /// meshd cannot do this.
    NotAvailable,
}

/// Why a request is refused. `Display` is the message for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// An object named in the request is missing or ambiguous.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// There is no cluster yet.
    #[error("this cluster has not been initialized")]
    NoCluster,
    /// There is a cluster already.
    #[error("this node is already part of a cluster")]
    AlreadyInitialized,
    /// The name is taken.
    #[error("name conflicts with an existing object: {kind} {name} already exists")]
    NameTaken {
        /// Kind of object.
        kind: Kind,
        /// The name.
        name: String,
    },
    /// The name of a secret or config is taken.
    #[error("{kind} {name} already exists")]
    ContentExists {
        /// Secret or config.
        kind: Kind,
        /// The name.
        name: String,
    },
    /// There is an ingress network already.
    #[error("ingress network ({name}) is already present")]
    IngressPresent {
        /// Its name.
        name: String,
    },
    /// The object was changed since it was read.
    #[error("update out of sequence")]
    OutOfSequence,
    /// A field's value is wrong.
    #[error("invalid {field}: {reason}")]
    Invalid {
        /// Path of the field (`labels`, `task.container.env[2]`).
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The data of a secret or config is empty or too long.
    #[error("{rule}")]
    ContentSize {
        /// What it has to be.
        rule: &'static str,
    },
    /// The name or data of a secret or config would change.
    #[error("only updates to Labels are allowed")]
    OnlyLabels,
    /// Services need a secret or config.
    #[error("{kind} '{name}' is in use by the following {}: {}", if services.len() == 1 { "service" } else { "services" }, services.join(", "))]
    ContentInUse {
        /// Secret or config.
        kind: Kind,
        /// Its name.
        name: String,
        /// Names of the services, in order.
        services: Vec<String>,
    },
    /// A service names secrets or configs that are not there, or are called otherwise.
    #[error("{kind}{} not found: {}", if names.len() == 1 { "" } else { "s" }, names.join(", "))]
    ReferencesMissing {
        /// Secret or config.
        kind: Kind,
        /// The names that the service has for them.
        names: Vec<String>,
    },
    /// Two secrets or configs would be the same file of a task.
    #[error("{kind} references '{first}' and '{second}' have a conflicting target: '{target}'")]
    TargetTaken {
        /// What the second is.
        kind: Kind,
        /// Name of the one.
        first: String,
        /// Name of the other.
        second: String,
        /// The file.
        target: String,
    },
    /// There is nothing to go back to.
    #[error("service {service} does not have a previous spec")]
    NoPreviousSpec {
        /// The service.
        service: ServiceId,
    },
    /// meshd cannot do this.
    #[error("{what} is not available")]
    NotAvailable {
        /// What was asked for.
        what: &'static str,
    },
    /// A published port belongs to another service.
    #[error("port '{port}' is already in use by service '{name}' ({service}) as {usage}")]
    PortTaken {
        /// The port.
        port: Port,
        /// Name of the service that has it.
        name: String,
        /// Its id.
        service: ServiceId,
        /// How it has it.
        usage: PortUsage,
    },
    /// A published port belongs to the mesh itself.
    #[error("port {port}/{protocol} is reserved for {purpose}")]
    PortReserved {
        /// The port.
        port: Port,
        /// Its protocol.
        protocol: Protocol,
        /// What the mesh does with it.
        purpose: &'static str,
    },
    /// A process of a node listens on a published port.
    #[error("port {port}/{protocol} is in use by a process on node {hostname} ({node})")]
    PortListening {
        /// The port.
        port: Port,
        /// Its protocol.
        protocol: Protocol,
        /// Host name of the node.
        hostname: String,
        /// Its id.
        node: NodeId,
    },
    /// No dynamic port is free.
    #[error("no published port is free in {first}-{last} for protocol {protocol}", first = crate::port::DYNAMIC_PORTS.start(), last = crate::port::DYNAMIC_PORTS.end())]
    PortsExhausted {
        /// The protocol.
        protocol: Protocol,
    },
    /// A subnet has no free address.
    #[error("could not find an available IP in network {network} ({subnet})")]
    AddressesExhausted {
        /// Name of the network.
        network: String,
        /// Its subnet.
        subnet: ipnet::IpNet,
    },
    /// The address pool has no subnet left that is clear of everything.
    #[error(
        "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network"
    )]
    PoolExhausted,
    /// A number space (VNIs, endpoint ids) is used up.
    #[error("all {what} of this cluster have been given")]
    NumbersExhausted {
        /// Which numbers.
        what: &'static str,
    },
    /// Two networks of one service overlap.
    #[error(
        "network {first} ({first_subnet}) and network {second} ({second_subnet}) overlap: a service cannot join both"
    )]
    NetworksOverlap {
        /// Name of the one.
        first: String,
        /// Its subnet.
        first_subnet: ipnet::IpNet,
        /// Name of the other.
        second: String,
        /// Its subnet.
        second_subnet: ipnet::IpNet,
    },
    /// A subnet overlaps a network that a node is on.
    #[error("subnet {subnet} overlaps {route}, which node {hostname} is on")]
    SubnetOnNode {
        /// The subnet.
        subnet: ipnet::IpNet,
        /// The node's network.
        route: ipnet::IpNet,
        /// Host name of the node.
        hostname: String,
    },
    /// A network is in use.
    #[error("network {network} is in use by {user}")]
    NetworkInUse {
        /// Name of the network.
        network: String,
        /// `service NAME` or `task NAME`.
        user: String,
    },
    /// A service publishes a port and there is no ingress network.
    #[error("service needs ingress network, but no ingress network is present")]
    NoIngress,
    /// A node is not down.
    #[error("node {node} is not down and can't be removed")]
    NodeNotDown {
        /// The node.
        node: NodeId,
    },
    /// A node is a manager.
    #[error(
        "node {node} is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal"
    )]
    NodeIsManager {
        /// The node.
        node: NodeId,
    },
    /// A node that is not to be a manager would become a member of raft's group.
    #[error("node {node} is not to be a manager: promote it first")]
    NodeNotManager {
        /// The node.
        node: NodeId,
    },
    /// A number of raft's belongs to another node.
    #[error("raft id {raft_id} belongs to node {owner}")]
    RaftIdTaken {
        /// The number.
        raft_id: u64,
        /// Who has it.
        owner: NodeId,
    },
    /// The only manager would become a worker.
    #[error("attempting to demote the last manager of the swarm")]
    LastManager,
    /// The managers that are left could decide nothing.
    #[error("can't remove member from the raft: this would result in a loss of quorum")]
    QuorumLoss,
    /// The root is being changed already.
    #[error("the root certificate is being changed already: try again when every node has renewed its own")]
    RootRotating,
    /// The new root is the old one.
    #[error("the new root is the cluster's root already")]
    RootUnchanged,
    /// The old root cannot go yet.
    #[error(
        "the old root is still needed: {} nodes have no certificate of the new root (the first is {}). They \
         renew when they are reachable; one that will not return is removed with `node rm`",
        nodes.len(),
        nodes.first().map(ToString::to_string).unwrap_or_default()
    )]
    RootNeeded {
        /// Nodes that hang on it.
        nodes: Vec<NodeId>,
    },
}

/// How a service has a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortUsage {
    /// On every node.
    Ingress,
    /// On the nodes of its tasks.
    Host,
}

impl std::fmt::Display for PortUsage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ingress => "an ingress port",
            Self::Host => "a host-published port",
        })
    }
}

impl Refusal {
    /// What sort of refusal it is.
    pub fn kind(&self) -> RefusalKind {
        match self {
            Self::Lookup(LookupError::NotFound { .. }) => RefusalKind::NotFound,
            Self::Lookup(LookupError::Ambiguous { .. }) => RefusalKind::Ambiguous,
            Self::NameTaken { .. } | Self::ContentExists { .. } | Self::IngressPresent { .. } => {
                RefusalKind::AlreadyExists
            }
            Self::OutOfSequence => RefusalKind::OutOfSequence,
            Self::Invalid { .. }
            | Self::ContentSize { .. }
            | Self::OnlyLabels
            | Self::ReferencesMissing { .. }
            | Self::TargetTaken { .. } => RefusalKind::InvalidArgument,
            Self::NoCluster
            | Self::AlreadyInitialized
            | Self::PortTaken { .. }
            | Self::PortReserved { .. }
            | Self::PortListening { .. }
            | Self::NetworksOverlap { .. }
            | Self::SubnetOnNode { .. }
            | Self::NetworkInUse { .. }
            | Self::ContentInUse { .. }
            | Self::NoIngress
            | Self::NoPreviousSpec { .. }
            | Self::NodeNotDown { .. }
            | Self::NodeIsManager { .. }
            | Self::NodeNotManager { .. }
            | Self::RaftIdTaken { .. }
            | Self::LastManager
            | Self::QuorumLoss
            | Self::RootRotating
            | Self::RootUnchanged
            | Self::RootNeeded { .. } => RefusalKind::FailedPrecondition,
            Self::PortsExhausted { .. }
            | Self::AddressesExhausted { .. }
            | Self::PoolExhausted
            | Self::NumbersExhausted { .. } => RefusalKind::Exhausted,
            Self::NotAvailable { .. } => RefusalKind::NotAvailable,
        }
    }

    /// A field's value is wrong.
    pub(crate) fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), reason: reason.into() }
    }
}
