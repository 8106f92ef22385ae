//! What a node sees of one state of the store: pure functions, one for each table of the set.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::assignment::{
    AssignmentSet, ClusterSettings, EndpointView, NetworkView, PublishedView, ServiceView, Standing,
    others_digest,
};
use crate::id::{NetworkId, NodeId, TaskId};
use crate::object::{Cluster, EndpointId, Network, Node, NodeState, Service, Task, TaskState};
use crate::port::PublishMode;
use crate::store::{Key, Store};

/// Whether the task's node is told of it: it was given to the node and has not ended.
pub(super) fn is_told(task: &Task) -> bool {
    task.node.is_some() && (TaskState::Assigned..=TaskState::Running).contains(&task.status.state)
}

/// What all nodes are told of one another.
#[derive(Debug, Clone)]
pub(crate) struct Others {
    managers: BTreeMap<NodeId, SocketAddr>,
    peers: Arc<BTreeMap<NodeId, IpAddr>>,
    pub(super) digest: [u8; 32],
}

impl Others {
    pub(crate) fn of(store: &Store) -> Self {
        let managers = store.nodes().filter_map(|node| Some((node.id, manager(node)?))).collect();
        let peers = store.nodes().filter_map(|node| Some((node.id, peer(node)?))).collect();
        let digest = others_digest(&managers, &peers);
        Self { managers, peers: Arc::new(peers), digest }
    }
}

/// Everything that a node is told.
pub(crate) fn full(store: &Store, node: NodeId, others: &Others) -> AssignmentSet {
    let AssignmentSet { networks, endpoints, services, .. } = common(store, &visible_networks(store, node));
    AssignmentSet { networks, endpoints, services, ..own(store, node, others) }
}

/// What a node has for itself: all but networks, endpoints and services.
pub(super) fn own(store: &Store, node: NodeId, others: &Others) -> AssignmentSet {
    let tasks = store.node_tasks(node).filter(|task| is_told(task));
    AssignmentSet {
        tasks: tasks.map(|task| (task.id, Task::clone(task))).collect(),
        settings: store.cluster().map_or_else(ClusterSettings::default, |cluster| settings(cluster)),
        standing: standing(store, node),
        managers: others.managers.clone(),
        peers: others.peers.clone(),
        ..AssignmentSet::default()
    }
}

/// What all nodes in the same networks have alike: these networks, and the endpoints and services in them.
pub(super) fn common(store: &Store, networks: &BTreeSet<NetworkId>) -> AssignmentSet {
    let services: BTreeSet<_> = networks
        .iter()
        .flat_map(|network| store.network_services(*network))
        .map(|service| service.id)
        .collect();
    let services = services.into_iter().filter_map(|id| store.service(id));
    AssignmentSet {
        networks: networks.iter().filter_map(|id| Some((*id, network(store.network(*id)?)))).collect(),
        endpoints: networks.iter().flat_map(|id| endpoints(store, *id)).collect(),
        services: services
            .filter_map(|it| {
                service(store, it, |network| networks.contains(&network)).map(|view| (it.id, view))
            })
            .collect(),
        ..AssignmentSet::default()
    }
}

/// What the node itself is to be.
pub(super) fn standing(store: &Store, node: NodeId) -> Standing {
    let role = store.node(node).map(|node| node.spec.role).unwrap_or_default();
    let (trust, signer) = store.cluster().map(|cluster| roots(cluster)).unwrap_or_default();
    Standing { role, trust: trust.to_owned(), signer }
}

/// The roots to trust, PEM, and the one that signs.
pub(super) fn roots(cluster: &Cluster) -> (&str, [u8; 32]) {
    (&cluster.trust, cluster.signer)
}

/// Where a manager answers.
pub(super) fn manager(node: &Node) -> Option<SocketAddr> {
    node.manager.as_ref().map(|manager| manager.addr)
}

/// The networks that a node forwards for: those of its tasks, and the ingress network.
pub(super) fn visible_networks(store: &Store, node: NodeId) -> BTreeSet<NetworkId> {
    let tasks = store.node_tasks(node).filter(|task| is_told(task));
    let joined = tasks.flat_map(|task| &task.endpoints).map(|endpoint| endpoint.network);
    joined.chain(store.ingress_network().map(|network| network.id)).collect()
}

pub(super) fn settings(cluster: &Cluster) -> ClusterSettings {
    ClusterSettings {
        data_path_port: cluster.spec.data_path_port,
        ingress_reply: cluster.spec.ingress_reply,
        heartbeat: cluster.spec.heartbeat,
    }
}

/// Where the others' tunnels to this node end; nowhere once it left.
pub(super) fn peer(node: &Node) -> Option<IpAddr> {
    (node.status.state != NodeState::Disconnected).then_some(node.status.data_path_addr)
}

pub(super) fn network(network: &Network) -> NetworkView {
    NetworkView {
        name: network.spec.name.to_string(),
        vni: network.vni,
        subnet: network.subnet,
        gateway: network.gateway,
        internal: network.spec.internal,
        ingress: network.spec.ingress,
        mtu: network.spec.mtu,
    }
}

/// The endpoints of a network, on whatever node.
pub(super) fn endpoints(store: &Store, network: NetworkId) -> BTreeMap<EndpointId, EndpointView> {
    let tasks: BTreeSet<TaskId> = store
        .network_addresses(network)
        .filter_map(|(_, owner)| match owner {
            Key::Task(task) => Some(task),
            _ => None,
        })
        .collect();
    let tasks = tasks.into_iter().filter_map(|id| store.task(id));
    tasks.flat_map(|task| task_endpoints(Some(task))).filter(|(_, view)| view.network == network).collect()
}

/// The endpoints of one task; none before it has a node and after it ended.
pub(super) fn task_endpoints(task: Option<&Arc<Task>>) -> BTreeMap<EndpointId, EndpointView> {
    let Some((task, node)) = task.filter(|task| is_told(task)).and_then(|task| Some((task, task.node?)))
    else {
        return BTreeMap::new();
    };
    let healthy = task.status.container.as_ref().is_none_or(|container| container.health.serves());
    let active =
        task.status.state == TaskState::Running && task.desired_state == TaskState::Running && healthy;
    let view = |endpoint: &crate::object::TaskEndpoint| EndpointView {
        network: endpoint.network,
        address: endpoint.address,
        node,
        task: task.id,
        task_name: task.name(),
        hostname: task.spec.container.hostname.clone(),
        service: task.service,
        active,
    };
    task.endpoints.iter().map(|endpoint| (endpoint.id, view(endpoint))).collect()
}

/// A service as far as the networks reach that are `seen`; `None` when none of its networks is.
pub(super) fn service(
    store: &Store,
    service: &Service,
    seen: impl Fn(NetworkId) -> bool,
) -> Option<ServiceView> {
    let vips = service.endpoint.vips.iter().filter(|(network, _)| seen(**network));
    let joined = service.spec.task.networks.iter().filter(|attachment| seen(attachment.network));
    let ingress =
        service.publishes_ingress() && store.ingress_network().is_some_and(|network| seen(network.id));
    let published = service.endpoint.ports.iter().filter(|port| ingress && port.mode == PublishMode::Ingress);
    let view = ServiceView {
        name: service.spec.name.to_string(),
        vips: vips.map(|(network, address)| (*network, *address)).collect(),
        aliases: joined.map(|attachment| (attachment.network, attachment.aliases.clone())).collect(),
        published: published
            .map(|port| PublishedView {
                published: port.published,
                target: port.target,
                protocol: port.protocol,
            })
            .collect(),
    };
    (ingress || !view.aliases.is_empty()).then_some(view)
}
