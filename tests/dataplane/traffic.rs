//! Servers and clients in namespaces, over std sockets only.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

use mesh_dataplane::netns::Netns;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// How long an answer may take. Nothing waits for it to pass but a test that expects silence.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How long silence is listened to.
pub const SILENCE: Duration = Duration::from_millis(300);

/// Starts a TCP server that greets with `name` and the address that it sees, and echoes then.
pub fn tcp_server(netns: &Netns, port: u16, name: &str) {
    let name = name.to_owned();
    let (ready, is_ready) = mpsc::channel();
    let serve = move || {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
        ready.send(()).unwrap();
        while let Ok((mut stream, peer)) = listener.accept() {
            let name = name.clone();
            std::thread::spawn(move || {
                let _ = stream.write_all(format!("{name} {peer}\n").as_bytes());
                let mut buffer = vec![0; 65_536];
                while let Ok(length) = stream.read(&mut buffer)
                    && length > 0
                    && stream.write_all(&buffer[..length]).is_ok()
                {}
            });
        }
    };
    drop(netns.spawn(serve).unwrap());
    is_ready.recv().unwrap();
}

/// Starts a UDP server that answers each packet with `name`, the address that it sees, and the packet.
pub fn udp_server(netns: &Netns, address: Ipv4Addr, port: u16, name: &str) {
    let name = name.to_owned();
    let (ready, is_ready) = mpsc::channel();
    let serve = move || {
        let socket = UdpSocket::bind((address, port)).unwrap();
        ready.send(()).unwrap();
        let mut buffer = vec![0; 65_536];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let answer = format!("{name} {peer} {}", String::from_utf8_lossy(&buffer[..length]));
            let _ = socket.send_to(answer.as_bytes(), peer);
        }
    };
    drop(netns.spawn(serve).unwrap());
    is_ready.recv().unwrap();
}

/// A greeted TCP connection.
pub struct Greeted {
    pub name: String,
    /// Address that the server saw.
    pub seen: SocketAddr,
    /// Address that the client had.
    pub local: SocketAddr,
    reader: BufReader<TcpStream>,
}

impl Greeted {
    /// Sends `bytes` of a pattern and takes them back; whether they came back whole.
    pub fn echo(&mut self, bytes: usize) -> std::io::Result<bool> {
        let sent: Vec<u8> = (0..=250_u8).cycle().take(bytes).collect();
        let mut writer = self.reader.get_ref().try_clone()?;
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| writer.write_all(&sent));
            let mut received = vec![0; bytes];
            self.reader.read_exact(&mut received)?;
            writing.join().unwrap()?;
            Ok(received == sent)
        })
    }
}

/// Connects from a namespace and reads the greeting.
pub fn tcp(netns: &Netns, to: (Ipv4Addr, u16)) -> std::io::Result<Greeted> {
    tcp_from(netns, 0, to)
}

/// The same from a port of its own.
pub fn tcp_from(netns: &Netns, port: u16, to: (Ipv4Addr, u16)) -> std::io::Result<Greeted> {
    let connect = || -> std::io::Result<Greeted> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&SockAddr::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)))?;
        socket.connect_timeout(&SockAddr::from(SocketAddrV4::new(to.0, to.1)), PATIENCE)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        let local = stream.local_addr()?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let (name, seen) = line.trim().split_once(' ').ok_or(ErrorKind::UnexpectedEof)?;
        let seen = seen.parse().map_err(|_| ErrorKind::InvalidData)?;
        Ok(Greeted { name: name.to_owned(), seen, local, reader })
    };
    netns.run(connect).unwrap()
}

/// A UDP socket in a namespace, connected.
pub fn udp(netns: &Netns, to: (Ipv4Addr, u16)) -> UdpSocket {
    netns
        .run(|| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.connect(to).unwrap();
            socket
        })
        .unwrap()
}

/// Sends a packet and gives the answer: the server's name and the address that it saw.
pub fn ask(socket: &UdpSocket, text: &str) -> std::io::Result<(String, SocketAddr)> {
    socket.send(text.as_bytes())?;
    let mut buffer = vec![0; 65_536];
    let length = socket.recv(&mut buffer)?;
    let answer = String::from_utf8_lossy(&buffer[..length]).into_owned();
    let mut words = answer.splitn(3, ' ');
    let (name, seen, echoed) = (words.next(), words.next(), words.next());
    assert_eq!(echoed, Some(text));
    let seen = seen.unwrap_or_default().parse().map_err(|_| ErrorKind::InvalidData)?;
    Ok((name.unwrap_or_default().to_owned(), seen))
}

/// Sends an IP packet as it is, DF set, with whatever source.
pub fn raw(
    netns: &Netns,
    source: Ipv4Addr,
    to: Ipv4Addr,
    protocol: u8,
    payload: &[u8],
) -> std::io::Result<()> {
    let total = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x45, 0, total[0], total[1], 0, 1, 0x40, 0, 64, protocol, 0, 0];
    packet.extend(source.octets());
    packet.extend(to.octets());
    packet.extend(payload);
    let send = || -> std::io::Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255)))?;
        socket.set_header_included_v4(true)?;
        socket.send_to(&packet, &SockAddr::from(SocketAddrV4::new(to, 0)))?;
        Ok(())
    };
    netns.run(send).unwrap()
}

/// Pings from `source` with so many bytes of payload and the DF bit; whether the same came back.
pub fn ping(netns: &Netns, source: Ipv4Addr, to: Ipv4Addr, payload: usize) -> bool {
    let mut message = vec![8, 0, 0, 0, 0x4d, 0x53, 0, 1];
    message.extend((0..=255_u8).cycle().take(payload));
    let check = checksum(&message).to_be_bytes();
    message[2..4].copy_from_slice(&check);
    let exchange = || -> std::io::Result<bool> {
        let mut socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        raw(netns, source, to, 1, &message)?;
        loop {
            let mut buffer = vec![0; 65_536];
            let length = socket.read(&mut buffer)?;
            let received = &buffer[..length];
            if received[12..16] == to.octets() && received.get(20) == Some(&0) {
                return Ok(received[28..] == message[8..]);
            }
        }
    };
    netns.run(exchange).unwrap().unwrap_or(false)
}

fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}
