//! What the server answers from. The agent builds it from its assignments and sends it whole.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Number of a zone; the agent uses the network's VNI.
pub type ZoneId = u32;

/// Everything the server answers from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Counts up with every table sent; the server acknowledges it by this number.
    pub version: u64,
    /// Who asks, by the source address that the dataplane gives its questions (198.18.0.0/15).
    pub clients: BTreeMap<Ipv4Addr, Client>,
    /// Names by network.
    pub zones: BTreeMap<ZoneId, Zone>,
    /// Servers that names which are not ours are asked of, in order of preference.
    pub upstreams: Vec<SocketAddr>,
}

/// One who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Zones it sees, in the order in which they are searched.
    pub zones: Vec<ZoneId>,
    /// All its networks are internal: names that are not ours are answered NXDOMAIN, not asked upstream.
    pub internal: bool,
}

/// Names of one network. Names are stored in lower case without a trailing dot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// The network's name, so that `SERVICE.NETWORK` resolves too.
    pub network: String,
    /// Addresses by name: `SERVICE`, an alias, `tasks.SERVICE`, a task's name, a host name. A name with no
    /// address (a service without healthy tasks and without a VIP) is ours, and answered empty.
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// Name by address, for PTR.
    pub pointers: BTreeMap<IpAddr, String>,
}
