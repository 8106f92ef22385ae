//! Services on virtual time: how many tasks, where, and what follows the end of one.

mod global;
mod jobs;
mod moves;
mod nodes;
mod random;
mod rebalance;
mod restarts;
mod states;
mod update;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::{NodeId, ServiceId, TaskId};
use crate::object::{Task, TaskState};
use crate::spec::{Availability, RestartCondition, ServiceMode};
use crate::testing::{Behaviour, VirtualCluster, join_request, processor_time, service_spec};

const SOON: Duration = Duration::from_secs(2);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn node(number: u128) -> NodeId {
    NodeId::from_bits(number)
}

/// A cluster of `nodes` with a service of `replicas` that runs.
fn running(nodes: u32, replicas: u32) -> (VirtualCluster, ServiceId) {
    let mut cluster = VirtualCluster::new(nodes, 7);
    let service = cluster.create_service(service_spec("web", replicas)).unwrap();
    converge(&mut cluster, service, replicas as usize);
    (cluster, service)
}

fn converge(cluster: &mut VirtualCluster, service: ServiceId, tasks: usize) -> Duration {
    let done =
        |cluster: &VirtualCluster| cluster.running(service) == tasks && cluster.live(service).len() == tasks;
    cluster.run_until(secs(60), done).unwrap_or_else(|| panic!("{tasks} tasks: {:#?}", cluster.live(service)))
}

fn by_node(cluster: &VirtualCluster, service: ServiceId) -> BTreeMap<NodeId, usize> {
    let mut nodes = BTreeMap::new();
    for task in cluster.live(service) {
        *nodes.entry(task.node.unwrap()).or_default() += 1;
    }
    nodes
}

fn slots(cluster: &VirtualCluster, service: ServiceId) -> Vec<u32> {
    let mut slots: Vec<_> = cluster.live(service).iter().map(|task| task.slot).collect();
    slots.sort_unstable();
    slots
}

/// Ends a running task on its node.
fn end(cluster: &mut VirtualCluster, task: &Task, state: TaskState) {
    let now = cluster.now;
    cluster.agent(task.node.unwrap()).end(task.id, state, now);
}

fn ids(tasks: &[Task]) -> Vec<TaskId> {
    tasks.iter().map(|task| task.id).collect()
}

#[test]
fn a_service_converges_and_is_spread() {
    let (cluster, service) = running(3, 7);
    assert_eq!(slots(&cluster, service), [1, 2, 3, 4, 5, 6, 7]);
    let mut counts: Vec<_> = by_node(&cluster, service).into_values().collect();
    counts.sort_unstable();
    assert_eq!(counts, [2, 2, 3]);
    assert_eq!(cluster.conflicts, 0);
    cluster.check_assignments();
}

#[test]
fn more_replicas_take_the_lowest_free_slots() {
    let (mut cluster, service) = running(3, 4);
    let before = ids(&cluster.live(service));
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 2 }).unwrap();
    converge(&mut cluster, service, 2);
    let kept = slots(&cluster, service);
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 5 }).unwrap();
    converge(&mut cluster, service, 5);
    assert_eq!(slots(&cluster, service), [1, 2, 3, 4, 5]);
    let stayed =
        cluster.live(service).into_iter().filter(|task| before.contains(&task.id)).map(|task| task.slot);
    assert_eq!(stayed.collect::<Vec<_>>(), kept, "the tasks that stayed were not touched");
}

#[test]
fn fewer_replicas_leave_the_fullest_nodes_first() {
    let (mut cluster, service) = running(2, 4);
    // A third node joins and takes the two new ones: 2, 2, 2; then one of them alone holds four.
    cluster.join(join_request(3)).unwrap();
    cluster.run_for(secs(1));
    for number in [1, 2] {
        cluster.update_node(node(number), |spec| spec.availability = Availability::Pause).unwrap();
    }
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 8 }).unwrap();
    converge(&mut cluster, service, 8);
    assert_eq!(by_node(&cluster, service).into_values().collect::<Vec<_>>(), [2, 2, 4]);
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 6 }).unwrap();
    converge(&mut cluster, service, 6);
    assert_eq!(by_node(&cluster, service).into_values().collect::<Vec<_>>(), [2, 2, 2]);
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 3 }).unwrap();
    converge(&mut cluster, service, 3);
    assert_eq!(by_node(&cluster, service).into_values().collect::<Vec<_>>(), [1, 1, 1]);
}

