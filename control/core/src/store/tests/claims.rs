//! What belongs to one object alone, and what refers to what.

use super::*;

#[test]
fn names_are_unique_without_case() {
    let (mut store, _) = small();
    let mut service = Service::clone(&web(&store));
    (service.id, service.endpoint) = (ServiceId::from_bits(5), crate::object::ServiceEndpoint::default());
    service.spec.name = "WEB".parse().unwrap();
    assert!(
        matches!(refuses(&store, service.clone()), Conflict::Taken { what: Claim::Name(name), .. } if name == "WEB")
    );
    let mut network = Network::clone(&net(&store));
    (network.id, network.vni) = (NetworkId::from_bits(5), Vni(5000));
    assert!(matches!(refuses(&store, network), Conflict::Taken { what: Claim::Name(_), .. }));
    service.spec.name = "other".parse().unwrap();
    create(&mut store, service.clone()).unwrap();
    assert_eq!(store.service_by_name("OTHER").unwrap().id, service.id);
    service.spec.name = "renamed".parse().unwrap();
    apply(&mut store, vec![Write::Put { object: service.into(), expect: Expect::Any }]).unwrap();
    assert!(store.service_by_name("other").is_none(), "an old name is free again");
}

#[test]
fn numbers_are_given_once() {
    let (mut store, _) = small();
    give(&mut store, 1, 7, "10.0.1.9");
    assert_eq!(store.next_endpoint(), EndpointId(8));
    apply(&mut store, vec![Write::Delete { key: Key::Task(TaskId::from_bits(1)), expect: Expect::Any }])
        .unwrap();
    for id in [1, 7] {
        let conflict = refuses(&store, task(&store, 2, id, "10.0.1.9"));
        assert!(matches!(conflict, Conflict::Taken { what: Claim::Endpoint(found), .. } if found == id));
    }
    let mut network = Network::clone(&net(&store));
    let vni = network.vni;
    remove_web(&mut store);
    apply(&mut store, vec![Write::Delete { key: Key::Network(network.id), expect: Expect::Any }]).unwrap();
    network.id = NetworkId::from_bits(6);
    assert!(matches!(refuses(&store, network.clone()), Conflict::Taken { what: Claim::Vni(_), .. }));
    network.vni = Vni(0x00ff_fffe);
    assert!(matches!(refuses(&store, network.clone()), Conflict::Taken { what: Claim::Vni(_), .. }));
    network.vni = Vni(vni.0 + 1);
    create(&mut store, network).unwrap();
}

#[test]
fn the_clusters_counters_never_go_back() {
    let (mut store, _) = small();
    let stale = Cluster::clone(store.cluster().unwrap());
    give(&mut store, 1, 50, "10.0.1.9");
    assert_eq!(store.cluster().unwrap().meta.version, stale.meta.version, "a number taken is no new version");
    apply(&mut store, vec![Write::update(stale.into())]).unwrap();
    assert_eq!(store.next_endpoint(), EndpointId(51));
}

#[test]
fn a_published_port_belongs_to_one_service() {
    let (store, mut entropy) = small();
    let mut service = Service::clone(&web(&store));
    service.id = ServiceId::new(&mut entropy);
    service.spec.name = "other".parse().unwrap();
    service.endpoint.vips.clear();
    for mode in [PublishMode::Ingress, PublishMode::Host] {
        service.endpoint.ports[0].mode = mode;
        assert!(matches!(refuses(&store, service.clone()), Conflict::Taken { what: Claim::Port(..), .. }));
    }
    service.endpoint.ports[0].published = Port::new(8081).unwrap();
    let mut store = store;
    create(&mut store, service.clone()).unwrap();
    assert!(store.host_port_owners(Port::new(8081).unwrap(), Protocol::Tcp).count() == 1);
    (service.id, service.spec.name) = (ServiceId::new(&mut entropy), "third".parse().unwrap());
    create(&mut store, service.clone()).unwrap();
    (service.id, service.spec.name) = (ServiceId::new(&mut entropy), "fourth".parse().unwrap());
    service.endpoint.ports[0].mode = PublishMode::Ingress;
    assert!(matches!(refuses(&store, service), Conflict::Taken { what: Claim::Port(..), .. }));
}

