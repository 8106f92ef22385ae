//! What the failure of new tasks does.

use super::*;

fn acting(failure_action: FailureAction, order: UpdateOrder) -> UpdateConfig {
    UpdateConfig { failure_action, order, ..UpdateConfig::default() }
}

const ORDERS: [UpdateOrder; 2] = [UpdateOrder::StopFirst, UpdateOrder::StartFirst];

/// The tasks of an image that were ever made, as far as they are kept.
fn made(cluster: &VirtualCluster, service: ServiceId, image: &str) -> Vec<Task> {
    let of_image = |task: &&std::sync::Arc<Task>| task.spec.container.image == image;
    cluster.store.service_tasks(service).filter(of_image).map(|task| Task::clone(task)).collect()
}

#[test]
fn a_bad_image_pauses_the_update_and_the_others_stay() {
    let (mut cluster, service) = updating(2, 3, UpdateConfig::default());
    set_image(&mut cluster, service, BAD);
    let took = until_state(&mut cluster, service, UpdateState::Paused);
    assert!(took < secs(1), "{took:?}");
    let paused = update(&cluster, service);
    let failed = paused.failed.first().unwrap();
    assert_eq!(paused.message, format!("update paused due to failure or early termination of task {failed}"));
    assert_eq!((paused.failed.len(), paused.completed_at), (1, None));
    cluster.run_for(secs(30));
    assert_eq!(images(&cluster, service), all(GOOD, 2));
    assert_eq!(update(&cluster, service), paused);
    cluster.check_assignments();
}

#[test]
fn starting_first_a_bad_image_costs_nothing() {
    let (mut cluster, service) = updating(2, 3, acting(FailureAction::Pause, UpdateOrder::StartFirst));
    let before = ids(&cluster.live(service));
    set_image(&mut cluster, service, BAD);
    until_state(&mut cluster, service, UpdateState::Paused);
    cluster.run_for(secs(600));
    assert_eq!(ids(&cluster.live(service)), before);
    assert_eq!(made(&cluster, service, BAD).len(), 1, "it is not tried again while the update is paused");
}

#[test]
fn a_task_that_fails_while_paused_stays_what_it_was() {
    let (mut cluster, service) = updating(2, 3, acting(FailureAction::Pause, UpdateOrder::StartFirst));
    set_image(&mut cluster, service, BAD);
    until_state(&mut cluster, service, UpdateState::Paused);
    for _ in 0..4 {
        let task = cluster.live(service).into_iter().find(|task| task.slot == 2).unwrap();
        end(&mut cluster, &task, TaskState::Failed);
        cluster.run_for(secs(2));
        assert_eq!(images(&cluster, service), all(GOOD, 3));
    }
    let on = cluster.live(service)[0].node.unwrap();
    cluster.update_node(on, |spec| spec.availability = Availability::Drain).unwrap();
    cluster.run_for(secs(1));
    assert_eq!(images(&cluster, service), all(GOOD, 3), "nor does a move make it another");
    assert_eq!(by_node(&cluster, service).len(), 1);
}

#[test]
fn a_bad_image_is_rolled_back() {
    for order in ORDERS {
        let (mut cluster, service) = updating(2, 3, acting(FailureAction::Rollback, order));
        let before = object(&cluster, service).spec.clone();
        set_image(&mut cluster, service, BAD);
        until_state(&mut cluster, service, UpdateState::RollbackStarted);
        let failed = made(&cluster, service, BAD)[0].id;
        assert_eq!(
            update(&cluster, service).message,
            format!("update rolled back due to failure or early termination of task {failed}")
        );
        until_state(&mut cluster, service, UpdateState::RollbackCompleted);
        assert_eq!(update(&cluster, service).message, "rollback completed");
        assert_eq!(images(&cluster, service), all(GOOD, 3));
        assert_eq!(object(&cluster, service).spec, before);
        assert_eq!(object(&cluster, service).previous_spec, None, "there is one way back, and it was taken");
        assert_eq!(made(&cluster, service, BAD).len(), 1, "one try, no other");
        assert_eq!(
            words(cluster.rollback_service(service)),
            format!("service {service} does not have a previous spec")
        );
        cluster.check_assignments();
    }
}

#[test]
fn a_task_that_fails_while_it_is_watched_counts_and_a_later_one_does_not() {
    for (after, ends) in [(secs(4), UpdateState::RollbackStarted), (secs(6), UpdateState::Completed)] {
        let config =
            UpdateConfig { parallelism: 0, ..acting(FailureAction::Rollback, UpdateOrder::StopFirst) };
        let (mut cluster, service) = updating(2, 3, config);
        let ending = Some((after, TaskState::Failed));
        cluster.behave_image(NEXT, Behaviour { ends: ending, ..Behaviour::default() });
        set_image(&mut cluster, service, NEXT);
        until_state(&mut cluster, service, ends);
        cluster.run_for(secs(20));
        let image = if ends == UpdateState::Completed { NEXT } else { GOOD };
        assert_eq!(images(&cluster, service), all(image, 3), "{after:?}");
    }
}

