//! The state machine: what it takes, what it refuses, and that it is the same on every replica.

mod claims;
mod contents;
mod encoding;

use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::command;
use crate::id::{Entropy, Id, SessionId};
use crate::object::{EndpointId, NodeState, TaskEndpoint, TaskState, TaskStatus, Vni};
use crate::port::{PublishMode, PublishedPort};
use crate::spec::{Availability, NetworkAttachment};
use crate::testing::{Seeded, init_request, join_request, network_spec, service_spec};
use crate::time::Timestamp;

const AT: Timestamp = Timestamp(77);

/// A store with a cluster, two nodes, a network `net` and a service `web` in it that publishes 8080.
fn small() -> (Store, Seeded) {
    let (mut store, mut entropy) = (Store::default(), Seeded(1));
    let init = command::init_cluster(&store, init_request(), AT, &mut entropy).unwrap();
    store.apply(1, &init).unwrap();
    store.apply(2, &command::join_node(&store, join_request(2), AT).unwrap()).unwrap();
    let (net, made) = command::create_network(&store, network_spec("net"), AT, &mut entropy).unwrap();
    store.apply(3, &made).unwrap();
    let mut spec = service_spec("web", 1);
    spec.task.networks.push(NetworkAttachment { network: net, aliases: Vec::new() });
    spec.endpoint.ports.push(published(8080, PublishMode::Ingress));
    let (_, made) = command::create_service(&store, spec, AT, &mut entropy).unwrap();
    store.apply(4, &made).unwrap();
    (store, entropy)
}

fn published(port: u16, mode: PublishMode) -> PublishedPort {
    let target = Port::new(80).unwrap();
    PublishedPort { published: Port::new(port), target, protocol: Protocol::Tcp, mode }
}

fn net(store: &Store) -> Arc<Network> {
    store.network_by_name("net").unwrap().clone()
}

fn web(store: &Store) -> Arc<Service> {
    store.service_by_name("web").unwrap().clone()
}

/// A pending task of `web` with endpoint `id` at `address` of `net`.
fn task(store: &Store, number: u128, id: u32, address: &str) -> Task {
    let service = web(store);
    let status = TaskStatus {
        state: TaskState::Pending,
        timestamp: AT,
        message: String::new(),
        err: String::new(),
        container: None,
    };
    let endpoint =
        TaskEndpoint { id: EndpointId(id), network: net(store).id, address: address.parse().unwrap() };
    Task {
        id: TaskId::from_bits(number),
        meta: crate::object::Meta::default(),
        service: service.id,
        service_name: service.spec.name.clone(),
        spec: Arc::new(service.spec.task.clone()),
        spec_version: 1,
        slot: 1,
        node: None,
        desired_state: TaskState::Running,
        status,
        endpoints: vec![endpoint],
        host_ports: Vec::new(),
        start_at: AT,
        restarts: Vec::new(),
        running_at: None,
        leaving: None,
        generic: std::collections::BTreeMap::new(),
        job_iteration: None,
        watched: false,
    }
}

fn apply(store: &mut Store, writes: Vec<Write>) -> Result<Vec<Change>, Conflict> {
    let index = store.index() + 1;
    store.apply(index, &Transaction { at: AT, writes })
}

fn create(store: &mut Store, object: impl Into<Object>) -> Result<Vec<Change>, Conflict> {
    apply(store, vec![Write::create(object.into())])
}

/// Makes a task.
fn give(store: &mut Store, number: u128, endpoint: u32, address: &str) {
    let task = task(store, number, endpoint, address);
    create(store, task).unwrap();
}

fn remove_web(store: &mut Store) {
    let key = Key::Service(web(store).id);
    apply(store, vec![Write::Delete { key, expect: Expect::Any }]).unwrap();
}

/// Applies what must be refused, and checks that nothing changed.
fn refused(store: &Store, writes: Vec<Write>) -> Conflict {
    let mut after = store.clone();
    let conflict = apply(&mut after, writes).unwrap_err();
    assert_eq!(after.digest(), store.digest(), "{conflict}");
    assert_eq!(after.index(), store.index() + 1, "a conflict takes its place in the log");
    conflict
}

fn refuses(store: &Store, object: impl Into<Object>) -> Conflict {
    refused(store, vec![Write::create(object.into())])
}

