//! Global services.

use super::*;

fn global(cluster: &mut VirtualCluster) -> ServiceId {
    let mut spec = service_spec("agent", 0);
    spec.mode = ServiceMode::Global;
    cluster.create_service(spec).unwrap()
}

#[test]
fn a_global_service_has_one_task_a_node() {
    let mut cluster = VirtualCluster::new(3, 5);
    let service = global(&mut cluster);
    converge(&mut cluster, service, 3);
    assert_eq!(by_node(&cluster, service).into_values().collect::<Vec<_>>(), [1, 1, 1]);
    let task = cluster.live(service)[0].clone();
    assert_eq!(task.slot, 0);
    assert_eq!(task.name(), format!("agent.{}.{}", task.node.unwrap(), task.id));
    cluster.join(join_request(4)).unwrap();
    converge(&mut cluster, service, 4);
    cluster.check_assignments();
}

#[test]
fn a_global_service_follows_its_nodes() {
    let mut cluster = VirtualCluster::new(3, 5);
    let service = global(&mut cluster);
    converge(&mut cluster, service, 3);
    cluster.update_node(node(2), |spec| spec.availability = Availability::Drain).unwrap();
    cluster.silence(node(3));
    cluster.run_for(secs(10));
    assert_eq!(by_node(&cluster, service).into_keys().collect::<Vec<_>>(), [node(1)]);
    cluster.update_node(node(2), |spec| spec.availability = Availability::Active).unwrap();
    cluster.resume(node(3));
    cluster.run_for(secs(2));
    assert_eq!(cluster.running(service), 3, "a node that returns gets its task again");
    assert_eq!(cluster.live(service).len(), 3);
}

#[test]
fn a_global_task_that_fails_follows_the_restart_policy() {
    let mut cluster = VirtualCluster::new(2, 5);
    let mut spec = service_spec("agent", 0);
    (spec.mode, spec.task.restart.condition) = (ServiceMode::Global, RestartCondition::OnFailure);
    let service = cluster.create_service(spec).unwrap();
    converge(&mut cluster, service, 2);
    let [first, second] = <[Task; 2]>::try_from(cluster.live(service)).unwrap();
    end(&mut cluster, &first, TaskState::Failed);
    end(&mut cluster, &second, TaskState::Complete);
    cluster.run_for(SOON);
    assert_eq!(by_node(&cluster, service).into_keys().collect::<Vec<_>>(), [first.node.unwrap()]);
}

#[test]
fn a_global_service_keeps_to_its_constraints() {
    let mut cluster = VirtualCluster::new(3, 5);
    let mut spec = service_spec("agent", 0);
    spec.mode = ServiceMode::Global;
    spec.task.placement.constraints = vec!["node.hostname != n2".parse().unwrap()];
    let service = cluster.create_service(spec).unwrap();
    converge(&mut cluster, service, 2);
    assert_eq!(by_node(&cluster, service).into_keys().collect::<Vec<_>>(), [node(1), node(3)]);
}

#[test]
fn a_global_task_that_does_not_fit_says_so() {
    let mut cluster = VirtualCluster::new(1, 5);
    let mut spec = service_spec("agent", 0);
    spec.mode = ServiceMode::Global;
    spec.task.resources.reservations.memory_bytes = 9 << 30;
    let service = cluster.create_service(spec).unwrap();
    cluster.run_for(SOON);
    let task = cluster.live(service)[0].clone();
    assert_eq!(task.status.state, TaskState::Pending);
    assert_eq!(task.status.err, "no suitable node (insufficient resources on 1 node)");
}

#[test]
fn a_global_service_is_removed_from_every_node() {
    let mut cluster = VirtualCluster::new(3, 5);
    let service = global(&mut cluster);
    converge(&mut cluster, service, 3);
    cluster.remove_service(service).unwrap();
    cluster.run_for(SOON);
    assert_eq!(cluster.store.task_count(), 0);
    cluster.join(join_request(4)).unwrap();
    cluster.run_for(SOON);
    assert_eq!(cluster.store.task_count(), 0, "a node that comes later gets none");
}

