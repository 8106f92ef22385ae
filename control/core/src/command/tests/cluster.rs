//! Making and changing a cluster.

use super::*;
use crate::secret::Secret;

#[test]
fn a_cluster_begins_with_its_node_and_the_ingress_network() {
    let bench = Bench::new();
    let cluster = bench.store.cluster().unwrap();
    assert_eq!((cluster.next_endpoint, cluster.next_vni), (1, VNI_MIN.0 + 1));
    let ingress = bench.store.ingress_network().unwrap();
    assert_eq!((ingress.spec.name.as_str(), ingress.vni), ("ingress", VNI_MIN));
    assert_eq!(
        (ingress.subnet.to_string(), ingress.gateway.to_string()),
        ("10.0.0.0/24".into(), "10.0.0.1".into())
    );
    let node = bench.store.node(NodeId::from_bits(1)).unwrap();
    assert_eq!((node.spec.role, node.status.state), (Role::Manager, NodeState::Unknown));
    let (store, mut entropy) = (bench.store, Seeded(1));
    let again = init_cluster(&store, init_request(), AT, &mut entropy);
    assert_eq!(
        words(again),
        (RefusalKind::FailedPrecondition, "this node is already part of a cluster".into())
    );
}

#[test]
fn nothing_is_made_without_a_cluster() {
    let (store, mut entropy) = (Store::default(), Seeded(1));
    let no_cluster = (RefusalKind::FailedPrecondition, "this cluster has not been initialized".to_owned());
    assert_eq!(words(create_service(&store, service_spec("a", 1), AT, &mut entropy)), no_cluster);
    assert_eq!(words(create_network(&store, network_spec("a"), AT, &mut entropy)), no_cluster);
    assert_eq!(words(join_node(&store, join_request(2), AT)), no_cluster);
    assert_eq!(words(update_cluster(&store, UpdateCluster::default(), AT)), no_cluster);
}

#[test]
fn cluster_settings_are_checked() {
    type Change = fn(&mut ClusterSpec);
    let cases: [(Change, &str); 15] = [
        (
            |spec| spec.heartbeat = Duration::ZERO,
            "invalid dispatcher heartbeat: must be between 100ms and 1h",
        ),
        (|spec| spec.task_history_limit = 1001, "invalid task history limit: must be at most 1000"),
        (
            |spec| spec.certificate_life = Duration::from_mins(59),
            "invalid certificate expiry: must be between 1h0m0s, which is the minimum certificate expiry time, and 20 years",
        ),
        (
            |spec| spec.certificate_life = Duration::from_hours(21 * 365 * 24),
            "invalid certificate expiry: must be between 1h0m0s, which is the minimum certificate expiry time, and 20 years",
        ),
        (|spec| spec.snapshot_interval = 0, "invalid snapshot interval: must be between 1 and 1000000"),
        (
            |spec| spec.snapshot_interval = 1_000_001,
            "invalid snapshot interval: must be between 1 and 1000000",
        ),
        (
            |spec| spec.entries_kept = 1_000_001,
            "invalid log entries for slow followers: must be at most 1000000",
        ),
        (|spec| spec.data_path_port = 80, "invalid data path port: must be between 1024 and 49151"),
        (|spec| spec.data_path_port = 7946, "invalid data path port: 2377 and 7946 have another use"),
        (
            |spec| spec.subnet_prefix_len = 30,
            "invalid default address pool mask length: must be between 8 and 29",
        ),
        (|spec| spec.default_address_pool.clear(), "invalid default address pool: is empty"),
        (
            |spec| spec.default_address_pool = vec!["10.0.0.1/8".parse().unwrap()],
            "invalid default address pool: 10.0.0.1/8 has bits set beyond its prefix",
        ),
        (
            |spec| spec.default_address_pool = vec!["10.0.0.0/25".parse().unwrap()],
            "invalid default address pool: 10.0.0.0/25 is smaller than one network of /24",
        ),
        (
            |spec| spec.default_address_pool.push("10.1.0.0/16".parse().unwrap()),
            "invalid default address pool: 10.1.0.0/16 overlaps another one",
        ),
        (
            |spec| spec.default_address_pool = vec!["fd00::/16".parse().unwrap()],
            "invalid default address pool: fd00::/16: IPv6 is not available",
        ),
    ];
    for (change, refusal) in cases {
        let mut request = init_request();
        change(&mut request.spec);
        let outcome = init_cluster(&Store::default(), request, AT, &mut Seeded(1));
        assert_eq!(words(outcome), (RefusalKind::InvalidArgument, refusal.into()));
    }
}

#[test]
fn a_cluster_is_updated_at_the_version_that_was_read() {
    let mut bench = Bench::new();
    let spec = ClusterSpec { task_history_limit: 2, ..ClusterSpec::default() };
    let stale = UpdateCluster { version: 9, ..UpdateCluster::default() };
    assert_eq!(
        words(update_cluster(&bench.store, stale, AT)),
        (RefusalKind::OutOfSequence, "update out of sequence".into())
    );
    let fixed = ClusterSpec { data_path_port: 4790, ..ClusterSpec::default() };
    let request = UpdateCluster { version: 1, spec: Some(fixed), ..UpdateCluster::default() };
    let refusal = "invalid data path port: can only be set when the cluster is made";
    assert_eq!(
        words(update_cluster(&bench.store, request, AT)),
        (RefusalKind::InvalidArgument, refusal.into())
    );
    let request = UpdateCluster {
        version: 1,
        spec: Some(spec),
        worker_token: Some(Secret::new("new")),
        manager_token: None,
        unlock_key: Some(Secret::new("SWMKEY-1-other")),
    };
    let made = update_cluster(&bench.store, request, AT).unwrap();
    bench.apply(&made);
    let cluster = bench.store.cluster().unwrap();
    assert_eq!((cluster.spec.task_history_limit, cluster.meta.version), (2, 2));
    assert_eq!((cluster.worker_token.expose(), cluster.manager_token.expose()), ("new", "manager"));
    assert_eq!(cluster.unlock_key.expose(), "SWMKEY-1-other");
}
