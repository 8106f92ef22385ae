//! The maps that the daemon writes: reading them whole, and doing one operation of a plan.

use std::net::Ipv4Addr;

use aya::Pod;
use aya::maps::{Array, HashMap, MapData, MapError};
use mesh_abi::conntrack::{TCP, UDP};
use mesh_abi::net::{
    DnsClient, Endpoint, EndpointKey, Frontend, Local, NodeConfig, Peer, PublishedKey, TaskPort,
};
use mesh_abi::{Be16, Be32, map};

use super::pins::{Pins, TableError};
use crate::desired::{EndpointId, Protocol, Vni};
use crate::plan::{FrontendKey, Key, Placed, TableOperation, Tables, Value};

type Hash<K, V> = HashMap<MapData, K, V>;

/// Open handles of the maps.
pub struct Maps {
    config: Array<MapData, NodeConfig>,
    peers: Hash<Be32, Peer>,
    ports: Hash<u32, TaskPort>,
    endpoints: Hash<EndpointKey, Endpoint>,
    backends: Hash<u32, Endpoint>,
    locals: Hash<Be32, Local>,
    dns_clients: Hash<Be32, DnsClient>,
    vips: Hash<EndpointKey, Frontend>,
    published: Hash<PublishedKey, Frontend>,
    slices: Array<MapData, u32>,
}

impl Maps {
    /// Opens the pinned maps.
    pub fn open(pins: &Pins) -> Result<Self, TableError> {
        Ok(Self {
            config: pins.array(map::CONFIG)?,
            peers: pins.hash(map::PEERS)?,
            ports: pins.hash(map::PORTS)?,
            endpoints: pins.hash(map::ENDPOINTS)?,
            backends: pins.hash(map::BACKENDS)?,
            locals: pins.hash(map::LOCALS)?,
            dns_clients: pins.hash(map::DNS_CLIENTS)?,
            vips: pins.hash(map::VIPS)?,
            published: pins.hash(map::PUBLISHED)?,
            slices: pins.array(map::SLICES)?,
        })
    }

    /// Everything that the maps hold.
    pub fn read(&self) -> Result<Tables, TableError> {
        let mut tables = Tables::default();
        let config = self.config.get(&0, 0).map_err(TableError::new("read", map::CONFIG))?;
        if config != NodeConfig::default() {
            tables.entries.insert(Key::Config, Value::Config(config));
        }
        let mut plain = |entries: Vec<(Key, Value)>| tables.entries.extend(entries);
        plain(all(&self.peers, map::PEERS, |key, value| (Key::Peer(key.into()), Value::Peer(value)))?);
        plain(all(&self.ports, map::PORTS, |key, value| (Key::Port(key), Value::Port(value)))?);
        plain(all(&self.endpoints, map::ENDPOINTS, |key, value| {
            (Key::Endpoint(key.vni, key.address.into()), Value::Endpoint(value))
        })?);
        plain(all(&self.backends, map::BACKENDS, |key, value| (Key::Backend(key), Value::Endpoint(value)))?);
        plain(all(&self.locals, map::LOCALS, |key, value| (Key::Local(key.into()), Value::Local(value)))?);
        plain(all(&self.dns_clients, map::DNS_CLIENTS, |key, value| {
            (Key::DnsClient(key.into()), Value::DnsClient(value))
        })?);
        let vips =
            all(&self.vips, map::VIPS, |key, entry| (FrontendKey::Vip(key.vni, key.address.into()), entry))?;
        let published = all(&self.published, map::PUBLISHED, |key, entry| (read_published(key), entry))?;
        for (key, entry) in vips.into_iter().chain(published) {
            tables.frontends.insert(key, Placed { entry, backends: self.slice(&entry) });
        }
        Ok(tables)
    }

    /// Does one operation. Taking out what is gone already is no error.
    pub fn apply(&mut self, operation: &TableOperation) -> Result<(), TableError> {
        match operation {
            TableOperation::Put(key, value) => self.put(*key, *value),
            TableOperation::PutFrontend(key, placed) => self.put_frontend(*key, placed),
            TableOperation::DeleteFrontend(FrontendKey::Vip(vni, address)) => {
                remove(&mut self.vips, map::VIPS, &endpoint_key(*vni, *address))
            }
            TableOperation::DeleteFrontend(FrontendKey::Published(address, port, protocol)) => {
                remove(&mut self.published, map::PUBLISHED, &published_key(*address, *port, *protocol))
            }
            TableOperation::Delete(key) => self.delete(*key),
        }
    }

