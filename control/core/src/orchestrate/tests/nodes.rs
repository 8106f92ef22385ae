//! What becomes of tasks when something happens to their nodes.

use super::*;

#[test]
fn a_removed_service_waits_for_a_node_that_is_down() {
    let (mut cluster, service) = running(2, 2);
    cluster.silence(node(2));
    cluster.run_for(secs(10));
    cluster.remove_service(service).unwrap();
    cluster.run_for(secs(10));
    let left: Vec<_> = cluster.store.service_tasks(service).cloned().collect();
    assert_eq!(left.len(), 1, "its address may still be in use there");
    assert_eq!((left[0].node, left[0].desired_state), (Some(node(2)), TaskState::Remove));
    cluster.resume(node(2));
    cluster.run_until(secs(2), |cluster| cluster.store.task_count() == 0).unwrap();
}

#[test]
fn the_tasks_of_a_silent_node_are_replaced_and_told_to_stop_when_it_returns() {
    let (mut cluster, service) = running(3, 3);
    let lost = cluster.live(service).into_iter().find(|task| task.node == Some(node(3))).unwrap();
    cluster.silence(node(3));
    cluster
        .run_until(secs(10), |cluster| cluster.live(service).iter().all(|task| task.id != lost.id))
        .unwrap();
    let took = converge(&mut cluster, service, 3);
    assert!(took < Duration::from_millis(200), "no delay and no wait for the old one: {took:?}");
    let old = cluster.store.task(lost.id).unwrap();
    assert_eq!((old.desired_state, old.status.state), (TaskState::Shutdown, TaskState::Running));
    cluster.resume(node(3));
    cluster.run_for(secs(1));
    assert_eq!(cluster.store.task(lost.id).unwrap().status.state, TaskState::Shutdown);
    assert!(!by_node(&cluster, service).contains_key(&node(3)), "nothing moves back by itself");
    cluster.check_assignments();
}

#[test]
fn a_restart_delay_does_not_hold_up_what_lost_its_node() {
    let mut cluster = VirtualCluster::new(2, 5);
    let mut spec = service_spec("web", 2);
    spec.task.restart.delay = secs(60);
    let service = cluster.create_service(spec).unwrap();
    converge(&mut cluster, service, 2);
    cluster.silence(node(2));
    cluster.run_for(secs(5));
    assert_eq!(by_node(&cluster, service).into_iter().collect::<Vec<_>>(), [(node(1), 2)]);
    assert_eq!(cluster.running(service), 2);
}

#[test]
fn a_drained_node_gives_its_tasks_away_old_one_first() {
    let mut cluster = VirtualCluster::new(2, 5);
    cluster.behave(Behaviour { stop: secs(3), ..Behaviour::default() });
    let mut spec = service_spec("web", 2);
    spec.task.restart.delay = secs(60);
    let service = cluster.create_service(spec).unwrap();
    converge(&mut cluster, service, 2);
    cluster.update_node(node(1), |spec| spec.availability = Availability::Drain).unwrap();
    cluster.run_for(secs(2));
    assert_eq!(cluster.running(service), 1, "the new task waits for the old one to stop");
    assert!(cluster.live(service).iter().any(|task| task.desired_state == TaskState::Ready));
    cluster.run_for(Duration::from_millis(1500));
    assert_eq!(cluster.running(service), 2, "and for nothing else");
    assert_eq!(by_node(&cluster, service).into_iter().collect::<Vec<_>>(), [(node(2), 2)]);
}

#[test]
fn a_paused_node_keeps_its_tasks_and_takes_no_new_ones() {
    let (mut cluster, service) = running(2, 2);
    cluster.update_node(node(2), |spec| spec.availability = Availability::Pause).unwrap();
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 4 }).unwrap();
    converge(&mut cluster, service, 4);
    assert_eq!(by_node(&cluster, service).into_iter().collect::<Vec<_>>(), [(node(1), 3), (node(2), 1)]);
}

#[test]
fn constraints_are_enforced_after_placement_too() {
    let mut cluster = VirtualCluster::new(2, 5);
    let zone = |value: &str| -> crate::spec::Labels { [("zone".to_owned(), value.to_owned())].into() };
    cluster.update_node(node(1), |spec| spec.labels = zone("a")).unwrap();
    let mut spec = service_spec("web", 2);
    spec.task.placement.constraints = vec!["node.labels.zone==a".parse().unwrap()];
    let service = cluster.create_service(spec).unwrap();
    converge(&mut cluster, service, 2);
    assert_eq!(by_node(&cluster, service).into_iter().collect::<Vec<_>>(), [(node(1), 2)]);
    cluster.update_node(node(2), |spec| spec.labels = zone("a")).unwrap();
    cluster.update_node(node(1), |spec| spec.labels = zone("b")).unwrap();
    cluster.run_for(SOON);
    assert_eq!(by_node(&cluster, service).into_iter().collect::<Vec<_>>(), [(node(2), 2)]);
    assert_eq!(cluster.running(service), 2);
}