#[test]
fn a_paused_node_keeps_its_global_task_and_gets_no_new_one() {
    let mut cluster = VirtualCluster::new(2, 5);
    cluster.update_node(node(2), |spec| spec.availability = Availability::Pause).unwrap();
    let service = global(&mut cluster);
    cluster.run_for(SOON);
    assert_eq!(by_node(&cluster, service).into_keys().collect::<Vec<_>>(), [node(1)]);
    cluster.update_node(node(2), |spec| spec.availability = Availability::Active).unwrap();
    converge(&mut cluster, service, 2);
    cluster.update_node(node(2), |spec| spec.availability = Availability::Pause).unwrap();
    cluster.run_for(SOON);
    assert_eq!(cluster.running(service), 2);
}

#[test]
fn labels_move_a_global_service() {
    let mut cluster = VirtualCluster::new(3, 5);
    let mut spec = service_spec("agent", 0);
    spec.mode = ServiceMode::Global;
    spec.task.placement.constraints = vec!["node.labels.agent==yes".parse().unwrap()];
    let service = cluster.create_service(spec).unwrap();
    cluster.run_for(SOON);
    assert_eq!(cluster.live(service).len(), 0);
    let yes = || -> crate::spec::Labels { [("agent".to_owned(), "yes".to_owned())].into() };
    cluster.update_node(node(2), |spec| spec.labels = yes()).unwrap();
    cluster.update_node(node(3), |spec| spec.labels = yes()).unwrap();
    converge(&mut cluster, service, 2);
    cluster.update_node(node(2), |spec| spec.labels.clear()).unwrap();
    cluster.run_for(SOON);
    assert_eq!(by_node(&cluster, service).into_keys().collect::<Vec<_>>(), [node(3)]);
}

#[test]
fn a_global_task_is_restarted_on_its_node_after_the_delay() {
    let mut cluster = VirtualCluster::new(2, 5);
    let mut spec = service_spec("agent", 0);
    (spec.mode, spec.task.restart.delay) = (ServiceMode::Global, secs(5));
    let service = cluster.create_service(spec).unwrap();
    converge(&mut cluster, service, 2);
    let task = cluster.live(service)[0].clone();
    end(&mut cluster, &task, TaskState::Failed);
    cluster.run_for(secs(4));
    assert_eq!(cluster.running(service), 1);
    cluster.run_for(secs(2));
    assert_eq!(cluster.running(service), 2);
    assert!(cluster.live(service).iter().any(|next| next.node == task.node && next.id != task.id));
}

#[test]
fn the_history_of_a_global_service_is_kept_by_node() {
    let mut cluster = VirtualCluster::new(2, 5);
    let service = global(&mut cluster);
    converge(&mut cluster, service, 2);
    for _ in 0..8 {
        let task = cluster.live(service).into_iter().find(|task| task.node == Some(node(1))).unwrap();
        end(&mut cluster, &task, TaskState::Failed);
        cluster.run_for(SOON);
    }
    let on = |number| cluster.store.node_tasks(node(number)).count();
    assert_eq!((on(1), on(2)), (5, 1));
}

#[test]
fn a_node_that_returns_gets_its_global_task_whatever_the_policy() {
    for condition in [RestartCondition::None, RestartCondition::OnFailure] {
        let mut cluster = VirtualCluster::new(2, 5);
        let mut spec = service_spec("agent", 0);
        (spec.mode, spec.task.restart.condition) = (ServiceMode::Global, condition);
        let service = cluster.create_service(spec).unwrap();
        converge(&mut cluster, service, 2);
        cluster.update_node(node(2), |spec| spec.availability = Availability::Drain).unwrap();
        cluster.run_for(SOON);
        assert_eq!(cluster.running(service), 1);
        cluster.update_node(node(2), |spec| spec.availability = Availability::Active).unwrap();
        converge(&mut cluster, service, 2);
    }
}

#[test]
fn nothing_is_kept_of_a_node_that_was_removed() {
    for new_leader in [false, true] {
        let mut cluster = VirtualCluster::new(3, 5);
        let service = global(&mut cluster);
        converge(&mut cluster, service, 3);
        for _ in 0..2 {
            let there = cluster.live(service).into_iter().find(|task| task.node == Some(node(3))).unwrap();
            end(&mut cluster, &there, TaskState::Failed);
            cluster.run_for(secs(10));
        }
        assert!(cluster.store.node_tasks(node(3)).count() > 2, "its history");
        cluster.remove_node(node(3), true).unwrap();
        if new_leader {
            cluster.new_leader();
        }
        cluster.run_for(secs(2));
        assert_eq!(cluster.store.node_tasks(node(3)).count(), 0, "new leader: {new_leader}");
        assert_eq!(cluster.store.service_tasks(service).count(), 2);
    }
}