#[test]
fn bookkeeping_is_the_stores_own() {
    let (mut store, _) = small();
    let mut node = Node::clone(store.node(NodeId::from_bits(2)).unwrap());
    assert_eq!((node.meta.version, node.meta.created_version, node.meta.created_at), (2, 2, AT));
    let expect = Expect::Version(2);
    (node.meta.version, node.meta.created_version, node.spec.availability) = (99, 98, Availability::Drain);
    let write = Write::Put { object: node.into(), expect };
    let changes = store.apply(9, &Transaction { at: Timestamp(100), writes: vec![write] }).unwrap();
    let [Change::Node(Delta { old: Some(old), new: Some(new) })] = changes.as_slice() else {
        panic!("{changes:?}")
    };
    assert_eq!((old.meta.version, old.spec.availability), (2, Availability::Active));
    assert_eq!((new.meta.version, new.meta.created_version), (9, 2));
    assert_eq!((new.meta.created_at, new.meta.updated_at), (AT, Timestamp(100)));
    assert_eq!(store.node(new.id), Some(new));
    assert_eq!(changes[0].key(), Some(Key::Node(new.id)));
}

#[test]
fn expectations_hold_or_nothing_changes() {
    let (store, _) = small();
    let web = web(&store);
    let key = Key::Service(web.id);
    let put = |expect| vec![Write::Put { object: Object::Service(web.clone()), expect }];
    assert_eq!(refused(&store, put(Expect::New)), Conflict::Exists { key });
    let stale = Conflict::Version { key, expected: 1, found: 4 };
    assert_eq!(refused(&store, put(Expect::Version(1))), stale);
    assert_eq!(refused(&store, vec![Write::Delete { key, expect: Expect::Version(1) }]), stale);
    let gone = Key::Task(TaskId::from_bits(9));
    for expect in [Expect::Any, Expect::Version(0), Expect::New] {
        let delete = Write::Delete { key: gone, expect };
        assert_eq!(refused(&store, vec![delete]), Conflict::Missing { key: gone });
    }
    assert_eq!(
        refused(&store, vec![Write::update(task(&store, 9, 1, "10.0.1.9").into())]),
        Conflict::Missing { key: gone }
    );
    for good in [Expect::Any, Expect::Version(4)] {
        apply(&mut store.clone(), put(good)).unwrap();
    }
}

#[test]
fn a_transaction_is_whole_or_not_at_all() {
    let (store, _) = small();
    let first = task(&store, 1, 1, "10.0.1.9");
    let second = task(&store, 2, 2, "10.0.1.9");
    let conflict = refused(&store, vec![Write::create(first.into()), Write::create(second.into())]);
    let address = Claim::Address(net(&store).id, "10.0.1.9".parse().unwrap());
    let (key, owner) = (Key::Task(TaskId::from_bits(2)), Key::Task(TaskId::from_bits(1)));
    assert_eq!(conflict, Conflict::Taken { key, what: address, owner });
}

#[test]
fn later_writes_see_earlier_ones() {
    let (mut store, _) = small();
    give(&mut store, 1, 1, "10.0.1.9");
    let delete = Write::Delete { key: Key::Task(TaskId::from_bits(1)), expect: Expect::Any };
    let take_over = Write::create(task(&store, 2, 2, "10.0.1.9").into());
    let mut swapped = store.clone();
    apply(&mut swapped, vec![delete.clone(), take_over.clone()]).unwrap();
    assert_eq!(swapped.task_count(), 1);
    refused(&store, vec![take_over, delete]);
}

#[test]
fn accessors_agree() {
    let (mut store, _) = small();
    for (number, slot, node) in [(1_u32, 1, 1), (2, 1, 2), (3, 2, 1)] {
        let mut task = task(&store, number.into(), number, &format!("10.0.1.{}", 100 + number));
        (task.slot, task.node) = (slot, Some(NodeId::from_bits(node)));
        task.status.state = TaskState::Assigned;
        create(&mut store, task).unwrap();
    }
    let service = web(&store).id;
    let bits = |tasks: Vec<&Arc<Task>>| tasks.iter().map(|task| task.id.bits()).collect::<Vec<_>>();
    assert_eq!(bits(store.service_tasks(service).collect()), [1, 2, 3]);
    assert_eq!(bits(store.slot_tasks(service, 1).collect()), [1, 2]);
    assert_eq!(bits(store.node_tasks(NodeId::from_bits(1)).collect()), [1, 3]);
    assert_eq!(bits(store.tasks().collect()), [1, 2, 3]);
    assert_eq!((store.nodes().count(), store.networks().count(), store.services().count()), (2, 2, 1));
    assert_eq!(store.network_services(net(&store).id).count(), 1);
    assert_eq!(store.network_services(store.ingress_network().unwrap().id).count(), 1);
    let owners: Vec<_> =
        store.network_addresses(net(&store).id).map(|(address, _)| address.to_string()).collect();
    assert_eq!(owners, ["10.0.1.1", "10.0.1.2", "10.0.1.101", "10.0.1.102", "10.0.1.103"]);
    assert_eq!(store.ingress_port_owner(Port::new(8080).unwrap(), Protocol::Tcp).unwrap().id, service);
    assert!(store.ingress_port_owner(Port::new(8080).unwrap(), Protocol::Udp).is_none());
    for key in
        [Key::Cluster, Key::Service(service), Key::Network(net(&store).id), Key::Task(TaskId::from_bits(3))]
    {
        assert_eq!(store.get(key).unwrap().key(), key);
    }
}

