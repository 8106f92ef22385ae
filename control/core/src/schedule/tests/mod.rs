//! Where tasks go, and what is said when they can go nowhere.

mod generic;
mod preference;
mod recovery;
mod scale;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use crate::id::{NodeId, ServiceId};
use crate::object::{Task, TaskState};
use crate::port::{Port, Protocol, PublishMode, PublishedPort};
use crate::spec::{Availability, ServiceMode, ServiceSpec};
use crate::testing::{Behaviour, VirtualCluster, join_request, processor_time, service_spec};

const SOON: Duration = Duration::from_secs(2);
const GIB: u64 = 1 << 30;

fn node(number: u32) -> NodeId {
    NodeId::from_bits(number.into())
}

fn create(
    cluster: &mut VirtualCluster,
    name: &str,
    replicas: u32,
    change: impl FnOnce(&mut ServiceSpec),
) -> ServiceId {
    let mut spec = service_spec(name, replicas);
    change(&mut spec);
    let id = cluster.create_service(spec).unwrap();
    cluster.run_for(SOON);
    id
}

/// Live tasks by the number of their node.
fn placed(cluster: &VirtualCluster, service: ServiceId) -> BTreeMap<u128, usize> {
    let mut nodes = BTreeMap::new();
    for on in cluster.live(service).iter().filter_map(|task| task.node) {
        *nodes.entry(on.bits()).or_default() += 1;
    }
    nodes
}

fn waiting(cluster: &VirtualCluster, service: ServiceId) -> Vec<Task> {
    cluster.live(service).into_iter().filter(|task| task.node.is_none()).collect()
}

/// What is said of the tasks that found no node; the same of each.
fn explained(cluster: &VirtualCluster, service: ServiceId) -> String {
    let tasks = waiting(cluster, service);
    let said = tasks.first().expect("a task that waits").status.err.clone();
    for task in tasks {
        assert_eq!((task.status.state, &task.status.err), (TaskState::Pending, &said));
    }
    said
}

fn in_host_mode(port: u16) -> PublishedPort {
    let port = Port::new(port).unwrap();
    PublishedPort { published: Some(port), target: port, protocol: Protocol::Tcp, mode: PublishMode::Host }
}

#[test]
fn explanations_count_nodes_by_the_first_filter_that_they_fail() {
    type Change = fn(&mut ServiceSpec);
    let cases: Vec<(Change, &str)> = vec![
        (
            |spec| spec.task.resources.reservations.memory_bytes = 100 * GIB,
            "no suitable node (insufficient resources on 4 nodes)",
        ),
        (
            |spec| spec.task.resources.reservations.nano_cpus = 5_000_000_000,
            "no suitable node (insufficient resources on 4 nodes)",
        ),
        (
            |spec| spec.task.resources.reservations.memory_bytes = 6 * GIB,
            "no suitable node (insufficient resources on 4 nodes)",
        ),
        (
            |spec| spec.task.placement.constraints = vec!["node.labels.zone==a".parse().unwrap()],
            "no suitable node (scheduling constraints not satisfied on 4 nodes)",
        ),
        (
            |spec| spec.endpoint.ports = vec![in_host_mode(22)],
            "no suitable node (host-mode port already in use on 4 nodes)",
        ),
        (
            |spec| {
                spec.task.placement.constraints = vec!["node.hostname==n1".parse().unwrap()];
                spec.endpoint.ports = vec![in_host_mode(22)];
            },
            "no suitable node (scheduling constraints not satisfied on 3 nodes; host-mode port already in use on 1 node)",
        ),
        (
            |spec| {
                spec.mode = ServiceMode::Replicated { replicas: 5 };
                spec.task.placement.max_replicas_per_node = 1;
            },
            "no suitable node (max replicas per node limit exceeded on 4 nodes)",
        ),
    ];
    for (change, said) in cases {
        let mut cluster = VirtualCluster::new(4, 1);
        for number in 1..=4 {
            cluster.describe(node(number), |node| {
                node.listening = vec![(Port::new(22).unwrap(), Protocol::Tcp)];
            });
        }
        cluster.run_for(SOON);
        // 3 GiB of the 8 on each node are spoken for, so that the reservation of 6 finds too little left.
        create(&mut cluster, "ballast", 4, |spec| spec.task.resources.reservations.memory_bytes = 3 * GIB);
        let service = create(&mut cluster, "web", 1, change);
        assert_eq!(explained(&cluster, service), said);
        cluster.silence(node(4));
        cluster.update_node(node(3), |spec| spec.availability = Availability::Pause).unwrap();
        cluster.run_for(Duration::from_secs(10));
        let now = explained(&cluster, service);
        assert!(now.contains("2 nodes not available for new tasks"), "kept up to date: {now}");
    }
}

