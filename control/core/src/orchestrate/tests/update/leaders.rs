//! A new leader in the middle: everything that it needs is in the store.

use super::*;

/// What an update of three replicas to `image` comes to, with a new leader each `every`.
fn run(
    config: UpdateConfig,
    image: &str,
    every: Option<Duration>,
) -> (UpdateState, BTreeMap<String, usize>, usize) {
    let (mut cluster, service) = updating(3, 3, config);
    set_image(&mut cluster, service, image);
    let begin = cluster.now;
    while cluster.now.since(begin) < secs(60) {
        cluster.run_for(every.unwrap_or(secs(60)));
        if every.is_some() {
            cluster.new_leader();
        }
    }
    cluster.run_for(secs(20));
    cluster.check_assignments();
    let failed = update(&cluster, service).failed.len();
    (update(&cluster, service).state, images(&cluster, service), failed)
}

#[test]
fn an_update_ends_the_same_however_often_the_leader_changes() {
    let usual = UpdateConfig { delay: secs(2), ..UpdateConfig::default() };
    for failure_action in [FailureAction::Pause, FailureAction::Rollback, FailureAction::Continue] {
        for order in [UpdateOrder::StopFirst, UpdateOrder::StartFirst] {
            let config = UpdateConfig { failure_action, order, ..usual };
            for image in [NEXT, BAD] {
                let calm = run(config, image, None);
                for millis in [333, 1700, 4100] {
                    let stormy = run(config, image, Some(Duration::from_millis(millis)));
                    assert_eq!(stormy, calm, "{config:?}, {image}, each {millis} ms");
                }
            }
        }
    }
}

#[test]
fn the_delay_goes_on_under_a_new_leader() {
    let (mut cluster, service) = updating(3, 3, UpdateConfig { delay: secs(10), ..UpdateConfig::default() });
    set_image(&mut cluster, service, NEXT);
    for done in 1..=3 {
        cluster.run_for(secs(6));
        cluster.new_leader();
        cluster.run_for(secs(3));
        assert_eq!(images(&cluster, service)[NEXT], done, "the next is not begun before its time");
        cluster.run_for(Duration::from_millis(1100));
    }
    cluster.run_for(secs(10));
    assert_eq!(state_of(&cluster, service), Some(UpdateState::Completed));
}

#[test]
fn batches_that_are_lost_change_nothing() {
    for loss in [20, 60] {
        for (image, ends) in [(NEXT, UpdateState::Completed), (BAD, UpdateState::RollbackCompleted)] {
            let config = UpdateConfig { failure_action: FailureAction::Rollback, ..UpdateConfig::default() };
            let (mut cluster, service) = updating(3, 4, config);
            cluster.loss = loss;
            set_image(&mut cluster, service, image);
            until_state(&mut cluster, service, ends);
            let image = if image == BAD { GOOD } else { NEXT };
            converge(&mut cluster, service, 4);
            assert_eq!(images(&cluster, service), all(image, 4));
        }
    }
}

#[test]
fn what_failed_while_nobody_led_counts() {
    let config = UpdateConfig { failure_action: FailureAction::Rollback, ..UpdateConfig::default() };
    let (mut cluster, service) = updating(2, 2, config);
    cluster
        .behave_image(NEXT, Behaviour { ends: Some((secs(4), TaskState::Failed)), ..Behaviour::default() });
    set_image(&mut cluster, service, NEXT);
    cluster.run_for(Duration::from_millis(3800));
    assert_eq!(images(&cluster, service), all(NEXT, 2));
    for number in [1, 2] {
        cluster.silence(node(number));
    }
    cluster.run_for(Duration::from_millis(1180));
    cluster.new_leader();
    cluster.run_for(secs(1));
    assert_eq!(state_of(&cluster, service), Some(UpdateState::Updating), "its predecessor would be done");
    for number in [1, 2] {
        cluster.resume(node(number));
    }
    until_state(&mut cluster, service, UpdateState::RollbackCompleted);
    assert_eq!(images(&cluster, service), all(GOOD, 2));
}
