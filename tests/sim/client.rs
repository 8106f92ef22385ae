//! Users: they ask whatever manager they think leads, and remember what they were told.

use std::collections::BTreeSet;
use std::time::Duration;

use mesh_core::command::{
    JoinNode, Refusal, create_network, create_service, join_node, remove_network, remove_service,
    scale_service, update_node,
};
use mesh_core::id::{NetworkId, ServiceId};
use mesh_core::port::{Protocol, PublishMode, PublishedPort};
use mesh_core::spec::{
    Availability, ContainerSpec, EndpointSpec, NetworkAttachment, NetworkSpec, NodeSpec, Placement,
    Resources, RestartPolicy, ServiceMode, ServiceSpec, TaskSpec, UpdateConfig,
};
use mesh_core::store::{Store, Transaction};
use mesh_core::time::Timestamp;

use crate::agent::Agent;
use crate::rng::Rng;

/// What a proposal of a user does.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    MakeService(ServiceId, String),
    MakeNetwork(NetworkId, String),
    /// Nothing that must be there afterwards.
    Other,
}

/// A user's next wish, made from one state of the store. `None`: refused, or there is nothing to wish for.
pub fn wish(
    store: &Store,
    now: Timestamp,
    rng: &mut Rng,
    number: u64,
) -> Option<(Op, Option<u128>, Transaction)> {
    let services: Vec<_> = store.services().cloned().collect();
    let networks: Vec<_> = store.networks().filter(|network| !network.spec.ingress).cloned().collect();
    let wished = match rng.under(100) {
        0..30 if services.len() < 8 => new_service(store, now, rng, number),
        30..40 if networks.len() < 5 => new_network(store, now, rng, number),
        40..70 => {
            let service = rng.pick(&services)?;
            let replicas = u32::try_from(rng.under(5)).ok()?;
            scale_service(store, service.id, service.meta.version, replicas, now)
                .map(|tx| (Op::Other, None, tx))
        }
        70..78 if services.len() > 3 => {
            let id = rng.pick(&services)?.id;
            remove_service(store, id, now).map(|tx| (Op::Other, Some(id.bits()), tx))
        }
        78..84 => {
            let id = rng.pick(&networks)?.id;
            remove_network(store, id, now).map(|tx| (Op::Other, Some(id.bits()), tx))
        }
        84..92 => return set_availability(store, now, rng),
        _ => return None,
    };
    wished.ok()
}

pub type Wish = Result<(Op, Option<u128>, Transaction), Refusal>;

/// A network of the next free subnet.
pub fn new_network(store: &Store, now: Timestamp, rng: &mut Rng, number: u64) -> Wish {
    let name = format!("net{number}");
    let spec = NetworkSpec {
        name: name.parse().expect("a name"),
        labels: mesh_core::spec::Labels::new(),
        subnet: None,
        gateway: None,
        internal: false,
        attachable: false,
        ingress: false,
        mtu: None,
    };
    let (id, transaction) = create_network(store, spec, now, rng)?;
    Ok((Op::MakeNetwork(id, name), None, transaction))
}

/// A service with one thing or another.
pub fn new_service(store: &Store, now: Timestamp, rng: &mut Rng, number: u64) -> Wish {
    let name = format!("svc{number}");
    let joined = store.networks().filter(|network| !network.spec.ingress && rng.chance(400));
    let networks =
        joined.map(|network| NetworkAttachment { network: network.id, aliases: Vec::new() }).collect();
    let replicas = u32::try_from(rng.between(1, 4)).expect("small");
    let global = rng.chance(150);
    let mode = if global { ServiceMode::Global } else { ServiceMode::Replicated { replicas } };
    let asked = u16::try_from(rng.between(8_000, 8_010)).ok().filter(|_| rng.chance(600));
    let port = PublishedPort {
        published: asked.and_then(std::num::NonZeroU16::new),
        target: std::num::NonZeroU16::MIN,
        protocol: Protocol::Tcp,
        mode: PublishMode::Ingress,
    };
    let ports = if rng.chance(500) { vec![port] } else { Vec::new() };
    let delay = Duration::from_millis(rng.between(0, 1_500));
    let spec = ServiceSpec {
        name: name.parse().expect("a name"),
        labels: mesh_core::spec::Labels::new(),
        mode,
        task: TaskSpec {
            container: ContainerSpec { image: "mesh/whoami:1".to_owned(), ..ContainerSpec::default() },
            resources: Resources::default(),
            restart: RestartPolicy { delay, ..RestartPolicy::default() },
            placement: Placement::default(),
            networks,
            force_update: 0,
        },
        endpoint: EndpointSpec { ports, ..EndpointSpec::default() },
        update: UpdateConfig::default(),
        rollback: UpdateConfig::default(),
    };
    let (id, transaction) = create_service(store, spec, now, rng)?;
    Ok((Op::MakeService(id, name), None, transaction))
}

/// Drains a node, when no other is drained, or takes it back.
fn set_availability(store: &Store, now: Timestamp, rng: &mut Rng) -> Option<(Op, Option<u128>, Transaction)> {
    let nodes: Vec<_> = store.nodes().cloned().collect();
    let drained = nodes.iter().find(|node| node.spec.availability != Availability::Active);
    let (node, availability) = match drained {
        Some(node) => (node, Availability::Active),
        None => (rng.pick(&nodes)?, Availability::Drain),
    };
    let spec = NodeSpec { availability, ..node.spec.clone() };
    let transaction = update_node(store, node.id, node.meta.version, spec, &BTreeSet::new(), now).ok()?;
    Some((Op::Other, None, transaction))
}

/// Takes a drained node back, so that there is room when the faults have ended.
pub fn undrain(store: &Store, now: Timestamp) -> Option<Transaction> {
    let node = store.nodes().find(|node| node.spec.availability != Availability::Active)?;
    let spec = NodeSpec { availability: Availability::Active, ..node.spec.clone() };
    update_node(store, node.id, node.meta.version, spec, &BTreeSet::new(), now).ok()
}

/// Lets a worker in that is not known yet.
pub fn join(store: &Store, agent: &Agent, now: Timestamp) -> Option<Transaction> {
    if store.node(agent.node).is_some() {
        return None;
    }
    let request = JoinNode {
        id: agent.node,
        spec: NodeSpec::default(),
        description: agent.description(),
        addr: agent.address(),
        data_path_addr: agent.address(),
        manager: None,
        issuer: [1; 32],
    };
    join_node(store, request, now).ok()
}
