//! Views of the sample cluster.

use std::collections::BTreeSet;

use mesh_core::id::{NodeId, TaskId};
use mesh_core::object::EndpointId;

use super::*;
use crate::agent::samples::{self, BACK, FRONT, HERE, INGRESS, address, net};

fn facts() -> LocalFacts {
    LocalFacts { node: samples::node(), tasks: [(TaskId::from_bits(2), samples::local())].into() }
}

fn ids(ids: &[u32]) -> BTreeSet<u32> {
    ids.iter().copied().collect()
}

fn vip(state: &DesiredState, vni: u32) -> &Vip {
    state.vips.iter().find(|vip| vip.vni == vni).unwrap()
}

#[test]
fn tasks_here_are_local_and_those_of_peers_behind_their_tunnels() {
    let state = desired_state(&samples::set(), &facts());
    assert_eq!(state.endpoints.keys().copied().collect::<Vec<_>>(), [2, 3, 102, 103]);
    assert_eq!(state.endpoints[&3].location, Location::Remote([192, 0, 2, 12].into()));
    let Location::Local(first) = &state.endpoints[&2].location else { panic!("{state:?}") };
    assert_eq!((first.ifname.as_str(), first.default_route), ("eth0", true));
    assert_eq!(first.dns_client, Some(samples::local().dns_client));
    let Location::Local(second) = &state.endpoints[&102].location else { panic!("{state:?}") };
    assert_eq!((second.ifname.as_str(), second.default_route, second.dns_client), ("eth1", false, None));
    assert_eq!(state.networks[&4097].mtu, 1450);
    assert!(state.networks[&4098].internal && !state.networks[&4097].internal);
    assert_eq!(state.peers, [[192, 0, 2, 12].into()].into());
}

#[test]
fn the_default_route_avoids_internal_networks() {
    let mut set = samples::set();
    set.networks.get_mut(&net(INGRESS)).unwrap().internal = true;
    let state = desired_state(&set, &facts());
    let routes: Vec<bool> = [2, 102]
        .into_iter()
        .map(|id| match &state.endpoints[&id].location {
            Location::Local(local) => local.default_route,
            Location::Remote(_) => panic!("{id} is local"),
        })
        .collect();
    assert_eq!(routes, [false, true]);
    for view in set.networks.values_mut() {
        view.internal = true;
    }
    let none = desired_state(&set, &facts())
        .endpoints
        .into_values()
        .any(|endpoint| matches!(endpoint.location, Location::Local(local) if local.default_route));
    assert!(!none);
}

#[test]
fn active_endpoints_take_flows_each_in_its_network() {
    let state = desired_state(&samples::set(), &facts());
    assert_eq!(vip(&state, 4097).backends, ids(&[102, 103]));
    assert_eq!(vip(&state, 4096).backends, ids(&[2, 3]));
    assert_eq!(vip(&state, 4098).backends, ids(&[]));
    let port = &state.published[0];
    assert_eq!((port.published.get(), port.target.get(), port.protocol), (8080, 80, Protocol::Tcp));
    assert_eq!(port.backends, ids(&[2, 3]));
}

#[test]
fn who_is_not_active_is_reached_but_not_balanced_to() {
    let mut set = samples::set();
    for id in [3, 103] {
        set.endpoints.get_mut(&EndpointId(id)).unwrap().active = false;
    }
    let state = desired_state(&set, &facts());
    assert!(state.endpoints.contains_key(&103));
    assert_eq!(vip(&state, 4097).backends, ids(&[102]));
    assert_eq!(state.published[0].backends, ids(&[2]));
    let names = |set: &AssignmentSet| dns_table(set, &facts(), 1).zones[&4097].names.clone();
    assert_eq!(names(&set)["tasks.web"], [address(1, 2)]);
    assert_eq!(names(&set)["web.3.t3"], [address(1, 3)], "by its own name it is found to the end");
    set.services.get_mut(&ServiceId::from_bits(samples::WEB)).unwrap().vips.clear();
    assert_eq!(names(&set)["web"], [address(1, 2)]);
}

