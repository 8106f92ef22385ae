//! What belongs to one object only, what refers to what, and the indexes that both are looked up in.

use std::sync::Arc;

use super::{Change, Claim, Conflict, Delta, Key, Store};
use crate::id::NetworkId;
use crate::object::{EndpointId, Network, Node, Service, Task, VNI_MAX, Vni};
use crate::port::PublishMode;

impl Store {
    /// Refuses a change that takes what belongs to another object or gives a number a second time.
    pub(super) fn check_claims(&self, change: &Change) -> Result<(), Conflict> {
        match change {
            Change::Node(Delta { old, new: Some(new) }) => self.check_node(old.as_deref(), new),
            Change::Network(Delta { old, new: Some(new) }) => self.check_network(old.as_deref(), new),
            Change::Service(Delta { new: Some(new), .. }) => self.check_service(new),
            Change::Task(Delta { old, new: Some(new) }) => self.check_task(old.as_deref(), new),
            Change::Secret(Delta { new: Some(new), .. }) => self.secrets.check_name(new),
            Change::Config(Delta { new: Some(new), .. }) => self.configs.check_name(new),
            _ => Ok(()),
        }
    }

    fn check_node(&self, old: Option<&Node>, new: &Node) -> Result<(), Conflict> {
        let raft_id = |node: &Node| node.manager.as_ref().map(|manager| manager.raft_id);
        let known = old.and_then(raft_id);
        let Some(wanted) = raft_id(new).filter(|wanted| known != Some(*wanted)) else { return Ok(()) };
        match self.nodes.values().find(|node| node.id != new.id && raft_id(node) == Some(wanted)) {
            Some(owner) => Err(Conflict::Taken {
                key: Key::Node(new.id),
                what: Claim::RaftId(wanted),
                owner: Key::Node(owner.id),
            }),
            None => Ok(()),
        }
    }

    fn check_network(&self, old: Option<&Network>, new: &Network) -> Result<(), Conflict> {
        let key = Key::Network(new.id);
        let taken = |what, owner| Err(Conflict::Taken { key, what, owner });
        if let Some(owner) = self.network_names.get(&new.spec.name.as_str().to_ascii_lowercase())
            && *owner != new.id
        {
            return taken(Claim::Name(new.spec.name.to_string()), Key::Network(*owner));
        }
        if let Some(owner) = self.ingress.filter(|owner| new.spec.ingress && *owner != new.id) {
            return taken(Claim::Ingress, Key::Network(owner));
        }
        let known = old.is_some_and(|old| old.vni == new.vni);
        let cluster = self.cluster.as_ref().ok_or(Conflict::Dangling { key, target: Key::Cluster })?;
        if !known && (new.vni.0 < cluster.next_vni || new.vni > VNI_MAX) {
            return taken(Claim::Vni(new.vni.0), Key::Cluster);
        }
        self.check_address(key, new.id, new.gateway)
    }

    fn check_service(&self, new: &Service) -> Result<(), Conflict> {
        let key = Key::Service(new.id);
        if let Some(owner) = self.service_names.get(&new.spec.name.as_str().to_ascii_lowercase())
            && *owner != new.id
        {
            let what = Claim::Name(new.spec.name.to_string());
            return Err(Conflict::Taken { key, what, owner: Key::Service(*owner) });
        }
        for (network, address) in &new.endpoint.vips {
            self.check_address(key, *network, *address)?;
        }
        for port in &new.endpoint.ports {
            let (published, protocol) = (port.published, port.protocol);
            let hosts =
                self.host_port_owners(published, protocol).filter(|_| port.mode == PublishMode::Ingress);
            let owner = self.ingress_port_owner(published, protocol).into_iter().chain(hosts);
            if let Some(owner) = owner.map(|service| service.id).find(|owner| *owner != new.id) {
                let what = Claim::Port(published, protocol);
                return Err(Conflict::Taken { key, what, owner: Key::Service(owner) });
            }
        }
        Ok(())
    }

