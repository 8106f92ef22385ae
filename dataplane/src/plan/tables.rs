//! Content of the maps.
//!
//! Entries of the plain maps are compared one by one. A frontend is compared by its set of backends: where the
//! set lies in the array, and the turn it takes, are found here and kept as long as they are good.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use mesh_abi::map::TURNS_LEN;
use mesh_abi::net::{DnsClient, Endpoint, Frontend, Local, NodeConfig, Peer, REPLY_DIRECT, TaskPort};
use mesh_abi::{Be16, Be32};

use super::service::ServiceNumbers;
use crate::desired::{
    self, DesiredState, EndpointId, IngressReply, LocalEndpoint, Location, Network, Protocol, Vni,
};
use crate::mtu::overlay_mtu;
use crate::name;
use crate::slices::{Full, Slice, Slices};

/// Key of an entry in one of the plain maps, in the order in which they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The node itself.
    Config,
    /// Another node.
    Peer(Ipv4Addr),
    /// A task's interface, by its number.
    Port(u32),
    /// An endpoint by network and address.
    Endpoint(Vni, Ipv4Addr),
    /// An endpoint by its number.
    Backend(EndpointId),
    /// An address of this node.
    Local(Ipv4Addr),
    /// Who asks the DNS server.
    DnsClient(Ipv4Addr),
}

/// Value of an entry in one of the plain maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// The node itself.
    Config(NodeConfig),
    /// Another node.
    Peer(Peer),
    /// A task's interface.
    Port(TaskPort),
    /// An endpoint, in either map.
    Endpoint(Endpoint),
    /// An address of this node.
    Local(Local),
    /// Who asks the DNS server.
    DnsClient(DnsClient),
}

/// Key of a frontend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrontendKey {
    /// A virtual address in a network.
    Vip(Vni, Ipv4Addr),
    /// A published port on an address of this node.
    Published(Ipv4Addr, u16, Protocol),
}

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

/// A frontend as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Its entry.
    pub entry: Frontend,
    /// What its slice holds.
    pub backends: Vec<EndpointId>,
}

impl Placed {
    /// The slice that the entry points to.
    pub fn slice(&self) -> Slice {
        Slice { offset: self.entry.offset, len: self.entry.count }
    }

    fn serves(&self, wanted: &Balanced) -> bool {
        self.backends == wanted.backends
            && self.entry.service == wanted.service
            && self.entry.target.get() == wanted.target
    }
}

/// What the maps hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    /// Entries of the plain maps.
    pub entries: BTreeMap<Key, Value>,
    /// Frontends.
    pub frontends: BTreeMap<FrontendKey, Placed>,
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
        for (id, endpoint) in &state.endpoints {
            tables.endpoint(state, facts, *id, endpoint);
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
        id: EndpointId,
        endpoint: &desired::Endpoint,
    ) {
        let IpAddr::V4(address) = endpoint.address else { return };
        let mut place =
            Endpoint { id, vni: endpoint.vni, address: address.into(), ifindex: 0, node: Be32::ZERO };
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

/// One step on the maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableOperation {
    /// Write an entry.
    Put(Key, Value),
    /// Write the backends into their slice, and the frontend's entry then.
    PutFrontend(FrontendKey, Placed),
    /// Take a frontend out.
    DeleteFrontend(FrontendKey),
    /// Take an entry out.
    Delete(Key),
}

/// No frontend more fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// The array of backends is full.
    #[error(transparent)]
    Backends(#[from] Full),
    /// There are more frontends than turns.
    #[error("no more than {TURNS_LEN} virtual addresses and published ports fit on a node")]
    Frontends,
}

/// The operations from `from` to `to`: first what new things need, frontends last; then frontends that are
/// gone, and last what they needed. Slices that `from` uses must be taken in `slices`; those that are let go
/// are given back.
pub fn tables(
    from: &Tables,
    to: &DesiredTables,
    slices: &mut Slices,
    now: Instant,
) -> Result<Vec<TableOperation>, NoRoom> {
    let mut operations = Vec::new();
    let changed = to.entries.iter().filter(|(key, value)| from.entries.get(key) != Some(value));
    operations.extend(changed.map(|(key, value)| TableOperation::Put(*key, *value)));

    let mut turns = Turns::new(from);
    for (key, wanted) in &to.frontends {
        let there = from.frontends.get(key);
        if there.is_some_and(|there| there.serves(wanted)) {
            continue;
        }
        let slice = slices.take(u32::try_from(wanted.backends.len()).unwrap_or(u32::MAX), now)?;
        let turn = match there {
            Some(there) => there.entry.turn,
            None => turns.take()?,
        };
        let generation = there.map_or(1, |there| there.entry.generation.wrapping_add(1));
        operations.push(TableOperation::PutFrontend(*key, place(wanted, slice, turn, generation)));
        if let Some(there) = there {
            slices.give_back(there.slice(), now);
        }
    }
    for (key, there) in &from.frontends {
        if !to.frontends.contains_key(key) {
            operations.push(TableOperation::DeleteFrontend(*key));
            slices.give_back(there.slice(), now);
        }
    }
    let gone = from.entries.keys().rev().filter(|key| !to.entries.contains_key(key));
    operations.extend(gone.map(|key| TableOperation::Delete(*key)));
    Ok(operations)
}