#[test]
fn without_nodes_nothing_is_counted() {
    assert_eq!(super::filter::Explanation::default().to_string(), "no suitable node");
    let mut cluster = VirtualCluster::new(1, 1);
    cluster.update_node(node(1), |spec| spec.availability = Availability::Pause).unwrap();
    let service = create(&mut cluster, "web", 2, |_| {});
    assert_eq!(explained(&cluster, service), "no suitable node (1 node not available for new tasks)");
}

#[test]
fn an_error_is_gone_once_there_is_a_node() {
    let mut cluster = VirtualCluster::new(1, 1);
    let service = create(&mut cluster, "web", 1, |spec| {
        spec.task.placement.constraints = vec!["node.labels.zone==a".parse().unwrap()];
    });
    assert!(!explained(&cluster, service).is_empty());
    cluster.update_node(node(1), |spec| spec.labels = [("zone".to_owned(), "a".to_owned())].into()).unwrap();
    cluster.run_for(SOON);
    assert_eq!(cluster.running(service), 1);
    assert_eq!(cluster.live(service)[0].status.err, "");
}

#[test]
fn tasks_are_spread_by_service_then_by_all() {
    let mut cluster = VirtualCluster::new(3, 1);
    let first = create(&mut cluster, "first", 2, |_| {});
    let lonely: u128 = (1..=3).find(|number| !placed(&cluster, first).contains_key(number)).unwrap();
    let second = create(&mut cluster, "second", 1, |_| {});
    assert_eq!(placed(&cluster, second).into_keys().collect::<Vec<_>>(), [lonely], "the emptiest node");
    let third = create(&mut cluster, "third", 6, |_| {});
    assert_eq!(placed(&cluster, third).into_values().collect::<Vec<_>>(), [2, 2, 2]);
}

#[test]
fn a_new_node_takes_what_comes_and_nothing_else() {
    let mut cluster = VirtualCluster::new(2, 1);
    let service = create(&mut cluster, "web", 4, |_| {});
    cluster.join(join_request(3)).unwrap();
    cluster.run_for(SOON);
    assert_eq!(placed(&cluster, service), [(1, 2), (2, 2)].into(), "no rebalancing");
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 6 }).unwrap();
    cluster.run_for(SOON);
    assert_eq!(placed(&cluster, service), [(1, 2), (2, 2), (3, 2)].into());
}

#[test]
fn reservations_limit_and_are_given_back() {
    let mut cluster = VirtualCluster::new(2, 1);
    let service =
        create(&mut cluster, "web", 5, |spec| spec.task.resources.reservations.memory_bytes = 3 * GIB);
    assert_eq!(placed(&cluster, service), [(1, 2), (2, 2)].into());
    assert_eq!(explained(&cluster, service), "no suitable node (insufficient resources on 2 nodes)");
    let small = create(&mut cluster, "small", 2, |spec| spec.task.resources.reservations.memory_bytes = GIB);
    assert_eq!(cluster.running(small), 2);
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 1 }).unwrap();
    cluster.run_for(SOON);
    let other =
        create(&mut cluster, "other", 3, |spec| spec.task.resources.reservations.memory_bytes = 3 * GIB);
    assert_eq!(cluster.running(other), 3);
}

#[test]
fn a_task_that_stops_holds_its_room_until_it_has() {
    let mut cluster = VirtualCluster::new(1, 1);
    cluster.behave(Behaviour { stop: Duration::from_secs(9), ..Behaviour::default() });
    let change = |spec: &mut ServiceSpec| spec.task.resources.reservations.nano_cpus = 4_000_000_000;
    let first = create(&mut cluster, "first", 1, change);
    cluster.remove_service(first).unwrap();
    let second = create(&mut cluster, "second", 1, change);
    assert_eq!(explained(&cluster, second), "no suitable node (insufficient resources on 1 node)");
    cluster.run_for(Duration::from_secs(9));
    assert_eq!(cluster.running(second), 1);
}

