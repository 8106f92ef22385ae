//! Packets as bytes, with every length and checksum computed here, apart from the code under test.

use std::net::{Ipv4Addr, SocketAddrV4};

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

/// Ethernet, IPv4 and what follows. MAC addresses are those that belong to the IP addresses.
#[derive(Debug, Clone)]
pub struct Packet {
    pub smac: [u8; 6],
    pub dmac: [u8; 6],
    pub src: Ipv4Addr,
    pub dst: Ipv4Addr,
    pub id: u16,
    pub fragment: u16,
    pub ttl: u8,
    pub options: Vec<u8>,
    pub body: Body,
}

#[derive(Debug, Clone)]
pub enum Body {
    Tcp { sport: u16, dport: u16, seq: u32, ack: u32, flags: u8, options: Vec<u8>, payload: Vec<u8> },
    Udp { sport: u16, dport: u16, checksum: bool, payload: Vec<u8> },
    Icmp { kind: u8, code: u8, rest: [u8; 4], payload: Vec<u8> },
    Raw { protocol: u8, bytes: Vec<u8> },
}

pub fn mac(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}

fn at(text: &str) -> SocketAddrV4 {
    text.parse().unwrap()
}

fn new(src: Ipv4Addr, dst: Ipv4Addr, body: Body) -> Packet {
    let (smac, dmac) = (mac(src), mac(dst));
    Packet { smac, dmac, src, dst, id: 0x1234, fragment: 0x4000, ttl: 63, options: vec![], body }
}

/// A TCP segment, `10.0.1.10:40000` style.
pub fn tcp(from: &str, to: &str, flags: u8) -> Packet {
    let (from, to) = (at(from), at(to));
    let (sport, dport) = (from.port(), to.port());
    let body =
        Body::Tcp { sport, dport, seq: 1000, ack: 2000, flags, options: vec![], payload: b"hello".to_vec() };
    new(*from.ip(), *to.ip(), body)
}

/// A SYN without payload, announcing a segment size of 1460 as Linux does.
pub fn syn(from: &str, to: &str) -> Packet {
    tcp(from, to, SYN).no_payload().tcp_options(&[2, 4, 0x05, 0xb4])
}

pub fn udp(from: &str, to: &str) -> Packet {
    let (from, to) = (at(from), at(to));
    let body =
        Body::Udp { sport: from.port(), dport: to.port(), checksum: true, payload: b"question".to_vec() };
    new(*from.ip(), *to.ip(), body)
}

pub fn ping(from: &str, to: &str) -> Packet {
    let body = Body::Icmp { kind: 8, code: 0, rest: [0, 7, 0, 1], payload: b"ping ping".to_vec() };
    new(from.parse().unwrap(), to.parse().unwrap(), body)
}

/// The answer to [`ping`].
pub fn pong(from: &str, to: &str) -> Packet {
    let body = Body::Icmp { kind: 0, code: 0, rest: [0, 7, 0, 1], payload: b"ping ping".to_vec() };
    new(from.parse().unwrap(), to.parse().unwrap(), body)
}

/// An ICMP error about `about`, which quotes its IP header and eight bytes.
pub fn error(from: &str, to: &str, kind: u8, code: u8, mtu: u16, about: &Packet) -> Packet {
    let [high, low] = mtu.to_be_bytes();
    let quote = about.bytes()[14..42].to_vec();
    let body = Body::Icmp { kind, code, rest: [0, 0, high, low], payload: quote };
    new(from.parse().unwrap(), to.parse().unwrap(), body)
}

pub fn raw(from: &str, to: &str, protocol: u8) -> Packet {
    new(from.parse().unwrap(), to.parse().unwrap(), Body::Raw { protocol, bytes: vec![0xab; 24] })
}

impl Packet {
    pub fn smac(mut self, mac: [u8; 6]) -> Self {
        self.smac = mac;
        self
    }

    pub fn dmac(mut self, mac: [u8; 6]) -> Self {
        self.dmac = mac;
        self
    }

    /// As the stack of BPF makes packets: no identification, its own time to live.
    pub fn made(mut self) -> Self {
        (self.id, self.ttl) = (0, 64);
        self
    }

    pub fn may_fragment(mut self) -> Self {
        self.fragment = 0;
        self
    }

    pub fn ip_options(mut self) -> Self {
        self.options = vec![1, 1, 1, 0];
        self
    }

    pub fn seq(mut self, number: u32, acknowledged: u32) -> Self {
        if let Body::Tcp { seq, ack, .. } = &mut self.body {
            (*seq, *ack) = (number, acknowledged);
        }
        self
    }

    pub fn tcp_options(mut self, bytes: &[u8]) -> Self {
        if let Body::Tcp { options, .. } = &mut self.body {
            *options = bytes.to_vec();
        }
        self
    }

    pub fn no_payload(self) -> Self {
        self.payload(&[])
    }

