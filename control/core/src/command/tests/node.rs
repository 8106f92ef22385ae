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
    let (manager, worker) = (NodeId::from_bits(1), bench.join(2, |_| {}).unwrap());
    let version = bench.store.node(worker).unwrap().meta.version;
    let drained = NodeSpec { availability: Availability::Drain, ..NodeSpec::default() };
    let stale = update_node(&bench.store, worker, version + 1, drained.clone(), AT);
    assert_eq!(words(stale), (RefusalKind::OutOfSequence, "update out of sequence".into()));
    let promoted = NodeSpec { role: Role::Manager, ..NodeSpec::default() };
    let promoted = update_node(&bench.store, worker, version, promoted, AT);
    assert_eq!(
        words(promoted),
        (RefusalKind::NotAvailable, "changing the role of a node is not available".into())
    );
    let made = update_node(&bench.store, worker, version, drained, AT).unwrap();
    bench.apply(&made);
    assert_eq!(bench.store.node(worker).unwrap().spec.availability, Availability::Drain);
    let refusal = format!(
        "node {manager} is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal"
    );
    assert_eq!(
        words(remove_node(&bench.store, manager, true, AT)),
        (RefusalKind::FailedPrecondition, refusal)
    );
    let gone = remove_node(&bench.store, worker, false, AT).unwrap();
    bench.apply(&gone);
    assert!(bench.store.node(worker).is_none());
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
    cluster.remove_node(id, true).unwrap();
}

#[test]
fn ambiguous_is_a_kind_of_its_own() {
    let mut bench = Bench::new();
    bench.join(0x100, |join| join.description.hostname = "n1".into()).unwrap();
    let refusal = Refusal::from(bench.store.find_node("n1").unwrap_err());
    assert_eq!(refusal.kind(), RefusalKind::Ambiguous);
}