#[test]
fn host_ports_are_taken_once_a_node() {
    let mut cluster = VirtualCluster::new(3, 1);
    cluster.describe(node(3), |node| node.listening = vec![(Port::new(90).unwrap(), Protocol::Tcp)]);
    cluster.run_for(SOON);
    let first = create(&mut cluster, "first", 1, |spec| spec.endpoint.ports = vec![in_host_mode(90)]);
    let second = create(&mut cluster, "second", 2, |spec| spec.endpoint.ports = vec![in_host_mode(90)]);
    assert_eq!((cluster.running(first), cluster.running(second)), (1, 1));
    assert_ne!(placed(&cluster, first), placed(&cluster, second));
    assert_eq!(cluster.live(first)[0].host_ports[0].published.get(), 90);
    assert_eq!(explained(&cluster, second), "no suitable node (host-mode port already in use on 3 nodes)");
    cluster.remove_service(first).unwrap();
    cluster.run_for(SOON);
    assert_eq!(cluster.running(second), 2);
}

#[test]
fn preferences_even_out_the_branches_first() {
    let mut cluster = VirtualCluster::new(5, 1);
    for (number, zone, rack) in [(1, "a", "1"), (2, "a", "1"), (3, "a", "2"), (4, "b", "1"), (5, "b", "1")] {
        let labels = [("zone".to_owned(), zone.to_owned()), ("rack".to_owned(), rack.to_owned())];
        cluster.update_node(node(number), |spec| spec.labels = labels.into()).unwrap();
    }
    cluster.run_for(SOON);
    let service = create(&mut cluster, "web", 8, |spec| {
        spec.task.placement.preferences =
            ["zone", "rack"].map(|label| format!("spread=node.labels.{label}").parse().unwrap()).to_vec();
    });
    assert_eq!(placed(&cluster, service), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 2)].into());
}

#[test]
fn a_node_where_the_service_keeps_failing_comes_last() {
    let mut cluster = VirtualCluster::new(2, 1);
    // n2 is fuller, so only its failures can make n1 the worse choice.
    create(&mut cluster, "ballast", 3, |spec| {
        spec.task.placement.constraints = vec!["node.hostname==n2".parse().unwrap()];
    });
    let service = create(&mut cluster, "web", 1, |_| {});
    for _ in 0..5 {
        let task = cluster.live(service)[0].clone();
        assert_eq!(task.node, Some(node(1)));
        let now = cluster.now;
        cluster.agent(node(1)).end(task.id, TaskState::Failed, now);
        cluster.run_for(SOON);
    }
    assert_eq!(placed(&cluster, service), [(2, 1)].into());
    cluster.run_for(Duration::from_mins(5));
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 2 }).unwrap();
    cluster.run_for(SOON);
    assert_eq!(placed(&cluster, service), [(1, 1), (2, 1)].into(), "forgotten after five minutes");
}

#[test]
fn a_drained_node_gets_nothing_while_tasks_churn() {
    let mut cluster = VirtualCluster::new(3, 1);
    let service = create(&mut cluster, "web", 6, |_| {});
    cluster.update_node(node(2), |spec| spec.availability = Availability::Drain).unwrap();
    for _ in 0..20 {
        let replicas = 3 + u32::try_from(cluster.below(9)).unwrap();
        cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas }).unwrap();
        let pause = Duration::from_millis(cluster.below(100));
        cluster.run_for(pause);
        let fresh = cluster.store.node_tasks(node(2)).filter(|task| task.desired_state <= TaskState::Running);
        assert_eq!(fresh.count(), 0);
    }
}

#[test]
fn thousands_are_placed_quickly() {
    let mut cluster = VirtualCluster::new(200, 1);
    let started = processor_time();
    let service = cluster.create_service(service_spec("web", 4000)).unwrap();
    cluster
        .run_until(SOON, |cluster| {
            waiting(cluster, service).is_empty() && cluster.live(service).len() == 4000
        })
        .unwrap();
    assert!(placed(&cluster, service).into_values().all(|tasks| tasks == 20));
    // Nodes × tasks would take minutes in an unoptimised build.
    let took = processor_time().saturating_sub(started);
    assert!(took < Duration::from_secs(20), "{took:?}");
}

/// What a node carries of the tasks that have not ended.
fn carried(cluster: &VirtualCluster, number: u32) -> Vec<Task> {
    let held = |task: &&std::sync::Arc<Task>| {
        (TaskState::Assigned..=TaskState::Running).contains(&task.status.state)
    };
    cluster.store.node_tasks(node(number)).filter(held).map(|task| Task::clone(task)).collect()
}

