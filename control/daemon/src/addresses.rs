//! Which addresses and interfaces this node uses: what was asked for, checked against what the machine has.

use std::net::{IpAddr, SocketAddr};

use mesh_dataplane::netlink::Netlink;
use mesh_dataplane::netns::Netns;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use crate::config::listen_addr;
use crate::error::DaemonError;
use crate::rpc::MANAGEMENT_PORT;

/// The MTU that is taken when an uplink does not tell its own: Ethernet's.
const DEFAULT_MTU: u16 = 1500;

/// An IPv4 address of an interface of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// Interface.
    pub interface: String,
    /// Address.
    pub address: IpAddr,
    /// Up, and no loopback.
    pub usable: bool,
}

/// The machine's IPv4 addresses.
pub fn local_addresses() -> Vec<Local> {
    let Ok(all) = getifaddrs() else { return Vec::new() };
    all.filter_map(|entry| {
        let address = entry.address?.as_sockaddr_in()?.ip();
        let flags = entry.flags;
        let usable = flags.contains(InterfaceFlags::IFF_UP)
            && !flags.contains(InterfaceFlags::IFF_LOOPBACK)
            && !address.is_link_local();
        Some(Local { interface: entry.interface_name, address: address.into(), usable })
    })
    .collect()
}

/// Where this node is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// Where a manager listens.
    pub listen: SocketAddr,
    /// Address that others reach this node at.
    pub advertise: IpAddr,
    /// Port that others reach a manager at.
    pub advertise_port: u16,
    /// Address that tunnels end at.
    pub data_path: IpAddr,
}

/// What was asked for, by a request or else by the daemon's settings.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked<'a> {
    /// `ADDR[:PORT]`
    pub listen: Option<&'a str>,
    /// `ADDR[:PORT]` or an interface.
    pub advertise: Option<&'a str>,
    /// `ADDR` or an interface.
    pub data_path: Option<&'a str>,
}

impl Addresses {
    /// Settles the addresses. `default_listen` and `uplinks` are the daemon's settings.
    pub fn settle(
        asked: Asked<'_>,
        default_listen: SocketAddr,
        uplinks: &[String],
        machine: &[Local],
    ) -> Result<Self, DaemonError> {
        let listen = match asked.listen {
            Some(text) => {
                listen_addr(text).map_err(|_| invalid("ListenAddr", text, "give ADDR, ADDR:PORT or :PORT"))?
            }
            None => default_listen,
        };
        let (advertise, advertise_port) = match asked.advertise {
            Some(text) => reachable("AdvertiseAddr", text, machine)?,
            None if !listen.ip().is_unspecified() => (listen.ip(), None),
            None => (only_address(uplinks, machine)?, None),
        };
        let data_path = match asked.data_path {
            Some(text) => reachable("DataPathAddr", text, machine)?.0,
            None => advertise,
        };
        Ok(Self { listen, advertise, advertise_port: advertise_port.unwrap_or(listen.port()), data_path })
    }
}

fn invalid(field: &'static str, value: &str, reason: &str) -> DaemonError {
    DaemonError::InvalidField { field, value: value.to_owned(), reason: reason.to_owned() }
}

/// Reads `ADDR`, `ADDR:PORT` or the name of an interface.
fn reachable(
    field: &'static str,
    text: &str,
    machine: &[Local],
) -> Result<(IpAddr, Option<u16>), DaemonError> {
    let (address, port) = if let Ok(addr) = text.parse::<SocketAddr>() {
        (addr.ip(), Some(addr.port()))
    } else if let Ok(address) = text.parse::<IpAddr>() {
        (address, None)
    } else {
        (of_interface(field, text, machine)?, None)
    };
    if address.is_unspecified() || address.is_multicast() {
        return Err(invalid(field, text, "others cannot reach a node at this address"));
    }
    if address.is_ipv6() {
        return Err(invalid(field, text, "nodes are joined over IPv4: give an IPv4 address"));
    }
    if port == Some(0) {
        return Err(invalid(field, text, "port 0 cannot be reached"));
    }
    Ok((address, port))
}

fn of_interface(field: &'static str, name: &str, machine: &[Local]) -> Result<IpAddr, DaemonError> {
    let mut addresses = machine.iter().filter(|local| local.interface == name).map(|local| local.address);
    match (addresses.next(), addresses.next()) {
        (Some(address), None) => Ok(address),
        (Some(_), Some(_)) => Err(invalid(field, name, "the interface has several addresses: name one")),
        (None, _) => Err(invalid(field, name, "neither an address nor an interface with an IPv4 address")),
    }
}

/// The only address of the uplinks, or else of the machine.
fn only_address(uplinks: &[String], machine: &[Local]) -> Result<IpAddr, DaemonError> {
    let mut candidates = machine
        .iter()
        .filter(|local| local.usable && (uplinks.is_empty() || uplinks.contains(&local.interface)));
    match (candidates.next(), candidates.next()) {
        (Some(only), None) => Ok(only.address),
        (None, _) => Err(DaemonError::NoAddress),
        (Some(_), Some(_)) => {
            let named = |local: &Local| format!("{} on interface {}", local.address, local.interface);
            let usable = machine.iter().filter(|local| local.usable);
            Err(DaemonError::ManyAddresses { addresses: usable.map(named).collect() })
        }
    }
}

