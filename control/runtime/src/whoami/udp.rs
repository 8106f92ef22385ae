//! The UDP echo. Replies leave from the address that the datagram was sent to: a socket bound to all
//! addresses would let routing choose, and the sender would not take the reply for one.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::libc::in_pktinfo;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt, sockopt,
};
use tokio::io::unix::AsyncFd;

use super::answer::Identity;
use crate::sys;

/// Largest datagram of IPv4.
const DATAGRAM_MAX: usize = 65_507;

/// A socket that tells where datagrams were sent to.
pub fn bind(address: SocketAddr) -> io::Result<AsyncFd<UdpSocket>> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    sys::readable(socket)
}

/// Answers for ever; ends with an error only.
pub async fn echo(socket: &AsyncFd<UdpSocket>, identity: &Identity) -> io::Result<()> {
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        let mut ready = socket.readable().await?;
        let Ok(received) = ready.try_io(|socket| receive(socket.get_ref(), &mut buffer)) else { continue };
        // A datagram without a sender or an unreachable one (told by ICMP) is not the server's end.
        let Ok((length, client, to)) = received else { continue };
        let mut text =
            identity.answer(&[("client", SocketAddr::from(client).to_string())]).lines().into_bytes();
        text.extend_from_slice(&buffer[..length]);
        text.truncate(DATAGRAM_MAX);
        let _lost = reply(socket.get_ref(), &text, client, to);
    }
}

type Received = (usize, std::net::SocketAddrV4, Option<in_pktinfo>);

fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Received> {
    let mut control = nix::cmsg_space!(in_pktinfo);
    let mut slices = [IoSliceMut::new(buffer)];
    let message =
        recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::empty())?;
    let to = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(info),
        _ => None,
    });
    let client = message.address.ok_or(io::ErrorKind::InvalidData)?;
    Ok((message.bytes, client.into(), to))
}

fn reply(
    socket: &UdpSocket,
    text: &[u8],
    client: std::net::SocketAddrV4,
    to: Option<in_pktinfo>,
) -> io::Result<()> {
    // The address, not the interface: the way back is routing's choice.
    let source = to.map(|info| in_pktinfo { ipi_ifindex: 0, ..info });
    let control: Vec<_> = source.iter().map(ControlMessage::Ipv4PacketInfo).collect();
    let client = SockaddrIn::from(client);
    sendmsg(socket.as_raw_fd(), &[IoSlice::new(text)], &control, MsgFlags::empty(), Some(&client))?;
    Ok(())
}
