//! Rebalancing: asked for, new one first, a few at a time, and only while it helps.

use super::*;
use crate::spec::{Labels, ServiceSpec};

/// A service of `replicas` that runs on node 1 alone, and `nodes - 1` nodes that are empty.
fn crowded(nodes: u32, spec: ServiceSpec) -> (VirtualCluster, ServiceId) {
    let mut cluster = VirtualCluster::new(nodes, 7);
    for number in 2..=nodes {
        let other = node(number.into());
        cluster.update_node(other, |spec| spec.availability = Availability::Pause).unwrap();
    }
    let ServiceMode::Replicated { replicas } = spec.mode else { panic!("a replicated service") };
    let service = cluster.create_service(spec).unwrap();
    converge(&mut cluster, service, replicas as usize);
    for number in 2..=nodes {
        let other = node(number.into());
        cluster.update_node(other, |spec| spec.availability = Availability::Active).unwrap();
    }
    cluster.run_for(secs(5));
    (cluster, service)
}

fn counts(cluster: &VirtualCluster, service: ServiceId) -> Vec<usize> {
    by_node(cluster, service).into_values().collect()
}

fn is_over(cluster: &VirtualCluster, service: ServiceId) -> bool {
    cluster.store.service(service).unwrap().rebalance.is_none()
}

/// Lets the rebalance come to its end; gives back the most slots that had two live tasks, and checks that no
/// task is missed.
fn finish(cluster: &mut VirtualCluster, service: ServiceId, replicas: usize) -> usize {
    let (mut most, begun) = (0, cluster.now);
    while !is_over(cluster, service) {
        assert!(cluster.running(service) >= replicas, "new one first");
        most = most.max(cluster.live(service).len() - replicas);
        cluster.run_for(Duration::from_millis(1));
        assert!(cluster.now.since(begun) < secs(60), "{:#?}", cluster.store.service(service));
    }
    most
}

#[test]
fn nothing_is_rebalanced_until_it_is_asked_for() {
    let (mut cluster, service) = crowded(3, service_spec("web", 6));
    cluster.run_for(secs(600));
    assert_eq!(counts(&cluster, service), [6]);
}

#[test]
fn a_rebalance_evens_out_with_new_ones_first_and_no_more_at_once_than_it_may() {
    for parallelism in [1, 2, 9] {
        let (mut cluster, service) = crowded(3, service_spec("web", 6));
        let stayed = ids(&cluster.live(service));
        cluster.rebalance_service(service, parallelism).unwrap();
        let most = finish(&mut cluster, service, 6);
        cluster.run_for(SOON);
        assert_eq!(counts(&cluster, service), [2, 2, 2]);
        assert!(most <= parallelism as usize, "{most} at once");
        let moved = cluster.live(service).iter().filter(|task| !stayed.contains(&task.id)).count();
        assert_eq!(moved, 4, "as many as have to");
        assert_eq!(slots(&cluster, service), [1, 2, 3, 4, 5, 6]);
        assert_eq!(cluster.running(service), 6);
    }
}

#[test]
fn progress_can_be_read_while_it_lasts() {
    let (mut cluster, service) = crowded(2, service_spec("web", 4));
    cluster.rebalance_service(service, 1).unwrap();
    let mut moved = Vec::new();
    while let Some(mark) = cluster.store.service(service).unwrap().rebalance.clone() {
        assert!(mark.moving.len() <= 1);
        moved.push(mark.moved);
        cluster.run_for(Duration::from_millis(1));
    }
    moved.dedup();
    assert_eq!(moved, [0, 1], "the second is counted with the end");
    assert_eq!(counts(&cluster, service), [2, 2]);
}

#[test]
fn what_is_even_stays_as_it_is() {
    for (nodes, replicas) in [(3, 7), (2, 1), (1, 4), (3, 0)] {
        let (mut cluster, service) = running(nodes, replicas);
        let tasks = ids(&cluster.live(service));
        cluster.rebalance_service(service, 1).unwrap();
        cluster.run_for(secs(1));
        assert!(is_over(&cluster, service));
        assert_eq!(ids(&cluster.live(service)), tasks);
    }
}

#[test]
fn a_rebalance_ends_where_nothing_better_is_to_be_had() {
    let mut spec = service_spec("web", 6);
    spec.task.resources.reservations.memory_bytes = 1 << 30;
    let (mut cluster, service) = crowded(2, spec);
    // Room for one only on the other node.
    cluster.describe(node(2), |description| description.resources.memory_bytes = 1 << 30);
    cluster.run_for(secs(2));
    cluster.rebalance_service(service, 1).unwrap();
    finish(&mut cluster, service, 6);
    cluster.run_for(SOON);
    assert_eq!(counts(&cluster, service), [5, 1]);
    assert_eq!(cluster.live(service).len(), 6, "what was tried in vain is gone");
}

#[test]
fn a_rebalance_ends_when_a_new_task_fails() {
    let (mut cluster, service) = crowded(2, service_spec("web", 4));
    let tasks = ids(&cluster.live(service));
    cluster.agent(node(2)).behaviour = Behaviour { step: secs(1), ..Behaviour::default() };
    cluster.rebalance_service(service, 1).unwrap();
    cluster.run_for(secs(2));
    let new = cluster.live(service).into_iter().find(|task| task.node == Some(node(2))).unwrap();
    end(&mut cluster, &new, TaskState::Rejected);
    finish(&mut cluster, service, 4);
    cluster.run_for(SOON);
    assert_eq!(ids(&cluster.live(service)), tasks);
}

