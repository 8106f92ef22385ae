//! The ports that processes of this node listen on.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use mesh_core::port::{Port, Protocol};
use mesh_runtime::sockets;

use super::{diag, read};
use crate::rpc::MANAGEMENT_PORT;

/// Ports of the mesh itself; they are reserved by contract and need not be told.
const OWN_PORTS: [(u16, Protocol); 2] = [(MANAGEMENT_PORT, Protocol::Tcp), (7946, Protocol::Udp)];

/// The ports that the kernel gives out, where it does not say (`Documentation/networking/ip-sysctl.rst`).
const KERNEL_CHOSEN: RangeInclusive<u16> = 32_768..=60_999;

/// A socket that waits for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listener {
    pub protocol: Protocol,
    pub address: IpAddr,
    pub port: u16,
    pub inode: u64,
}

/// What is not told of.
struct Silence {
    /// Inodes of the sockets of this process.
    own: BTreeSet<u64>,
    /// A UDP port that the kernel chose is a client's.
    kernel_chosen: RangeInclusive<u16>,
}

/// Ports that others can reach, and that are not the mesh's. Blocking.
pub fn now() -> Vec<(Port, Protocol)> {
    let silence = Silence {
        own: own_sockets(),
        kernel_chosen: range(&read("/proc/sys/net/ipv4/ip_local_port_range")).unwrap_or(KERNEL_CHOSEN),
    };
    // A kernel without sock_diag(7) has the tables, at the price of all its connections.
    silence.keep(diag::listeners().unwrap_or_else(|_| tables()))
}

impl Silence {
    fn keep(&self, listeners: impl IntoIterator<Item = Listener>) -> Vec<(Port, Protocol)> {
        let told = listeners.into_iter().filter(|listener| !self.covers(listener));
        let found: BTreeSet<_> =
            told.filter_map(|listener| Some((Port::new(listener.port)?, listener.protocol))).collect();
        found.into_iter().collect()
    }

    fn covers(&self, listener: &Listener) -> bool {
        let Listener { protocol, address, port, inode } = *listener;
        address.is_loopback()
            || self.own.contains(&inode)
            || OWN_PORTS.contains(&(port, protocol))
            || protocol == Protocol::Udp && self.kernel_chosen.contains(&port)
    }
}

/// `32768 60999`, a tab between them.
fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once(char::is_whitespace)?;
    Some(first.parse().ok()?..=last.trim().parse().ok()?)
}

/// Inodes of the sockets of this process.
fn own_sockets() -> BTreeSet<u64> {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return BTreeSet::new() };
    let targets = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    targets
        .filter_map(|target| target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
        .collect()
}

/// What `/proc/net` tells (proc(5)).
fn tables() -> Vec<Listener> {
    let mut found = Vec::new();
    for (path, protocol) in [
        ("/proc/net/tcp", Protocol::Tcp),
        ("/proc/net/tcp6", Protocol::Tcp),
        ("/proc/net/udp", Protocol::Udp),
        ("/proc/net/udp6", Protocol::Udp),
    ] {
        found.extend(listeners(&read(path), protocol));
    }
    found
}

fn listeners(table: &str, protocol: Protocol) -> impl Iterator<Item = Listener> {
    table.lines().skip(1).filter_map(move |line| listener(line, protocol))
}

fn listener(line: &str, protocol: Protocol) -> Option<Listener> {
    // LISTEN and CLOSE, by the kernel's numbers; a UDP socket without a peer is in the latter.
    let waits = match protocol {
        Protocol::Tcp => "0A",
        Protocol::Udp => "07",
    };
    let columns: Vec<&str> = line.split_whitespace().collect();
    let (address, port) = columns.get(1)?.split_once(':')?;
    let inode = columns.get(9)?.parse().ok()?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let found = Listener { protocol, address: sockets::address(address)?, port, inode };
    (columns.get(3) == Some(&waits)).then_some(found)
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, UdpSocket};

    use super::*;

    /// A table of (local address, state, inode).
    fn table(sockets: &[(&str, &str, u64)]) -> String {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
        let line = |(address, state, inode): &(&str, &str, u64)| {
            format!(
                "0: {address} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 0 0 {inode} 1\n"
            )
        };
        head.to_owned() + &sockets.iter().map(line).collect::<String>()
    }

    fn kept(table: &str, protocol: Protocol) -> Vec<u16> {
        let silence = Silence { own: BTreeSet::from([5]), kernel_chosen: KERNEL_CHOSEN };
        silence.keep(listeners(table, protocol)).into_iter().map(|(port, _)| port.get()).collect()
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn listeners_without_connections_loopback_and_our_own() {
        let table = table(&[
            ("00000000:0016", "0A", 1),
            ("0100007F:0017", "0A", 2),
            ("00000000:0018", "01", 3),
            ("0B0200C0:0019", "0A", 4),
            ("00000000:001A", "0A", 5),
            ("00000000000000000000000000000000:001B", "0A", 6),
            ("00000000000000000000000001000000:001C", "0A", 7),
            ("00000000:AFC8", "0A", 8),
        ]);
        assert_eq!(kept(&table, Protocol::Tcp), [22, 25, 27, 45_000]);
    }

    #[test]
    fn a_udp_port_that_the_kernel_chose_is_a_clients() {
        let table =
            table(&[("00000000:0035", "07", 1), ("00000000:AFC8", "07", 2), ("00000000:0036", "01", 3)]);
        assert_eq!(kept(&table, Protocol::Udp), [53]);
    }

    #[test]
    fn what_the_kernel_chooses_from() {
        assert_eq!(range("32768\t60999\n"), Some(KERNEL_CHOSEN));
        assert_eq!(range("1024 65535\n"), Some(1024..=65_535));
        for text in ["", "x", "1\n", "1\tx\n"] {
            assert_eq!(range(text), None, "{text:?}");
        }
    }

    /// What the kernel has there, by `sock_diag` and by its tables.
    fn both(protocol: Protocol, at: SocketAddr) -> [Vec<Listener>; 2] {
        let is_there = |listener: &Listener| {
            (listener.protocol, listener.address, listener.port) == (protocol, at.ip(), at.port())
        };
        [diag::listeners().unwrap(), tables()].map(|all| all.into_iter().filter(is_there).collect())
    }

    #[test]
    fn a_listener_of_another_process_group_member_is_told_but_not_our_own() {
        let ours = TcpListener::bind("0.0.0.0:0").unwrap();
        let at = ours.local_addr().unwrap();
        assert!(!now().contains(&(Port::new(at.port()).unwrap(), Protocol::Tcp)));
        assert_eq!(both(Protocol::Tcp, at).map(|found| found.len()), [1, 1]);
    }

    #[test]
    fn sock_diag_says_what_the_tables_say() {
        for address in ["0.0.0.0:0", "127.0.0.1:0", "[::]:0", "[::1]:0"] {
            let (Ok(tcp), Ok(udp)) = (TcpListener::bind(address), UdpSocket::bind(address)) else { continue };
            for (protocol, at) in
                [(Protocol::Tcp, tcp.local_addr().unwrap()), (Protocol::Udp, udp.local_addr().unwrap())]
            {
                let [diag, tables] = both(protocol, at);
                assert_eq!((diag.len(), &diag), (1, &tables), "{protocol} {at}");
            }
            // A connected socket waits for nobody else.
            udp.connect(udp.local_addr().unwrap()).unwrap();
            assert_eq!(both(Protocol::Udp, udp.local_addr().unwrap()), [[], []]);
        }
    }
}
