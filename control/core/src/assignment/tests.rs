//! Updates and their effect.

use super::*;
use crate::port::DYNAMIC_PORTS;

fn network(name: &str) -> NetworkView {
    NetworkView {
        name: name.to_owned(),
        vni: Vni(1),
        subnet: "10.0.0.0/24".parse().unwrap(),
        gateway: "10.0.0.1".parse().unwrap(),
        internal: false,
        ingress: false,
        mtu: None,
    }
}

#[test]
fn changes_put_replace_and_remove() {
    let id = NetworkId::from_bits;
    let mut set = AssignmentSet::default();
    let change = |networks: Vec<(u128, Option<NetworkView>)>| AssignmentChanges {
        networks: networks.into_iter().map(|(bits, view)| (id(bits), view)).collect(),
        ..AssignmentChanges::default()
    };
    set.apply_changes(change(vec![(1, Some(network("a"))), (2, Some(network("b")))]));
    set.apply_changes(change(vec![(1, None), (2, Some(network("c"))), (3, None)]));
    let names: Vec<_> = set.networks.values().map(|view| view.name.as_str()).collect();
    assert_eq!(names, ["c"]);
    let settings = ClusterSettings { data_path_port: *DYNAMIC_PORTS.start(), ..ClusterSettings::default() };
    set.apply_changes(AssignmentChanges { settings: Some(settings), ..AssignmentChanges::default() });
    assert_eq!(set.settings, settings);
    set.apply_changes(AssignmentChanges::default());
    assert_eq!(set.settings, settings, "what is not told stays");
}

#[test]
fn updates_survive_the_wire() {
    let mut set = AssignmentSet::default();
    set.networks.insert(NetworkId::from_bits(1), network("a"));
    set.peers.insert(NodeId::from_bits(2), "192.0.2.2".parse().unwrap());
    let update = AssignmentUpdate::Full { version: 7, set: Box::new(set) };
    let bytes = postcard::to_stdvec(&update).unwrap();
    assert_eq!(postcard::from_bytes::<AssignmentUpdate>(&bytes).unwrap(), update);
}
