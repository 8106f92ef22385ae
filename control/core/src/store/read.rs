//! Reading the store.

use std::net::IpAddr;
use std::sync::Arc;

use imbl::OrdMap;

use super::{ContentTable, Key, Object, Store};
use crate::id::{ConfigKind, NetworkId, NodeId, SecretKind, ServiceId, TaskId};
use crate::object::{Cluster, EndpointId, Network, Node, Service, Task};
use crate::port::{Port, Protocol};

impl Store {
    /// Index of the last log entry applied; 0 for an empty store.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The cluster; `None` before init.
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.cluster.as_ref()
    }

    /// A node by id.
    pub fn node(&self, id: NodeId) -> Option<&Arc<Node>> {
        self.nodes.get(&id)
    }

    /// A network by id.
    pub fn network(&self, id: NetworkId) -> Option<&Arc<Network>> {
        self.networks.get(&id)
    }

    /// A service by id.
    pub fn service(&self, id: ServiceId) -> Option<&Arc<Service>> {
        self.services.get(&id)
    }

    /// A task by id.
    pub fn task(&self, id: TaskId) -> Option<&Arc<Task>> {
        self.tasks.get(&id)
    }

    /// All secrets.
    pub fn secrets(&self) -> &ContentTable<SecretKind> {
        &self.secrets
    }

    /// All configs.
    pub fn configs(&self) -> &ContentTable<ConfigKind> {
        &self.configs
    }

    /// How many tasks there are, ended ones included.
    pub fn task_count(&self) -> usize {
        self.tasks.len()
    }

    /// Every node, by id.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// Every network, by id.
    pub fn networks(&self) -> impl Iterator<Item = &Arc<Network>> {
        self.networks.values()
    }

    /// Every service, by id.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }

    /// Every task, by id.
    pub fn tasks(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.tasks.values()
    }

    /// A service by name, compared without case.
    pub fn service_by_name(&self, name: &str) -> Option<&Arc<Service>> {
        self.service_names.get(&name.to_ascii_lowercase()).and_then(|id| self.services.get(id))
    }

    /// A network by name, compared without case.
    pub fn network_by_name(&self, name: &str) -> Option<&Arc<Network>> {
        self.network_names.get(&name.to_ascii_lowercase()).and_then(|id| self.networks.get(id))
    }

    /// The routing mesh's network.
    pub fn ingress_network(&self) -> Option<&Arc<Network>> {
        self.ingress.and_then(|id| self.networks.get(&id))
    }

    /// A service's tasks, by slot, then id.
    pub fn service_tasks(&self, service: ServiceId) -> impl Iterator<Item = &Arc<Task>> {
        let range = (service, 0, TaskId::from_bits(0))..=(service, u32::MAX, TaskId::from_bits(u128::MAX));
        self.slots.range(range).filter_map(|(_, _, task)| self.tasks.get(task))
    }

    /// The tasks of one slot of a service, by id.
    pub fn slot_tasks(&self, service: ServiceId, slot: u32) -> impl Iterator<Item = &Arc<Task>> {
        let range = (service, slot, TaskId::from_bits(0))..=(service, slot, TaskId::from_bits(u128::MAX));
        self.slots.range(range).filter_map(|(_, _, task)| self.tasks.get(task))
    }

    /// The tasks placed on a node, by id.
    pub fn node_tasks(&self, node: NodeId) -> impl Iterator<Item = &Arc<Task>> {
        let range = (node, TaskId::from_bits(0))..=(node, TaskId::from_bits(u128::MAX));
        self.placed.range(range).filter_map(|(_, task)| self.tasks.get(task))
    }

    /// The services that join a network (the ingress network: those that publish a port through it).
    pub fn network_services(&self, network: NetworkId) -> impl Iterator<Item = &Arc<Service>> {
        let range = (network, ServiceId::from_bits(0))..=(network, ServiceId::from_bits(u128::MAX));
        self.service_networks.range(range).filter_map(|(_, service)| self.services.get(service))
    }

    /// The addresses in use in a network, in order, with the service (a VIP), the task or the network (its
    /// gateway) that has each.
    pub fn network_addresses(&self, network: NetworkId) -> impl Iterator<Item = (IpAddr, Key)> {
        self.network_addresses_from(network, std::net::Ipv4Addr::UNSPECIFIED.into())
    }

    /// The addresses in use in a network from `first` on.
    pub fn network_addresses_from(
        &self,
        network: NetworkId,
        first: IpAddr,
    ) -> impl Iterator<Item = (IpAddr, Key)> {
        let last = std::net::Ipv6Addr::from_bits(u128::MAX).into();
        let range = (network, first)..=(network, last);
        self.addresses.range(range).map(|((_, address), owner)| (*address, *owner))
    }

    /// Who has an address in a network.
    pub fn address_owner(&self, network: NetworkId, address: IpAddr) -> Option<Key> {
        self.addresses.get(&(network, address)).copied()
    }

    /// The address given last in a network.
    pub fn address_cursor(&self, network: NetworkId) -> Option<IpAddr> {
        self.cursors.get(&network).copied()
    }

    /// The service that publishes a port through the routing mesh.
    pub fn ingress_port_owner(&self, port: Port, protocol: Protocol) -> Option<&Arc<Service>> {
        self.ingress_ports.get(&(port, protocol)).and_then(|id| self.services.get(id))
    }

    /// The services that publish a port on the nodes of their tasks.
    pub fn host_port_owners(&self, port: Port, protocol: Protocol) -> impl Iterator<Item = &Arc<Service>> {
        let range =
            (port, protocol, ServiceId::from_bits(0))..=(port, protocol, ServiceId::from_bits(u128::MAX));
        self.host_ports.range(range).filter_map(|(_, _, service)| self.services.get(service))
    }

    /// The endpoint id that is given next.
    pub fn next_endpoint(&self) -> EndpointId {
        EndpointId(self.cluster.as_ref().map_or(1, |cluster| cluster.next_endpoint.max(1)))
    }

    /// Whether both hold the very same objects. Stores that were brought forward by the same changes do, from
    /// the same one on; stores that are equal otherwise may not.
    pub(crate) fn has_same_objects(&self, other: &Self) -> bool {
        fn same<K: Ord, T>(one: &OrdMap<K, Arc<T>>, other: &OrdMap<K, Arc<T>>) -> bool {
            one.len() == other.len()
                && one.values().zip(other.values()).all(|(one, other)| Arc::ptr_eq(one, other))
        }
        // Its counters go up without a change of their own.
        let version = |store: &Self| store.cluster.as_ref().map(|cluster| cluster.meta.version);
        version(self) == version(other)
            && same(&self.nodes, &other.nodes)
            && same(&self.networks, &other.networks)
            && same(&self.services, &other.services)
            && same(&self.tasks, &other.tasks)
            && same(&self.secrets.all, &other.secrets.all)
            && same(&self.configs.all, &other.configs.all)
    }

    /// An object of any kind.
    pub fn get(&self, key: Key) -> Option<Object> {
        match key {
            Key::Cluster => self.cluster.clone().map(Object::Cluster),
            Key::Node(id) => self.node(id).cloned().map(Object::Node),
            Key::Network(id) => self.network(id).cloned().map(Object::Network),
            Key::Service(id) => self.service(id).cloned().map(Object::Service),
            Key::Task(id) => self.task(id).cloned().map(Object::Task),
            Key::Secret(id) => self.secrets.get(id).cloned().map(Object::Secret),
            Key::Config(id) => self.configs.get(id).cloned().map(Object::Config),
        }
    }
}
