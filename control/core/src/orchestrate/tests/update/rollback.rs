//! The way back, by command and after failures.

use super::*;

#[test]
fn a_rollback_by_command_swaps_the_specs() {
    let (mut cluster, service) = updating(2, 3, UpdateConfig::default());
    let first = object(&cluster, service).spec.clone();
    assert_eq!(
        words(cluster.rollback_service(service)),
        format!("service {service} does not have a previous spec")
    );
    set_image(&mut cluster, service, NEXT);
    until_state(&mut cluster, service, UpdateState::Completed);
    let second = object(&cluster, service).spec.clone();
    for (now, before) in [(&first, &second), (&second, &first)] {
        cluster.rollback_service(service).unwrap();
        let begun = update(&cluster, service);
        assert_eq!(begun.state, UpdateState::RollbackStarted);
        assert_eq!((begun.message.as_str(), begun.slots), ("manually requested rollback", 3));
        assert_eq!(
            (&object(&cluster, service).spec, object(&cluster, service).previous_spec.as_deref()),
            (now, Some(before))
        );
        until_state(&mut cluster, service, UpdateState::RollbackCompleted);
        assert_eq!(update(&cluster, service).message, "rollback completed");
        assert_eq!(images(&cluster, service), all(&now.task.container.image, 3));
    }
}

#[test]
fn a_rollback_of_a_scale_changes_no_task() {
    let (mut cluster, service) = updating(2, 3, UpdateConfig::default());
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 5 }).unwrap();
    converge(&mut cluster, service, 5);
    let before = ids(&cluster.live(service));
    cluster.rollback_service(service).unwrap();
    until_state(&mut cluster, service, UpdateState::RollbackCompleted);
    converge(&mut cluster, service, 3);
    assert!(ids(&cluster.live(service)).iter().all(|task| before.contains(task)));
}

#[test]
fn a_rollback_goes_by_its_own_configuration() {
    let (mut cluster, service) = updating(2, 4, UpdateConfig::default());
    cluster
        .update_service(service, |spec| {
            spec.rollback =
                UpdateConfig { parallelism: 0, order: UpdateOrder::StartFirst, ..UpdateConfig::default() };
        })
        .unwrap();
    set_image(&mut cluster, service, NEXT);
    until_state(&mut cluster, service, UpdateState::Completed);
    cluster.rollback_service(service).unwrap();
    cluster.run_for(Duration::from_millis(20));
    assert_eq!((cluster.running(service), cluster.live(service).len()), (4, 8));
    until_state(&mut cluster, service, UpdateState::RollbackCompleted);
    assert_eq!(images(&cluster, service), all(GOOD, 4));
}

/// A service whose update and whose way back both fail; the way back acts so.
fn doomed(action: FailureAction) -> (VirtualCluster, ServiceId) {
    let config =
        UpdateConfig { failure_action: FailureAction::Rollback, parallelism: 2, ..UpdateConfig::default() };
    let (mut cluster, service) = updating(2, 4, config);
    cluster.update_service(service, |spec| spec.rollback.failure_action = action).unwrap();
    let broken = Some((TaskState::Starting, TaskState::Failed));
    cluster.behave_image(GOOD, Behaviour { breaks: broken, ..Behaviour::default() });
    set_image(&mut cluster, service, BAD);
    (cluster, service)
}

#[test]
fn a_rollback_that_fails_is_paused_and_never_rolled_back() {
    for (action, words) in [(FailureAction::Pause, "update"), (FailureAction::Rollback, "rollback")] {
        let (mut cluster, service) = doomed(action);
        until_state(&mut cluster, service, UpdateState::RollbackPaused);
        let paused = update(&cluster, service);
        let failed = paused.failed.first().unwrap();
        let message = format!("{words} paused due to failure or early termination of task {failed}");
        assert_eq!(paused.message, message);
        cluster.run_for(secs(60));
        assert_eq!(update(&cluster, service), paused);
        assert_eq!(images(&cluster, service), all(GOOD, 2), "those that were never changed");
    }
}

#[test]
fn a_rollback_that_goes_on_whatever_fails_ends() {
    let (mut cluster, service) = doomed(FailureAction::Continue);
    until_state(&mut cluster, service, UpdateState::RollbackCompleted);
    assert_eq!(update(&cluster, service).failed.len(), 2);
    cluster.behave_image(GOOD, Behaviour::default());
    converge(&mut cluster, service, 4);
    assert_eq!(images(&cluster, service), all(GOOD, 4));
}

#[test]
fn a_paused_update_can_be_rolled_back_by_command() {
    let (mut cluster, service) = updating(2, 3, UpdateConfig::default());
    set_image(&mut cluster, service, BAD);
    until_state(&mut cluster, service, UpdateState::Paused);
    let others: Vec<_> =
        cluster.live(service).into_iter().filter(|task| task.spec.container.image == GOOD).collect();
    cluster.rollback_service(service).unwrap();
    assert_eq!(update(&cluster, service).slots, 1);
    until_state(&mut cluster, service, UpdateState::RollbackCompleted);
    assert_eq!(images(&cluster, service), all(GOOD, 3));
    let live = ids(&cluster.live(service));
    assert!(ids(&others).iter().all(|task| live.contains(task)));
}

#[test]
fn what_cannot_be_had_back_pauses_the_update() {
    let config =
        UpdateConfig { failure_action: FailureAction::Rollback, delay: secs(20), ..UpdateConfig::default() };
    let (mut cluster, service) = updating(2, 2, config);
    let port = |published| {
        let (target, protocol) = (crate::port::Port::new(80).unwrap(), crate::port::Protocol::Tcp);
        let (published, mode) = (crate::port::Port::new(published), crate::port::PublishMode::Ingress);
        crate::port::PublishedPort { published, target, protocol, mode }
    };
    cluster.update_service(service, |spec| spec.endpoint.ports = vec![port(8080)]).unwrap();
    until_state(&mut cluster, service, UpdateState::Completed);
    cluster
        .behave_image(BAD, Behaviour { ends: Some((secs(10), TaskState::Failed)), ..Behaviour::default() });
    cluster
        .update_service(service, |spec| {
            spec.endpoint.ports.clear();
            spec.task.container.image = BAD.to_owned();
        })
        .unwrap();
    let mut other = service_spec("other", 1);
    other.endpoint.ports = vec![port(8080)];
    cluster.create_service(other).unwrap();
    until_state(&mut cluster, service, UpdateState::Paused);
    let paused = update(&cluster, service);
    assert!(
        paused.message.contains("; no rollback: port '8080' is already in use by service 'other'"),
        "{}",
        paused.message
    );
}