proptest! {
    #![proptest_config(crate::testing::cases(16))]

    /// No node ever carries more than it has, a port twice, or more of a service than it may; and nothing
    /// waits that would fit.
    #[test]
    fn nodes_carry_what_they_can(seed: u64) {
        let mut cluster = VirtualCluster::new(4, seed);
        for number in 1..=4 {
            let gib = 1 + cluster.below(8);
            cluster.describe(node(number), |node| node.resources.memory_bytes = gib * GIB);
        }
        cluster.run_for(SOON);
        let mut services = Vec::new();
        for round in 0..15 {
            let replicas = u32::try_from(cluster.below(7)).unwrap();
            if services.is_empty() || cluster.below(2) == 0 {
                let mut spec = service_spec(&format!("s{round}"), replicas);
                spec.task.resources.reservations.memory_bytes = cluster.below(3) * GIB;
                spec.task.placement.max_replicas_per_node = cluster.below(3);
                if cluster.below(3) == 0 {
                    spec.endpoint.ports = vec![in_host_mode(9000 + u16::try_from(cluster.below(2)).unwrap())];
                }
                services.push(cluster.create_service(spec).unwrap());
            } else {
                let at = usize::try_from(cluster.below(services.len() as u64)).unwrap();
                cluster.update_service(services[at], |spec| spec.mode = ServiceMode::Replicated { replicas }).unwrap();
            }
            for _ in 0..4 {
                let pause = Duration::from_millis(cluster.below(50));
                cluster.run_for(pause);
                for number in 1..=4 {
                    let tasks = carried(&cluster, number);
                    let used: u64 = tasks.iter().map(|task| task.spec.resources.reservations.memory_bytes).sum();
                    prop_assert!(used <= cluster.node(node(number)).description.resources.memory_bytes);
                    let ports: Vec<_> = tasks.iter().flat_map(|task| &task.host_ports).map(|port| port.published).collect();
                    prop_assert_eq!(ports.iter().collect::<std::collections::BTreeSet<_>>().len(), ports.len());
                    for task in &tasks {
                        let limit = task.spec.placement.max_replicas_per_node;
                        let alike = tasks.iter().filter(|other| other.service == task.service && other.desired_state <= TaskState::Running);
                        prop_assert!(limit == 0 || alike.count() as u64 <= limit);
                    }
                }
            }
        }
        cluster.run_for(SOON);
        for service in services {
            for task in waiting(&cluster, service) {
                let wants = task.spec.resources.reservations.memory_bytes;
                let limit = task.spec.placement.max_replicas_per_node;
                for number in 1..=4 {
                    let tasks = carried(&cluster, number);
                    let used: u64 = tasks.iter().map(|task| task.spec.resources.reservations.memory_bytes).sum();
                    let room = cluster.node(node(number)).description.resources.memory_bytes - used >= wants;
                    let few = limit == 0 || (tasks.iter().filter(|other| other.service == service).count() as u64) < limit;
                    let taken = |port| tasks.iter().any(|other| other.host_ports.contains(port));
                    prop_assert!(!(room && few && !task.host_ports.iter().any(taken)), "it would fit on node {}", number);
                }
            }
        }
    }

    /// On nodes that are alike, a service is spread evenly however it came about.
    #[test]
    fn equal_nodes_are_filled_evenly(nodes in 1_u32..9, replicas in 0_u32..60) {
        let mut cluster = VirtualCluster::new(nodes, 1);
        let service = create(&mut cluster, "web", replicas, |_| {});
        let counts: Vec<_> = (1..=nodes).map(|number| placed(&cluster, service).get(&u128::from(number)).copied().unwrap_or(0)).collect();
        prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{:?}", counts);
        prop_assert_eq!(counts.iter().sum::<usize>(), replicas as usize);
    }
}

#[test]
fn tasks_that_are_on_their_way_out_do_not_count() {
    let mut cluster = VirtualCluster::new(2, 1);
    cluster.behave(Behaviour { stop: Duration::from_mins(1), ..Behaviour::default() });
    let on = |spec: &mut ServiceSpec, node: &str| {
        spec.task.placement.constraints = vec![format!("node.hostname=={node}").parse().unwrap()];
    };
    let leaving = create(&mut cluster, "leaving", 5, |spec| on(spec, "n1"));
    create(&mut cluster, "staying", 2, |spec| on(spec, "n2"));
    cluster.remove_service(leaving).unwrap();
    cluster.run_for(SOON);
    assert_eq!(cluster.store.node_tasks(node(1)).count(), 5, "they take their time");
    let service = create(&mut cluster, "web", 1, |_| {});
    assert_eq!(placed(&cluster, service), [(1, 1)].into());
}