#[test]
fn ending_well_too_early_is_a_failure() {
    let (mut cluster, service) = updating(2, 2, acting(FailureAction::Rollback, UpdateOrder::StopFirst));
    let ending = Some((secs(1), TaskState::Complete));
    cluster.behave_image(NEXT, Behaviour { ends: ending, ..Behaviour::default() });
    set_image(&mut cluster, service, NEXT);
    until_state(&mut cluster, service, UpdateState::RollbackCompleted);
    assert_eq!(images(&cluster, service), all(GOOD, 2));
}

#[test]
fn a_task_is_watched_for_no_less_than_the_delay() {
    let config = UpdateConfig {
        monitor: secs(1),
        delay: secs(10),
        ..acting(FailureAction::Rollback, UpdateOrder::StopFirst)
    };
    for replicas in [1, 3] {
        let (mut cluster, service) = updating(2, replicas, config);
        let ending = Some((secs(8), TaskState::Failed));
        cluster.behave_image(NEXT, Behaviour { ends: ending, ..Behaviour::default() });
        set_image(&mut cluster, service, NEXT);
        until_state(&mut cluster, service, UpdateState::RollbackCompleted);
        assert_eq!(images(&cluster, service), all(GOOD, replicas as usize));
    }
}

#[test]
fn a_monitor_of_zero_counts_what_never_ran() {
    let config =
        UpdateConfig { monitor: Duration::ZERO, ..acting(FailureAction::Rollback, UpdateOrder::StopFirst) };
    let (mut cluster, service) = updating(2, 2, config);
    set_image(&mut cluster, service, NEXT);
    assert!(until_state(&mut cluster, service, UpdateState::Completed) < secs(1));
    set_image(&mut cluster, service, BAD);
    until_state(&mut cluster, service, UpdateState::RollbackCompleted);
    assert_eq!(images(&cluster, service), all(NEXT, 2));
}

#[test]
fn the_action_is_taken_when_the_ratio_is_exceeded_and_no_sooner() {
    // A quarter of four may fail; so may each of them when all may.
    for (ratio, failing, ends) in [
        (0.25, 1, UpdateState::Completed),
        (0.25, 2, UpdateState::Paused),
        (0.7, 2, UpdateState::Completed),
        (0.7, 3, UpdateState::Paused),
        (0.75, 3, UpdateState::Completed),
        (1.0, 4, UpdateState::Completed),
    ] {
        let config = UpdateConfig { max_failure_ratio: ratio, delay: secs(6), ..UpdateConfig::default() };
        let (mut cluster, service) = updating(4, 4, config);
        set_image(&mut cluster, service, NEXT);
        for _ in 0..failing {
            let new = |cluster: &VirtualCluster| {
                let mut new = made(cluster, service, NEXT).into_iter();
                new.find(|task| task.watched && task.status.state == TaskState::Running)
            };
            cluster.run_until(secs(10), |cluster| new(cluster).is_some()).unwrap();
            let task = new(&cluster).unwrap();
            end(&mut cluster, &task, TaskState::Failed);
            cluster.run_for(secs(1));
        }
        until_state(&mut cluster, service, ends);
        assert_eq!(update(&cluster, service).failed.len(), failing, "{ratio}");
    }
}

#[test]
fn with_continue_an_update_comes_to_its_end_whatever_fails() {
    for order in ORDERS {
        let (mut cluster, service) = updating(2, 3, acting(FailureAction::Continue, order));
        set_image(&mut cluster, service, BAD);
        until_state(&mut cluster, service, UpdateState::Completed);
        assert_eq!(update(&cluster, service).failed.len(), 3, "once for each place");
        cluster.run_for(secs(10));
        let left = if order == UpdateOrder::StartFirst { all(GOOD, 3) } else { BTreeMap::new() };
        assert_eq!(images(&cluster, service), left);
        cluster.behave_image(BAD, Behaviour::default());
        cluster.run_for(secs(10));
        assert_eq!(images(&cluster, service), all(BAD, 3), "restarts go on, and one that runs takes over");
    }
}

#[test]
fn a_place_fails_once_however_often_it_is_tried() {
    for order in ORDERS {
        let config = UpdateConfig {
            max_failure_ratio: 0.5,
            delay: secs(30),
            ..acting(FailureAction::Rollback, order)
        };
        let (mut cluster, service) = updating(2, 4, config);
        set_image(&mut cluster, service, BAD);
        cluster.run_for(secs(29));
        assert_eq!(update(&cluster, service).failed.len(), 1, "one place in half a minute");
        until_state(&mut cluster, service, UpdateState::RollbackCompleted);
        assert_eq!(images(&cluster, service), all(GOOD, 4));
    }
}

