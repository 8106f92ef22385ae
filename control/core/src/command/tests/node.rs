//! Nodes.

use super::*;

type Joining = fn(&mut JoinNode);

#[test]
fn nodes_join_once() {
    let mut bench = Bench::new();
    let id = bench.join(2, |_| {}).unwrap();
    let known = bench.store.node(id).unwrap().clone();
    bench.join(2, |join| join.description.hostname = "else".to_owned()).unwrap();
    assert_eq!(bench.store.node(id), Some(&known));
    let cases: [(Joining, &str); 6] = [
        (|join| join.description.hostname.clear(), "invalid hostname: must have 1 to 255 bytes"),
        (
            |join| join.data_path_addr = "0.0.0.0".parse().unwrap(),
            "invalid data path address: 0.0.0.0 is not an IPv4 address of a node",
        ),
        (
            |join| join.data_path_addr = "fd00::1".parse().unwrap(),
            "invalid data path address: fd00::1 is not an IPv4 address of a node",
        ),
        (
            |join| join.addr = "224.0.0.1".parse().unwrap(),
            "invalid advertise address: 224.0.0.1 is not an address of a node",
        ),
        (
            |join| join.description.routes = vec!["10.0.0.0/8".parse().unwrap(); 4097],
            "invalid routes: more than 4096 entries",
        ),
        (
            |join| join.spec.name = Some("no name".into()),
            "invalid name: must be valid as a DNS name component",
        ),
    ];
    for (change, refusal) in cases {
        assert_eq!(words(bench.join(3, change)), (RefusalKind::InvalidArgument, refusal.into()));
    }
}

#[test]
fn nodes_are_updated_and_removed() {
    let mut bench = Bench::new();
    let worker = bench.join(2, |_| {}).unwrap();
    let version = bench.node(2).meta.version;
    let drained = NodeSpec { availability: Availability::Drain, ..NodeSpec::default() };
    let stale = update_node(&bench.store, worker, version + 1, drained.clone(), &NOBODY, AT);
    assert_eq!(words(stale), (RefusalKind::OutOfSequence, "update out of sequence".into()));
    let nameless = NodeSpec { name: Some("no_name".into()), ..NodeSpec::default() };
    let refusal = words(update_node(&bench.store, worker, version, nameless, &NOBODY, AT)).1;
    assert_eq!(refusal, "invalid name: must be valid as a DNS name component");
    let made = update_node(&bench.store, worker, version, drained, &NOBODY, AT).unwrap();
    bench.apply(&made);
    assert_eq!(bench.node(2).spec.availability, Availability::Drain);
    let gone = remove_node(&bench.store, worker, false, &NOBODY, AT).unwrap();
    bench.apply(&gone);
    assert!(bench.store.node(worker).is_none());
}

#[test]
fn a_node_that_left_is_disconnected_and_removed_without_force() {
    let mut bench = Bench::new();
    let worker = bench.join(2, |_| {}).unwrap();
    let left = depart_node(&bench.store, worker, false, &NOBODY, AT).unwrap();
    bench.apply(&left);
    let node = bench.node(2);
    assert_eq!(node.status.state, NodeState::Disconnected);
    assert_eq!(node.status.message, "the node left the cluster");
    let again = depart_node(&bench.store, worker, false, &NOBODY, AT).unwrap();
    assert!(again.writes.is_empty(), "leaving twice is no change");
    let gone = remove_node(&bench.store, worker, false, &NOBODY, AT).unwrap();
    bench.apply(&gone);
}

#[test]
fn a_node_that_comes_back_is_the_node_it_was() {
    let mut bench = Bench::new();
    let worker = bench.join(2, |_| {}).unwrap();
    let mut spec = bench.node(2).spec.clone();
    (spec.availability, spec.name) = (Availability::Drain, Some("two".to_owned()));
    let version = bench.node(2).meta.version;
    let update = update_node(&bench.store, worker, version, spec, &NOBODY, AT).unwrap();
    bench.apply(&update);
    let left = depart_node(&bench.store, worker, false, &NOBODY, AT).unwrap();
    bench.apply(&left);
    let mut back = join_request(2);
    back.issuer = [7; 32];
    back.description.hostname = "renamed".to_owned();
    (back.addr, back.data_path_addr) = ("192.0.2.7".parse().unwrap(), "192.0.2.8".parse().unwrap());
    back.spec.role = Role::Manager;
    let made = rejoin_node(&bench.store, back.clone(), &NOBODY, AT).unwrap();
    bench.apply(&made);
    let node = bench.node(2);
    assert_eq!((node.issuer, node.description.hostname.as_str()), ([7; 32], "renamed"));
    assert_eq!((node.status.addr, node.status.data_path_addr), (back.addr, back.data_path_addr));
    assert_eq!((node.status.state, node.status.message.as_str()), (NodeState::Down, "not heard of yet"));
    assert_eq!(node.spec.role, Role::Manager, "the token says what it is");
    assert_eq!((node.spec.availability, node.spec.name.as_deref()), (Availability::Drain, Some("two")));
    let again = rejoin_node(&bench.store, back, &NOBODY, AT).unwrap();
    assert!(again.writes.is_empty(), "the same again is no change");
    let nonsense = JoinNode { addr: "0.0.0.0".parse().unwrap(), ..join_request(2) };
    assert_eq!(
        words(rejoin_node(&bench.store, nonsense, &NOBODY, AT)).1,
        "invalid advertise address: 0.0.0.0 is not an address of a node"
    );
}

#[test]
fn a_new_certificate_is_noted_by_its_root() {
    let mut bench = Bench::new();
    let worker = bench.join(2, |_| {}).unwrap();
    let made = renew_node(&bench.store, worker, [7; 32], AT).unwrap();
    bench.apply(&made);
    assert_eq!(bench.node(2).issuer, [7; 32]);
    assert!(renew_node(&bench.store, worker, [7; 32], AT).unwrap().writes.is_empty());
}

#[test]
fn a_node_that_is_ready_is_removed_by_force_alone() {
    let mut cluster = crate::testing::VirtualCluster::new(2, 1);
    let id = NodeId::from_bits(2);
    let refusal = cluster.remove_node(id, false).unwrap_err();
    assert_eq!(refusal.to_string(), format!("node {id} is not down and can't be removed"));
    let mut twin = join_request(3);
    twin.data_path_addr = cluster.node(id).status.data_path_addr;
    let refusal = cluster.join(twin).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        format!("invalid data path address: 172.16.0.2 is the address of node {id} already")
    );
    let mut back = join_request(2);
    back.description.hostname = "back".to_owned();
    rejoin_node(&cluster.store, back, &NOBODY, AT).expect("it is not its own twin");
    cluster.remove_node(id, true).unwrap();
}

#[test]
fn ambiguous_is_a_kind_of_its_own() {
    let mut bench = Bench::new();
    bench.join(0x100, |join| join.description.hostname = "n1".into()).unwrap();
    let refusal = Refusal::from(bench.store.find_node("n1").unwrap_err());
    assert_eq!(refusal.kind(), RefusalKind::Ambiguous);
}
