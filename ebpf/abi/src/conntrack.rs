//! Flows that the programs remember.
//!
//! A flow is two entries, made and removed together: one by the tuple as the opener sends it, one by the
//! tuple that the other side answers with. Each holds what packets of its direction are rewritten to, so the
//! key of the other is its [`Flow::rewrite`] turned around, under [`Flow::partner_vni`]. Entries start in
//! [`FLOWS_OPENING`](crate::map::FLOWS_OPENING) (an LRU, so a flood of openings forgets openings only) and
//! move to [`FLOWS`](crate::map::FLOWS) when the opener follows up an answer. A key is in one of both at a
//! time; readers look into `FLOWS` first.

use crate::order::{Be16, Be32};

shared! {
    /// Addresses and ports of a packet.
    pub struct Tuple: 12 {
        /// Source address.
        pub src: Be32,
        /// Destination address.
        pub dst: Be32,
        /// Source port.
        pub sport: Be16,
        /// Destination port.
        pub dport: Be16,
    }

    /// Key of a flow's entry.
    pub struct FlowKey: 20 {
        /// Network; [`crate::tunnel::INGRESS_VNI`] for requests to published ports.
        pub vni: u32,
        /// The tuple as packets of this direction carry it before they are rewritten.
        pub tuple: Tuple,
        /// IP protocol, 6 or 17.
        pub protocol: u8,
        /// Zero.
        pub reserved: [u8; 3],
    }

    /// One direction of a flow.
    pub struct Flow: 48 {
        /// What packets are rewritten to.
        pub rewrite: Tuple,
        /// VNI of the other direction's key.
        pub partner_vni: u32,
        /// Id of the endpoint that was chosen.
        pub backend: u32,
        /// [`crate::net::Frontend::service`]; 0 for a flow without a frontend.
        pub service: u32,
        /// Published ports: tunnel address of the node that received the request. Otherwise 0.
        pub node: Be32,
        /// A [`State`] as number.
        pub state: u8,
        /// A [`Role`] as number.
        pub role: u8,
        /// A [`Kind`] as number.
        pub kind: u8,
        /// Bits [`FIN_FORWARD`] and [`FIN_REVERSE`].
        pub fins: u8,
        /// When the last packet of this direction came, `CLOCK_MONOTONIC` nanoseconds; at most a second old
        /// while packets come.
        pub seen: u64,
        /// When the flow was made, `CLOCK_MONOTONIC` nanoseconds.
        pub created: u64,
    }

    /// Where a client's flow goes that came in here for a backend of another node.
    pub struct Affinity: 24 {
        /// Id of the endpoint.
        pub backend: u32,
        /// A [`State`] as number; never [`State::Replied`].
        pub state: u8,
        /// As in [`Flow`].
        pub fins: u8,
        /// Zero.
        pub reserved: u16,
        /// As in [`Flow`].
        pub seen: u64,
        /// As in [`Flow`].
        pub created: u64,
    }

    /// Key of a fragmented packet (RFC 791: source, destination, protocol and identification).
    pub struct FragmentKey: 16 {
        /// Network that it was seen in.
        pub vni: u32,
        /// Source address.
        pub src: Be32,
        /// Destination address.
        pub dst: Be32,
        /// Identification.
        pub id: Be16,
        /// IP protocol.
        pub protocol: u8,
        /// Zero.
        pub reserved: u8,
    }

    /// Ports of a fragmented packet.
    pub struct Ports: 4 {
        /// Source port.
        pub sport: Be16,
        /// Destination port.
        pub dport: Be16,
    }
}

impl Tuple {
    /// The tuple of an answer.
    #[inline(always)]
    #[must_use]
    pub const fn turned(&self) -> Self {
        Self { src: self.dst, dst: self.src, sport: self.dport, dport: self.sport }
    }
}

impl FlowKey {
    /// Key of the tuple in the network.
    #[inline(always)]
    pub const fn new(vni: u32, tuple: Tuple, protocol: u8) -> Self {
        Self { vni, tuple, protocol, reserved: [0; 3] }
    }
}

impl Flow {
    /// Key of the other direction.
    #[inline(always)]
    pub const fn partner(&self, protocol: u8) -> FlowKey {
        FlowKey::new(self.partner_vni, self.rewrite.turned(), protocol)
    }
}

/// Where a flow is in its life.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No answer yet.
    Opening = 1,
    /// Answered, and the opener has not followed up.
    Replied = 2,
    /// Both sides take part.
    Established = 3,
    /// TCP: reset, or FIN from both sides.
    Closing = 4,
}

/// Which direction an entry is of.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// As the opener sends.
    Forward = 1,
    /// As the other side answers.
    Reverse = 2,
}

/// What made a flow.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A task, to a virtual address.
    Vip = 1,
    /// A task, straight to another's address.
    Direct = 2,
    /// A client, to a published port.
    Published = 3,
}

/// [`Flow::fins`]: the opener sent FIN.
pub const FIN_FORWARD: u8 = 1;
/// [`Flow::fins`]: the other side sent FIN.
pub const FIN_REVERSE: u8 = 2;

/// IP protocol number of ICMP.
pub const ICMP: u8 = 1;
/// IP protocol number of TCP.
pub const TCP: u8 = 6;
/// IP protocol number of UDP.
pub const UDP: u8 = 17;

/// Nanoseconds of a second.
pub const SECOND: u64 = 1_000_000_000;

/// A TCP opening older than this is balanced anew when its SYN comes again.
pub const REOPEN_AFTER: u64 = SECOND;

/// How long a flow may be idle, in nanoseconds, before it is over. A flow is as old as the younger
/// [`Flow::seen`] of its two entries.
#[inline(always)]
pub const fn idle_limit(protocol: u8, state: u8, fins: u8) -> u64 {
    let established = state == State::Established as u8;
    if protocol == TCP {
        if established && fins == 0 {
            24 * 3600 * SECOND
        } else if established || state == State::Closing as u8 {
            120 * SECOND
        } else {
            60 * SECOND
        }
    } else if established {
        180 * SECOND
    } else {
        30 * SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_direction_names_the_other() {
        let sent = Tuple { src: Be32::new(1), dst: Be32::new(2), sport: Be16::new(3), dport: Be16::new(4) };
        let rewrite = Tuple { dst: Be32::new(9), ..sent };
        let forward = Flow { rewrite, partner_vni: 7, ..Flow::default() };
        let reverse = Flow { rewrite: sent.turned(), partner_vni: 7, ..Flow::default() };
        assert_eq!(forward.partner(TCP), FlowKey::new(7, rewrite.turned(), TCP));
        assert_eq!(reverse.partner(TCP), FlowKey::new(7, sent, TCP));
    }

    #[test]
    fn ages_by_protocol_and_state() {
        let limit = |protocol, state: State, fins| idle_limit(protocol, state as u8, fins) / SECOND;
        assert_eq!(limit(TCP, State::Opening, 0), 60);
        assert_eq!(limit(TCP, State::Established, 0), 86_400);
        assert_eq!(limit(TCP, State::Established, FIN_FORWARD), 120);
        assert_eq!(limit(TCP, State::Closing, 0), 120);
        assert_eq!(limit(UDP, State::Opening, 0), 30);
        assert_eq!(limit(UDP, State::Established, 0), 180);
    }
}
