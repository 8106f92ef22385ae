//! What follows the end of a task, and what is kept of it.

use super::*;

/// Ends the only task of a service `times` times, as long as there is one, and says how many there were.
fn end_again_and_again(
    cluster: &mut VirtualCluster,
    service: ServiceId,
    state: TaskState,
    times: usize,
) -> usize {
    for round in 0..times {
        let runs = |cluster: &VirtualCluster| cluster.running(service) == 1;
        if cluster.run_until(secs(5), runs).is_none() {
            return round;
        }
        let task = cluster.live(service)[0].clone();
        end(cluster, &task, state);
        cluster.run_for(Duration::from_millis(20));
    }
    times
}

#[test]
fn a_failed_task_is_replaced_at_once() {
    let (mut cluster, service) = running(2, 2);
    let first = cluster.live(service)[0].clone();
    end(&mut cluster, &first, TaskState::Failed);
    cluster.run_for(Duration::from_millis(10));
    let took = converge(&mut cluster, service, 2);
    assert!(took < Duration::from_millis(100), "{took:?}");
    let old = cluster.store.task(first.id).unwrap();
    assert_eq!((old.status.state, old.desired_state), (TaskState::Failed, TaskState::Shutdown));
    assert_eq!(old.status.err, "task: non-zero exit (1)");
    assert_eq!(cluster.live(service)[0].slot, first.slot);
}

#[test]
fn a_replacement_is_made_ready_at_once_and_starts_after_the_delay() {
    let mut cluster = VirtualCluster::new(2, 5);
    let mut spec = service_spec("web", 1);
    spec.task.restart.delay = secs(5);
    let service = cluster.create_service(spec).unwrap();
    converge(&mut cluster, service, 1);
    let first = cluster.live(service)[0].clone();
    end(&mut cluster, &first, TaskState::Complete);
    cluster.run_for(secs(1));
    let next = cluster.live(service)[0].clone();
    assert_ne!(next.id, first.id);
    assert_eq!((next.desired_state, next.status.state), (TaskState::Ready, TaskState::Ready));
    let waited = converge(&mut cluster, service, 1) + secs(1);
    assert!(waited >= secs(5) && waited < Duration::from_millis(5200), "{waited:?}");
}

#[test]
fn the_delay_outlives_the_leader() {
    let mut cluster = VirtualCluster::new(2, 5);
    let mut spec = service_spec("web", 1);
    spec.task.restart.delay = secs(20);
    let service = cluster.create_service(spec).unwrap();
    converge(&mut cluster, service, 1);
    let first = cluster.live(service)[0].clone();
    end(&mut cluster, &first, TaskState::Failed);
    cluster.run_for(secs(8));
    cluster.new_leader();
    cluster.run_for(secs(11));
    assert_eq!(cluster.running(service), 0);
    cluster.run_for(secs(2));
    assert_eq!(cluster.running(service), 1);
}

#[test]
fn restart_conditions_decide_what_follows() {
    let cases = [
        (RestartCondition::None, TaskState::Failed, 1),
        (RestartCondition::None, TaskState::Complete, 1),
        (RestartCondition::OnFailure, TaskState::Complete, 1),
        (RestartCondition::OnFailure, TaskState::Failed, 4),
        (RestartCondition::OnFailure, TaskState::Rejected, 4),
        (RestartCondition::Any, TaskState::Complete, 4),
    ];
    for (condition, state, runs) in cases {
        let mut cluster = VirtualCluster::new(1, 11);
        let mut spec = service_spec("web", 1);
        spec.task.restart.condition = condition;
        let service = cluster.create_service(spec).unwrap();
        let ran = end_again_and_again(&mut cluster, service, state, 4);
        assert_eq!(ran, runs, "{condition:?} after {state}");
        let ended = cluster.store.service_tasks(service).filter(|task| task.status.state == state);
        assert!(ended.count() >= 1, "what ended stays to be seen");
    }
}

#[test]
fn attempts_run_out_and_the_slot_still_counts() {
    let mut cluster = VirtualCluster::new(1, 11);
    let mut spec = service_spec("web", 1);
    spec.task.restart.max_attempts = 3;
    let service = cluster.create_service(spec).unwrap();
    assert_eq!(
        end_again_and_again(&mut cluster, service, TaskState::Failed, 10),
        4,
        "once and three restarts"
    );
    cluster.update_service(service, |spec| spec.labels = [("a".to_owned(), "b".to_owned())].into()).unwrap();
    cluster.run_for(SOON);
    assert_eq!(cluster.live(service).len(), 0, "looking again makes no new attempt");
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 2 }).unwrap();
    cluster.run_for(SOON);
    assert_eq!(slots(&cluster, service), [2]);
}

