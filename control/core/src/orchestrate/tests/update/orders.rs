//! Old first, new first, how many places at once, and what lies between them.

use super::*;

fn ordered(order: UpdateOrder, parallelism: u64) -> UpdateConfig {
    UpdateConfig { parallelism, order, ..UpdateConfig::default() }
}

/// The fewest tasks that ran and should, and the most that ran, at any time until the update ends.
fn extremes(cluster: &mut VirtualCluster, service: ServiceId) -> (usize, usize) {
    let (mut fewest, mut most) = (usize::MAX, 0);
    while state_of(cluster, service) == Some(UpdateState::Updating) {
        fewest = fewest.min(cluster.running(service));
        most = most.max(observed(cluster, service, TaskState::Running));
        cluster.run_for(Duration::from_millis(1));
    }
    (fewest, most)
}

/// How many tasks are in a state, whatever they should be.
fn observed(cluster: &VirtualCluster, service: ServiceId, state: TaskState) -> usize {
    cluster.store.service_tasks(service).filter(|task| task.status.state == state).count()
}

#[test]
fn stopping_first_the_new_task_is_prepared_while_the_old_one_leaves() {
    let (mut cluster, service) = updating(2, 1, UpdateConfig::default());
    let old = cluster.live(service)[0].clone();
    cluster.behave(Behaviour { stop: secs(3), ..Behaviour::default() });
    set_image(&mut cluster, service, NEXT);
    cluster.run_for(secs(2));
    let new = cluster.live(service)[0].clone();
    assert_eq!((new.desired_state, new.status.state), (TaskState::Ready, TaskState::Ready));
    assert_eq!(cluster.store.task(old.id).unwrap().status.state, TaskState::Running);
    let ended = |cluster: &VirtualCluster| cluster.store.task(old.id).unwrap().status.state.is_final();
    cluster.run_until(secs(2), ended).unwrap();
    assert_eq!(cluster.running(service), 0);
    let gap = cluster.run_until(secs(1), |cluster| cluster.running(service) == 1).unwrap();
    assert!(gap < Duration::from_millis(20), "the gap of one replica is the start alone: {gap:?}");
    assert_eq!(cluster.store.task(old.id).unwrap().status.state, TaskState::Shutdown);
}

#[test]
fn starting_first_the_old_task_goes_when_the_new_one_runs() {
    let (mut cluster, service) = updating(2, 1, ordered(UpdateOrder::StartFirst, 1));
    set_image(&mut cluster, service, NEXT);
    assert_eq!(extremes(&mut cluster, service), (1, 2));
    assert_eq!(images(&cluster, service), all(NEXT, 1));
}

/// A service that may have one task a node, start-first.
fn alone_on_each(nodes: u32, parallelism: u64) -> (VirtualCluster, ServiceId) {
    let (mut cluster, service) = updating(nodes, nodes, ordered(UpdateOrder::StartFirst, parallelism));
    let limit = |spec: &mut crate::spec::ServiceSpec| spec.task.placement.max_replicas_per_node = 1;
    cluster.update_service(service, limit).unwrap();
    cluster.run_for(secs(1));
    (cluster, service)
}

#[test]
fn a_new_task_that_may_take_the_place_of_the_old_one_alone_waits_for_that_node_and_no_longer() {
    let (mut cluster, service) = alone_on_each(1, 1);
    cluster.update_node(node(1), |spec| spec.availability = Availability::Pause).unwrap();
    set_image(&mut cluster, service, NEXT);
    cluster.run_for(secs(2));
    let waits = |task: &Task| task.node.is_none() && task.status.err.contains("not available");
    assert!(cluster.live(service).iter().any(waits), "{:#?}", cluster.live(service));
    cluster.update_node(node(1), |spec| spec.availability = Availability::Active).unwrap();
    cluster.run_for(secs(1));
    assert!(cluster.live(service).iter().all(|task| task.node.is_some()), "{:#?}", cluster.live(service));
    until_state(&mut cluster, service, UpdateState::Completed);
    assert_eq!(images(&cluster, service), all(NEXT, 1));
}

