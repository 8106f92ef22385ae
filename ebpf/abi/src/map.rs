//! Names of the maps and their contracts. "Daemon" writes are userspace's; a map without one is written by
//! the programs alone. Sizes are defaults that the loader may change.

/// Array of one [`crate::net::NodeConfig`], written by the daemon before any program is attached.
pub const CONFIG: &str = "CONFIG";
/// Hash of host-side interface index (`u32`) to [`crate::net::TaskPort`], written by the daemon: one for each
/// veth of a task. Packets from an interface without an entry are dropped.
pub const PORTS: &str = "PORTS";
/// Hash of [`crate::net::EndpointKey`] to [`crate::net::Endpoint`], written by the daemon: every endpoint, on
/// this or another node, of the networks that this node has tasks in.
pub const ENDPOINTS: &str = "ENDPOINTS";
/// Hash of endpoint id (`u32`) to [`crate::net::Endpoint`], written by the daemon: the same endpoints as in
/// [`ENDPOINTS`] by their number. An endpoint that no longer exists is taken out of both; a flow to it is
/// then refused, and balanced anew when it starts again.
pub const BACKENDS: &str = "BACKENDS";
/// Hash of a node's tunnel address ([`crate::Be32`]) to [`crate::net::Peer`], written by the daemon. A tunnel
/// packet from an address that is not here is dropped.
pub const PEERS: &str = "PEERS";
/// Hash of an address of this node ([`crate::Be32`]) to [`crate::net::Local`], written by the daemon: the
/// addresses on uplinks, which published ports answer on.
pub const LOCALS: &str = "LOCALS";
/// Hash of [`crate::net::EndpointKey`] to [`crate::net::Frontend`], written by the daemon: virtual addresses.
/// [`crate::net::Frontend::target`] is not used: ports stay.
pub const VIPS: &str = "VIPS";
/// Hash of [`crate::net::PublishedKey`] to [`crate::net::Frontend`], written by the daemon: one entry for each
/// published port and address in [`LOCALS`]. The one on [`crate::net::NodeConfig::data_path_addr`] also tells
/// the target port of requests that other nodes pass on.
pub const PUBLISHED: &str = "PUBLISHED";
/// Mmapable array of endpoint ids (`u32`), written by the daemon: each frontend's backends are a slice. A
/// changed set goes to a free slice first and into the frontend's entry then; a slice is written again a
/// second after its last frontend let go of it.
pub const SLICES: &str = "SLICES";
/// Per-CPU array of `u32`: each frontend's turn, by [`crate::net::Frontend::turn`].
pub const TURNS: &str = "TURNS";
/// Hash of a DNS client address out of 198.18.0.0/15 ([`crate::Be32`]) to [`crate::net::DnsClient`], written
/// by the daemon.
pub const DNS_CLIENTS: &str = "DNS_CLIENTS";
/// LRU of [`crate::conntrack::FlowKey`] to [`crate::conntrack::Flow`]: flows whose answer was not yet
/// followed up. See [`crate::conntrack`].
pub const FLOWS_OPENING: &str = "FLOWS_OPENING";
/// Hash (not preallocated) of [`crate::conntrack::FlowKey`] to [`crate::conntrack::Flow`]: flows that both
/// sides take part in. The daemon takes out entries that are idle for [`crate::conntrack::idle_limit`].
pub const FLOWS: &str = "FLOWS";
/// LRU of [`crate::conntrack::FlowKey`] (with [`crate::tunnel::INGRESS_VNI`]) to
/// [`crate::conntrack::Affinity`]: the backend on another node that a client's flow to a published port of
/// this node goes to.
pub const AFFINITY: &str = "AFFINITY";
/// LRU of [`crate::conntrack::FragmentKey`] to [`crate::conntrack::Ports`]: ports of the first fragment, for
/// the later ones.
pub const FRAGMENTS: &str = "FRAGMENTS";
/// Ring buffer of [`crate::record::FlowRecord`]: one when a flow is made, one when it closes.
pub const FLOW_RECORDS: &str = "FLOW_RECORDS";
/// Per-CPU array of [`crate::counter::Count`], indexed by [`crate::counter::Path`].
pub const COUNTERS: &str = "COUNTERS";
/// Per-CPU array of `u64`, indexed by [`crate::drop::DropReason`].
pub const DROPS: &str = "DROPS";
/// Hash of [`crate::net::FabricKey`] to loss per mille (`u32`, 1000 cuts), for the lab's fabric alone.
pub const FABRIC: &str = "FABRIC";

/// Every map, in the order in which an upgrade or a removal goes through them.
pub const ALL: [&str; 19] = [
    CONFIG,
    PORTS,
    ENDPOINTS,
    BACKENDS,
    PEERS,
    LOCALS,
    VIPS,
    PUBLISHED,
    SLICES,
    TURNS,
    DNS_CLIENTS,
    FLOWS_OPENING,
    FLOWS,
    AFFINITY,
    FRAGMENTS,
    FLOW_RECORDS,
    COUNTERS,
    DROPS,
    FABRIC,
];

/// Places in [`SLICES`].
pub const SLICES_LEN: u32 = 1 << 20;
/// Places in [`TURNS`]; [`crate::net::Frontend::turn`] is less.
pub const TURNS_LEN: u32 = 1 << 14;
