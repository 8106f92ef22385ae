//! Nodes that leave.

use super::*;

fn tasks_on(cluster: &VirtualCluster, number: u128) -> Vec<(TaskState, TaskState)> {
    let states = |task: &std::sync::Arc<Task>| (task.desired_state, task.status.state);
    cluster.store.node_tasks(node(number)).map(states).collect()
}

#[test]
fn the_tasks_of_a_node_that_leaves_are_replaced_at_once_and_wait_for_nobody() {
    let mut cluster = VirtualCluster::new(2, 1);
    let mut spec = service_spec("web", 4);
    spec.task.restart.delay = secs(60);
    let service = cluster.create_service(spec).unwrap();
    cluster.run_for(SOON);
    assert_eq!(tasks_on(&cluster, 2).len(), 2);
    cluster.depart(node(2)).unwrap();
    let moved = |cluster: &VirtualCluster| {
        cluster.running(service) == 4 && cluster.live(service).iter().all(|task| task.node == Some(node(1)))
    };
    let took = cluster.run_until(secs(1), moved).unwrap();
    assert!(took < Duration::from_millis(200), "{took:?}");
    assert_eq!(state(&cluster, 2), NodeState::Disconnected);
    assert_eq!(cluster.node(node(2)).status.message, "the node left the cluster");
    assert_eq!(
        tasks_on(&cluster, 2),
        [(TaskState::Shutdown, TaskState::Orphaned); 2],
        "nobody is to end them"
    );
    cluster.run_for(secs(60));
    assert_eq!(state(&cluster, 2), NodeState::Disconnected, "its silence is no news");
    assert!(cluster.agent(node(1)).set().peers.keys().eq([&node(1)]), "no tunnel leads there");
    cluster.check_assignments();
    cluster.remove_node(node(2), false).unwrap();
}

#[test]
fn a_node_that_left_may_come_back() {
    let mut cluster = VirtualCluster::new(2, 1);
    cluster.depart(node(2)).unwrap();
    cluster.run_for(SOON);
    let back = command::rejoin_node(&cluster.store, join_request(2), &[1].into(), cluster.now).unwrap();
    cluster.commit(&back).unwrap();
    cluster.agent(node(2)).forget();
    cluster.resume(node(2));
    until(&mut cluster, 2, NodeState::Ready).unwrap();
    let service = cluster.create_service(service_spec("web", 2)).unwrap();
    cluster.run_for(SOON);
    assert_eq!((cluster.running(service), tasks_on(&cluster, 2).len()), (2, 1));
    cluster.check_assignments();
}

#[test]
fn a_node_that_left_is_not_taken_for_ready_by_what_it_still_says() {
    let (mut leader, mut store, mut entropy, now) = alone();
    let left = command::depart_node(&store, node(1), true, &[].into(), now).unwrap();
    let actions = commit(&mut leader, &mut store, &left, now, &mut entropy);
    assert_eq!(actions.close, [(SessionId::from_bits(7), SessionEnd::Left)]);
    settle(&mut leader, &mut store, actions, now, &mut entropy);
    let late = Event::Heartbeat { node: node(1), session: SessionId::from_bits(7) };
    let actions = leader.step(late, now, &mut entropy);
    assert_eq!((actions.propose.len(), actions.close.len()), (0, 1));
    assert_eq!(store.node(node(1)).unwrap().status.state, NodeState::Disconnected);
}

#[test]
fn a_new_leader_leaves_a_node_that_left_alone() {
    let mut cluster = VirtualCluster::new(3, 1);
    let service = cluster.create_service(service_spec("web", 3)).unwrap();
    cluster.run_for(SOON);
    cluster.depart(node(3)).unwrap();
    cluster.new_leader();
    cluster.run_for(secs(10));
    assert_eq!(state(&cluster, 3), NodeState::Disconnected);
    assert_eq!(tasks_on(&cluster, 3), [(TaskState::Shutdown, TaskState::Orphaned)]);
    assert_eq!(cluster.running(service), 3);
}