#[test]
fn objects_are_found_by_id_by_name_and_by_the_beginning_of_an_id() {
    let (mut store, _) = small();
    let base = |text: &str| format!("{text:0<25}").parse::<TaskId>().unwrap().bits();
    for (number, bits) in [(1, base("abc")), (2, base("abd")), (3, base("exy"))] {
        give(&mut store, bits, number, &format!("10.0.1.{}", 100 + number));
    }
    let found = |text: &str| store.find_task(text).map(|task| task.id.bits());
    assert_eq!(found("abc"), Ok(base("abc")));
    assert_eq!(found(&TaskId::from_bits(base("exy")).to_string()), Ok(base("exy")));
    assert_eq!(found(&format!("web.1.{}", TaskId::from_bits(base("exy")))), Ok(base("exy")));
    let ambiguous = found("ab").unwrap_err();
    assert_eq!(
        ambiguous.to_string(),
        "task ab is ambiguous (2 matches found: abc0000000000000000000000, abd0000000000000000000000)"
    );
    for missing in ["", "q", "ABC", "web.2.exy", "zzzzzzzzzzzzzzzzzzzzzzzzz", &"a".repeat(400)] {
        assert!(matches!(found(missing), Err(LookupError::NotFound { .. })), "{missing}");
    }
    assert_eq!(store.find_service("web").unwrap().id, web(&store).id);
    assert_eq!(store.find_network("Net").unwrap().id, net(&store).id);
    assert_eq!(store.find_service("nope").unwrap_err().to_string(), "service nope not found");
    assert_eq!(store.find_node("n2").unwrap().id.bits(), 2);
    let mut twin = join_request(3);
    twin.description.hostname = "n2".to_owned();
    let joined = command::join_node(&store, twin, AT).unwrap();
    apply(&mut store, joined.writes).unwrap();
    assert!(
        store
            .find_node("n2")
            .unwrap_err()
            .to_string()
            .starts_with("node n2 is ambiguous (2 matches found: 0")
    );
}

#[test]
fn a_prefix_beyond_every_id_finds_nothing() {
    let mut map: OrdMap<Id<crate::id::SessionKind>, Arc<()>> = OrdMap::new();
    map.insert(SessionId::from_bits(u128::MAX), Arc::new(()));
    assert_eq!(SessionId::from_bits(u128::MAX).to_string(), "f5lxx1zz5pnorynqglhzmsp33");
    let (mut store, _) = small();
    give(&mut store, u128::MAX, 1, "10.0.1.9");
    for text in ["f", "f5lxx1zz5pnorynqglhzmsp33", "f5lxx1zz"] {
        assert!(store.find_task(text).is_ok(), "{text}");
    }
    assert!(store.find_task("f6").is_err());
}

/// One random write over a handful of keys, most of them sensible.
fn random_writes(store: &Store, entropy: &mut Seeded) -> Vec<Write> {
    let mut writes = Vec::new();
    for _ in 0..=entropy.below(3) {
        let number = 1 + entropy.below(6);
        let key = Key::Task(TaskId::from_bits(number.into()));
        let expect = [Expect::New, Expect::Any, Expect::Version(store.index())]
            [usize::try_from(entropy.below(3)).unwrap()];
        if entropy.below(4) == 0 {
            writes.push(Write::Delete { key, expect: Expect::Any });
            continue;
        }
        let endpoint = store.next_endpoint().0 + u32::try_from(entropy.below(2)).unwrap();
        let mut object = task(store, number.into(), endpoint, &format!("10.0.1.{}", 10 + entropy.below(5)));
        if let Some(old) = store.task(object.id).filter(|_| entropy.below(3) > 0) {
            object.endpoints.clone_from(&old.endpoints);
        }
        object.status.state = [TaskState::Pending, TaskState::Running, TaskState::Failed]
            [usize::try_from(entropy.below(3)).unwrap()];
        object.node = Some(NodeId::from_bits(1)).filter(|_| entropy.below(2) == 0);
        writes.push(Write::Put { object: object.into(), expect });
    }
    writes
}

