//! Networks: create and remove.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::refusal::Refusal;
use super::{cluster, validate};
use crate::allocate;
use crate::id::{Entropy, NetworkId};
use crate::name::Name;
use crate::object::{Meta, Network, NodeDescription, VNI_MIN, Vni};
use crate::spec::{ClusterSpec, Labels, NetworkSpec};
use crate::store::{Expect, Key, Kind, LookupError, Store, Transaction, Write};
use crate::time::Timestamp;

/// Packets that every IPv4 host must take (RFC 791), and the largest there can be.
const MTU_RANGE: std::ops::RangeInclusive<u16> = 576..=u16::MAX;

/// Name of the network that every cluster begins with.
const INGRESS_NAME: &str = "ingress";

/// Makes a network with its subnet, gateway and VNI.
pub fn create_network(
    store: &Store,
    spec: NetworkSpec,
    now: Timestamp,
    entropy: &mut dyn Entropy,
) -> Result<(NetworkId, Transaction), Refusal> {
    let cluster = cluster::current(store)?;
    check(&spec)?;
    if store.network_by_name(spec.name.as_str()).is_some() {
        return Err(Refusal::NameTaken { kind: Kind::Network, name: spec.name.to_string() });
    }
    if let Some(present) = store.ingress_network().filter(|_| spec.ingress) {
        return Err(Refusal::IngressPresent { name: present.spec.name.to_string() });
    }
    let nodes: Vec<_> = store.nodes().map(|node| &node.description).collect();
    let taken = store.networks().map(|network| network.subnet);
    let subnet = allocate::choose_subnet(spec.subnet, &cluster.spec, taken, &nodes)?;
    let network = made(spec, subnet, allocate::next_vni(store)?, entropy)?;
    let id = network.id;
    Ok((id, Transaction { at: now, writes: vec![Write::create(network.into())] }))
}

/// Removes a network that nothing uses.
pub fn remove_network(store: &Store, id: NetworkId, now: Timestamp) -> Result<Transaction, Refusal> {
    let missing = || LookupError::NotFound { kind: Kind::Network, text: id.to_string() };
    let network = store.network(id).ok_or_else(missing)?;
    let in_use = |user| Refusal::NetworkInUse { network: network.spec.name.to_string(), user };
    if let Some(service) = store.network_services(id).next() {
        return Err(in_use(format!("service {}", service.spec.name)));
    }
    let mut owners = store.network_addresses(id);
    if let Some(task) = owners.find_map(|(_, owner)| match owner {
        Key::Task(task) => store.task(task),
        _ => None,
    }) {
        return Err(in_use(format!("task {}", task.name())));
    }
    let expect = Expect::Version(network.meta.version);
    Ok(Transaction { at: now, writes: vec![Write::Delete { key: Key::Network(id), expect }] })
}

/// The network that the routing mesh of a new cluster uses.
pub(super) fn ingress(
    cluster: &ClusterSpec,
    node: &NodeDescription,
    entropy: &mut dyn Entropy,
) -> Result<Network, Refusal> {
    let name = Name::from_str(INGRESS_NAME).map_err(|error| Refusal::invalid("name", error.to_string()))?;
    let spec = NetworkSpec {
        name,
        labels: Labels::new(),
        subnet: None,
        gateway: None,
        internal: false,
        attachable: false,
        ingress: true,
        mtu: None,
    };
    let subnet = allocate::choose_subnet(None, cluster, std::iter::empty(), &[node])?;
    made(spec, subnet, VNI_MIN, entropy)
}

fn made(spec: NetworkSpec, subnet: IpNet, vni: Vni, entropy: &mut dyn Entropy) -> Result<Network, Refusal> {
    let first = subnet.hosts().next().ok_or_else(|| Refusal::invalid("subnet", "has no addresses"))?;
    let gateway = spec.gateway.unwrap_or(first);
    Ok(Network { id: NetworkId::new(entropy), meta: Meta::default(), spec, vni, subnet, gateway })
}

fn check(spec: &NetworkSpec) -> Result<(), Refusal> {
    validate::labels(&spec.labels, "labels")?;
    if let Some(mtu) = spec.mtu.filter(|mtu| !MTU_RANGE.contains(mtu)) {
        return Err(Refusal::invalid("mtu", format!("{mtu} is not between 576 and 65535")));
    }
    match (spec.subnet, spec.gateway) {
        (Some(subnet), gateway) => {
            check_subnet(&subnet)?;
            gateway.map_or(Ok(()), |gateway| check_gateway(&subnet, gateway))
        }
        (None, Some(_)) => Err(Refusal::invalid("gateway", "needs a subnet that it is in")),
        (None, None) => Ok(()),
    }
}

fn check_subnet(subnet: &IpNet) -> Result<(), Refusal> {
    let wrong = |reason: &str| Err(Refusal::invalid("subnet", format!("{subnet} {reason}")));
    let address = match subnet {
        IpNet::V4(subnet) => subnet.network(),
        IpNet::V6(_) => return wrong("is IPv6, which is not available"),
    };
    if !validate::SUBNET_PREFIXES.contains(&subnet.prefix_len()) {
        return wrong("is not between /8 and /29");
    }
    if subnet.trunc() != *subnet {
        return wrong(&format!("has bits set beyond its prefix: {} is meant", subnet.trunc()));
    }
    if address.is_loopback()
        || address.is_multicast()
        || address.is_unspecified()
        || address.octets()[0] >= 240
    {
        return wrong("is not a range that hosts can have");
    }
    // Tasks ask for names and are told apart there with addresses out of these (the dataplane's own).
    let own = [IpNet::from_str("169.254.0.0/16"), IpNet::from_str("198.18.0.0/15")];
    match own.iter().flatten().find(|range| allocate::overlap(range, subnet)) {
        Some(range) => wrong(&format!("overlaps {range}, which every node uses inside")),
        None => Ok(()),
    }
}

fn check_gateway(subnet: &IpNet, gateway: IpAddr) -> Result<(), Refusal> {
    let inside = subnet.contains(&gateway) && gateway != subnet.network() && gateway != subnet.broadcast();
    if inside {
        Ok(())
    } else {
        Err(Refusal::invalid("gateway", format!("{gateway} is no host of {subnet}")))
    }
}
