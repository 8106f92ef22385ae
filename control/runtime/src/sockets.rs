//! The TCP connections of a task, as its network namespace tells them (proc(5), `/proc/net/tcp`; the kernel's
//! `net/ipv4/tcp_ipv4.c`, `include/net/tcp_states.h`).

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::thread;

use nix::sched::{CloneFlags, setns};

/// Connections of a task that are not over. Those within the task itself do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Connections {
    /// Opened by others, to ports that the task listens on.
    pub inbound: usize,
    /// Closed by the task, and the other side has not acknowledged all of it.
    pub unsent: usize,
}

/// States of a socket, by the kernel's numbers.
mod state {
    pub const SYN_SENT: u8 = 2;
    pub const FIN_WAIT1: u8 = 4;
    pub const TIME_WAIT: u8 = 6;
    pub const CLOSE: u8 = 7;
    pub const LAST_ACK: u8 = 9;
    pub const LISTEN: u8 = 10;
    pub const CLOSING: u8 = 11;
}

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Socket {
    local: IpAddr,
    port: u16,
    peer: IpAddr,
    state: u8,
}

impl Socket {
    /// Both ends are the task's: by loopback, or by an address that it has.
    fn is_within(&self) -> bool {
        self.peer.is_loopback() || self.peer == self.local
    }
}

impl Connections {
    /// Reads the connections in the namespace that is mounted at `netns`. Blocking.
    pub fn of_namespace(netns: &Path) -> io::Result<Self> {
        let namespace = File::open(netns)?;
        // A thread that ends here: nothing else ever runs in the task's namespace.
        let look = thread::Builder::new().name("sockets".to_owned()).spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET)?;
            let table = |name: &str| match fs::read_to_string(Path::new("/proc/thread-self/net").join(name)) {
                // A kernel without IPv6 has no table of it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
                read => read,
            };
            Ok(Self::of_tables(&[table("tcp")?, table("tcp6")?]))
        });
        look?.join().unwrap_or_else(|_| Err(io::Error::other("the thread that looks panicked")))
    }

    fn of_tables(tables: &[String]) -> Self {
        let sockets = || tables.iter().flat_map(|table| table.lines().skip(1)).filter_map(socket);
        let listening: BTreeSet<u16> =
            sockets().filter(|socket| socket.state == state::LISTEN).map(|socket| socket.port).collect();
        let mut connections = Self::default();
        for socket in sockets().filter(|socket| !socket.is_within()) {
            let alive =
                !matches!(socket.state, state::SYN_SENT | state::TIME_WAIT | state::CLOSE | state::LISTEN);
            connections.inbound += usize::from(alive && listening.contains(&socket.port));
            let closing = matches!(socket.state, state::FIN_WAIT1 | state::CLOSING | state::LAST_ACK);
            connections.unsent += usize::from(closing);
        }
        connections
    }
}

/// `sl local_address rem_address st …`: addresses as the numbers that the kernel has in memory, in hexadecimal.
fn socket(line: &str) -> Option<Socket> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, port) = fields.next()?.rsplit_once(':')?;
    let (peer, _) = fields.next()?.rsplit_once(':')?;
    let state = u8::from_str_radix(fields.next()?, 16).ok()?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(Socket { local: address(local)?, port, peer: address(peer)?, state })
}

/// Reads an address as `/proc/net` writes it: words of 32 bits as they lie in memory.
pub fn address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(text.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes());
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let bytes = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    const HEAD: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n";

    /// A table as a little-endian kernel writes it, of (local port, peer, state).
    fn table(sockets: &[(u16, &str, u8)]) -> String {
        let line = |(port, peer, state): &(u16, &str, u8)| {
            format!(
                "   0: 0F00000A:{port:04X} {peer}:D431 {state:02X} 00000000:00000000 00:00000000 00000000\n"
            )
        };
        HEAD.to_owned() + &sockets.iter().map(line).collect::<String>()
    }

    const PEER: &str = "C80200C0";
    const NOBODY: &str = "00000000";
    const LOOPBACK: &str = "0100007F";
    const ITSELF: &str = "0F00000A";

    #[test]
    #[cfg(target_endian = "little")]
    fn what_was_opened_by_others_and_lives_is_inbound() {
        let of = |sockets: &[(u16, &str, u8)]| Connections::of_tables(&[table(sockets)]);
        let listens = (80, NOBODY, 10);
        for (state, inbound, unsent) in [
            (1, 1, 0),
            (3, 1, 0),
            (4, 1, 1),
            (5, 1, 0),
            (6, 0, 0),
            (7, 0, 0),
            (8, 1, 0),
            (9, 1, 1),
            (11, 1, 1),
        ] {
            let seen = of(&[listens, (80, PEER, state)]);
            assert_eq!(seen, Connections { inbound, unsent }, "state {state}");
            assert_eq!(of(&[(80, PEER, state)]).inbound, 0, "nobody listens: the task opened it");
            for own in [LOOPBACK, ITSELF] {
                assert_eq!(of(&[listens, (80, own, state)]), Connections::default(), "the task's own");
            }
        }
        assert_eq!(of(&[listens, (40_000, PEER, 2)]), Connections::default());
        assert_eq!(Connections::of_tables(&[String::new(), String::new()]), Connections::default());
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_server_of_both_families_is_in_the_other_table() {
        let six = HEAD.to_owned()
            + "   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0\n"
            + "   1: 0000000000000000FFFF00000F00000A:0050 0000000000000000FFFF0000C80200C0:D431 01 0\n"
            + "   2: 00000000000000000000000001000000:0050 00000000000000000000000001000000:D431 01 0\n"
            + "   3: 0000000000000000FFFF00000100007F:0050 0000000000000000FFFF00000100007F:D431 01 0\n"
            + "   4: 0000000000000000FFFF00000F00000A:0050 0000000000000000FFFF00000F00000A:D431 01 0\n"
            + "nonsense\n";
        assert_eq!(Connections::of_tables(&[HEAD.to_owned(), six]), Connections { inbound: 1, unsent: 0 });
    }

    #[test]
    fn the_kernel_writes_it_so() {
        let here = Path::new("/proc/thread-self/net/tcp");
        let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)) else { return };
        let port = listener.local_addr().unwrap().port();
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"x").unwrap();
        server.read_exact(&mut [0]).unwrap();
        let text = fs::read_to_string(here).unwrap();
        let own: Vec<Socket> = text.lines().filter_map(socket).filter(|socket| socket.port == port).collect();
        assert!(own.iter().any(|socket| socket.state == state::LISTEN), "{own:?}");
        assert!(own.iter().any(|socket| socket.state == 1 && socket.peer.is_loopback()), "{own:?}");
    }
}
