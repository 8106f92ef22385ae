//! ICMP echo through the kernel's ping sockets (icmp(7)), which need no capability.

use std::io;
use std::net::{IpAddr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, connect, recv, send, socket,
};

use super::dns;
use super::options::Ping;
use crate::sys;

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
const HEADER: usize = 8;

/// Sends the requests one after another; status 1 when one stays without an answer.
pub fn ping(options: &Ping) -> io::Result<ExitCode> {
    let address = match options.target.parse::<IpAddr>() {
        Ok(address) => address,
        Err(_) => dns::lookup(&options.target)?,
    };
    let IpAddr::V4(address) = address else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "only IPv4 can be pinged"));
    };
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, SockProtocol::Icmp)?;
    sys::set_dont_fragment(&socket, options.df)?;
    connect(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(address, 0)))?;
    let mut received = 0;
    for sequence in 1..=options.count {
        let begun = Instant::now();
        match echo(&socket, sequence, options) {
            Ok(bytes) => {
                let time = begun.elapsed().as_secs_f64() * 1000.0;
                println!("{bytes} bytes from {address}: seq={sequence} time={time:.2}ms");
                received += 1;
            }
            Err(error) => println!("seq={sequence} failed: {error}"),
        }
    }
    println!("sent={} received={received}", options.count);
    Ok(if received == options.count { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The kernel fills in identifier and checksum, and gives back only answers to this socket.
fn echo(socket: &OwnedFd, sequence: u16, options: &Ping) -> io::Result<usize> {
    let mut request = vec![0x5a; HEADER + usize::from(options.size)];
    request[..HEADER].fill(0);
    request[0] = ECHO_REQUEST;
    request[6..HEADER].copy_from_slice(&sequence.to_be_bytes());
    send(socket.as_raw_fd(), &request, MsgFlags::empty())?;
    let deadline = Instant::now() + options.timeout;
    let mut buffer = vec![0; 65_536];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let wait = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        if left.is_zero()
            || poll(&mut [PollFd::new(std::os::fd::AsFd::as_fd(socket), PollFlags::POLLIN)], wait)? == 0
        {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
        }
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let reply = &buffer[..length];
        let ours =
            reply.first() == Some(&ECHO_REPLY) && reply.get(6..HEADER) == Some(&sequence.to_be_bytes()[..]);
        if ours && reply.get(HEADER..) == request.get(HEADER..) {
            return Ok(length);
        }
    }
}
