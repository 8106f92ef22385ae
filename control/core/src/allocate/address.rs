//! Addresses in rotation: the one after the address given last, so that one that was just given up rests
//! for as long as possible.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::command::Refusal;
use crate::id::NetworkId;
use crate::object::Network;
use crate::spec::{EndpointMode, ServiceSpec};
use crate::store::Store;

/// The next address of a network that nobody has; `None` when the subnet is full.
pub(crate) fn next_address(store: &Store, network: &Network) -> Option<IpAddr> {
    let (first, last) = hosts(network)?;
    let start = match store.address_cursor(network.id) {
        Some(IpAddr::V4(cursor)) if (first..last).contains(&cursor.to_bits()) => cursor.to_bits() + 1,
        _ => first,
    };
    let found = first_gap(store, network.id, start, last)
        .or_else(|| first_gap(store, network.id, first, start.saturating_sub(1)));
    found.map(|bits| Ipv4Addr::from_bits(bits).into())
}

/// The first and the last address that tasks can have.
fn hosts(network: &Network) -> Option<(u32, u32)> {
    match network.subnet {
        ipnet::IpNet::V4(subnet) => Some((subnet.network().to_bits() + 1, subnet.broadcast().to_bits() - 1)),
        ipnet::IpNet::V6(_) => None,
    }
}

/// The first address of `first..=last` that nobody has.
fn first_gap(store: &Store, network: NetworkId, first: u32, last: u32) -> Option<u32> {
    let from = Ipv4Addr::from_bits(first).into();
    let mut candidate = first;
    for (address, _) in store.network_addresses_from(network, from) {
        if address != IpAddr::V4(Ipv4Addr::from_bits(candidate)) {
            break;
        }
        candidate = candidate.checked_add(1)?;
    }
    (candidate <= last).then_some(candidate)
}

/// A virtual address in each network that the service joins by itself; those it has already stay.
pub(crate) fn vips(
    store: &Store,
    spec: &ServiceSpec,
    have: &BTreeMap<NetworkId, IpAddr>,
) -> Result<BTreeMap<NetworkId, IpAddr>, Refusal> {
    if spec.endpoint.mode == EndpointMode::Dnsrr {
        return Ok(BTreeMap::new());
    }
    let networks = spec.task.networks.iter().filter_map(|attachment| store.network(attachment.network));
    networks
        .map(|network| {
            let kept = have.get(&network.id).copied();
            let address = kept.or_else(|| next_address(store, network));
            address.map(|address| (network.id, address)).ok_or_else(|| Refusal::AddressesExhausted {
                network: network.spec.name.to_string(),
                subnet: network.subnet,
            })
        })
        .collect()
}