#[test]
fn one_new_task_that_waits_for_its_node_does_not_hold_up_the_others() {
    let (mut cluster, service) = alone_on_each(4, 2);
    cluster.update_node(node(1), |spec| spec.availability = Availability::Pause).unwrap();
    set_image(&mut cluster, service, NEXT);
    cluster.run_for(secs(60));
    assert_eq!(images(&cluster, service), [(GOOD.into(), 1), (NEXT.into(), 3)].into());
    cluster.update_node(node(1), |spec| spec.availability = Availability::Active).unwrap();
    until_state(&mut cluster, service, UpdateState::Completed);
    assert_eq!(images(&cluster, service), all(NEXT, 4));
}

#[test]
fn a_global_service_with_one_task_a_node_is_updated_start_first() {
    let mut cluster = VirtualCluster::new(2, 7);
    let mut spec = service_spec("web", 1);
    (spec.mode, spec.update) = (ServiceMode::Global, ordered(UpdateOrder::StartFirst, 1));
    spec.task.placement.max_replicas_per_node = 1;
    let service = cluster.create_service(spec).unwrap();
    converge(&mut cluster, service, 2);
    set_image(&mut cluster, service, NEXT);
    until_state(&mut cluster, service, UpdateState::Completed);
    assert_eq!(images(&cluster, service), all(NEXT, 2));
}

#[test]
fn no_more_places_are_in_change_than_the_parallelism_says() {
    for (parallelism, at_once) in [(1, 1), (2, 2), (5, 5), (9, 6), (0, 6)] {
        let (mut cluster, service) = updating(3, 6, ordered(UpdateOrder::StopFirst, parallelism));
        set_image(&mut cluster, service, NEXT);
        assert_eq!(extremes(&mut cluster, service), (6 - at_once, 6), "stop-first, {parallelism}");
        assert_eq!(images(&cluster, service), all(NEXT, 6));

        let (mut cluster, service) = updating(3, 6, ordered(UpdateOrder::StartFirst, parallelism));
        set_image(&mut cluster, service, NEXT);
        assert_eq!(extremes(&mut cluster, service), (6, 6 + at_once), "start-first, {parallelism}");
        assert_eq!(images(&cluster, service), all(NEXT, 6));
    }
}

#[test]
fn the_delay_lies_between_one_place_and_the_next() {
    let config = UpdateConfig { delay: secs(10), ..UpdateConfig::default() };
    let (mut cluster, service) = updating(2, 3, config);
    set_image(&mut cluster, service, NEXT);
    for done in 1..=3 {
        cluster.run_for(secs(9));
        assert_eq!(images(&cluster, service)[NEXT], done, "{done} after nine seconds");
        cluster.run_for(Duration::from_millis(1100));
    }
    assert_eq!(state_of(&cluster, service), Some(UpdateState::Completed), "the last is watched as long");
}

#[test]
fn with_a_delay_each_of_the_places_at_once_waits_for_itself() {
    let config = UpdateConfig { delay: secs(10), parallelism: 2, ..UpdateConfig::default() };
    let (mut cluster, service) = updating(2, 5, config);
    set_image(&mut cluster, service, NEXT);
    for done in [2, 4, 5] {
        cluster.run_for(secs(9));
        assert_eq!(images(&cluster, service)[NEXT], done);
        cluster.run_for(Duration::from_millis(1100));
    }
    assert_eq!(state_of(&cluster, service), Some(UpdateState::Completed));
}

#[test]
fn places_where_nothing_runs_go_first() {
    let mut cluster = VirtualCluster::new(1, 7);
    let mut spec = service_spec("web", 4);
    spec.task.restart.condition = RestartCondition::None;
    let service = cluster.create_service(spec).unwrap();
    converge(&mut cluster, service, 4);
    let third = cluster.live(service).into_iter().find(|task| task.slot == 3).unwrap();
    end(&mut cluster, &third, TaskState::Failed);
    cluster.run_for(secs(1));
    cluster.update_service(service, |spec| spec.update.delay = secs(60)).unwrap();
    set_image(&mut cluster, service, NEXT);
    assert_eq!(update(&cluster, service).slots, 4, "what was not to be started again is changed, too");
    cluster.run_for(secs(1));
    let new = cluster.live(service).into_iter().find(|task| task.spec.container.image == NEXT).unwrap();
    assert_eq!((new.slot, images(&cluster, service)), (3, [(GOOD.into(), 3), (NEXT.into(), 1)].into()));
}