proptest! {
    #![proptest_config(crate::testing::cases(64))]

    /// Replicas that apply, replay and restore agree at every step; indexes hold what the objects hold.
    #[test]
    fn replicas_agree(seed: u64) {
        let (mut store, _) = small();
        let mut entropy = Seeded(seed);
        let (mut replica, mut follower) = (store.clone(), store.clone());
        for _ in 0..40 {
            let index = store.index() + 1;
            let transaction = Transaction { at: AT, writes: random_writes(&store, &mut entropy) };
            let (before, earlier) = (store.digest(), store.clone());
            let outcome = store.apply(index, &transaction);
            prop_assert_eq!(&replica.apply(index, &transaction), &outcome);
            follower.replay(index, outcome.as_deref().unwrap_or_default());
            let mut back = store.clone();
            back.take_back(index - 1, outcome.as_deref().unwrap_or_default());
            prop_assert!(back.tasks().eq(earlier.tasks()), "what is taken back is as it was");
            check_indexes(&back)?;
            if outcome.is_err() {
                prop_assert_eq!(store.digest(), before);
            }
            prop_assert_eq!(replica.digest(), store.digest());
            prop_assert_eq!(follower.digest(), store.digest());
            if entropy.below(5) == 0 {
                replica = Store::from_snapshot(&store.to_snapshot().unwrap()).unwrap();
            }
            check_indexes(&store)?;
            check_indexes(&replica)?;
            check_indexes(&follower)?;
        }
    }
}

fn check_indexes(store: &Store) -> Result<(), TestCaseError> {
    let live = || store.tasks().filter(|task| !task.status.state.is_final());
    let mut held: Vec<(NetworkId, IpAddr, Key)> = live()
        .flat_map(|task| task.endpoints.iter().map(|it| (it.network, it.address, Key::Task(task.id))))
        .chain(store.networks().map(|network| (network.id, network.gateway, Key::Network(network.id))))
        .chain(store.services().flat_map(|service| {
            service
                .endpoint
                .vips
                .iter()
                .map(|(network, address)| (*network, *address, Key::Service(service.id)))
        }))
        .collect();
    held.sort_unstable();
    let indexed: Vec<_> =
        store.addresses.iter().map(|((network, address), owner)| (*network, *address, *owner)).collect();
    prop_assert_eq!(held, indexed);
    let placed: Vec<_> = store.placed.iter().map(|(_, task)| *task).collect();
    let with_node: std::collections::BTreeSet<_> =
        store.tasks().filter(|task| task.node.is_some()).map(|task| task.id).collect();
    prop_assert_eq!(placed.into_iter().collect::<std::collections::BTreeSet<_>>(), with_node);
    prop_assert_eq!(store.slots.len(), store.tasks.len());
    Ok(())
}

#[test]
fn a_node_starts_unheard_of() {
    let (store, _) = small();
    assert!(store.nodes().all(|node| node.status.state == NodeState::Unknown));
}

#[test]
fn tasks_of_one_spec_share_it() {
    let (mut store, _) = small();
    for number in 1..=2 {
        let made = Write::create(
            task(&store, number, u32::try_from(number).unwrap(), &format!("10.0.1.{}", 8 + number)).into(),
        );
        let transaction = Transaction { at: AT, writes: vec![made] };
        // As it comes out of the log: nothing in it is shared.
        let transaction = Transaction::from_bytes(&transaction.to_bytes().unwrap()).unwrap();
        store.apply(store.index() + 1, &transaction).unwrap();
    }
    let shared = |store: &Store| {
        let specs: Vec<_> = store.tasks().map(|task| task.spec.clone()).collect();
        specs.len() == 2 && Arc::ptr_eq(&specs[0], &specs[1])
    };
    assert!(shared(&store));
    // Also when the service has moved on.
    let mut changed = Service::clone(&web(&store));
    changed.spec.task.force_update = 7;
    let write = Write::update(changed.into());
    store.apply(store.index() + 1, &Transaction { at: AT, writes: vec![write] }).unwrap();
    assert!(shared(&Store::from_snapshot(&store.to_snapshot().unwrap()).unwrap()));
}
