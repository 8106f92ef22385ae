//! What a packet is: one bounded reading of Ethernet, IPv4 and the transport header.

use mesh_abi::{
    Be16, Be32,
    conntrack::{FlowKey, FragmentKey, ICMP, Ports, TCP, Tuple, UDP},
    drop::DropReason,
};

use crate::{maps::FRAGMENTS, skb::Skb};

/// Bytes of the Ethernet header; the offset of the IP header.
pub const ETH_LEN: u32 = 14;
/// Bytes of an IP header without options.
pub const IP_LEN: u32 = 20;
/// Ethernet type of IPv4.
pub const ETH_IPV4: u16 = 0x0800;
/// Ethernet type of ARP.
pub const ETH_ARP: u16 = 0x0806;
/// Ethernet type of IPv6.
pub const ETH_IPV6: u16 = 0x86dd;

/// TCP flag FIN.
pub const FIN: u8 = 0x01;
/// TCP flag SYN.
pub const SYN: u8 = 0x02;
/// TCP flag RST.
pub const RST: u8 = 0x04;
/// TCP flag ACK.
pub const ACK: u8 = 0x10;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;

const ECHO_REQUEST: u8 = 8;

/// The Ethernet header.
pub struct Frame {
    /// Destination.
    pub dmac: [u8; 6],
    /// Source.
    pub smac: [u8; 6],
    /// Ethernet type, host byte order.
    pub kind: u16,
}

impl Frame {
    /// Reads it.
    #[inline(always)]
    pub fn read(skb: Skb) -> Result<Self, DropReason> {
        let bytes: [u8; 14] = skb.load(0).ok_or(DropReason::Runt)?;
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, k0, k1] = bytes;
        Ok(Self {
            dmac: [d0, d1, d2, d3, d4, d5],
            smac: [s0, s1, s2, s3, s4, s5],
            kind: u16::from_be_bytes([k0, k1]),
        })
    }
}

/// What follows the IP header, as far as it matters for the packet's way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// TCP or UDP with its header; perhaps the first fragment.
    Transport,
    /// A later fragment of TCP or UDP; the ports are those of the first.
    Fragment,
    /// A later fragment of TCP or UDP whose first one was not seen.
    LostFragment,
    /// An ICMP error about a TCP or UDP packet. [`Packet::tuple`] is that of an answer to the packet that the
    /// error is about, so that it is looked up as what it travels with.
    Error,
    /// An ICMP echo request, not fragmented.
    Echo,
    /// Anything else; it goes by addresses alone.
    Plain,
}

/// An IPv4 packet.
pub struct Packet {
    /// The buffer.
    pub skb: Skb,
    /// Network that it is in.
    pub vni: u32,
    /// Source address of the IP header.
    pub src: Be32,
    /// Destination address of the IP header.
    pub dst: Be32,
    /// The flow's tuple; see [`Shape::Error`].
    pub tuple: Tuple,
    /// Offset of the transport header.
    pub l4: u32,
    /// IP total length.
    pub total: u16,
    /// The fragment field of the IP header, host byte order.
    fragment: u16,
    /// Identification.
    id: Be16,
    /// IP protocol of the flow; see [`Shape::Error`].
    pub protocol: u8,
    /// TCP flags, 0 for others.
    pub flags: u8,
    /// Bytes of the TCP header, 0 for others.
    pub tcp_len: u8,
    /// What it is.
    pub shape: Shape,
}

impl Packet {
    /// A frame whose type says IPv4, in this network, before anything of it was read. It is not the result of
    /// [`Packet::read_ip`] because the verifier follows the buffer's pointer only through whole copies.
    #[inline(always)]
    pub fn new(skb: Skb, vni: u32) -> Self {
        Self {
            skb,
            vni,
            src: Be32::ZERO,
            dst: Be32::ZERO,
            tuple: Tuple { src: Be32::ZERO, dst: Be32::ZERO, sport: Be16::ZERO, dport: Be16::ZERO },
            l4: 0,
            total: 0,
            fragment: 0,
            id: Be16::ZERO,
            protocol: 0,
            flags: 0,
            tcp_len: 0,
            shape: Shape::Plain,
        }
    }

    /// Reads the IP header; [`Packet::read_transport`] completes it.
    #[inline(never)]
    pub fn read_ip(&mut self) -> Result<(), DropReason> {
        let ip: [u8; 20] = self.skb.load(ETH_LEN).ok_or(DropReason::Runt)?;
        let header = u32::from(ip[0] & 0x0f) * 4;
        if ip[0] >> 4 != 4 || header < IP_LEN {
            return Err(DropReason::BadIpHeader);
        }
        self.total = u16::from_be_bytes([ip[2], ip[3]]);
        if u32::from(self.total) < header || ETH_LEN + u32::from(self.total) > self.skb.len() {
            return Err(DropReason::BadLength);
        }
        self.l4 = ETH_LEN + header;
        self.id = port([ip[4], ip[5]]);
        self.fragment = u16::from_be_bytes([ip[6], ip[7]]);
        self.protocol = ip[9];
        self.src = address([ip[12], ip[13], ip[14], ip[15]]);
        self.dst = address([ip[16], ip[17], ip[18], ip[19]]);
        self.tuple.src = self.src;
        self.tuple.dst = self.dst;
        Ok(())
    }

    /// Whether the IP header has options.
    #[inline(always)]
    pub fn has_options(&self) -> bool {
        self.l4 != ETH_LEN + IP_LEN
    }

    /// Whether it must not be fragmented.
    #[inline(always)]
    pub fn dont_fragment(&self) -> bool {
        self.fragment & DONT_FRAGMENT != 0
    }

    /// Whether it is a fragment.
    #[inline(always)]
    pub fn is_fragment(&self) -> bool {
        self.fragment & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0
    }

