//! What a node's network and names should be, from what the managers tell and what the node knows by
//! itself. Pure functions.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use mesh_core::assignment::{AssignmentSet, EndpointView, NetworkView, ServiceView};
use mesh_core::id::{NetworkId, NodeId, ServiceId};
use mesh_core::{port, spec};
use mesh_dataplane::desired::{
    DesiredState, Endpoint, IngressReply, LocalEndpoint, LocalNode, Location, Network, Protocol,
    PublishedPort, VXLAN_OVERHEAD, Vip,
};
use mesh_dns::table::{Client, Table, Zone};

use super::facts::{LocalFacts, LocalTask};

/// The node's network.
pub fn desired_state(set: &AssignmentSet, facts: &LocalFacts) -> DesiredState {
    let endpoints = endpoints(set, facts);
    let backends = backends(set, facts, &endpoints);
    DesiredState {
        node: local_node(set, facts),
        peers: others(set, facts).values().copied().collect(),
        networks: networks(set, facts),
        vips: vips(set, &backends),
        published: published(set, &backends),
        endpoints,
    }
}

fn local_node(set: &AssignmentSet, facts: &LocalFacts) -> LocalNode {
    LocalNode {
        data_path_addr: facts.node.data_path_addr,
        data_path_port: set.settings.data_path_port,
        uplinks: facts.node.uplinks.clone(),
        ingress_reply: match set.settings.ingress_reply {
            spec::IngressReply::Through => IngressReply::Through,
            spec::IngressReply::Direct => IngressReply::Direct,
        },
    }
}

fn networks(set: &AssignmentSet, facts: &LocalFacts) -> BTreeMap<u32, Network> {
    let network = |view: &NetworkView| Network {
        subnet: view.subnet,
        gateway: view.gateway,
        mtu: view.mtu.unwrap_or_else(|| facts.node.path_mtu.saturating_sub(VXLAN_OVERHEAD)),
        internal: view.internal,
    };
    set.networks.values().map(|view| (view.vni.0, network(view))).collect()
}

/// Other nodes by their tunnels' addresses. One that has this node's address is no other: it is what this
/// machine was before it left and joined again.
fn others(set: &AssignmentSet, facts: &LocalFacts) -> BTreeMap<NodeId, IpAddr> {
    let here =
        |(id, address): &(&NodeId, &IpAddr)| **id == facts.node.id || **address == facts.node.data_path_addr;
    set.peers.iter().filter(|peer| !here(peer)).map(|(id, address)| (*id, *address)).collect()
}

/// Every endpoint that packets can be brought to: those of other nodes, and those of this node's tasks that
/// have a namespace.
fn endpoints(set: &AssignmentSet, facts: &LocalFacts) -> BTreeMap<u32, Endpoint> {
    let others = others(set, facts);
    let remote = set.endpoints.iter().filter_map(|(id, view)| {
        let location = Location::Remote(*others.get(&view.node)?);
        let vni = set.networks.get(&view.network)?.vni.0;
        Some((id.0, Endpoint { vni, address: view.address, location }))
    });
    remote.chain(facts.tasks.values().flat_map(|local| local_endpoints(set, local))).collect()
}

/// A task's endpoints, in order: the first is `eth0` and has the way to the DNS server. The default route
/// goes through the first network that has a way out.
fn local_endpoints(set: &AssignmentSet, local: &LocalTask) -> Vec<(u32, Endpoint)> {
    let open = |network: &NetworkId| set.networks.get(network).is_some_and(|view| !view.internal);
    let gateway = local.endpoints.iter().position(|endpoint| open(&endpoint.network));
    let made = local.endpoints.iter().enumerate().filter_map(|(index, endpoint)| {
        let vni = set.networks.get(&endpoint.network)?.vni.0;
        let location = Location::Local(LocalEndpoint {
            netns: local.netns.clone(),
            ifname: format!("eth{index}"),
            default_route: gateway == Some(index),
            dns_client: (index == 0).then_some(local.dns_client),
        });
        Some((endpoint.id.0, Endpoint { vni, address: endpoint.address, location }))
    });
    made.collect()
}

type Backends = BTreeMap<(ServiceId, NetworkId), BTreeSet<u32>>;

/// Endpoints that take new flows, by service and network. This node's own tasks count only while they
/// really serve, which is known here before any manager can say so.
fn backends(set: &AssignmentSet, facts: &LocalFacts, present: &BTreeMap<u32, Endpoint>) -> Backends {
    let mut backends = Backends::new();
    for (id, view) in set.endpoints.iter().filter(|(id, view)| present.contains_key(&id.0) && view.active) {
        if serves(view, facts) {
            backends.entry((view.service, view.network)).or_default().insert(id.0);
        }
    }
    backends
}