#[test]
fn nothing_refers_to_what_is_not_there() {
    let (mut store, _) = small();
    let nowhere = NetworkId::from_bits(404);
    let mut lost = task(&store, 1, 1, "10.0.1.9");
    lost.endpoints[0].network = nowhere;
    let missing = Conflict::Dangling { key: Key::Task(lost.id), target: Key::Network(nowhere) };
    assert_eq!(refuses(&store, lost), missing);
    let mut lost = task(&store, 1, 1, "10.0.1.9");
    lost.service = ServiceId::from_bits(404);
    assert!(matches!(refuses(&store, lost), Conflict::Dangling { target: Key::Service(_), .. }));
    let mut lost = task(&store, 1, 1, "10.0.1.9");
    lost.node = Some(NodeId::from_bits(404));
    assert!(matches!(refuses(&store, lost), Conflict::Dangling { target: Key::Node(_), .. }));
    let mut service = Service::clone(&web(&store));
    service.spec.task.networks[0].network = nowhere;
    let put = vec![Write::Put { object: service.into(), expect: Expect::Any }];
    assert!(matches!(refused(&store, put), Conflict::Dangling { target: Key::Network(_), .. }));

    let network = net(&store);
    let delete = || vec![Write::Delete { key: Key::Network(network.id), expect: Expect::Any }];
    assert!(matches!(refused(&store, delete()), Conflict::InUse { user: Key::Service(_), .. }));
    give(&mut store, 1, 1, "10.0.1.9");
    remove_web(&mut store);
    assert!(matches!(refused(&store, delete()), Conflict::InUse { user: Key::Task(_), .. }));
    assert_eq!(
        refused(&store, vec![Write::Delete { key: Key::Cluster, expect: Expect::Any }]),
        Conflict::ClusterDeleted
    );
}

#[test]
fn a_second_ingress_network_is_refused() {
    let (mut store, _) = small();
    let mut second = Network::clone(store.ingress_network().unwrap());
    (second.id, second.vni) = (NetworkId::from_bits(8), Vni(9000));
    second.spec.name = "second".parse().unwrap();
    let first = store.ingress_network().unwrap().id;
    assert!(matches!(refuses(&store, second.clone()), Conflict::Taken { what: Claim::Ingress, .. }));
    remove_web(&mut store);
    apply(&mut store, vec![Write::Delete { key: Key::Network(first), expect: Expect::Any }]).unwrap();
    assert!(store.ingress_network().is_none());
    create(&mut store, second).unwrap();
}

#[test]
fn a_tasks_states_only_move_forward() {
    let (mut store, _) = small();
    let mut now = task(&store, 1, 1, "10.0.1.9");
    create(&mut store, now.clone()).unwrap();
    let back = Conflict::Backwards { key: Key::Task(now.id) };
    let put = |task: &Task| vec![Write::Put { object: task.clone().into(), expect: Expect::Any }];
    now.status.state = TaskState::New;
    assert_eq!(refused(&store, put(&now)), back);
    now.status.state = TaskState::Running;
    now.node = Some(NodeId::from_bits(1));
    apply(&mut store, put(&now)).unwrap();
    for (node, desired) in
        [(Some(2), TaskState::Running), (None, TaskState::Running), (Some(1), TaskState::Ready)]
    {
        let moved = Task { node: node.map(NodeId::from_bits), desired_state: desired, ..now.clone() };
        assert_eq!(refused(&store, put(&moved)), back);
    }
    (now.status.state, now.desired_state) = (TaskState::Failed, TaskState::Shutdown);
    apply(&mut store, put(&now)).unwrap();
    for state in [TaskState::Running, TaskState::Complete, TaskState::Orphaned] {
        let mut again = now.clone();
        again.status.state = state;
        assert_eq!(refused(&store, put(&again)), back, "{state} after {}", now.status.state);
    }
    now.desired_state = TaskState::Remove;
    apply(&mut store, put(&now)).unwrap();
}

#[test]
fn an_ended_task_holds_no_address() {
    let (mut store, _) = small();
    let mut first = task(&store, 1, 1, "10.0.1.9");
    create(&mut store, first.clone()).unwrap();
    let (network, address) = (net(&store).id, "10.0.1.9".parse().unwrap());
    assert_eq!(store.address_owner(network, address), Some(Key::Task(first.id)));
    first.status.state = TaskState::Complete;
    apply(&mut store, vec![Write::Put { object: first.into(), expect: Expect::Any }]).unwrap();
    assert_eq!(store.address_owner(network, address), None);
    give(&mut store, 2, 2, "10.0.1.9");
    apply(&mut store, vec![Write::Delete { key: Key::Task(TaskId::from_bits(1)), expect: Expect::Any }])
        .unwrap();
    assert_eq!(store.address_owner(network, address), Some(Key::Task(TaskId::from_bits(2))));
}