#[test]
fn attempts_come_back_when_the_window_has_passed() {
    let mut cluster = VirtualCluster::new(1, 11);
    let mut spec = service_spec("web", 1);
    (spec.task.restart.max_attempts, spec.task.restart.window) = (2, secs(60));
    let service = cluster.create_service(spec).unwrap();
    for _ in 0..4 {
        assert_eq!(end_again_and_again(&mut cluster, service, TaskState::Failed, 2), 2);
        cluster.run_for(secs(61));
    }
    assert_eq!(end_again_and_again(&mut cluster, service, TaskState::Failed, 10), 3);
}

/// A slot whose restarts are counted within a minute and, after two, used up; when that was.
fn spent_within_a_minute() -> (VirtualCluster, ServiceId) {
    let mut cluster = VirtualCluster::new(1, 11);
    let mut spec = service_spec("web", 1);
    (spec.task.restart.max_attempts, spec.task.restart.window) = (2, secs(60));
    let service = cluster.create_service(spec).unwrap();
    assert_eq!(end_again_and_again(&mut cluster, service, TaskState::Failed, 10), 3);
    (cluster, service)
}

#[test]
fn attempts_that_are_used_up_stay_so_however_late_one_looks() {
    let (mut cluster, service) = spent_within_a_minute();
    cluster.run_for(secs(600));
    cluster.update_service(service, |spec| spec.labels = [("a".to_owned(), "b".to_owned())].into()).unwrap();
    cluster.new_leader();
    cluster.run_for(secs(1));
    assert!(cluster.live(service).is_empty());
}

#[test]
fn the_window_is_counted_back_from_the_end_of_the_task() {
    for (runs, ends) in [(secs(20), 3), (secs(25), 3), (secs(31), 6)] {
        let mut cluster = VirtualCluster::new(1, 11);
        cluster.behave(Behaviour { ends: Some((runs, TaskState::Failed)), ..Behaviour::default() });
        let mut spec = service_spec("web", 1);
        (spec.task.restart.max_attempts, spec.task.restart.window) = (2, secs(60));
        let service = cluster.create_service(spec).unwrap();
        let mut ended = std::collections::BTreeSet::new();
        for _ in 0..200 {
            cluster.run_for(secs(1));
            let failed = cluster.store.service_tasks(service).filter(|task| task.status.state.is_final());
            ended.extend(failed.map(|task| task.id));
        }
        assert_eq!(ended.len(), ends, "tasks that run for {runs:?}: two restarts fit into a minute, or not");
    }
}

#[test]
fn neither_a_short_history_nor_a_new_leader_gives_more_attempts() {
    for limit in [0, 1, 5] {
        let mut init = crate::testing::init_request();
        init.spec.task_history_limit = limit;
        let mut cluster = VirtualCluster::with(init, 1, 11);
        let mut spec = service_spec("web", 1);
        spec.task.restart.max_attempts = 8;
        let service = cluster.create_service(spec).unwrap();
        let mut runs = 0;
        for _ in 0..5 {
            runs += end_again_and_again(&mut cluster, service, TaskState::Failed, 2);
            cluster.new_leader();
            cluster.run_for(secs(1));
        }
        assert_eq!(runs, 9, "history of {limit}");
    }
}

#[test]
fn being_moved_is_no_attempt() {
    let mut cluster = VirtualCluster::new(2, 11);
    let mut spec = service_spec("web", 1);
    spec.task.restart.max_attempts = 1;
    let service = cluster.create_service(spec).unwrap();
    converge(&mut cluster, service, 1);
    for _ in 0..4 {
        let on = cluster.live(service)[0].node.unwrap();
        cluster.update_node(on, |spec| spec.availability = Availability::Drain).unwrap();
        cluster.run_for(secs(1));
        converge(&mut cluster, service, 1);
        cluster.update_node(on, |spec| spec.availability = Availability::Active).unwrap();
    }
    assert_eq!(end_again_and_again(&mut cluster, service, TaskState::Failed, 10), 2);
}

