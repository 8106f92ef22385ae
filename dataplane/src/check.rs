//! Reading a desired state, and refusing one that contradicts itself before anything is touched.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;

use crate::desired::{DesiredState, EndpointId, INGRESS_TUNNEL_VNI, LocalEndpoint, Location, Network, Vni};

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
    let addresses = problems.endpoints(state);
    problems.vips(state, &addresses);
    problems.published(state);
    if problems.0.is_empty() { Ok(()) } else { Err(Invalid(problems.0)) }
}

type Addresses = BTreeMap<(Vni, IpAddr), EndpointId>;

/// What a problem is about; written out only when there is one, because states are large and mostly good.
#[derive(Clone, Copy)]
enum Place {
    Node,
    Peers,
    Network(Vni),
    Endpoint(EndpointId),
    Vip(usize),
    Published(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node => f.write_str("node"),
            Self::Peers => f.write_str("peers"),
            Self::Network(vni) => write!(f, "networks.{vni}"),
            Self::Endpoint(id) => write!(f, "endpoints.{id}"),
            Self::Vip(index) => write!(f, "vips[{index}]"),
            Self::Published(index) => write!(f, "published[{index}]"),
        }
    }
}

#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    /// Takes down a problem unless the condition holds; `field` is the part of the place, or empty.
    fn require(&mut self, holds: bool, place: Place, field: &str, reason: impl fmt::Display) {
        if !holds {
            let dot = if field.is_empty() { "" } else { "." };
            self.0.push(Problem { field: format!("{place}{dot}{field}"), reason: reason.to_string() });
        }
    }

    fn node(&mut self, state: &DesiredState) {
        let node = &state.node;
        self.require(node.data_path_addr.is_ipv4(), Place::Node, "data_path_addr", "must be an IPv4 address");
        self.require(node.data_path_port != 0, Place::Node, "data_path_port", "must not be 0");
        self.require(!node.uplinks.is_empty(), Place::Node, "uplinks", "must name an interface");
        for uplink in &node.uplinks {
            let reason = format_args!("{uplink:?} is no interface's name");
            self.require(is_interface(uplink), Place::Node, "uplinks", reason);
        }
        let all_v4 = state.peers.iter().all(IpAddr::is_ipv4);
        self.require(all_v4, Place::Peers, "", "must be IPv4 addresses");
    }

    fn network(&mut self, vni: Vni, network: &Network) {
        let place = Place::Network(vni);
        self.require(vni > 0 && vni < 1 << 24, place, "", "a VNI is 1 to 16777215");
        self.require(vni != INGRESS_TUNNEL_VNI, place, "", "this VNI is the dataplane's own");
        let subnet_is_v4 = network.subnet.addr().is_ipv4();
        self.require(subnet_is_v4, place, "subnet", "must be an IPv4 range");
        let inside = network.subnet.contains(&network.gateway);
        self.require(inside, place, "gateway", "is not in the subnet");
        self.require(network.mtu >= SMALLEST_MTU, place, "mtu", "is less than 576");
    }

    /// Gives the endpoints by their addresses.
    fn endpoints(&mut self, state: &DesiredState) -> Addresses {
        let mut addresses = Addresses::new();
        let mut places: BTreeSet<(&Path, &str)> = BTreeSet::new();
        let mut clients: BTreeSet<Ipv4Addr> = BTreeSet::new();
        for (id, endpoint) in &state.endpoints {
            let place = Place::Endpoint(*id);
            self.require(*id != 0, place, "", "0 is no endpoint's number");
            self.address(state, place, endpoint.vni, endpoint.address);
            if let Some(other) = addresses.insert((endpoint.vni, endpoint.address), *id) {
                self.require(false, place, "address", format_args!("is also that of endpoint {other}"));
            }
            match &endpoint.location {
                Location::Local(local) => self.local(place, local, &mut places, &mut clients),
                Location::Remote(peer) => self.remote(state, place, *peer),
            }
        }
        addresses
    }

    fn address(&mut self, state: &DesiredState, place: Place, vni: Vni, address: IpAddr) {
        let Some(network) = state.networks.get(&vni) else {
            return self.require(false, place, "vni", format_args!("there is no network {vni}"));
        };
        let inside = network.subnet.contains(&address);
        self.require(inside, place, "address", format_args!("{address} is not in {}", network.subnet));
        let free = network.gateway != address;
        self.require(free, place, "address", format_args!("{address} is the network's gateway"));
    }

    fn local<'a>(
        &mut self,
        place: Place,
        local: &'a LocalEndpoint,
        places: &mut BTreeSet<(&'a Path, &'a str)>,
        clients: &mut BTreeSet<Ipv4Addr>,
    ) {
        self.require(is_interface(&local.ifname), place, "ifname", "is no interface's name");
        let fresh = places.insert((&local.netns, &local.ifname));
        self.require(fresh, place, "ifname", "is taken in this namespace by another endpoint");
        if let Some(client) = local.dns_client {
            self.require(DNS_CLIENTS.contains(&client), place, "dns_client", "is not in 198.18.0.0/15");
            self.require(clients.insert(client), place, "dns_client", "is also that of another endpoint");
        }
    }

    fn remote(&mut self, state: &DesiredState, place: Place, peer: IpAddr) {
        let known = state.peers.contains(&peer);
        self.require(known, place, "location", "its tunnel address is not among the peers");
        let elsewhere = peer != state.node.data_path_addr;
        self.require(elsewhere, place, "location", "its tunnel address is this node's own");
    }

    fn vips(&mut self, state: &DesiredState, addresses: &Addresses) {
        let mut seen = BTreeSet::new();
        for (index, vip) in state.vips.iter().enumerate() {
            let place = Place::Vip(index);
            self.address(state, place, vip.vni, vip.address);
            let fresh = seen.insert((vip.vni, vip.address));
            self.require(fresh, place, "address", "is also that of another VIP");
            self.backends(state, place, &vip.backends, Some(vip.vni));
            let free = !addresses.contains_key(&(vip.vni, vip.address));
            self.require(free, place, "address", "is also that of an endpoint");
        }
    }

    fn published(&mut self, state: &DesiredState) {
        let mut seen = BTreeSet::new();
        for (index, port) in state.published.iter().enumerate() {
            let place = Place::Published(index);
            let fresh = seen.insert((port.published, port.protocol));
            self.require(fresh, place, "published", "is published twice");
            self.backends(state, place, &port.backends, None);
        }
    }

    fn backends(
        &mut self,
        state: &DesiredState,
        place: Place,
        backends: &BTreeSet<EndpointId>,
        vni: Option<Vni>,
    ) {
        for id in backends {
            let endpoint = state.endpoints.get(id);
            self.require(endpoint.is_some(), place, "backends", format_args!("there is no endpoint {id}"));
            let elsewhere = endpoint.is_some_and(|endpoint| vni.is_some_and(|vni| vni != endpoint.vni));
            self.require(!elsewhere, place, "backends", format_args!("endpoint {id} is in another network"));
        }
    }
}