#[test]
fn a_short_history_forgets_no_failure() {
    for (limit, order) in [(0, ORDERS[0]), (1, ORDERS[0]), (0, ORDERS[1]), (1, ORDERS[1])] {
        let mut init = crate::testing::init_request();
        init.spec.task_history_limit = limit;
        let mut cluster = VirtualCluster::with(init, 2, 7);
        let mut spec = service_spec("web", 2);
        let broken = Some((TaskState::Starting, TaskState::Failed));
        cluster.behave_image(BAD, Behaviour { breaks: broken, ..Behaviour::default() });
        spec.update = UpdateConfig {
            max_failure_ratio: 0.5,
            delay: secs(30),
            ..acting(FailureAction::Rollback, order)
        };
        let service = cluster.create_service(spec).unwrap();
        converge(&mut cluster, service, 2);
        set_image(&mut cluster, service, BAD);
        cluster.run_for(secs(29));
        assert_eq!(update(&cluster, service).failed.len(), 1, "history of {limit}");
        until_state(&mut cluster, service, UpdateState::RollbackCompleted);
        assert_eq!(images(&cluster, service), all(GOOD, 2));
    }
}

#[test]
fn a_lost_node_is_no_failure_of_the_new_version() {
    let (mut cluster, service) = updating(3, 3, acting(FailureAction::Rollback, UpdateOrder::StopFirst));
    cluster.behave_image(NEXT, Behaviour { step: secs(2), ..Behaviour::default() });
    set_image(&mut cluster, service, NEXT);
    cluster.run_for(secs(5));
    let new = made(&cluster, service, NEXT).remove(0);
    assert!(new.watched && new.running_at.is_none());
    cluster.silence(new.node.unwrap());
    cluster.run_for(secs(12));
    let next = cluster.live(service).into_iter().find(|task| task.slot == new.slot).unwrap();
    assert!(next.id != new.id && next.watched, "what takes its place is watched in its stead");
    until_state(&mut cluster, service, UpdateState::Completed);
    assert_eq!(images(&cluster, service), all(NEXT, 3));
}

#[test]
fn what_a_node_says_when_it_is_back_of_a_task_that_was_taken_from_it_is_no_failure_of_the_new_version() {
    for (order, global) in
        [(UpdateOrder::StopFirst, false), (UpdateOrder::StartFirst, false), (UpdateOrder::StopFirst, true)]
    {
        let mut cluster = VirtualCluster::new(3, 7);
        let mut spec = service_spec("web", 3);
        if global {
            spec.mode = ServiceMode::Global;
        }
        (spec.update, spec.rollback) = (acting(FailureAction::Rollback, order), UpdateConfig::default());
        let service = cluster.create_service(spec).unwrap();
        converge(&mut cluster, service, 3);
        cluster.behave_image(NEXT, Behaviour { step: secs(2), ..Behaviour::default() });
        set_image(&mut cluster, service, NEXT);
        cluster.run_for(secs(5));
        let new = made(&cluster, service, NEXT).remove(0);
        assert!(new.watched && new.running_at.is_none());
        let (on, now) = (new.node.unwrap(), cluster.now);
        cluster.silence(on);
        cluster.agent(on).crash(now);
        cluster.run_for(secs(5));
        cluster.resume(on);
        cluster.run_for(secs(1));
        let said = cluster.store.task(new.id).map(|task| task.status.state);
        assert_eq!(said, Some(TaskState::Failed), "{order:?}, global: {global}");
        until_state(&mut cluster, service, UpdateState::Completed);
        assert!(update(&cluster, service).failed.is_empty());
        cluster.run_for(secs(60));
        assert_eq!(images(&cluster, service), all(NEXT, 3), "{order:?}, global: {global}");
    }
}

#[test]
fn restarts_of_an_update_that_goes_on_follow_the_policy() {
    let config =
        UpdateConfig { max_failure_ratio: 1.0, ..acting(FailureAction::Pause, UpdateOrder::StopFirst) };
    let (mut cluster, service) = updating(1, 1, config);
    cluster
        .update_service(service, |spec| {
            spec.task.container.image = BAD.to_owned();
            spec.task.restart.max_attempts = 2;
        })
        .unwrap();
    until_state(&mut cluster, service, UpdateState::Completed);
    cluster.run_for(secs(60));
    assert_eq!(made(&cluster, service, BAD).len(), 3, "once and two restarts");
    assert!(cluster.live(service).is_empty());
}