#[test]
fn the_history_of_a_slot_is_as_long_as_the_cluster_says() {
    let (mut cluster, service) = running(1, 1);
    assert_eq!(end_again_and_again(&mut cluster, service, TaskState::Failed, 9), 9);
    converge(&mut cluster, service, 1);
    assert_eq!(cluster.store.service_tasks(service).count(), 5, "the live one counted");
    let mut tasks: Vec<_> = cluster.store.service_tasks(service).collect();
    tasks.sort_by_key(|task| task.meta.created_version);
    assert_eq!(tasks[4].status.state, TaskState::Running);
    assert!(tasks[..4].iter().all(|task| task.status.state == TaskState::Failed));
}

#[test]
fn a_shorter_history_is_cut_at_the_next_change() {
    for (limit, left) in [(0, 1), (1, 1), (2, 2)] {
        let mut init = crate::testing::init_request();
        init.spec.task_history_limit = limit;
        let mut cluster = VirtualCluster::with(init, 1, 1);
        let service = cluster.create_service(service_spec("web", 1)).unwrap();
        assert_eq!(end_again_and_again(&mut cluster, service, TaskState::Failed, 3), 3);
        converge(&mut cluster, service, 1);
        assert_eq!(cluster.store.service_tasks(service).count(), left, "limit {limit}");
    }
}

#[test]
fn the_last_task_of_a_place_that_is_spent_stays_to_say_why() {
    let mut init = crate::testing::init_request();
    init.spec.task_history_limit = 0;
    let mut cluster = VirtualCluster::with(init, 1, 1);
    let mut spec = service_spec("web", 1);
    spec.task.restart.condition = RestartCondition::None;
    let service = cluster.create_service(spec).unwrap();
    assert_eq!(end_again_and_again(&mut cluster, service, TaskState::Failed, 5), 1);
    assert_eq!(cluster.store.service_tasks(service).count(), 1);
}

#[test]
fn a_task_that_fails_before_it_runs_is_replaced_too() {
    let mut cluster = VirtualCluster::new(1, 5);
    cluster.behave(Behaviour { step: secs(1), ..Behaviour::default() });
    let service = cluster.create_service(service_spec("web", 1)).unwrap();
    cluster.run_for(Duration::from_millis(2500));
    let first = cluster.live(service)[0].clone();
    assert_eq!(first.status.state, TaskState::Preparing);
    end(&mut cluster, &first, TaskState::Rejected);
    converge(&mut cluster, service, 1);
    assert_eq!(cluster.store.task(first.id).unwrap().status.state, TaskState::Rejected);
}

#[test]
fn a_task_that_keeps_failing_is_replaced_at_the_pace_of_the_delay() {
    let mut cluster = VirtualCluster::new(1, 5);
    cluster.behave(Behaviour { ends: Some((secs(1), TaskState::Failed)), ..Behaviour::default() });
    let mut spec = service_spec("web", 1);
    spec.task.restart.delay = secs(10);
    let service = cluster.create_service(spec).unwrap();
    cluster.run_for(secs(60));
    // Each round is a second of running and ten of waiting.
    let made = cluster.store.service_tasks(service).map(|task| task.meta.created_version).max().unwrap();
    let rounds =
        cluster.store.service_tasks(service).filter(|task| task.status.state == TaskState::Failed).count();
    assert!((4..=5).contains(&rounds), "{rounds} failures are kept");
    assert!(made < 120, "entry {made} of the log");
    assert_eq!(cluster.store.service_tasks(service).count(), 5);
}

#[test]
fn a_replacement_that_fails_while_it_waits_is_replaced_when_its_turn_comes() {
    let mut cluster = VirtualCluster::new(1, 5);
    let mut spec = service_spec("web", 1);
    spec.task.restart.delay = secs(10);
    let service = cluster.create_service(spec).unwrap();
    converge(&mut cluster, service, 1);
    let first = cluster.live(service)[0].clone();
    end(&mut cluster, &first, TaskState::Failed);
    cluster.run_for(secs(1));
    let second = cluster.live(service)[0].clone();
    end(&mut cluster, &second, TaskState::Failed);
    cluster.run_for(secs(8));
    assert!(cluster.live(service).is_empty());
    cluster.run_for(secs(2));
    let third = cluster.live(service)[0].clone();
    assert!(third.id != second.id && third.desired_state == TaskState::Ready);
    cluster.run_for(secs(10));
    assert_eq!(cluster.running(service), 1);
}