fn serves(view: &EndpointView, facts: &LocalFacts) -> bool {
    view.node != facts.node.id || facts.tasks.get(&view.task).is_some_and(|task| task.serving)
}

fn vips(set: &AssignmentSet, backends: &Backends) -> Vec<Vip> {
    let of_service = |(id, service): (&ServiceId, &ServiceView)| {
        let id = *id;
        let name = service.name.clone();
        let vips = service.vips.clone().into_iter().filter_map(move |(network, address)| {
            let vni = set.networks.get(&network)?.vni.0;
            let backends = backends.get(&(id, network)).cloned().unwrap_or_default();
            Some(Vip { vni, address, service: name.clone(), backends })
        });
        vips.collect::<Vec<_>>()
    };
    set.services.iter().flat_map(of_service).collect()
}

fn published(set: &AssignmentSet, backends: &Backends) -> Vec<PublishedPort> {
    let Some((ingress, _)) = set.networks.iter().find(|(_, view)| view.ingress) else { return Vec::new() };
    let ports = set.services.iter().flat_map(|(id, service)| {
        service.published.iter().map(move |port| PublishedPort {
            published: port.published,
            target: port.target,
            protocol: match port.protocol {
                port::Protocol::Tcp => Protocol::Tcp,
                port::Protocol::Udp => Protocol::Udp,
            },
            service: service.name.clone(),
            backends: backends.get(&(*id, *ingress)).cloned().unwrap_or_default(),
        })
    });
    ports.collect()
}

/// The names that this node's tasks can ask for. The ingress network has none: who shares nothing but
/// published ports does not see each other. `version` is the table's number.
pub fn dns_table(set: &AssignmentSet, facts: &LocalFacts, version: u64) -> Table {
    Table {
        version,
        clients: facts.tasks.values().map(|local| client(set, local)).collect(),
        // The ingress network's zone too, although nobody sees its names: its addresses are ours, and are
        // not to be asked of anybody outside.
        zones: set.networks.iter().map(|(id, view)| (view.vni.0, zone(set, facts, *id, view))).collect(),
        upstreams: facts.node.upstreams.clone(),
    }
}

fn client(set: &AssignmentSet, local: &LocalTask) -> (Ipv4Addr, Client) {
    let views: Vec<&NetworkView> =
        local.endpoints.iter().filter_map(|endpoint| set.networks.get(&endpoint.network)).collect();
    let zones = views.iter().filter(|view| !view.ingress).map(|view| view.vni.0).collect();
    (local.dns_client, Client { zones, internal: views.iter().all(|view| view.internal) })
}

fn zone(set: &AssignmentSet, facts: &LocalFacts, network: NetworkId, view: &NetworkView) -> Zone {
    let mut zone = Zone { network: view.name.to_ascii_lowercase(), ..Zone::default() };
    let members = set.services.iter().filter(|(_, service)| service.aliases.contains_key(&network));
    for (id, service) in members {
        add_service(&mut zone, set, facts, network, (*id, service));
    }
    for endpoint in set.endpoints.values().filter(|endpoint| endpoint.network == network) {
        add_task(&mut zone, endpoint);
    }
    zone
}

/// `SERVICE` and its aliases, and `tasks.SERVICE`.
fn add_service(
    zone: &mut Zone,
    set: &AssignmentSet,
    facts: &LocalFacts,
    network: NetworkId,
    (id, service): (ServiceId, &ServiceView),
) {
    let tasks: Vec<IpAddr> = set
        .endpoints
        .values()
        .filter(|view| view.service == id && view.network == network && view.active && serves(view, facts))
        .map(|view| view.address)
        .collect();
    let vip = service.vips.get(&network);
    let addresses = vip.map_or_else(|| tasks.clone(), |vip| vec![*vip]);
    let aliases = service.aliases.get(&network).into_iter().flatten();
    for name in std::iter::once(&service.name).chain(aliases) {
        zone.names.entry(name.to_ascii_lowercase()).or_default().extend(&addresses);
    }
    zone.names.insert(format!("tasks.{}", service.name.to_ascii_lowercase()), tasks);
    if let Some(vip) = vip {
        zone.pointers.insert(*vip, pointer(&service.name, zone));
    }
}

/// The task's own name and host name.
fn add_task(zone: &mut Zone, endpoint: &EndpointView) {
    for name in std::iter::once(&endpoint.task_name).chain(&endpoint.hostname) {
        zone.names.entry(name.to_ascii_lowercase()).or_default().push(endpoint.address);
    }
    zone.pointers.insert(endpoint.address, pointer(&endpoint.task_name, zone));
}

fn pointer(name: &str, zone: &Zone) -> String {
    format!("{}.{}", name.to_ascii_lowercase(), zone.network)
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
