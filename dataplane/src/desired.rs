//! What a node's network should be. The agent writes it from its assignments, `meshd dataplane apply` and
//! the tests read it from a file; the planner compares it with what is there.
//!
//! As a file it is JSON, `dataplane/src/plan/golden/web.json` for one: a service of two tasks, one of them on
//! this node, behind a virtual address and a published port.
//!
//! ```
//! let text = include_str!("plan/golden/web.json");
//! let state: mesh_dataplane::desired::DesiredState = serde_json::from_str(text).expect("reads");
//! assert!(mesh_dataplane::check::check(&state).is_ok());
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// VXLAN network identifier, 24 bits (RFC 7348). [`INGRESS_TUNNEL_VNI`] is the dataplane's own.
pub type Vni = u32;

/// Number of a backend: given once by the cluster, never used again, the same on every node.
pub type EndpointId = u32;

/// Reserved VNI that published ports' packets travel with between nodes.
pub const INGRESS_TUNNEL_VNI: Vni = 0x00ff_fffe;

/// Bytes that VXLAN over IPv4 adds: outer Ethernet 14, IPv4 20, UDP 8, VXLAN 8.
pub const VXLAN_OVERHEAD: u16 = 50;

/// Everything the dataplane of one node has to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredState {
    /// The node itself.
    pub node: LocalNode,
    /// Addresses that other nodes' tunnels end at; encapsulated packets from anyone else are dropped.
    pub peers: BTreeSet<IpAddr>,
    /// Networks by VNI.
    pub networks: BTreeMap<Vni, Network>,
    /// Places of tasks in networks, on this and on other nodes.
    pub endpoints: BTreeMap<EndpointId, Endpoint>,
    /// Virtual addresses.
    pub vips: Vec<Vip>,
    /// Published ports, answered on the addresses of the uplinks.
    pub published: Vec<PublishedPort>,
}

/// What is particular to this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalNode {
    /// Address that this node's tunnels end at; it must be on an uplink.
    pub data_path_addr: IpAddr,
    /// UDP port of the overlay, the same on every node.
    pub data_path_port: u16,
    /// Interfaces that clients and peers are reached through.
    pub uplinks: Vec<String>,
    /// How replies of published ports travel.
    pub ingress_reply: IngressReply,
}

/// How a reply of a published port gets back to the client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum IngressReply {
    /// Through the node that received the request.
    #[default]
    Through,
    /// Straight from the backend's node, with the receiving node's address as source.
    Direct,
}

/// One network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Address range.
    pub subnet: IpNet,
    /// Address that BPF answers for as the gateway, and the source of hairpin flows.
    pub gateway: IpAddr,
    /// Largest IP packet inside.
    pub mtu: u16,
    /// No way out of the network, so no default route.
    pub internal: bool,
}

/// A task's place in one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The network.
    pub vni: Vni,
    /// Address in it. Its MAC address is `02:42` followed by the IPv4 address.
    pub address: IpAddr,
    /// Where it is.
    pub location: Location,
}

/// Where an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Location {
    /// On this node: the dataplane makes the veth and everything on it.
    Local(LocalEndpoint),
    /// On another node, behind this tunnel address.
    Remote(IpAddr),
}

/// How a local endpoint is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalEndpoint {
    /// The task's network namespace, made by the runtime (a bind mount of it, so that it can be entered).
    pub netns: PathBuf,
    /// Name of the interface inside, `eth0` and on.
    pub ifname: String,
    /// Whether the default route goes here (over the gateway).
    pub default_route: bool,
    /// Address out of 198.18.0.0/15, unique on the node, that the task's DNS questions arrive from at the
    /// node's DNS server; set on exactly one endpoint of a task, which also gets the route to
    /// [`DNS_SERVER`].
    pub dns_client: Option<Ipv4Addr>,
}

/// Address that tasks ask for names.
pub const DNS_SERVER: Ipv4Addr = Ipv4Addr::new(169, 254, 53, 53);

/// Transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
}

/// A virtual address: packets for it, whatever their port, go to one of the backends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vip {
    /// The network.
    pub vni: Vni,
    /// The address.
    pub address: IpAddr,
    /// Service's name, for people who look at VIPs and flows.
    pub service: String,
    /// Endpoints that take new flows. Empty: refused with RST or ICMP.
    pub backends: BTreeSet<EndpointId>,
}

/// A port that answers on every node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// Port that clients use.
    pub published: NonZeroU16,
    /// Port that the backends listen on.
    pub target: NonZeroU16,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Service's name, for people who look at flows.
    pub service: String,
    /// Endpoints, in the ingress network, that take new flows. Empty: refused with RST or ICMP.
    pub backends: BTreeSet<EndpointId>,
}
