//! Listeners by `sock_diag(7)`: asked for one state, the kernel does not go through its connections.

use std::io;

use mesh_core::port::Protocol;
use netlink_packet_core::{DecodeError, NLM_F_DUMP, NLM_F_REQUEST};
use netlink_packet_core::{NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr};

use super::listening::Listener;

/// All sockets of this network namespace that wait for others.
pub fn listeners() -> io::Result<Vec<Listener>> {
    let socket = Socket::new(NETLINK_SOCK_DIAG)?;
    let mut found = Vec::new();
    for (family, any) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            socket.send_to(&request(family, protocol, any.clone()), &SocketAddr::new(0, 0), 0)?;
            while hear(&socket, protocol, &mut found)? {}
        }
    }
    Ok(found)
}

fn request(family: u8, protocol: Protocol, any: SocketId) -> Vec<u8> {
    let (protocol, states) = match protocol {
        Protocol::Tcp => (IPPROTO_TCP, StateFlags::LISTEN),
        // The state of a UDP socket without a peer.
        Protocol::Udp => (IPPROTO_UDP, StateFlags::CLOSE),
    };
    let asked = InetRequest { family, protocol, extensions: ExtensionFlags::empty(), states, socket_id: any };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(asked).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Takes in the next messages of an answer; whether there are more.
fn hear(socket: &Socket, protocol: Protocol, found: &mut Vec<Listener>) -> io::Result<bool> {
    let (datagram, _) = socket.recv_from_full()?;
    let mut rest = datagram.as_slice();
    while !rest.is_empty() {
        let message = NetlinkMessage::deserialize(rest).map_err(unreadable)?;
        match message.payload {
            NetlinkPayload::Done(done) if done.code < 0 => {
                return Err(io::Error::from_raw_os_error(-done.code));
            }
            NetlinkPayload::Done(_) => return Ok(false),
            NetlinkPayload::Error(error) => return Err(error.to_io()),
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(socket)) => {
                found.push(listener(&socket.header, protocol));
            }
            _ => {}
        }
        let length =
            usize::try_from(message.header.length).map_or(usize::MAX, |length| length.next_multiple_of(4));
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(true)
}

fn unreadable(error: DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn listener(socket: &InetResponseHeader, protocol: Protocol) -> Listener {
    let id = &socket.socket_id;
    Listener {
        protocol,
        address: id.source_address.to_canonical(),
        port: id.source_port,
        inode: socket.inode.into(),
    }
}