#[test]
fn a_rebalance_goes_on_under_a_new_leader() {
    let (mut cluster, service) = crowded(3, service_spec("web", 6));
    cluster.behave(Behaviour { step: Duration::from_millis(100), ..Behaviour::default() });
    cluster.rebalance_service(service, 1).unwrap();
    for _ in 0..12 {
        cluster.run_for(Duration::from_millis(350));
        assert!(cluster.running(service) >= 6);
        cluster.new_leader();
    }
    finish(&mut cluster, service, 6);
    cluster.run_for(SOON);
    assert_eq!(counts(&cluster, service), [2, 2, 2]);
}

#[test]
fn a_rebalance_keeps_to_what_is_preferred() {
    let mut spec = service_spec("web", 6);
    let zone = crate::spec::ConstraintKey::NodeLabel("zone".to_owned());
    spec.task.placement.preferences = vec![crate::spec::SpreadPreference { descriptor: zone }];
    let (mut cluster, service) = crowded(4, spec);
    for (number, value) in [(1, "a"), (2, "b"), (3, "b"), (4, "b")] {
        let labels: Labels = [("zone".to_owned(), value.to_owned())].into();
        cluster.update_node(node(number), |spec| spec.labels = labels).unwrap();
    }
    cluster.rebalance_service(service, 1).unwrap();
    finish(&mut cluster, service, 6);
    cluster.run_for(SOON);
    assert_eq!(counts(&cluster, service), [3, 1, 1, 1], "half in each zone");
}

#[test]
fn nodes_that_may_not_have_tasks_are_left_out() {
    let (mut cluster, service) = crowded(4, service_spec("web", 6));
    cluster.update_node(node(3), |spec| spec.availability = Availability::Pause).unwrap();
    cluster.silence(node(4));
    cluster.run_for(secs(10));
    cluster.rebalance_service(service, 1).unwrap();
    finish(&mut cluster, service, 6);
    cluster.run_for(SOON);
    assert_eq!(counts(&cluster, service), [3, 3]);
}

#[test]
fn a_node_that_returns_is_filled_when_that_is_asked_for() {
    let (mut cluster, service) = running(3, 6);
    cluster.silence(node(3));
    cluster.run_for(secs(10));
    cluster.resume(node(3));
    cluster.run_for(secs(10));
    assert_eq!(counts(&cluster, service), [3, 3], "not by itself");
    cluster.rebalance_service(service, 2).unwrap();
    finish(&mut cluster, service, 6);
    cluster.run_for(SOON);
    assert_eq!(counts(&cluster, service), [2, 2, 2]);
}

#[test]
fn a_task_that_ends_while_it_moves_does_no_harm() {
    let (mut cluster, service) = crowded(2, service_spec("web", 4));
    cluster.agent(node(2)).behaviour = Behaviour { step: secs(1), ..Behaviour::default() };
    cluster.rebalance_service(service, 1).unwrap();
    cluster.run_for(secs(2));
    let mark = cluster.store.service(service).unwrap().rebalance.clone().unwrap();
    let old = cluster.store.task(*mark.moving.first().unwrap()).unwrap().clone();
    end(&mut cluster, &old, TaskState::Failed);
    cluster.run_for(secs(30));
    assert!(is_over(&cluster, service));
    assert_eq!((counts(&cluster, service), cluster.running(service)), (vec![2, 2], 4));
}

#[test]
fn only_replicated_services_are_rebalanced() {
    let mut cluster = VirtualCluster::new(2, 5);
    let mode = ServiceMode::ReplicatedJob { max_concurrent: 1, total_completions: 1 };
    for mode in [ServiceMode::Global, ServiceMode::GlobalJob, mode] {
        let spec = ServiceSpec { mode, ..service_spec(&format!("s{}", cluster.applied), 0) };
        let service = cluster.create_service(spec).unwrap();
        let refusal = cluster.rebalance_service(service, 1).unwrap_err().to_string();
        assert_eq!(refusal, "invalid mode: rebalance can only be used with replicated mode");
    }
    let service = cluster.create_service(service_spec("web", 1)).unwrap();
    let refusal = cluster.rebalance_service(service, 0).unwrap_err().to_string();
    assert_eq!(refusal, "invalid parallelism: must be at least 1");
}

#[test]
fn a_paused_update_does_not_keep_a_rebalance_open() {
    let (mut cluster, service) = crowded(2, service_spec("web", 4));
    cluster.behave(Behaviour { ends: Some((secs(1), TaskState::Failed)), ..Behaviour::default() });
    cluster
        .update_service(service, |spec| {
            spec.task.container.image = "mesh/whoami:2".to_owned();
            spec.task.restart.delay = secs(1);
        })
        .unwrap();
    cluster.run_for(secs(30));
    let state =
        |cluster: &VirtualCluster| cluster.store.service(service).unwrap().update.clone().unwrap().state;
    assert_eq!(state(&cluster), crate::object::UpdateState::Paused);
    cluster.rebalance_service(service, 1).unwrap();
    cluster.run_for(secs(30));
    assert!(is_over(&cluster, service), "what is outdated is the updater's to move");
}