    fn check_task(&self, old: Option<&Task>, new: &Task) -> Result<(), Conflict> {
        let key = Key::Task(new.id);
        if let Some(old) = old {
            let ended = old.status.state.is_final() && new.status.state != old.status.state;
            let moved = old.node.is_some() && new.node != old.node;
            let back = new.status.state < old.status.state || new.desired_state < old.desired_state;
            if ended || moved || back {
                return Err(Conflict::Backwards { key });
            }
        }
        if new.status.state.is_final() {
            return Ok(());
        }
        let next = self.next_endpoint();
        for endpoint in &new.endpoints {
            if !has_endpoint(old, endpoint.id) && endpoint.id < next {
                let what = Claim::Endpoint(endpoint.id.0);
                return Err(Conflict::Taken { key, what, owner: Key::Cluster });
            }
            self.check_address(key, endpoint.network, endpoint.address)?;
        }
        Ok(())
    }

    fn check_address(&self, key: Key, network: NetworkId, address: std::net::IpAddr) -> Result<(), Conflict> {
        match self.address_owner(network, address) {
            Some(owner) if owner != key => {
                Err(Conflict::Taken { key, what: Claim::Address(network, address), owner })
            }
            _ => Ok(()),
        }
    }

    /// Refuses a transaction that would leave a reference to nothing behind. Looked at when all its
    /// writes are made, so that their order does not matter.
    pub(super) fn check_references(&self, change: &Change) -> Result<(), Conflict> {
        match change {
            Change::Network(Delta { old: Some(old), new: None }) => self.check_unused(old),
            Change::Secret(Delta { old: Some(old), new: None }) => self.secrets.check_unused(old.id),
            Change::Config(Delta { old: Some(old), new: None }) => self.configs.check_unused(old.id),
            Change::Service(Delta { new: Some(new), .. }) => {
                self.secrets.check_present(new)?;
                self.configs.check_present(new)?;
                let key = Key::Service(new.id);
                let networks = new.spec.task.networks.iter().map(|attachment| attachment.network);
                self.check_networks(key, networks.chain(new.endpoint.vips.keys().copied()))
            }
            Change::Task(Delta { old, new: Some(new) }) => {
                let key = Key::Task(new.id);
                let placed = old.as_ref().and_then(|old| old.node);
                if let Some(node) = new.node.filter(|node| placed.is_none() && !self.nodes.contains_key(node))
                {
                    return Err(Conflict::Dangling { key, target: Key::Node(node) });
                }
                if old.is_none() && !self.services.contains_key(&new.service) {
                    return Err(Conflict::Dangling { key, target: Key::Service(new.service) });
                }
                let live = new.endpoints.iter().filter(|_| !new.status.state.is_final());
                self.check_networks(key, live.map(|endpoint| endpoint.network))
            }
            _ => Ok(()),
        }
    }

    fn check_networks(&self, key: Key, mut used: impl Iterator<Item = NetworkId>) -> Result<(), Conflict> {
        match used.find(|network| !self.networks.contains_key(network)) {
            Some(missing) => Err(Conflict::Dangling { key, target: Key::Network(missing) }),
            None => Ok(()),
        }
    }

    fn check_unused(&self, network: &Network) -> Result<(), Conflict> {
        let service = self.network_services(network.id).map(|service| Key::Service(service.id)).next();
        let user = service.or_else(|| self.network_addresses(network.id).map(|(_, owner)| owner).next());
        user.map_or(Ok(()), |user| Err(Conflict::InUse { key: Key::Network(network.id), user }))
    }

    pub(super) fn index_network(&mut self, old: Option<&Network>, new: Option<&Network>) {
        if let Some(old) = old {
            self.network_names.remove(&old.spec.name.as_str().to_ascii_lowercase());
            self.addresses.remove(&(old.id, old.gateway));
            self.ingress = self.ingress.filter(|ingress| *ingress != old.id);
            if new.is_none() {
                self.cursors.remove(&old.id);
            }
        }
        if let Some(new) = new {
            self.network_names.insert(new.spec.name.as_str().to_ascii_lowercase(), new.id);
            self.addresses.insert((new.id, new.gateway), Key::Network(new.id));
            if new.spec.ingress {
                self.ingress = Some(new.id);
            }
            self.take_vni(new.vni);
        }
    }

