//! Keys and values that the daemon writes: the node, its ports, endpoints and frontends.

use crate::order::{Be16, Be32};

shared! {
    /// What is particular to this node ([`crate::map::CONFIG`]).
    pub struct NodeConfig: 24 {
        /// Address that this node's tunnels end at; also [`Flow::node`](crate::conntrack::Flow::node) of
        /// requests that came in here.
        pub data_path_addr: Be32,
        /// Index of the collect-metadata VXLAN device.
        pub vxlan_ifindex: u32,
        /// Index of the host side of the DNS namespace's veth; 0 while there is none.
        pub dns_ifindex: u32,
        /// Index of the uplink that direct replies leave by: the one that holds `data_path_addr`.
        pub uplink_ifindex: u32,
        /// Largest inner IP packet that fits the tunnel to a peer without a value of its own.
        pub tunnel_mtu: u32,
        /// Bits [`REPLY_DIRECT`].
        pub flags: u32,
    }

    /// The host side of a task's veth ([`crate::map::PORTS`]).
    pub struct TaskPort: 28 {
        /// Network of this interface.
        pub vni: u32,
        /// The task's address; its MAC is [`crate::tunnel::mac_of`] it.
        pub address: Be32,
        /// Gateway of the network, which BPF answers for.
        pub gateway: Be32,
        /// Mask of the network.
        pub mask: Be32,
        /// Source that its questions get at the DNS server; 0 when it asks through another interface.
        pub dns_client: Be32,
        /// The endpoint's id.
        pub endpoint: u32,
        /// Largest IP packet of the network.
        pub mtu: u32,
    }

    /// An address in a network ([`crate::map::ENDPOINTS`], [`crate::map::VIPS`]).
    pub struct EndpointKey: 8 {
        /// The network.
        pub vni: u32,
        /// The address.
        pub address: Be32,
    }

    /// A task's place in a network ([`crate::map::ENDPOINTS`], [`crate::map::BACKENDS`]).
    pub struct Endpoint: 24 {
        /// Its number, never given twice.
        pub id: u32,
        /// The network.
        pub vni: u32,
        /// Its address there.
        pub address: Be32,
        /// Index of the host side of its veth; 0 when it is on another node.
        pub ifindex: u32,
        /// Tunnel address of its node when it is on another one; 0 otherwise.
        pub node: Be32,
        /// Bits [`RETIRED`].
        pub flags: u32,
    }

    /// Another node ([`crate::map::PEERS`]).
    pub struct Peer: 8 {
        /// Largest inner IP packet that fits the tunnel to it; 0 takes [`NodeConfig::tunnel_mtu`].
        pub tunnel_mtu: u32,
        /// Zero.
        pub reserved: u32,
    }

    /// An address of this node ([`crate::map::LOCALS`]).
    pub struct Local: 12 {
        /// Index of the uplink that holds it.
        pub ifindex: u32,
        /// MAC address of that uplink.
        pub mac: [u8; 6],
        /// Zero.
        pub reserved: [u8; 2],
    }

    /// A published port on one address of this node ([`crate::map::PUBLISHED`]).
    pub struct PublishedKey: 8 {
        /// The node's address.
        pub address: Be32,
        /// The published port.
        pub port: Be16,
        /// IP protocol, 6 or 17.
        pub protocol: u8,
        /// Zero.
        pub reserved: u8,
    }

    /// Who takes new flows ([`crate::map::VIPS`], [`crate::map::PUBLISHED`]).
    pub struct Frontend: 24 {
        /// Number that the daemon tells flows' services by; 0 is no service.
        pub service: u32,
        /// Place in [`crate::map::TURNS`], of this frontend alone.
        pub turn: u32,
        /// First place of its backends in [`crate::map::SLICES`].
        pub offset: u32,
        /// Number of its backends; 0 refuses.
        pub count: u32,
        /// Counts up with every change of the set, for observers.
        pub generation: u32,
        /// Port that the backends of a published port listen on.
        pub target: Be16,
        /// Zero.
        pub reserved: u16,
    }

    /// Who asks the DNS server ([`crate::map::DNS_CLIENTS`]).
    pub struct DnsClient: 8 {
        /// Index of the host side of the task's veth.
        pub ifindex: u32,
        /// The task's address there.
        pub address: Be32,
    }

    /// Two ports of the lab's fabric ([`crate::map::FABRIC`]).
    pub struct FabricKey: 8 {
        /// Index of the bridge port that the packet came in by.
        pub from: u32,
        /// Index of the bridge port that it leaves by.
        pub to: u32,
    }
}

/// Flag of [`NodeConfig::flags`]: replies of published ports go straight to the client, not through the node
/// that received the request.
pub const REPLY_DIRECT: u32 = 1;

/// Flag of [`Endpoint::flags`]: no frontend gives it new flows. Those of TCP go on until they end; those of UDP, which
/// have no end, are balanced anew.
pub const RETIRED: u32 = 1;

/// Value of [`crate::map::FABRIC`] that lets nothing through.
pub const FABRIC_CUT: u32 = 1000;