#[test]
fn a_local_task_that_ended_is_out_before_any_manager_says_so() {
    let mut facts = facts();
    facts.tasks.get_mut(&TaskId::from_bits(2)).unwrap().serving = false;
    let state = desired_state(&samples::set(), &facts);
    assert_eq!(vip(&state, 4097).backends, ids(&[103]));
    assert_eq!(state.published[0].backends, ids(&[3]));
    assert!(state.endpoints.contains_key(&102));
    let table = dns_table(&samples::set(), &facts, 1);
    assert_eq!(table.zones[&4097].names["tasks.web"], [address(1, 3)]);
}

#[test]
fn a_task_without_a_namespace_yet_is_nowhere() {
    let facts = LocalFacts { tasks: BTreeMap::new(), ..facts() };
    let state = desired_state(&samples::set(), &facts);
    assert_eq!(state.endpoints.keys().copied().collect::<Vec<_>>(), [3, 103]);
    assert_eq!(vip(&state, 4097).backends, ids(&[103]));
    assert!(dns_table(&samples::set(), &facts, 1).clients.is_empty());
}

#[test]
fn an_endpoint_of_a_node_that_is_no_peer_is_left_out() {
    let mut set = samples::set();
    std::sync::Arc::make_mut(&mut set.peers).remove(&NodeId::from_bits(samples::THERE));
    let state = desired_state(&set, &facts());
    assert_eq!(state.endpoints.keys().copied().collect::<Vec<_>>(), [2, 102]);
    assert_eq!(state.published[0].backends, ids(&[2]));
}

#[test]
fn what_this_machine_was_before_it_joined_again_is_no_peer() {
    let mut set = samples::set();
    std::sync::Arc::make_mut(&mut set.peers)
        .insert(NodeId::from_bits(samples::THERE), samples::node().data_path_addr);
    let state = desired_state(&set, &facts());
    assert!(state.peers.is_empty());
    assert_eq!(state.endpoints.keys().copied().collect::<Vec<_>>(), [2, 102]);
}

#[test]
fn names_of_a_network_in_lower_case() {
    let table = dns_table(&samples::set(), &facts(), 7);
    let zone = &table.zones[&4097];
    assert_eq!((table.version, zone.network.as_str()), (7, "front"));
    for name in ["web", "www"] {
        assert_eq!(zone.names[name], [address(1, 250)], "{name}");
    }
    assert_eq!(zone.names["tasks.web"], [address(1, 2), address(1, 3)]);
    assert_eq!(zone.names["web.3.t3"], [address(1, 3)]);
    assert_eq!(zone.pointers[&address(1, 250)], "web.front");
    assert_eq!(zone.pointers[&address(1, 3)], "web.3.t3.front");
    assert_eq!(table.zones[&4098].names["tasks.db"], Vec::<IpAddr>::new());
    assert_eq!(table.upstreams, samples::node().upstreams);
}

#[test]
fn without_a_vip_the_name_gives_the_tasks() {
    let mut set = samples::set();
    set.services.get_mut(&ServiceId::from_bits(samples::WEB)).unwrap().vips.clear();
    let table = dns_table(&set, &facts(), 1);
    assert_eq!(table.zones[&4097].names["web"], [address(1, 2), address(1, 3)]);
    assert!(desired_state(&set, &facts()).vips.iter().all(|vip| vip.service != "Web"));
}

#[test]
fn who_asks_sees_its_own_networks_and_no_names_of_ingress() {
    let table = dns_table(&samples::set(), &facts(), 1);
    // Its addresses are known to be ours, so that nobody outside is asked about them.
    assert!(!table.zones[&4096].pointers.is_empty());
    let client = &table.clients[&samples::local().dns_client];
    assert_eq!((client.zones.as_slice(), client.internal), (&[4097][..], false));
    let mut inner = facts();
    let local = inner.tasks.get_mut(&TaskId::from_bits(2)).unwrap();
    local.endpoints.retain(|endpoint| endpoint.network == net(FRONT));
    local.endpoints[0].network = net(BACK);
    let client = dns_table(&samples::set(), &inner, 1).clients[&samples::local().dns_client].clone();
    assert_eq!((client.zones.as_slice(), client.internal), (&[4098][..], true));
}

#[test]
fn the_sample_is_this_node() {
    assert_eq!(samples::node().id, NodeId::from_bits(HERE));
}
