//! A task's places in its networks.

use ipnet::IpNet;

use super::next_address;
use crate::id::NetworkId;
use crate::object::{EndpointId, Network, Task, TaskEndpoint};
use crate::store::Store;

/// A network in which a task finds no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAddress {
    /// Every address of its subnet is taken.
    #[error("no available addresses on network {network} ({subnet})")]
    Full {
        /// The network.
        id: NetworkId,
        /// Its name.
        network: String,
        /// Its subnet.
        subnet: IpNet,
    },
    /// It does not exist.
    #[error("a network of the service does not exist any more")]
    Missing,
    /// Every endpoint id was given.
    #[error("all endpoint ids of this cluster have been given")]
    Numbers,
}

/// Addresses and endpoint ids for a task, all or none: ingress first when its service publishes a port
/// through it, then the networks of its spec in their order.
pub(crate) fn task_endpoints(store: &Store, task: &Task) -> Result<Vec<TaskEndpoint>, NoAddress> {
    let mut id = store.next_endpoint();
    let mut endpoints = Vec::new();
    for network in task_networks(store, task) {
        let network = store.network(network).ok_or(NoAddress::Missing)?;
        let address = next_address(store, network).ok_or_else(|| full(network))?;
        endpoints.push(TaskEndpoint { id, network: network.id, address });
        id = EndpointId(id.0.checked_add(1).ok_or(NoAddress::Numbers)?);
    }
    Ok(endpoints)
}

/// The networks that a task joins, in order.
pub(crate) fn task_networks(store: &Store, task: &Task) -> Vec<NetworkId> {
    let publishes = store.service(task.service).is_some_and(|service| service.publishes_ingress());
    let ingress = store.ingress_network().filter(|_| publishes).map(|network| network.id);
    ingress.into_iter().chain(task.spec.networks.iter().map(|attachment| attachment.network)).collect()
}

fn full(network: &Network) -> NoAddress {
    NoAddress::Full { id: network.id, network: network.spec.name.to_string(), subnet: network.subnet }
}
