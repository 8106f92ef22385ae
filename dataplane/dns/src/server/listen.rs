//! The sockets that questions arrive at, opened in the DNS namespace or taken over from a running server.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns};
use socket2::{Domain, Protocol, Socket, Type};

/// Room for datagrams that arrive while the server is not running: about 1,000 questions.
const RECEIVE_BUFFER: usize = 1 << 20;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 256;
/// The namespace that a process is in, when no other is named.
const OWN_NETNS: &str = "/proc/self/ns/net";

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The namespace cannot be entered.
    #[error("enter network namespace {}: {error}", .path.display())]
    Netns {
        /// The namespace's file.
        path: PathBuf,
        /// What came of it.
        error: io::Error,
    },
    /// A socket cannot be opened.
    #[error("listen on {address} ({protocol}): {error}")]
    Socket {
        /// The address.
        address: SocketAddr,
        /// `udp` or `tcp`.
        protocol: &'static str,
        /// What came of it.
        error: io::Error,
    },
    /// The thread that opens sockets died.
    #[error("the thread that opens sockets in {} died", .path.display())]
    Thread {
        /// The namespace's file.
        path: PathBuf,
    },
}

/// Where questions arrive.
#[derive(Debug)]
pub struct Sockets {
    /// Datagrams.
    pub udp: UdpSocket,
    /// Connections.
    pub tcp: TcpListener,
    /// Inode number of the namespace that they are in.
    pub netns: u64,
}

impl Sockets {
    /// Opens them. The namespace is entered by a thread of its own, which ends with it: the process itself
    /// stays in the node's namespace and asks upstreams from there.
    pub fn open(netns: Option<&Path>, address: SocketAddr) -> Result<Self, ListenError> {
        let inode = netns_inode(netns)?;
        let Some(path) = netns else { return Self::open_here(inode, address) };
        let thread = std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                enter(path).map_err(|error| ListenError::Netns { path: path.to_owned(), error })?;
                Self::open_here(inode, address)
            });
            inside.join()
        });
        thread.unwrap_or_else(|_| Err(ListenError::Thread { path: path.to_owned() }))
    }

    fn open_here(netns: u64, address: SocketAddr) -> Result<Self, ListenError> {
        let fail = |protocol| move |error| ListenError::Socket { address, protocol, error };
        let tcp: TcpListener = open(address, Type::STREAM).map_err(fail("tcp"))?.into();
        // A test that lets the kernel choose a port means one port for both.
        let bound = tcp.local_addr().map_err(fail("tcp"))?;
        let udp = open(bound, Type::DGRAM).map_err(fail("udp"))?.into();
        Ok(Self { udp, tcp, netns })
    }

    /// From descriptors that another server handed over.
    pub fn from_descriptors(udp: OwnedFd, tcp: OwnedFd, netns: u64) -> Self {
        Self { udp: udp.into(), tcp: tcp.into(), netns }
    }

    /// Where they listen.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }
}

/// Inode number that tells namespaces apart; of the process' own when none is named.
pub fn netns_inode(netns: Option<&Path>) -> Result<u64, ListenError> {
    let path = netns.unwrap_or(Path::new(OWN_NETNS));
    let metadata = std::fs::metadata(path);
    metadata.map(|file| file.ino()).map_err(|error| ListenError::Netns { path: path.to_owned(), error })
}

fn enter(path: &Path) -> io::Result<()> {
    Ok(setns(File::open(path)?, CloneFlags::CLONE_NEWNET)?)
}

fn open(address: SocketAddr, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None::<Protocol>)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv4() {
        // The address may come to its interface after the server has started.
        socket.set_freebind_v4(true)?;
    }
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    } else {
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    }
    socket.bind(&address.into())?;
    if kind == Type::STREAM {
        socket.listen(BACKLOG)?;
    }
    Ok(socket)
}