#[test]
fn an_old_task_that_fails_before_its_turn_stays_what_it_was() {
    let config = UpdateConfig { delay: secs(60), ..UpdateConfig::default() };
    let (mut cluster, service) = updating(2, 3, config);
    set_image(&mut cluster, service, NEXT);
    cluster.run_for(secs(1));
    let old = cluster.live(service).into_iter().find(|task| task.spec.container.image == GOOD).unwrap();
    end(&mut cluster, &old, TaskState::Failed);
    cluster.run_for(secs(2));
    assert_eq!(images(&cluster, service), [(GOOD.into(), 2), (NEXT.into(), 1)].into());
    assert_eq!(update(&cluster, service).failed.len(), 0, "the new version did not fail");
    until_state(&mut cluster, service, UpdateState::Completed);
    assert_eq!(images(&cluster, service), all(NEXT, 3));
}

#[test]
fn tasks_that_no_node_took_are_replaced_at_once() {
    for order in [UpdateOrder::StopFirst, UpdateOrder::StartFirst] {
        let mut cluster = VirtualCluster::new(2, 7);
        let mut spec = service_spec("web", 3);
        (spec.update.order, spec.update.parallelism) = (order, 0);
        spec.task.placement.constraints = vec!["node.labels.zone==a".parse().unwrap()];
        let service = cluster.create_service(spec).unwrap();
        cluster.run_for(SOON);
        assert_eq!(cluster.running(service), 0);
        cluster.update_service(service, |spec| spec.task.placement.constraints.clear()).unwrap();
        let took = converge(&mut cluster, service, 3);
        assert!(took < secs(1), "{took:?}");
    }
}

#[test]
fn a_crowd_is_changed() {
    let (mut cluster, service) = updating(30, 300, ordered(UpdateOrder::StartFirst, 0));
    let time = processor_time();
    set_image(&mut cluster, service, NEXT);
    until_state(&mut cluster, service, UpdateState::Completed);
    assert_eq!(images(&cluster, service), all(NEXT, 300));
    cluster.update_service(service, |spec| spec.update.parallelism = 5).unwrap();
    set_image(&mut cluster, service, GOOD);
    until_state(&mut cluster, service, UpdateState::Completed);
    assert_eq!(images(&cluster, service), all(GOOD, 300));
    let time = processor_time().saturating_sub(time);
    assert!(time < secs(10), "{time:?}");
    assert_eq!(cluster.conflicts, 0);
    cluster.check_assignments();
}

#[test]
fn a_port_in_host_mode_is_given_up_by_the_old_task_where_the_new_one_finds_no_other_node() {
    let port = |published| {
        let (target, protocol) = (crate::port::Port::new(80).unwrap(), crate::port::Protocol::Tcp);
        let (published, mode) = (crate::port::Port::new(published), crate::port::PublishMode::Host);
        crate::port::PublishedPort { published, target, protocol, mode }
    };
    for (global, replicas, nodes) in [(true, 0, 3), (false, 3, 3), (false, 2, 3)] {
        let mut cluster = VirtualCluster::new(nodes, 7);
        let mut spec = service_spec("web", replicas);
        if global {
            spec.mode = ServiceMode::Global;
        }
        spec.update.order = UpdateOrder::StartFirst;
        spec.endpoint.ports = vec![port(8080)];
        let service = cluster.create_service(spec).unwrap();
        let tasks = if global { 3 } else { replicas as usize };
        converge(&mut cluster, service, tasks);
        set_image(&mut cluster, service, NEXT);
        let room = tasks < nodes as usize;
        let (fewest, _) = extremes(&mut cluster, service);
        assert_eq!(fewest, if room { tasks } else { tasks - 1 });
        assert_eq!(images(&cluster, service), all(NEXT, tasks));
    }
}
