//! What the maps should hold, worked out from the desired state and from what only the node can tell.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use mesh_abi::Be32;
use mesh_abi::net::{DnsClient, Endpoint, Local, NodeConfig, Peer, REPLY_DIRECT, RETIRED, TaskPort};

use super::service::ServiceNumbers;
use super::tables::{FrontendKey, Key, Value};
use crate::desired::{self, DesiredState, EndpointId, IngressReply, LocalEndpoint, Location, Network};
use crate::mtu::overlay_mtu;
use crate::name;

/// Who takes new flows of a frontend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balanced {
    /// Number of the service.
    pub service: u32,
    /// Port of the backends, for published ports; 0 otherwise.
    pub target: u16,
    /// The backends, in the order of their turns.
    pub backends: Vec<EndpointId>,
}

/// What the maps should hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DesiredTables {
    /// Entries of the plain maps.
    pub entries: BTreeMap<Key, Value>,
    /// Frontends.
    pub frontends: BTreeMap<FrontendKey, Balanced>,
}

/// An uplink as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// Its number.
    pub ifindex: u32,
    /// Its link-layer address.
    pub mac: [u8; 6],
    /// Largest IP packet.
    pub mtu: u16,
    /// Its IPv4 addresses.
    pub addresses: BTreeSet<Ipv4Addr>,
}

/// What only the node can tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Uplinks by name.
    pub uplinks: BTreeMap<String, Uplink>,
    /// Numbers of devices by name.
    pub numbers: BTreeMap<String, u32>,
}

impl Facts {
    fn number(&self, device: &str) -> u32 {
        self.numbers.get(device).copied().unwrap_or(0)
    }

    /// The uplink that holds an address.
    pub fn uplink_of(&self, address: Ipv4Addr) -> Option<&Uplink> {
        self.uplinks.values().find(|uplink| uplink.addresses.contains(&address))
    }
}

impl DesiredTables {
    /// What the maps should hold on a node with these devices. A local endpoint without a device is left out,
    /// everywhere, so that nothing is sent to it.
    pub fn new(state: &DesiredState, facts: &Facts, services: &ServiceNumbers) -> Self {
        let mut tables = Self::default();
        tables.node(state, facts);
        let of_vips = state.vips.iter().flat_map(|vip| &vip.backends);
        let of_ports = state.published.iter().flat_map(|port| &port.backends);
        let balanced: BTreeSet<EndpointId> = of_vips.chain(of_ports).copied().collect();
        for (id, endpoint) in &state.endpoints {
            let flags = if balanced.contains(id) { 0 } else { RETIRED };
            tables.endpoint(state, facts, (*id, flags), endpoint);
        }
        for vip in &state.vips {
            let IpAddr::V4(address) = vip.address else { continue };
            let balanced = tables.balanced(&vip.backends, services.number(&vip.service), 0);
            tables.frontends.insert(FrontendKey::Vip(vip.vni, address), balanced);
        }
        let addresses: BTreeSet<Ipv4Addr> =
            facts.uplinks.values().flat_map(|uplink| uplink.addresses.iter().copied()).collect();
        for port in &state.published {
            let balanced = tables.balanced(&port.backends, services.number(&port.service), port.target.get());
            for address in &addresses {
                let key = FrontendKey::Published(*address, port.published.get(), port.protocol);
                tables.frontends.insert(key, balanced.clone());
            }
        }
        tables
    }

    fn node(&mut self, state: &DesiredState, facts: &Facts) {
        let IpAddr::V4(data_path_addr) = state.node.data_path_addr else { return };
        let uplink = facts.uplink_of(data_path_addr);
        let config = NodeConfig {
            data_path_addr: data_path_addr.into(),
            vxlan_ifindex: facts.number(name::OVERLAY),
            dns_ifindex: facts.number(name::DNS),
            uplink_ifindex: uplink.map_or(0, |uplink| uplink.ifindex),
            tunnel_mtu: uplink.map_or(0, |uplink| overlay_mtu(uplink.mtu)).into(),
            flags: if state.node.ingress_reply == IngressReply::Direct { REPLY_DIRECT } else { 0 },
        };
        self.entries.insert(Key::Config, Value::Config(config));
        for peer in &state.peers {
            if let IpAddr::V4(peer) = peer {
                self.entries.insert(Key::Peer(*peer), Value::Peer(Peer::default()));
            }
        }
        for uplink in facts.uplinks.values() {
            for address in &uplink.addresses {
                let local = Local { ifindex: uplink.ifindex, mac: uplink.mac, reserved: [0; 2] };
                self.entries.insert(Key::Local(*address), Value::Local(local));
            }
        }
    }

    fn endpoint(
        &mut self,
        state: &DesiredState,
        facts: &Facts,
        (id, flags): (EndpointId, u32),
        endpoint: &desired::Endpoint,
    ) {
        let IpAddr::V4(address) = endpoint.address else { return };
        let mut place =
            Endpoint { id, vni: endpoint.vni, address: address.into(), ifindex: 0, node: Be32::ZERO, flags };
        match &endpoint.location {
            Location::Remote(IpAddr::V4(node)) => place.node = (*node).into(),
            Location::Remote(IpAddr::V6(_)) => return,
            Location::Local(local) => {
                let Some(network) = state.networks.get(&endpoint.vni) else { return };
                place.ifindex = facts.number(&name::host_side(id));
                if place.ifindex == 0 {
                    return;
                }
                self.port(&place, local, network);
            }
        }
        self.entries.insert(Key::Endpoint(endpoint.vni, address), Value::Endpoint(place));
        self.entries.insert(Key::Backend(id), Value::Endpoint(place));
    }

    fn port(&mut self, place: &Endpoint, local: &LocalEndpoint, network: &Network) {
        let IpAddr::V4(gateway) = network.gateway else { return };
        let IpAddr::V4(mask) = network.subnet.netmask() else { return };
        let port = TaskPort {
            vni: place.vni,
            address: place.address,
            gateway: gateway.into(),
            mask: mask.into(),
            dns_client: local.dns_client.map_or(Be32::ZERO, Be32::from),
            endpoint: place.id,
            mtu: network.mtu.into(),
        };
        self.entries.insert(Key::Port(place.ifindex), Value::Port(port));
        if let Some(client) = local.dns_client {
            let asks = DnsClient { ifindex: place.ifindex, address: place.address };
            self.entries.insert(Key::DnsClient(client), Value::DnsClient(asks));
        }
    }

    fn balanced(&self, backends: &BTreeSet<EndpointId>, service: u32, target: u16) -> Balanced {
        let known = |id: &&EndpointId| self.entries.contains_key(&Key::Backend(**id));
        Balanced { service, target, backends: backends.iter().filter(known).copied().collect() }
    }
}
