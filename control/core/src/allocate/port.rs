//! Published ports: those asked for, checked against everybody who has one, and dynamic ones.

use std::sync::Arc;

use crate::command::{PortUsage, Refusal};
use crate::id::ServiceId;
use crate::object::{AllocatedPort, Node, Service};
use crate::port::{DYNAMIC_PORTS, Port, Protocol, PublishMode, PublishedPort};
use crate::store::Store;

/// The ports of a service with their numbers settled; a dynamic port keeps the number it has in `have`.
pub(crate) fn published_ports(
    store: &Store,
    service: ServiceId,
    wanted: &[PublishedPort],
    have: &[AllocatedPort],
) -> Result<Vec<AllocatedPort>, Refusal> {
    let mut settled: Vec<AllocatedPort> = Vec::with_capacity(wanted.len());
    for port in wanted.iter().copied() {
        let published = match port.published {
            // What the service has is not taken from it because a process of a node came to listen there.
            Some(published) if has(have, port, published) => published,
            Some(published) => {
                check(store, service, published, port.protocol, port.mode)?;
                published
            }
            None => kept(have, port, &settled)
                .or_else(|| dynamic(store, service, wanted, port, &settled))
                .ok_or(Refusal::PortsExhausted { protocol: port.protocol })?,
        };
        let (target, protocol, mode) = (port.target, port.protocol, port.mode);
        settled.push(AllocatedPort { published, target, protocol, mode });
    }
    Ok(settled)
}

fn has(have: &[AllocatedPort], port: PublishedPort, published: Port) -> bool {
    let wanted = (published, port.protocol, port.mode);
    have.iter().any(|old| (old.published, old.protocol, old.mode) == wanted)
}

/// The number that this dynamic port has already.
fn kept(have: &[AllocatedPort], port: PublishedPort, settled: &[AllocatedPort]) -> Option<Port> {
    let same = |old: &&AllocatedPort| {
        (old.target, old.protocol, old.mode) == (port.target, port.protocol, port.mode)
            && DYNAMIC_PORTS.contains(&old.published.get())
            && !settled.contains(old)
    };
    have.iter().find(same).map(|old| old.published)
}

fn dynamic(
    store: &Store,
    service: ServiceId,
    wanted: &[PublishedPort],
    port: PublishedPort,
    settled: &[AllocatedPort],
) -> Option<Port> {
    let protocol = port.protocol;
    let asked = |number| wanted.iter().any(|it| it.published == Some(number) && it.protocol == protocol);
    let given = |number| settled.iter().any(|it| it.published == number && it.protocol == protocol);
    DYNAMIC_PORTS.filter_map(Port::new).find(|number| {
        !asked(*number) && !given(*number) && check(store, service, *number, protocol, port.mode).is_ok()
    })
}

/// Refuses a port that is the mesh's own, another service's, or a process's on a node.
fn check(
    store: &Store,
    service: ServiceId,
    port: Port,
    protocol: Protocol,
    mode: PublishMode,
) -> Result<(), Refusal> {
    if let Some(purpose) = reserved(store, port, protocol) {
        return Err(Refusal::PortReserved { port, protocol, purpose });
    }
    let taken = |owner: &Service, usage| {
        Err(Refusal::PortTaken { port, name: owner.spec.name.to_string(), service: owner.id, usage })
    };
    if let Some(owner) = store.ingress_port_owner(port, protocol).filter(|owner| owner.id != service) {
        return taken(owner, PortUsage::Ingress);
    }
    // A port in host mode is taken on the nodes of its tasks alone; the scheduler sees to the rest.
    if mode == PublishMode::Host {
        return Ok(());
    }
    if let Some(owner) = store.host_port_owners(port, protocol).find(|owner| owner.id != service) {
        return taken(owner, PortUsage::Host);
    }
    let listens = |node: &&Arc<Node>| {
        !node.status.state.is_away() && node.description.listening.contains(&(port, protocol))
    };
    match store.nodes().find(listens) {
        Some(node) => {
            let hostname = node.description.hostname.clone();
            Err(Refusal::PortListening { port, protocol, hostname, node: node.id })
        }
        None => Ok(()),
    }
}

/// What the mesh itself does with a port.
fn reserved(store: &Store, port: Port, protocol: Protocol) -> Option<&'static str> {
    match (port.get(), protocol) {
        (2377, Protocol::Tcp) => Some("cluster management"),
        (7946, Protocol::Udp) => Some("probes between nodes"),
        (number, Protocol::Udp) => {
            let overlay = store.cluster().is_some_and(|cluster| cluster.spec.data_path_port == number);
            overlay.then_some("the overlay")
        }
        _ => None,
    }
}