/// As the kernel takes names (`dev_valid_name`), and printable.
fn is_interface(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= IFNAME_MAX
        && !matches!(name, "." | "..")
        && name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> DesiredState {
        serde_json::from_str(include_str!("plan/golden/web.json")).unwrap()
    }

    fn local(state: &mut DesiredState) -> &mut LocalEndpoint {
        match &mut state.endpoints.get_mut(&1).unwrap().location {
            Location::Local(local) => local,
            Location::Remote(_) => unreachable!(),
        }
    }

    #[test]
    fn each_contradiction_is_told_with_its_field() {
        type Edit = fn(&mut DesiredState);
        let cases: &[(Edit, &str)] = &[
            (
                |s| s.node.data_path_addr = "::1".parse().unwrap(),
                "node.data_path_addr: must be an IPv4 address",
            ),
            (|s| s.node.data_path_port = 0, "node.data_path_port: must not be 0"),
            (|s| s.node.uplinks.clear(), "node.uplinks: must name an interface"),
            (
                |s| s.node.uplinks[0] = "eth0/..".to_owned(),
                "node.uplinks: \"eth0/..\" is no interface's name",
            ),
            (|s| s.networks.get_mut(&4097).unwrap().mtu = 500, "networks.4097.mtu: is less than 576"),
            (
                |s| s.networks.get_mut(&4097).unwrap().gateway = "10.0.2.1".parse().unwrap(),
                "networks.4097.gateway: is not in the subnet",
            ),
            (
                |s| {
                    let network = s.networks[&4097].clone();
                    s.networks.insert(INGRESS_TUNNEL_VNI, network);
                },
                "networks.16777214: this VNI is the dataplane's own",
            ),
            (
                |s| s.endpoints.get_mut(&2).unwrap().vni = 7,
                "endpoints.2.vni: there is no network 7; vips[0].backends: endpoint 2 is in another network",
            ),
            (
                |s| s.endpoints.get_mut(&2).unwrap().address = "10.9.0.4".parse().unwrap(),
                "endpoints.2.address: 10.9.0.4 is not in 10.0.1.0/24",
            ),
            (
                |s| s.endpoints.get_mut(&2).unwrap().address = "10.0.1.1".parse().unwrap(),
                "endpoints.2.address: 10.0.1.1 is the network's gateway",
            ),
            (
                |s| s.endpoints.get_mut(&2).unwrap().address = "10.0.1.3".parse().unwrap(),
                "endpoints.2.address: is also that of endpoint 1",
            ),
            (|s| s.peers.clear(), "endpoints.2.location: its tunnel address is not among the peers"),
            (
                |s| local(s).dns_client = Some(Ipv4Addr::new(10, 0, 0, 1)),
                "endpoints.1.dns_client: is not in 198.18.0.0/15",
            ),
            (|s| local(s).ifname = String::new(), "endpoints.1.ifname: is no interface's name"),
            (
                |s| s.vips[0].address = "10.0.1.4".parse().unwrap(),
                "vips[0].address: is also that of an endpoint",
            ),
            (|s| s.vips.push(s.vips[0].clone()), "vips[1].address: is also that of another VIP"),
            (|s| assert!(s.vips[0].backends.insert(9)), "vips[0].backends: there is no endpoint 9"),
            (|s| s.published.push(s.published[0].clone()), "published[1].published: is published twice"),
        ];
        for (edit, expected) in cases {
            let mut state = example();
            assert_eq!(check(&state), Ok(()));
            edit(&mut state);
            let told = check(&state).unwrap_err().to_string();
            assert_eq!(told, *expected);
        }
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let mut state = example();
        state.node.data_path_port = 0;
        state.vips[0].backends.insert(9);
        assert_eq!(check(&state).unwrap_err().0.len(), 2);
    }

    #[test]
    fn a_file_is_refused_with_its_path_and_field() {
        let path = std::env::temp_dir().join(format!("mesh-state-{}.json", std::process::id()));
        let refuse = |text: &str| {
            fs::write(&path, text).unwrap();
            let told = read_file(&path).unwrap_err().to_string();
            told.replace(&path.display().to_string(), "FILE")
        };
        let good = include_str!("plan/golden/web.json");
        assert_eq!(
            refuse(&good.replace("10.0.1.0/24", "10.0.1.0/99")),
            "FILE: networks.4097.subnet: invalid IP address syntax at line 10 column 37"
        );
        assert_eq!(
            refuse(&good.replace("\"published\": 8080", "\"published\": 0")),
            "FILE: published[0].published: invalid value: integer `0`, expected a nonzero u16 at line 29 column 20"
        );
        assert_eq!(refuse(&good.replace("4789", "0")), "FILE: node.data_path_port: must not be 0");
        fs::write(&path, good).unwrap();
        assert_eq!(read_file(&path).unwrap(), example());
        fs::remove_file(&path).unwrap();
        assert!(read_file(&path).unwrap_err().to_string().starts_with("cannot read /"));
    }
}
