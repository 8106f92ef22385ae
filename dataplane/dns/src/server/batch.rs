//! Datagrams received and sent many at a time (recvmmsg(2), sendmmsg(2)): under load a question costs a
//! fraction of a system call.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};

/// Datagrams at a time.
const BATCH: usize = 32;
/// Longest datagram; of what is longer, this much is received.
const PACKET_MAX: usize = 4096;
/// Room for an answer before its buffer grows.
const ANSWER_ROOM: usize = 1500;

/// Datagrams that came, with who sent them.
pub struct Received {
    headers: MultiHeaders<SockaddrStorage>,
    packets: Vec<[u8; PACKET_MAX]>,
    from: Vec<(usize, Option<SocketAddr>)>,
}

impl Received {
    /// Room for a batch.
    pub fn new() -> Self {
        Self {
            headers: MultiHeaders::preallocate(BATCH, None),
            packets: vec![[0; PACKET_MAX]; BATCH],
            from: Vec::with_capacity(BATCH),
        }
    }

    /// Takes what waits in the socket, without waiting for more.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<()> {
        self.from.clear();
        let mut slices: Vec<_> = self.packets.iter_mut().map(|packet| [IoSliceMut::new(packet)]).collect();
        let flags = MsgFlags::MSG_DONTWAIT;
        let came = match recvmmsg(socket.as_raw_fd(), &mut self.headers, slices.iter_mut(), flags, None) {
            Ok(came) => came,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        self.from.extend(came.map(|one| (one.bytes, one.address.as_ref().and_then(socket_address))));
        Ok(())
    }

    /// The datagrams of the last batch.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], SocketAddr)> {
        let each = self.packets.iter().zip(&self.from);
        each.filter_map(|(packet, (length, from))| Some((packet.get(..*length)?, (*from)?)))
    }
}

fn socket_address(from: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = from.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
    v4.or_else(|| from.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())))
}

/// Answers that are to be sent together.
pub struct Answers {
    headers: MultiHeaders<SockaddrStorage>,
    packets: Vec<Vec<u8>>,
    to: Vec<Option<SockaddrStorage>>,
}

impl Answers {
    /// Room for a batch.
    pub fn new() -> Self {
        Self {
            headers: MultiHeaders::preallocate(BATCH, None),
            packets: (0..BATCH).map(|_| Vec::with_capacity(ANSWER_ROOM)).collect(),
            to: Vec::with_capacity(BATCH),
        }
    }

    /// The buffer that the next answer is written into; it is sent if [`Answers::add`] follows. `None` when
    /// the batch is full.
    pub fn next(&mut self) -> Option<&mut Vec<u8>> {
        self.packets.get_mut(self.to.len())
    }

    /// Takes what was written into the last buffer for this client.
    pub fn add(&mut self, client: SocketAddr) {
        self.to.push(Some(client.into()));
    }

    /// Sends them all and forgets them. What a full send buffer does not take is lost, as in the network: the
    /// client asks again.
    pub fn send(&mut self, socket: &UdpSocket) {
        let mut sent = 0;
        while sent < self.to.len() {
            sent += match self.send_from(sent, socket) {
                Ok(count) => count.max(1),
                Err(Errno::EINTR) => 0,
                Err(error) => {
                    tracing::debug!(%error, "an answer is not sent");
                    1
                }
            };
        }
        self.to.clear();
    }

    fn send_from(&mut self, first: usize, socket: &UdpSocket) -> Result<usize, Errno> {
        let (packets, to) = (&self.packets[first..self.to.len()], &self.to[first..]);
        let slices: Vec<_> = packets.iter().map(|packet| [IoSlice::new(packet)]).collect();
        let none: [ControlMessage<'_>; 0] = [];
        let flags = MsgFlags::MSG_DONTWAIT;
        sendmmsg(socket.as_raw_fd(), &mut self.headers, &slices, to, none, flags).map(Iterator::count)
    }
}