#[test]
fn tasks_that_do_not_run_go_before_those_that_do() {
    let (mut cluster, service) = running(1, 2);
    cluster.behave(Behaviour { step: secs(60), ..Behaviour::default() });
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 4 }).unwrap();
    cluster.run_for(secs(1));
    assert_eq!(cluster.running(service), 2);
    let running: Vec<_> =
        cluster.live(service).into_iter().filter(|task| task.status.state == TaskState::Running).collect();
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 2 }).unwrap();
    cluster.run_for(secs(1));
    assert_eq!(ids(&cluster.live(service)), ids(&running));
}

#[test]
fn tasks_without_a_node_go_first_of_all() {
    let mut cluster = VirtualCluster::new(1, 3);
    let mut spec = service_spec("web", 3);
    spec.task.placement.max_replicas_per_node = 1;
    let service = cluster.create_service(spec).unwrap();
    cluster.run_for(SOON);
    let placed: Vec<_> = cluster.live(service).into_iter().filter(|task| task.node.is_some()).collect();
    assert_eq!(placed.len(), 1);
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 1 }).unwrap();
    converge(&mut cluster, service, 1);
    assert_eq!(ids(&cluster.live(service)), ids(&placed));
    assert_eq!(
        cluster.store.service_tasks(service).count(),
        1,
        "a task that no agent has is deleted at once"
    );
}

#[test]
fn of_slots_that_are_alike_the_higher_goes() {
    let (mut cluster, service) = running(2, 4);
    let pairs = by_node(&cluster, service).into_values().collect::<Vec<_>>();
    assert_eq!(pairs, [2, 2]);
    let mut second: Vec<u32> = Vec::new();
    for number in [1, 2] {
        let slots = cluster.live(service).into_iter().filter(|task| task.node == Some(node(number)));
        second.extend(slots.map(|task| task.slot).max());
    }
    cluster.scale_service(service, 3).unwrap();
    converge(&mut cluster, service, 3);
    let gone = second.iter().max().unwrap();
    assert_eq!(slots(&cluster, service), (1..=4).filter(|slot| slot != gone).collect::<Vec<_>>());
}

#[test]
fn scaling_to_zero_leaves_nothing_behind() {
    let (mut cluster, service) = running(2, 3);
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 0 }).unwrap();
    cluster.run_for(SOON);
    assert_eq!(cluster.store.service_tasks(service).count(), 0);
    cluster.check_assignments();
}

#[test]
fn a_removed_service_takes_its_tasks_and_their_history_with_it() {
    let (mut cluster, service) = running(2, 3);
    let first = cluster.live(service)[0].clone();
    end(&mut cluster, &first, TaskState::Failed);
    cluster.run_for(SOON);
    assert_eq!(cluster.store.service_tasks(service).count(), 4);
    cluster.remove_service(service).unwrap();
    let desired: Vec<_> = cluster.store.service_tasks(service).map(|task| task.status.state).collect();
    assert_eq!(desired.len(), 4, "tasks go when their agents say so");
    cluster.run_until(SOON, |cluster| cluster.store.task_count() == 0).unwrap();
    cluster.check_assignments();
}

#[test]
fn a_batch_fits_the_store_that_it_is_made_for() {
    let mut cluster = VirtualCluster::new(5, 5);
    let net = cluster.create_network(crate::testing::network_spec("net")).unwrap();
    let mut spec = service_spec("web", 60);
    spec.task.networks = vec![crate::spec::NetworkAttachment { network: net, aliases: Vec::new() }];
    let service = cluster.create_service(spec).unwrap();
    converge(&mut cluster, service, 60);
    for replicas in [10, 90, 0, 200] {
        cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas }).unwrap();
        cluster.run_for(secs(3));
        assert_eq!(cluster.running(service), replicas as usize);
    }
    assert_eq!(cluster.conflicts, 0, "nobody interfered");
}

#[test]
fn a_crowd_converges() {
    let mut cluster = VirtualCluster::new(100, 5);
    let (entries, time) = (cluster.applied, processor_time());
    let service = cluster.create_service(service_spec("web", 1000)).unwrap();
    let took = converge(&mut cluster, service, 1000);
    assert!(by_node(&cluster, service).into_values().all(|tasks| tasks == 10));
    assert!(took < secs(2), "{took:?} of virtual time");
    let (entries, time) = (cluster.applied - entries, processor_time().saturating_sub(time));
    assert!(entries <= 150, "{entries} log entries for 1000 tasks of seven states each");
    assert!(time < secs(10), "{time:?}");
    cluster.check_assignments();
}