#[test]
fn what_cannot_be_prepared_is_tried_once_a_delay() {
    let mut cluster = VirtualCluster::new(1, 5);
    let mut spec = service_spec("web", 1);
    spec.task.restart.delay = secs(5);
    let service = cluster.create_service(spec).unwrap();
    let mut tries = 0;
    for _ in 0..600 {
        cluster.run_for(Duration::from_millis(100));
        if let Some(task) = cluster.live(service).first().cloned() {
            end(&mut cluster, &task, TaskState::Rejected);
            tries += 1;
        }
    }
    assert!((11..=14).contains(&tries), "{tries} tries in a minute");
}

#[test]
fn removing_a_service_stops_its_restarts() {
    let mut cluster = VirtualCluster::new(1, 5);
    let mut spec = service_spec("web", 2);
    spec.task.restart.delay = secs(10);
    let service = cluster.create_service(spec).unwrap();
    converge(&mut cluster, service, 2);
    let first = cluster.live(service)[0].clone();
    end(&mut cluster, &first, TaskState::Failed);
    cluster.run_for(secs(1));
    cluster.remove_service(service).unwrap();
    cluster.run_for(secs(60));
    assert_eq!(cluster.store.task_count(), 0);
}

#[test]
fn scaling_down_takes_a_replacement_that_waits() {
    let mut cluster = VirtualCluster::new(1, 5);
    let mut spec = service_spec("web", 2);
    spec.task.restart.delay = secs(10);
    let service = cluster.create_service(spec).unwrap();
    converge(&mut cluster, service, 2);
    let first = cluster.live(service).into_iter().find(|task| task.slot == 1).unwrap();
    end(&mut cluster, &first, TaskState::Failed);
    cluster.run_for(secs(1));
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 1 }).unwrap();
    cluster.run_for(secs(20));
    assert_eq!(slots(&cluster, service), [2], "the one that runs stays");
    assert!(cluster.store.slot_tasks(service, 1).next().is_none(), "with the history of the slot");
}

#[test]
fn a_limit_that_is_lowered_prunes_at_the_next_change() {
    let (mut cluster, service) = running(1, 2);
    assert_eq!(end_in_slot(&mut cluster, service, 1, 6), 5);
    let count = |cluster: &VirtualCluster, slot| cluster.store.slot_tasks(service, slot).count();
    let mut request = crate::command::UpdateCluster::default();
    let known = cluster.store.cluster().unwrap().clone();
    request.version = known.meta.version;
    request.spec = Some(crate::spec::ClusterSpec { task_history_limit: 2, ..known.spec.clone() });
    let change = crate::command::update_cluster(&cluster.store, request, cluster.now).unwrap();
    cluster.commit(&change).unwrap();
    cluster.run_for(SOON);
    assert_eq!((count(&cluster, 1), count(&cluster, 2)), (5, 1));
    assert_eq!(end_in_slot(&mut cluster, service, 1, 1), 2);
    assert_eq!(count(&cluster, 2), 1);
}

/// Ends the task of a slot so often; gives back how many of its tasks are kept then.
fn end_in_slot(cluster: &mut VirtualCluster, service: ServiceId, slot: u32, times: usize) -> usize {
    for _ in 0..times {
        let task = cluster.live(service).into_iter().find(|task| task.slot == slot).unwrap();
        end(cluster, &task, TaskState::Failed);
        cluster.run_for(SOON);
    }
    cluster.store.slot_tasks(service, slot).count()
}

#[test]
fn restarts_outside_the_window_are_forgotten() {
    let mut cluster = VirtualCluster::new(2, 5);
    let mut spec = service_spec("web", 1);
    (spec.task.restart.max_attempts, spec.task.restart.window) = (3, secs(120));
    let service = cluster.create_service(spec).unwrap();
    for _ in 0..50 {
        converge(&mut cluster, service, 1);
        let task = cluster.live(service)[0].clone();
        assert!(task.restarts.len() <= 2, "{} are carried", task.restarts.len());
        cluster.run_for(secs(60));
        end(&mut cluster, &task, TaskState::Failed);
        cluster.run_for(secs(10));
    }
}
