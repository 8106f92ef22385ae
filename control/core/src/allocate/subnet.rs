//! Subnets: cut from the cluster's pool, clear of every network of the cluster and of every node.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

use crate::command::Refusal;
use crate::object::{NodeDescription, VNI_MAX, VNI_MIN, Vni};
use crate::spec::ClusterSpec;
use crate::store::Store;

/// The subnet that was asked for, or the first of the pool that is clear of everything.
pub(crate) fn choose_subnet(
    asked: Option<IpNet>,
    spec: &ClusterSpec,
    networks: impl Iterator<Item = IpNet>,
    nodes: &[&NodeDescription],
) -> Result<IpNet, Refusal> {
    // A node's default route covers everything and says nothing about what is near it.
    let routes = || nodes.iter().flat_map(|node| &node.routes).filter(|route| route.prefix_len() > 0);
    let Some(subnet) = asked else {
        let taken = networks.chain(routes().copied()).collect();
        return first_clear_cut(&spec.default_address_pool, spec.subnet_prefix_len, taken)
            .map(IpNet::V4)
            .ok_or(Refusal::PoolExhausted);
    };
    let hit = |node: &&&NodeDescription| node.routes.iter().any(|route| near(route, &subnet));
    let on_node = nodes.iter().find(hit).and_then(|node| {
        let route = node.routes.iter().find(|route| near(route, &subnet))?;
        Some(Refusal::SubnetOnNode { subnet, route: *route, hostname: node.hostname.clone() })
    });
    on_node.map_or(Ok(subnet), Err)
}

/// The VNI that is given next.
pub(crate) fn next_vni(store: &Store) -> Result<Vni, Refusal> {
    let next = Vni(store.cluster().map_or(0, |cluster| cluster.next_vni)).max(VNI_MIN);
    if next > VNI_MAX { Err(Refusal::NumbersExhausted { what: "VNIs" }) } else { Ok(next) }
}

/// Whether two ranges share an address; a default route is near nothing.
fn near(route: &IpNet, subnet: &IpNet) -> bool {
    route.prefix_len() > 0 && overlap(route, subnet)
}

/// Whether two ranges share an address.
pub(crate) fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// The first range of `prefix_len` in the pools, in their order, that overlaps nothing of `taken`.
pub(super) fn first_clear_cut(pools: &[IpNet], prefix_len: u8, taken: Vec<IpNet>) -> Option<Ipv4Net> {
    let mut taken: Vec<_> = taken
        .into_iter()
        .filter_map(|net| match net {
            IpNet::V4(net) => {
                Some((u64::from(net.network().to_bits()), u64::from(net.broadcast().to_bits())))
            }
            IpNet::V6(_) => None,
        })
        .collect();
    taken.sort_unstable();
    let size = 1_u64 << (32 - u32::from(prefix_len.min(32)));
    pools.iter().filter(|pool| pool.prefix_len() <= prefix_len).find_map(|pool| {
        let IpNet::V4(pool) = pool else { return None };
        let start = clear_start(pool.network().to_bits().into(), size, &taken);
        let fits = start + size - 1 <= u64::from(pool.broadcast().to_bits());
        let network = u32::try_from(start).ok().filter(|_| fits)?;
        Ipv4Net::new(Ipv4Addr::from_bits(network), prefix_len).ok()
    })
}

/// The first multiple of `size` from `start` on whose range is clear of the sorted ranges of `taken`.
fn clear_start(start: u64, size: u64, taken: &[(u64, u64)]) -> u64 {
    let mut at = start;
    for (low, high) in taken {
        if *low > at + size - 1 {
            break;
        }
        if *high >= at {
            at = (high + 1).next_multiple_of(size);
        }
    }
    at
}
