//! What this node tells of itself: name, platform, resources, its own networks, and the ports that its
//! processes listen on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;

use ipnet::{IpNet, Ipv4Net};
use mesh_core::object::NodeDescription;
use mesh_core::port::{Port, Protocol};
use mesh_core::spec::{GenericAmount, ResourceAmount};
use nix::unistd::{SysconfVar, gethostname, sysconf};

use crate::rpc::MANAGEMENT_PORT;

/// Ports of the mesh itself; they are reserved by contract and need not be told.
const OWN_PORTS: [(u16, Protocol); 2] = [(MANAGEMENT_PORT, Protocol::Tcp), (7946, Protocol::Udp)];

/// Generic resources that the operator says are here.
static OFFERED: OnceLock<BTreeMap<String, GenericAmount>> = OnceLock::new();

/// Says what generic resources this node has. They are read at the daemon's start and stay; later calls change
/// nothing.
pub fn offer(generic: BTreeMap<String, GenericAmount>) {
    OFFERED.get_or_init(|| generic);
}

/// Describes this node as it is now.
pub fn describe() -> NodeDescription {
    NodeDescription {
        hostname: hostname(),
        os: std::env::consts::OS.to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
        resources: ResourceAmount { nano_cpus: nano_cpus(), memory_bytes: memory_bytes() },
        generic: OFFERED.get().cloned().unwrap_or_default(),
        engine_version: env!("CARGO_PKG_VERSION").to_owned(),
        engine_labels: BTreeMap::new(),
        routes: routes(&read("/proc/net/route")),
        listening: listening_now(),
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn hostname() -> String {
    gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn nano_cpus() -> u64 {
    let count = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten().unwrap_or(1);
    u64::try_from(count).unwrap_or(1) * 1_000_000_000
}

fn memory_bytes() -> u64 {
    let meminfo = read("/proc/meminfo");
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = total.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

/// Networks in `/proc/net/route`, without the default route and loopback.
fn routes(table: &str) -> Vec<IpNet> {
    let found: BTreeSet<IpNet> = table.lines().skip(1).filter_map(route).collect();
    found.into_iter().collect()
}

fn route(line: &str) -> Option<IpNet> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let (interface, destination, mask) = (columns.first()?, columns.get(1)?, columns.get(7)?);
    // The file holds the words as they lie in memory, in network byte order.
    let word = |text: &str| u32::from_str_radix(text, 16).ok().map(|word| Ipv4Addr::from(word.to_ne_bytes()));
    let network = Ipv4Net::with_netmask(word(destination)?, word(mask)?).ok()?;
    (network.prefix_len() > 0 && *interface != "lo").then_some(IpNet::V4(network))
}

fn listening_now() -> Vec<(Port, Protocol)> {
    let own = own_sockets();
    let mut found = BTreeSet::new();
    for (path, protocol, state) in [
        ("/proc/net/tcp", Protocol::Tcp, "0A"),
        ("/proc/net/tcp6", Protocol::Tcp, "0A"),
        ("/proc/net/udp", Protocol::Udp, "07"),
        ("/proc/net/udp6", Protocol::Udp, "07"),
    ] {
        found.extend(listening(&read(path), state, &own).into_iter().map(|port| (port, protocol)));
    }
    found.retain(|(port, protocol)| !OWN_PORTS.contains(&(port.get(), *protocol)));
    found.into_iter().collect()
}

/// Inodes of the sockets of this process.
fn own_sockets() -> BTreeSet<u64> {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return BTreeSet::new() };
    let targets = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    targets
        .filter_map(|target| target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
        .collect()
}

/// Ports in a table of sockets that are in `state`, reachable from outside, and not in `own`.
fn listening(table: &str, state: &str, own: &BTreeSet<u64>) -> Vec<Port> {
    table.lines().skip(1).filter_map(|line| listener(line, state, own)).collect()
}

fn listener(line: &str, state: &str, own: &BTreeSet<u64>) -> Option<Port> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let (address, port) = columns.get(1)?.split_once(':')?;
    let inode: u64 = columns.get(9)?.parse().ok()?;
    let taken = columns.get(3) == Some(&state) && !socket_address(address)?.is_loopback();
    if taken && !own.contains(&inode) { Port::new(u16::from_str_radix(port, 16).ok()?) } else { None }
}

/// Reads an address as `/proc/net` writes it: words of 32 bits as they lie in memory.
fn socket_address(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::new();
    for start in (0..text.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(text.get(start..start + 8)?, 16).ok()?.to_ne_bytes());
    }
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn routes_without_default_and_loopback() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
            lo\t0000007F\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n\
            broken\n";
        assert_eq!(routes(table), ["192.0.2.0/24".parse::<IpNet>().unwrap()]);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn listeners_without_connections_loopback_and_our_own() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
        let line = |address: &str, state: &str, inode: u64| {
            format!(
                "0: {address} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 0 0 {inode} 1\n"
            )
        };
        let table = [
            head.to_owned(),
            line("00000000:0016", "0A", 1),
            line("0100007F:0017", "0A", 2),
            line("00000000:0018", "01", 3),
            line("0B0200C0:0019", "0A", 4),
            line("00000000:001A", "0A", 5),
            line("00000000000000000000000000000000:001B", "0A", 6),
            line("00000000000000000000000001000000:001C", "0A", 7),
        ]
        .concat();
        let ports: Vec<u16> =
            listening(&table, "0A", &BTreeSet::from([5])).into_iter().map(Port::get).collect();
        assert_eq!(ports, [22, 25, 27]);
    }

    #[test]
    fn a_listener_of_another_process_group_member_is_told_but_not_our_own() {
        let ours = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let port = Port::new(ours.local_addr().unwrap().port()).unwrap();
        assert!(!describe().listening.contains(&(port, Protocol::Tcp)));
        let table = read("/proc/net/tcp");
        assert!(listening(&table, "0A", &BTreeSet::new()).contains(&port));
    }
}
