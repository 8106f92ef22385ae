//! Reading a desired state, and refusing one that contradicts itself before anything is touched.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;

use crate::desired::{
    DesiredState, Endpoint, EndpointId, INGRESS_TUNNEL_VNI, LocalEndpoint, Location, Network, Vni,
};

/// Where tasks' DNS questions come from.
pub const DNS_CLIENTS: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 15);

/// The smallest MTU that IPv4 hosts must take (RFC 791).
const SMALLEST_MTU: u16 = 576;

/// IFNAMSIZ without its zero byte.
const IFNAME_MAX: usize = 15;

/// A desired-state file that is not usable.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("{path}: {field}: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Path of the field, such as `networks.4097.subnet`.
        field: String,
        /// What is wrong, with line and column.
        source: serde_json::Error,
    },
    /// It contradicts itself.
    #[error("{path}: {source}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Each contradiction.
        source: Invalid,
    },
}

/// Everything that is wrong with a desired state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Invalid(pub Vec<Problem>);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join("; "))
    }
}

/// One thing that is wrong with a desired state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Problem {
    /// Path of the field.
    pub field: String,
    /// Why it is refused.
    pub reason: String,
}

/// Reads a desired state from a JSON file and checks it.
pub fn read_file(path: &Path) -> Result<DesiredState, FileError> {
    let text =
        fs::read_to_string(path).map_err(|source| FileError::Read { path: path.to_owned(), source })?;
    let mut reader = serde_json::Deserializer::from_str(&text);
    let state: DesiredState =
        serde_path_to_error::deserialize(&mut reader).map_err(|error| FileError::Parse {
            path: path.to_owned(),
            field: error.path().to_string(),
            source: error.into_inner(),
        })?;
    check(&state).map_err(|source| FileError::Invalid { path: path.to_owned(), source })?;
    Ok(state)
}

/// Refuses a state that no dataplane could follow; all problems are told at once.
pub fn check(state: &DesiredState) -> Result<(), Invalid> {
    let mut problems = Problems::default();
    problems.node(state);
    for (vni, network) in &state.networks {
        problems.network(*vni, network);
    }
    problems.endpoints(state);
    problems.vips(state);
    problems.published(state);
    if problems.0.is_empty() { Ok(()) } else { Err(Invalid(problems.0)) }
}

