//! Services on virtual time: how many tasks, where, and what follows the end of one.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::{NodeId, ServiceId, TaskId};
use crate::object::{Task, TaskState};
use crate::spec::{Availability, RestartCondition, ServiceMode};
use crate::testing::{Behaviour, VirtualCluster, join_request, service_spec};

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
