//! Updates of global services: their places are nodes.

use super::*;
use crate::spec::ServiceSpec;

fn global(order: UpdateOrder) -> ServiceSpec {
    let mut spec = service_spec("agent", 0);
    (spec.mode, spec.update.order) = (ServiceMode::Global, order);
    spec
}

fn running_global(nodes: u32, order: UpdateOrder) -> (VirtualCluster, ServiceId) {
    let mut cluster = VirtualCluster::new(nodes, 7);
    let broken = Some((TaskState::Preparing, TaskState::Rejected));
    cluster.behave_image(BAD, Behaviour { breaks: broken, ..Behaviour::default() });
    let service = cluster.create_service(global(order)).unwrap();
    converge(&mut cluster, service, nodes as usize);
    (cluster, service)
}

#[test]
fn one_node_follows_the_other() {
    for (order, fewest) in [(UpdateOrder::StopFirst, 2), (UpdateOrder::StartFirst, 3)] {
        let (mut cluster, service) = running_global(3, order);
        set_image(&mut cluster, service, NEXT);
        assert_eq!(update(&cluster, service).slots, 3);
        while state_of(&cluster, service) == Some(UpdateState::Updating) {
            assert!(cluster.running(service) >= fewest, "{order:?}");
            cluster.run_for(Duration::from_millis(1));
        }
        assert_eq!(images(&cluster, service), all(NEXT, 3));
        assert!(by_node(&cluster, service).into_values().all(|tasks| tasks == 1));
    }
}

#[test]
fn a_bad_image_ends_with_the_old_version_everywhere() {
    for order in [UpdateOrder::StopFirst, UpdateOrder::StartFirst] {
        let (mut cluster, service) = running_global(3, order);
        cluster.update_service(service, |spec| spec.update.failure_action = FailureAction::Rollback).unwrap();
        set_image(&mut cluster, service, BAD);
        until_state(&mut cluster, service, UpdateState::RollbackCompleted);
        assert_eq!(images(&cluster, service), all(GOOD, 3));
    }
}

#[test]
fn a_node_that_takes_no_tasks_keeps_its_own_until_it_does() {
    let (mut cluster, service) = running_global(3, UpdateOrder::StopFirst);
    cluster.update_node(node(2), |spec| spec.availability = Availability::Pause).unwrap();
    cluster.update_node(node(3), |spec| spec.availability = Availability::Drain).unwrap();
    cluster.run_for(secs(1));
    set_image(&mut cluster, service, NEXT);
    assert_eq!(update(&cluster, service).slots, 1);
    until_state(&mut cluster, service, UpdateState::Completed);
    assert_eq!(images(&cluster, service), [(GOOD.into(), 1), (NEXT.into(), 1)].into());
    for number in [2, 3] {
        cluster.update_node(node(number), |spec| spec.availability = Availability::Active).unwrap();
    }
    cluster.run_for(secs(2));
    assert_eq!(images(&cluster, service), all(NEXT, 3));
}