    fn put(&mut self, key: Key, value: Value) -> Result<(), TableError> {
        match (key, value) {
            (Key::Config, Value::Config(config)) => {
                self.config.set(0, config, 0).map_err(TableError::new("write", map::CONFIG))
            }
            (Key::Peer(key), Value::Peer(value)) => insert(&mut self.peers, map::PEERS, key.into(), value),
            (Key::Port(key), Value::Port(value)) => insert(&mut self.ports, map::PORTS, key, value),
            (Key::Endpoint(vni, address), Value::Endpoint(value)) => {
                insert(&mut self.endpoints, map::ENDPOINTS, endpoint_key(vni, address), value)
            }
            (Key::Backend(key), Value::Endpoint(value)) => {
                insert(&mut self.backends, map::BACKENDS, key, value)
            }
            (Key::Local(key), Value::Local(value)) => {
                insert(&mut self.locals, map::LOCALS, key.into(), value)
            }
            (Key::DnsClient(key), Value::DnsClient(value)) => {
                insert(&mut self.dns_clients, map::DNS_CLIENTS, key.into(), value)
            }
            (key, value) => unreachable!("a plan never pairs {key:?} with {value:?}"),
        }
    }

    fn put_frontend(&mut self, key: FrontendKey, placed: &Placed) -> Result<(), TableError> {
        for (place, backend) in (placed.entry.offset..).zip(&placed.backends) {
            self.slices.set(place, *backend, 0).map_err(TableError::new("write", map::SLICES))?;
        }
        match key {
            FrontendKey::Vip(vni, address) => {
                insert(&mut self.vips, map::VIPS, endpoint_key(vni, address), placed.entry)
            }
            FrontendKey::Published(address, port, protocol) => {
                let key = published_key(address, port, protocol);
                insert(&mut self.published, map::PUBLISHED, key, placed.entry)
            }
        }
    }

    fn delete(&mut self, key: Key) -> Result<(), TableError> {
        match key {
            Key::Config => {
                let none = NodeConfig::default();
                self.config.set(0, none, 0).map_err(TableError::new("write", map::CONFIG))
            }
            Key::Peer(key) => remove(&mut self.peers, map::PEERS, &key.into()),
            Key::Port(key) => remove(&mut self.ports, map::PORTS, &key),
            Key::Endpoint(vni, address) => {
                remove(&mut self.endpoints, map::ENDPOINTS, &endpoint_key(vni, address))
            }
            Key::Backend(key) => remove(&mut self.backends, map::BACKENDS, &key),
            Key::Local(key) => remove(&mut self.locals, map::LOCALS, &key.into()),
            Key::DnsClient(key) => remove(&mut self.dns_clients, map::DNS_CLIENTS, &key.into()),
        }
    }

    /// What a slice holds; a place beyond the array reads as no endpoint, so that a damaged entry differs from
    /// every wanted one and is written anew.
    fn slice(&self, entry: &Frontend) -> Vec<EndpointId> {
        let end = entry.offset.saturating_add(entry.count.min(map::SLICES_LEN));
        (entry.offset..end).map(|place| self.slices.get(&place, 0).unwrap_or(0)).collect()
    }
}

/// Every entry of a hash. One that goes away while it is read is left out.
fn all<K: Pod, V: Pod, T>(
    hash: &Hash<K, V>,
    name: &'static str,
    read: impl Fn(K, V) -> T,
) -> Result<Vec<T>, TableError> {
    let mut found = Vec::new();
    for entry in hash {
        match entry {
            Ok((key, value)) => found.push(read(key, value)),
            Err(MapError::KeyNotFound) => {}
            Err(error) => return Err(TableError::new("read", name)(error)),
        }
    }
    Ok(found)
}

fn insert<K: Pod, V: Pod>(
    hash: &mut Hash<K, V>,
    name: &'static str,
    key: K,
    value: V,
) -> Result<(), TableError> {
    hash.insert(key, value, 0).map_err(TableError::new("write", name))
}

fn remove<K: Pod, V: Pod>(hash: &mut Hash<K, V>, name: &'static str, key: &K) -> Result<(), TableError> {
    match hash.remove(key) {
        Err(error) if !is_missing(&error) => Err(TableError::new("write", name)(error)),
        _ => Ok(()),
    }
}

/// The key was not there.
pub(crate) fn is_missing(error: &MapError) -> bool {
    match error {
        MapError::KeyNotFound | MapError::ElementNotFound => true,
        MapError::SyscallError(error) => error.io_error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

fn endpoint_key(vni: Vni, address: Ipv4Addr) -> EndpointKey {
    EndpointKey { vni, address: address.into() }
}

fn published_key(address: Ipv4Addr, port: u16, protocol: Protocol) -> PublishedKey {
    let protocol = match protocol {
        Protocol::Tcp => TCP,
        Protocol::Udp => UDP,
    };
    PublishedKey { address: address.into(), port: Be16::new(port), protocol, reserved: 0 }
}

fn read_published(key: PublishedKey) -> FrontendKey {
    let protocol = if key.protocol == TCP { Protocol::Tcp } else { Protocol::Udp };
    FrontendKey::Published(key.address.into(), key.port.get(), protocol)
}