    pub fn payload(mut self, bytes: &[u8]) -> Self {
        match &mut self.body {
            Body::Tcp { payload, .. } | Body::Udp { payload, .. } | Body::Icmp { payload, .. } => {
                *payload = bytes.to_vec();
            }
            Body::Raw { .. } => unreachable!("raw packets have no payload"),
        }
        self
    }

    pub fn no_checksum(mut self) -> Self {
        if let Body::Udp { checksum, .. } = &mut self.body {
            *checksum = false;
        }
        self
    }

    fn protocol(&self) -> u8 {
        match self.body {
            Body::Tcp { .. } => 6,
            Body::Udp { .. } => 17,
            Body::Icmp { .. } => 1,
            Body::Raw { protocol, .. } => protocol,
        }
    }

    /// What follows the IP header, its checksum right.
    fn transport(&self) -> Vec<u8> {
        let mut bytes = vec![];
        let place = match &self.body {
            Body::Tcp { sport, dport, seq, ack, flags, options, payload } => {
                bytes.extend([sport.to_be_bytes(), dport.to_be_bytes()].concat());
                bytes.extend([seq.to_be_bytes(), ack.to_be_bytes()].concat());
                let words = u8::try_from(5 + options.len() / 4).unwrap();
                // A reset announces no window.
                let window = if flags & RST == 0 { 0x20 } else { 0 };
                bytes.extend([words << 4, *flags, window, 0, 0, 0, 0, 0]);
                bytes.extend(options);
                bytes.extend(payload);
                Some(16)
            }
            Body::Udp { sport, dport, checksum, payload } => {
                let length = u16::try_from(8 + payload.len()).unwrap();
                bytes.extend([sport.to_be_bytes(), dport.to_be_bytes(), length.to_be_bytes()].concat());
                bytes.extend([0, 0]);
                bytes.extend(payload);
                checksum.then_some(6)
            }
            Body::Icmp { kind, code, rest, payload } => {
                bytes.extend([*kind, *code, 0, 0]);
                bytes.extend(rest);
                bytes.extend(payload);
                Some(2)
            }
            Body::Raw { bytes: raw, .. } => {
                bytes.extend(raw);
                None
            }
        };
        if let Some(place) = place {
            let mut covered = vec![];
            if self.protocol() != 1 {
                covered.extend([self.src.octets(), self.dst.octets()].concat());
                covered.extend([0, self.protocol()]);
                covered.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
            }
            covered.extend(&bytes);
            bytes[place..place + 2].copy_from_slice(&checksum(&covered).to_be_bytes());
        }
        bytes
    }

    /// Frame of a part of the packet.
    fn frame(&self, fragment: u16, part: &[u8]) -> Vec<u8> {
        let header = 20 + self.options.len();
        let mut ip = vec![0x40 | u8::try_from(header / 4).unwrap(), 0];
        ip.extend(u16::try_from(header + part.len()).unwrap().to_be_bytes());
        ip.extend(self.id.to_be_bytes());
        ip.extend(fragment.to_be_bytes());
        ip.extend([self.ttl, self.protocol(), 0, 0]);
        ip.extend([self.src.octets(), self.dst.octets()].concat());
        ip.extend(&self.options);
        let sum = checksum(&ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        [&self.dmac[..], &self.smac[..], &[8, 0], &ip, part].concat()
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.frame(self.fragment, &self.transport())
    }

    /// The packet in two fragments, the first with `first` bytes after the IP header.
    pub fn fragments(&self, first: usize) -> [Vec<u8>; 2] {
        let whole = self.transport();
        let offset = u16::try_from(first / 8).unwrap();
        [self.frame(0x2000, &whole[..first]), self.frame(offset, &whole[first..])]
    }
}

/// RFC 1071, written for its text and not for speed.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u64 = 0;
    for pair in bytes.chunks(2) {
        sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

/// An ARP request.
pub fn arp(smac: [u8; 6], sender: &str, target: &str) -> Vec<u8> {
    arp_frame([0xff; 6], smac, 1, (smac, sender), ([0; 6], target))
}

/// The answer that `asker` gets.
pub fn arp_reply(asker: [u8; 6], asker_address: &str, target: &str) -> Vec<u8> {
    let found = mac(target.parse().unwrap());
    arp_frame(asker, found, 2, (found, target), (asker, asker_address))
}

fn arp_frame(
    dmac: [u8; 6],
    smac: [u8; 6],
    operation: u8,
    sender: ([u8; 6], &str),
    target: ([u8; 6], &str),
) -> Vec<u8> {
    let octets = |text: &str| text.parse::<Ipv4Addr>().unwrap().octets();
    let head = [0, 1, 8, 0, 6, 4, 0, operation];
    [&dmac[..], &smac, &[8, 6], &head, &sender.0, &octets(sender.1), &target.0, &octets(target.1)].concat()
}