    /// Whether its header is that of the whole packet: no fragment, or the first.
    #[inline(always)]
    fn is_head(&self) -> bool {
        self.fragment & FRAGMENT_OFFSET == 0
    }

    /// Bytes after the IP header.
    #[inline(always)]
    fn rest(&self) -> u32 {
        u32::from(self.total) + ETH_LEN - self.l4
    }

    /// Whether the packet opens a TCP connection.
    #[inline(always)]
    pub fn is_syn(&self) -> bool {
        self.shape == Shape::Transport && self.flags & (SYN | ACK | RST) == SYN
    }

    /// Whether a flow may start with the packet.
    #[inline(always)]
    pub fn starts(&self) -> bool {
        self.is_syn() || (self.protocol == UDP && matches!(self.shape, Shape::Transport | Shape::Fragment))
    }

    /// Key of its flow.
    #[inline(always)]
    pub fn key(&self) -> FlowKey {
        FlowKey::new(self.vni, self.tuple, self.protocol)
    }

    /// Reads what follows the IP header.
    #[inline(never)]
    pub fn read_transport(&mut self) -> Result<(), DropReason> {
        match (self.protocol, self.is_head()) {
            (TCP, true) => self.read_tcp()?,
            (UDP, true) => self.read_udp()?,
            (TCP | UDP, false) => self.recall_ports(),
            (ICMP, true) => self.read_icmp()?,
            _ => {}
        }
        if self.shape == Shape::Transport && self.is_fragment() {
            self.remember_ports();
        }
        Ok(())
    }

    #[inline(always)]
    fn read_tcp(&mut self) -> Result<(), DropReason> {
        let tcp: [u8; 14] = self.skb.load(self.l4).ok_or(DropReason::BadTransport)?;
        self.tcp_len = (tcp[12] >> 4) * 4;
        if self.tcp_len < 20 || u32::from(self.tcp_len) > self.rest() {
            return Err(DropReason::BadTransport);
        }
        self.flags = tcp[13];
        self.set_ports([tcp[0], tcp[1]], [tcp[2], tcp[3]]);
        Ok(())
    }

    #[inline(always)]
    fn read_udp(&mut self) -> Result<(), DropReason> {
        let udp: [u8; 8] = self.skb.load(self.l4).ok_or(DropReason::BadTransport)?;
        let length = u32::from(u16::from_be_bytes([udp[4], udp[5]]));
        if self.rest() < 8 || length < 8 || (length > self.rest() && !self.is_fragment()) {
            return Err(DropReason::BadTransport);
        }
        self.set_ports([udp[0], udp[1]], [udp[2], udp[3]]);
        Ok(())
    }

    #[inline(always)]
    fn set_ports(&mut self, sport: [u8; 2], dport: [u8; 2]) {
        self.tuple.sport = port(sport);
        self.tuple.dport = port(dport);
        self.shape = Shape::Transport;
    }

    #[inline(always)]
    fn read_icmp(&mut self) -> Result<(), DropReason> {
        if self.rest() < 8 {
            return Err(DropReason::BadTransport);
        }
        let [kind]: [u8; 1] = self.skb.load(self.l4).ok_or(DropReason::BadTransport)?;
        match kind {
            _ if self.is_fragment() => {}
            ECHO_REQUEST => self.shape = Shape::Echo,
            // Destination unreachable, time exceeded, parameter problem.
            3 | 11 | 12 => self.read_error(),
            _ => {}
        }
        Ok(())
    }

    /// Reads the packet inside of an ICMP error; one that has no ports to offer stays [`Shape::Plain`].
    #[inline(always)]
    fn read_error(&mut self) {
        let Some(inner) = self.skb.load::<28>(self.l4 + 8) else { return };
        let whole = u16::from_be_bytes([inner[6], inner[7]]) & FRAGMENT_OFFSET == 0;
        let protocol = inner[9];
        if self.rest() < 36 || inner[0] != 0x45 || !whole || !matches!(protocol, TCP | UDP) {
            return;
        }
        let about = Tuple {
            src: address([inner[12], inner[13], inner[14], inner[15]]),
            dst: address([inner[16], inner[17], inner[18], inner[19]]),
            sport: port([inner[20], inner[21]]),
            dport: port([inner[22], inner[23]]),
        };
        self.tuple = about.turned();
        self.protocol = protocol;
        self.shape = Shape::Error;
    }

    #[inline(always)]
    fn fragment_key(&self) -> FragmentKey {
        FragmentKey {
            vni: self.vni,
            src: self.src,
            dst: self.dst,
            id: self.id,
            protocol: self.protocol,
            reserved: 0,
        }
    }

    #[inline(always)]
    fn remember_ports(&self) {
        let ports = Ports { sport: self.tuple.sport, dport: self.tuple.dport };
        // Without the entry the later fragments are counted drops.
        let _ = FRAGMENTS.insert(self.fragment_key(), ports, 0);
    }

    #[inline(always)]
    fn recall_ports(&mut self) {
        // SAFETY: values are plain data; one replaced meanwhile belongs to another packet of the same id.
        match unsafe { FRAGMENTS.get(self.fragment_key()) } {
            Some(ports) => {
                self.tuple.sport = ports.sport;
                self.tuple.dport = ports.dport;
                self.shape = Shape::Fragment;
            }
            None => self.shape = Shape::LostFragment,
        }
    }
}

/// An address from its bytes.
#[inline(always)]
pub fn address(bytes: [u8; 4]) -> Be32 {
    Be32::from_raw(u32::from_ne_bytes(bytes))
}

/// A port, or other 16-bit field, from its bytes.
#[inline(always)]
pub fn port(bytes: [u8; 2]) -> Be16 {
    Be16::from_raw(u16::from_ne_bytes(bytes))
}
