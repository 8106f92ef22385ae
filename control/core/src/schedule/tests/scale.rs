//! Small versions of what `make bench` measures: it comes out right, and what it costs is counted.

use super::*;
use crate::testing::Placing;

#[test]
fn the_scheduler_alone_places_everything_evenly() {
    let mut cluster = Placing::new(100);
    for number in 0..40 {
        let mut spec = service_spec(&format!("s{number}"), 50);
        spec.task.resources.reservations.memory_bytes = 16 << 20;
        cluster.add(spec);
    }
    loop {
        let decided = cluster.decide();
        if decided.is_empty() {
            break;
        }
        cluster.commit(&decided);
    }
    let on = |number: u32| cluster.store.node_tasks(node(number)).count();
    assert!((1..=100).all(|number| on(number) == 20));
}

/// A task costs its own node's agent a few messages, and nobody else any.
#[test]
fn a_tasks_life_is_told_to_its_own_node_alone() {
    let mut cluster = VirtualCluster::new(100, 1);
    let before = cluster.sent;
    let service = cluster.create_service(service_spec("web", 1000)).unwrap();
    cluster.run_until(SOON, |cluster| cluster.running(service) == 1000).unwrap();
    let increments = cluster.sent.increments - before.increments;
    assert!(increments <= 1000, "{increments} messages for a thousand tasks");
    assert_eq!(cluster.sent.full, before.full);
}