#[test]
fn a_removed_node_leaves_its_tasks_orphaned_and_replaced() {
    let (mut cluster, service) = running(3, 3);
    let lost = cluster.live(service).into_iter().find(|task| task.node == Some(node(3))).unwrap();
    cluster.remove_node(node(3), true).unwrap();
    cluster.run_for(SOON);
    converge(&mut cluster, service, 3);
    let old = cluster.store.task(lost.id).unwrap();
    assert_eq!((old.status.state, old.status.err.as_str()), (TaskState::Orphaned, "its node is gone"));
    assert!(!by_node(&cluster, service).contains_key(&node(3)));
}

#[test]
fn the_tasks_of_a_node_that_is_down_for_a_day_are_given_up() {
    let (mut cluster, service) = running(2, 2);
    let lost = cluster.live(service).into_iter().find(|task| task.node == Some(node(2))).unwrap();
    cluster.silence(node(2));
    cluster.run_for(Duration::from_hours(23));
    assert_eq!(cluster.store.task(lost.id).unwrap().status.state, TaskState::Running);
    cluster.run_for(Duration::from_hours(2));
    assert_eq!(cluster.store.task(lost.id).unwrap().status.state, TaskState::Orphaned);
    assert_eq!(cluster.running(service), 2);
}

#[test]
fn a_task_that_waits_for_a_node_is_given_one_that_returns() {
    let (mut cluster, service) = running(1, 2);
    cluster.silence(node(1));
    cluster.run_for(secs(10));
    let waiting: Vec<_> = cluster.live(service).iter().map(|task| task.status.err.clone()).collect();
    assert_eq!(waiting, ["no suitable node (1 node not available for new tasks)"; 2]);
    cluster.resume(node(1));
    cluster.run_for(SOON);
    assert_eq!(cluster.running(service), 2);
    assert_eq!(cluster.agent(node(1)).set().tasks.len(), 2, "the old ones have stopped");
    cluster.check_assignments();
}

#[test]
fn a_power_cut_loses_the_tasks_and_nothing_else() {
    let (mut cluster, service) = running(2, 4);
    let now = cluster.now;
    cluster.silence(node(2));
    cluster.agent(node(2)).crash(now);
    cluster.run_for(secs(10));
    assert_eq!(cluster.running(service), 4);
    cluster.resume(node(2));
    cluster.run_for(SOON);
    let ended = cluster.store.node_tasks(node(2)).map(|task| task.status.state).collect::<Vec<_>>();
    assert_eq!(ended, [TaskState::Failed; 2], "it says what became of them");
    assert_eq!(cluster.running(service), 4);
    cluster.check_assignments();
}

#[test]
fn a_daemon_that_comes_back_in_time_keeps_its_tasks() {
    let (mut cluster, service) = running(3, 6);
    let tasks = ids(&cluster.live(service));
    for number in [1, 2, 3] {
        cluster.silence(node(number));
        cluster.run_for(secs(2));
        cluster.resume(node(number));
        cluster.run_for(secs(2));
    }
    assert_eq!(ids(&cluster.live(service)), tasks);
    assert_eq!(cluster.running(service), 6);
}

#[test]
fn a_drained_node_that_is_down_is_not_waited_for() {
    let (mut cluster, service) = running(2, 2);
    cluster.silence(node(2));
    cluster.update_node(node(2), |spec| spec.availability = Availability::Drain).unwrap();
    cluster.run_for(secs(1));
    assert_eq!(cluster.running(service), 1, "it may still run there");
    cluster.run_for(secs(4));
    assert_eq!(cluster.running(service), 2);
    assert_eq!(by_node(&cluster, service).into_iter().collect::<Vec<_>>(), [(node(1), 2)]);
}

#[test]
fn draining_everything_leaves_tasks_that_wait() {
    let (mut cluster, service) = running(2, 3);
    for number in [1, 2] {
        cluster.update_node(node(number), |spec| spec.availability = Availability::Drain).unwrap();
    }
    cluster.run_for(SOON);
    assert_eq!((cluster.running(service), cluster.live(service).len()), (0, 3));
    cluster.update_node(node(1), |spec| spec.availability = Availability::Active).unwrap();
    cluster.run_for(SOON);
    assert_eq!(cluster.running(service), 3);
}

#[test]
fn leaders_that_change_all_the_time_lose_nothing() {
    let mut cluster = VirtualCluster::new(4, 9);
    let service = cluster.create_service(service_spec("web", 10)).unwrap();
    for round in 0..30 {
        let pause = Duration::from_millis(cluster.below(300));
        cluster.run_for(pause);
        cluster.new_leader();
        let task = cluster.live(service).into_iter().find(|task| task.status.state == TaskState::Running);
        if let Some(task) = task.filter(|_| round % 3 == 0) {
            end(&mut cluster, &task, TaskState::Failed);
        }
    }
    converge(&mut cluster, service, 10);
    assert_eq!(slots(&cluster, service), (1..=10).collect::<Vec<_>>());
    cluster.run_for(SOON);
    cluster.check_assignments();
}
