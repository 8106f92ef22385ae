//! Operations on the maps as text, for reports and goldens.

use std::fmt;

use mesh_abi::Be16;
use mesh_abi::net::RETIRED;

use super::tables::{FrontendKey, Key, TableOperation, Value};
use crate::desired::Protocol;

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
            Self::Endpoint(at) => {
                write!(f, "{}/{:?} id {} at ", at.vni, at.address, at.id)?;
                if at.ifindex != 0 {
                    write!(f, "port {}", at.ifindex)?;
                } else {
                    write!(f, "node {:?}", at.node)?;
                }
                f.write_str(if at.flags & RETIRED == 0 { "" } else { " retired" })
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