/// A manager's address as a user writes it: `ADDR`, `ADDR:PORT`, `NAME` or `NAME:PORT`.
pub fn remote(text: &str) -> Result<String, DaemonError> {
    let refused = || invalid("RemoteAddrs", text, "give the address of a manager, ADDR[:PORT]");
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, MANAGEMENT_PORT).to_string());
    }
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return if addr.port() == 0 { Err(refused()) } else { Ok(addr.to_string()) };
    }
    let (host, port) = text
        .split_once(':')
        .map_or((text, MANAGEMENT_PORT), |(host, port)| (host, port.parse().unwrap_or(0)));
    let named = !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
        && host.bytes().any(|byte| byte.is_ascii_alphabetic());
    if named && port != 0 { Ok(format!("{host}:{port}")) } else { Err(refused()) }
}

/// The uplinks: those that were named, else the interface that has the data path address.
pub fn uplinks(named: &[String], data_path: IpAddr, machine: &[Local]) -> Vec<String> {
    if named.is_empty() {
        let holds = machine.iter().filter(|local| local.address == data_path);
        holds.map(|local| local.interface.clone()).collect()
    } else {
        named.to_vec()
    }
}

/// The largest IP packet that every uplink carries.
pub async fn path_mtu(uplinks: &[String]) -> u16 {
    let Ok(netlink) = Netns::current().map_err(drop).and_then(|netns| Netlink::open(&netns).map_err(drop))
    else {
        return DEFAULT_MTU;
    };
    let mut smallest = None;
    for name in uplinks {
        if let Ok(link) = netlink.link(name).await {
            let mtu = u16::try_from(link.mtu).unwrap_or(u16::MAX);
            smallest = Some(smallest.map_or(mtu, |least: u16| least.min(mtu)));
        }
    }
    smallest.unwrap_or(DEFAULT_MTU)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Vec<Local> {
        let local = |interface: &str, address: [u8; 4], usable| Local {
            interface: interface.into(),
            address: address.into(),
            usable,
        };
        vec![
            local("lo", [127, 0, 0, 1], false),
            local("eth0", [192, 0, 2, 11], true),
            local("eth1", [198, 51, 100, 4], true),
            local("eth1", [198, 51, 100, 5], true),
        ]
    }

    fn settle(asked: Asked<'_>, uplinks: &[&str]) -> Result<Addresses, String> {
        let uplinks: Vec<String> = uplinks.iter().map(|name| (*name).to_owned()).collect();
        Addresses::settle(asked, ([0, 0, 0, 0], 2377).into(), &uplinks, &machine())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_asked_for_is_taken() {
        let asked =
            Asked { listen: Some(":2400"), advertise: Some("192.0.2.99:2500"), data_path: Some("eth0") };
        let settled = settle(asked, &[]).unwrap();
        assert_eq!(settled.listen.to_string(), "0.0.0.0:2400");
        assert_eq!((settled.advertise.to_string().as_str(), settled.advertise_port), ("192.0.2.99", 2500));
        assert_eq!(settled.data_path.to_string(), "192.0.2.11");
    }

    #[test]
    fn the_only_address_is_chosen_and_several_are_not() {
        assert_eq!(settle(Asked::default(), &["eth0"]).unwrap().advertise.to_string(), "192.0.2.11");
        let error = settle(Asked::default(), &[]).unwrap_err();
        assert!(error.contains("multiple addresses (192.0.2.11 on interface eth0"), "{error}");
        assert!(settle(Asked::default(), &["eth9"]).unwrap_err().contains("--advertise-addr"));
    }

    #[test]
    fn what_cannot_be_reached_is_refused_with_its_field() {
        for text in ["0.0.0.0", "224.0.0.1", "::1", "eth1", "eth9", "192.0.2.11:0", "", "300.1.1.1"] {
            let error = settle(Asked { advertise: Some(text), ..Asked::default() }, &[]).unwrap_err();
            assert!(error.starts_with("invalid AdvertiseAddr"), "{text:?}: {error}");
        }
        let error = settle(Asked { listen: Some("x:y"), ..Asked::default() }, &["eth0"]).unwrap_err();
        assert!(error.starts_with("invalid ListenAddr"), "{error}");
    }

    #[test]
    fn remotes_get_the_port_of_managers() {
        for (text, addr) in [
            ("192.0.2.11", "192.0.2.11:2377"),
            ("192.0.2.11:99", "192.0.2.11:99"),
            ("n1.example", "n1.example:2377"),
            ("n1:2400", "n1:2400"),
            ("::1", "[::1]:2377"),
        ] {
            assert_eq!(remote(text).unwrap(), addr);
        }
        for text in ["", ":", "n1:", "n1:0", "n1:99999", "1.2.3", "a b", "http://n1", "192.0.2.11:0"] {
            assert!(remote(text).is_err(), "{text}");
        }
    }

    #[test]
    fn uplinks_follow_the_data_path_unless_they_are_named() {
        assert_eq!(uplinks(&[], [192, 0, 2, 11].into(), &machine()), ["eth0"]);
        assert_eq!(uplinks(&["x".into()], [192, 0, 2, 11].into(), &machine()), ["x"]);
    }
}