    pub(super) fn index_service(&mut self, old: Option<&Service>, new: Option<&Service>) {
        self.secrets.index_user(old, new);
        self.configs.index_user(old, new);
        if let Some(old) = old {
            self.service_names.remove(&old.spec.name.as_str().to_ascii_lowercase());
            for network in self.networks_of(old) {
                self.service_networks.remove(&(network, old.id));
            }
            for (network, address) in &old.endpoint.vips {
                self.addresses.remove(&(*network, *address));
            }
            for port in &old.endpoint.ports {
                self.ingress_ports.remove(&(port.published, port.protocol));
                self.host_ports.remove(&(port.published, port.protocol, old.id));
            }
        }
        let Some(new) = new else {
            old.map(|old| self.task_specs.remove(&old.id));
            return;
        };
        if self.task_specs.get(&new.id).is_none_or(|known| **known != new.spec.task) {
            self.task_specs.insert(new.id, Arc::new(new.spec.task.clone()));
        }
        self.service_names.insert(new.spec.name.as_str().to_ascii_lowercase(), new.id);
        for network in self.networks_of(new) {
            self.service_networks.insert((network, new.id));
        }
        for (network, address) in &new.endpoint.vips {
            self.addresses.insert((*network, *address), Key::Service(new.id));
            if old.is_none_or(|old| old.endpoint.vips.get(network) != Some(address)) {
                self.cursors.insert(*network, *address);
            }
        }
        for port in &new.endpoint.ports {
            if port.mode == PublishMode::Ingress {
                self.ingress_ports.insert((port.published, port.protocol), new.id);
            } else {
                self.host_ports.insert((port.published, port.protocol, new.id));
            }
        }
    }

    pub(super) fn index_task(&mut self, old: Option<&Task>, new: Option<&Task>) {
        if let Some(old) = old {
            if new.is_none() {
                self.slots.remove(&(old.service, old.slot, old.id));
            }
            if let Some(node) = old.node.filter(|node| new.is_none_or(|new| new.node != Some(*node))) {
                self.placed.remove(&(node, old.id));
            }
            for endpoint in held(old) {
                self.addresses.remove(&(endpoint.network, endpoint.address));
            }
        }
        let Some(new) = new else { return };
        if old.is_none() {
            self.slots.insert((new.service, new.slot, new.id));
        }
        if let Some(node) = new.node.filter(|node| old.is_none_or(|old| old.node != Some(*node))) {
            self.placed.insert((node, new.id));
        }
        for endpoint in held(new) {
            self.addresses.insert((endpoint.network, endpoint.address), Key::Task(new.id));
            if !has_endpoint(old, endpoint.id) {
                self.cursors.insert(endpoint.network, endpoint.address);
                self.take_endpoint(endpoint.id);
            }
        }
    }

    fn networks_of(&self, service: &Service) -> Vec<NetworkId> {
        let joined = service.spec.task.networks.iter().map(|attachment| attachment.network);
        joined.chain(self.ingress.filter(|_| service.publishes_ingress())).collect()
    }

    fn take_endpoint(&mut self, id: EndpointId) {
        if let Some(cluster) = self.cluster.as_mut().filter(|cluster| cluster.next_endpoint <= id.0) {
            Arc::make_mut(cluster).next_endpoint = id.0.saturating_add(1);
        }
    }

    fn take_vni(&mut self, vni: Vni) {
        if let Some(cluster) = self.cluster.as_mut().filter(|cluster| cluster.next_vni <= vni.0) {
            Arc::make_mut(cluster).next_vni = vni.0.saturating_add(1);
        }
    }
}

fn has_endpoint(task: Option<&Task>, id: EndpointId) -> bool {
    task.is_some_and(|task| task.endpoints.iter().any(|endpoint| endpoint.id == id))
}

/// The endpoints whose addresses the task has: all until it ended.
fn held(task: &Task) -> impl Iterator<Item = &crate::object::TaskEndpoint> {
    task.endpoints.iter().filter(|_| !task.status.state.is_final())
}