fn place(wanted: &Balanced, slice: Slice, turn: u32, generation: u32) -> Placed {
    let entry = Frontend {
        service: wanted.service,
        turn,
        offset: slice.offset,
        count: slice.len,
        generation,
        target: Be16::new(wanted.target),
        reserved: 0,
    };
    Placed { entry, backends: wanted.backends.clone() }
}

/// Free places in the array of turns, lowest first.
struct Turns {
    taken: BTreeSet<u32>,
    next: u32,
}

impl Turns {
    /// A frontend that stays keeps its turn; the turn of one that goes is free only in the next plan.
    fn new(from: &Tables) -> Self {
        Self { taken: from.frontends.values().map(|placed| placed.entry.turn).collect(), next: 0 }
    }

    fn take(&mut self) -> Result<u32, NoRoom> {
        while self.taken.contains(&self.next) {
            self.next += 1;
        }
        if self.next >= TURNS_LEN {
            return Err(NoRoom::Frontends);
        }
        self.next += 1;
        Ok(self.next - 1)
    }
}

impl Tables {
    /// What the maps hold after the operation.
    pub fn note(&mut self, operation: &TableOperation) {
        match operation {
            TableOperation::Put(key, value) => {
                self.entries.insert(*key, *value);
            }
            TableOperation::PutFrontend(key, placed) => {
                self.frontends.insert(*key, placed.clone());
            }
            TableOperation::DeleteFrontend(key) => {
                self.frontends.remove(key);
            }
            TableOperation::Delete(key) => {
                self.entries.remove(key);
            }
        }
    }

    /// Slices in use.
    pub fn slices(&self) -> impl Iterator<Item = Slice> + '_ {
        self.frontends.values().map(Placed::slice)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config => f.write_str("config"),
            Self::Peer(address) => write!(f, "peer {address}"),
            Self::Port(ifindex) => write!(f, "port {ifindex}"),
            Self::Endpoint(vni, address) => write!(f, "endpoint {vni}/{address}"),
            Self::Backend(id) => write!(f, "backend {id}"),
            Self::Local(address) => write!(f, "local {address}"),
            Self::DnsClient(address) => write!(f, "dns-client {address}"),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(config) => write!(
                f,
                "{:?} vxlan {} dns {} uplink {} mtu {} flags {}",
                config.data_path_addr,
                config.vxlan_ifindex,
                config.dns_ifindex,
                config.uplink_ifindex,
                config.tunnel_mtu,
                config.flags
            ),
            Self::Peer(peer) => write!(f, "mtu {}", peer.tunnel_mtu),
            Self::Port(port) => write!(
                f,
                "{}/{:?} id {} gateway {:?} mask {:?} dns {:?} mtu {}",
                port.vni, port.address, port.endpoint, port.gateway, port.mask, port.dns_client, port.mtu
            ),
            Self::Endpoint(at) if at.ifindex != 0 => {
                write!(f, "{}/{:?} id {} at port {}", at.vni, at.address, at.id, at.ifindex)
            }
            Self::Endpoint(at) => {
                write!(f, "{}/{:?} id {} at node {:?}", at.vni, at.address, at.id, at.node)
            }
            Self::Local(local) => write!(f, "uplink {}", local.ifindex),
            Self::DnsClient(client) => write!(f, "port {} address {:?}", client.ifindex, client.address),
        }
    }
}

impl fmt::Display for FrontendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vip(vni, address) => write!(f, "vip {vni}/{address}"),
            Self::Published(address, port, Protocol::Tcp) => write!(f, "published {address}:{port}/tcp"),
            Self::Published(address, port, Protocol::Udp) => write!(f, "published {address}:{port}/udp"),
        }
    }
}

impl fmt::Display for TableOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(key, value) => write!(f, "put {key} = {value}"),
            Self::PutFrontend(key, placed) => {
                let entry = &placed.entry;
                write!(f, "put {key} = slice {}+{} turn {}", entry.offset, entry.count, entry.turn)?;
                write!(f, " generation {} backends {:?}", entry.generation, placed.backends)?;
                if entry.target == Be16::ZERO { Ok(()) } else { write!(f, " target {:?}", entry.target) }
            }
            Self::DeleteFrontend(key) => write!(f, "delete {key}"),
            Self::Delete(key) => write!(f, "delete {key}"),
        }
    }
}