#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, field: impl Into<String>, reason: impl Into<String>) {
        self.0.push(Problem { field: field.into(), reason: reason.into() });
    }

    fn require(&mut self, holds: bool, field: &str, reason: &str) {
        if !holds {
            self.add(field, reason);
        }
    }

    fn node(&mut self, state: &DesiredState) {
        let node = &state.node;
        self.require(node.data_path_addr.is_ipv4(), "node.data_path_addr", "must be an IPv4 address");
        self.require(node.data_path_port != 0, "node.data_path_port", "must not be 0");
        self.require(!node.uplinks.is_empty(), "node.uplinks", "must name an interface");
        for (index, uplink) in node.uplinks.iter().enumerate() {
            self.interface(&format!("node.uplinks[{index}]"), uplink);
        }
        let all_v4 = state.peers.iter().all(IpAddr::is_ipv4);
        self.require(all_v4, "peers", "must be IPv4 addresses");
    }

    fn interface(&mut self, field: &str, name: &str) {
        let usable = !name.is_empty()
            && name.len() <= IFNAME_MAX
            && !matches!(name, "." | "..")
            && name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':'));
        self.require(usable, field, "is no interface's name");
    }

    fn network(&mut self, vni: Vni, network: &Network) {
        let field = format!("networks.{vni}");
        self.require(vni > 0 && vni < 1 << 24, &field, "a VNI is 1 to 16777215");
        self.require(vni != INGRESS_TUNNEL_VNI, &field, "this VNI is the dataplane's own");
        let subnet_is_v4 = network.subnet.addr().is_ipv4();
        self.require(subnet_is_v4, &format!("{field}.subnet"), "must be an IPv4 range");
        let inside = network.subnet.contains(&network.gateway);
        self.require(inside, &format!("{field}.gateway"), "is not in the subnet");
        self.require(network.mtu >= SMALLEST_MTU, &format!("{field}.mtu"), "is less than 576");
    }

    fn endpoints(&mut self, state: &DesiredState) {
        let mut addresses: BTreeMap<(Vni, IpAddr), EndpointId> = BTreeMap::new();
        let mut places: BTreeSet<(&Path, &str)> = BTreeSet::new();
        let mut clients: BTreeSet<Ipv4Addr> = BTreeSet::new();
        for (id, endpoint) in &state.endpoints {
            let field = format!("endpoints.{id}");
            self.require(*id != 0, &field, "0 is no endpoint's number");
            self.address(state, &field, endpoint.vni, endpoint.address);
            if let Some(other) = addresses.insert((endpoint.vni, endpoint.address), *id) {
                self.add(format!("{field}.address"), format!("is also that of endpoint {other}"));
            }
            match &endpoint.location {
                Location::Local(local) => self.local(&field, local, &mut places, &mut clients),
                Location::Remote(peer) => self.remote(state, &field, endpoint, *peer),
            }
        }
    }

    fn address(&mut self, state: &DesiredState, field: &str, vni: Vni, address: IpAddr) {
        match state.networks.get(&vni) {
            None => self.add(format!("{field}.vni"), format!("there is no network {vni}")),
            Some(network) if !network.subnet.contains(&address) => {
                self.add(format!("{field}.address"), format!("{address} is not in {}", network.subnet));
            }
            Some(network) if network.gateway == address => {
                self.add(format!("{field}.address"), format!("{address} is the network's gateway"));
            }
            Some(_) => {}
        }
    }

    fn local<'a>(
        &mut self,
        field: &str,
        local: &'a LocalEndpoint,
        places: &mut BTreeSet<(&'a Path, &'a str)>,
        clients: &mut BTreeSet<Ipv4Addr>,
    ) {
        self.interface(&format!("{field}.ifname"), &local.ifname);
        if !places.insert((&local.netns, &local.ifname)) {
            self.add(format!("{field}.ifname"), "is taken in this namespace by another endpoint");
        }
        if let Some(client) = local.dns_client {
            let inside = DNS_CLIENTS.contains(&client);
            self.require(inside, &format!("{field}.dns_client"), "is not in 198.18.0.0/15");
            let fresh = clients.insert(client);
            self.require(fresh, &format!("{field}.dns_client"), "is also that of another endpoint");
        }
    }

    fn remote(&mut self, state: &DesiredState, field: &str, endpoint: &Endpoint, peer: IpAddr) {
        let known = state.peers.contains(&peer);
        self.require(known, &format!("{field}.location"), "its tunnel address is not among the peers");
        let elsewhere = peer != state.node.data_path_addr;
        self.require(elsewhere, &format!("{field}.location"), "its tunnel address is this node's own");
        self.require(endpoint.address.is_ipv4(), &format!("{field}.address"), "must be an IPv4 address");
    }

    fn vips(&mut self, state: &DesiredState) {
        let mut seen = BTreeSet::new();
        for (index, vip) in state.vips.iter().enumerate() {
            let field = format!("vips[{index}]");
            self.address(state, &field, vip.vni, vip.address);
            let fresh = seen.insert((vip.vni, vip.address));
            self.require(fresh, &format!("{field}.address"), "is also that of another VIP");
            self.backends(state, &field, &vip.backends, Some(vip.vni));
            let free = !state
                .endpoints
                .values()
                .any(|endpoint| (endpoint.vni, endpoint.address) == (vip.vni, vip.address));
            self.require(free, &format!("{field}.address"), "is also that of an endpoint");
        }
    }

    fn published(&mut self, state: &DesiredState) {
        let mut seen = BTreeSet::new();
        for (index, port) in state.published.iter().enumerate() {
            let field = format!("published[{index}]");
            let fresh = seen.insert((port.published, port.protocol));
            self.require(fresh, &format!("{field}.published"), "is published twice");
            self.backends(state, &field, &port.backends, None);
        }
    }

    fn backends(
        &mut self,
        state: &DesiredState,
        field: &str,
        backends: &BTreeSet<EndpointId>,
        vni: Option<Vni>,
    ) {
        for id in backends {
            match state.endpoints.get(id) {
                None => self.add(format!("{field}.backends"), format!("there is no endpoint {id}")),
                Some(endpoint) if vni.is_some_and(|vni| vni != endpoint.vni) => {
                    self.add(format!("{field}.backends"), format!("endpoint {id} is in another network"));
                }
                Some(_) => {}
            }
        }
    }
}
