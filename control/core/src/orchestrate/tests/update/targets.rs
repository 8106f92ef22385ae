//! What an update is for: which changes take new tasks, and what a change while one is under way does.

use super::*;
use crate::spec::{Placement, ServiceSpec};
use crate::testing::network_spec;

type Change = fn(&mut ServiceSpec);

fn port(published: u16, mode: crate::port::PublishMode) -> crate::port::PublishedPort {
    let (target, protocol) = (crate::port::Port::new(80).unwrap(), crate::port::Protocol::Tcp);
    crate::port::PublishedPort { published: crate::port::Port::new(published), target, protocol, mode }
}

#[test]
fn what_concerns_tasks_replaces_them() {
    use crate::port::PublishMode::{Host, Ingress};
    let cases: Vec<(&str, Change)> = vec![
        ("image", |spec| spec.task.container.image = NEXT.into()),
        ("args", |spec| spec.task.container.args.push("x".into())),
        ("env", |spec| spec.task.container.env.push("A=b".into())),
        ("container label", |spec| drop(spec.task.container.labels.insert("a".into(), "b".into()))),
        ("limit", |spec| spec.task.resources.pids_limit = 5),
        ("restart policy", |spec| spec.task.restart.max_attempts = 5),
        ("force", |spec| spec.task.force_update += 1),
        ("first port through the mesh", |spec| spec.endpoint.ports.push(port(8080, Ingress))),
        ("port in host mode", |spec| spec.endpoint.ports.push(port(8081, Host))),
        ("other port in host mode", |spec| spec.endpoint.ports[1] = port(8082, Host)),
        ("no port in host mode", |spec| spec.endpoint.ports.truncate(1)),
    ];
    let (mut cluster, service) = updating(4, 2, UpdateConfig { parallelism: 0, ..UpdateConfig::default() });
    for (what, change) in cases {
        let before = ids(&cluster.live(service));
        cluster.update_service(service, change).unwrap();
        assert_eq!(update(&cluster, service).slots, 2, "{what}");
        until_state(&mut cluster, service, UpdateState::Completed);
        assert_eq!(cluster.running(service), 2);
        assert!(cluster.live(service).iter().all(|task| !before.contains(&task.id)), "{what}");
        cluster.check_assignments();
    }
}

#[test]
fn what_does_not_concern_tasks_leaves_them() {
    use crate::port::PublishMode::Ingress;
    let cases: Vec<(&str, Change)> = vec![
        ("nothing", |_| {}),
        ("label", |spec| drop(spec.labels.insert("a".into(), "b".into()))),
        ("update", |spec| spec.update.parallelism = 7),
        ("rollback", |spec| spec.rollback.parallelism = 7),
        ("scale", |spec| spec.mode = ServiceMode::Replicated { replicas: 3 }),
        ("another port", |spec| spec.endpoint.ports.push(port(8081, Ingress))),
        ("no ports", |spec| spec.endpoint.ports.clear()),
        ("constraint that holds", |spec| {
            spec.task.placement.constraints = vec!["node.platform.os==linux".parse().unwrap()];
        }),
        ("no constraint", |spec| spec.task.placement.constraints.clear()),
    ];
    let mut cluster = VirtualCluster::new(3, 7);
    let mut spec = service_spec("web", 2);
    spec.endpoint.ports = vec![port(8080, Ingress)];
    let service = cluster.create_service(spec).unwrap();
    converge(&mut cluster, service, 2);
    let before = ids(&cluster.live(service));
    for (what, change) in cases {
        cluster.update_service(service, change).unwrap();
        assert_eq!(state_of(&cluster, service), None, "{what}");
        cluster.run_for(secs(1));
        assert_eq!(state_of(&cluster, service), None, "{what}");
        let live = ids(&cluster.live(service));
        assert!(before.iter().all(|task| live.contains(task)), "{what}");
    }
    assert_eq!(cluster.running(service), 3);
    cluster.check_assignments();
}

#[test]
fn an_update_without_tasks_is_none() {
    let (mut cluster, service) = updating(2, 0, UpdateConfig::default());
    set_image(&mut cluster, service, NEXT);
    cluster.run_for(secs(1));
    assert_eq!(state_of(&cluster, service), None);
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 2 }).unwrap();
    converge(&mut cluster, service, 2);
    assert_eq!(images(&cluster, service), all(NEXT, 2));
}

#[test]
fn a_constraint_moves_only_the_tasks_that_it_excludes() {
    let (mut cluster, service) = updating(2, 4, UpdateConfig::default());
    let stay: Vec<_> = cluster.live(service).into_iter().filter(|task| task.node == Some(node(1))).collect();
    cluster
        .update_service(service, |spec| {
            let constraints = vec!["node.hostname==n1".parse().unwrap()];
            spec.task.placement = Placement { constraints, ..Placement::default() };
        })
        .unwrap();
    assert_eq!(update(&cluster, service).slots, 2);
    until_state(&mut cluster, service, UpdateState::Completed);
    assert_eq!(by_node(&cluster, service).into_iter().collect::<Vec<_>>(), [(node(1), 4)]);
    let live = ids(&cluster.live(service));
    assert!(ids(&stay).iter().all(|task| live.contains(task)));
}

#[test]
fn an_update_over_another_goes_straight_to_the_new_goal() {
    let config = UpdateConfig { delay: secs(20), ..UpdateConfig::default() };
    let (mut cluster, service) = updating(2, 4, config);
    set_image(&mut cluster, service, NEXT);
    cluster.run_for(secs(21));
    assert_eq!(images(&cluster, service), [(GOOD.into(), 2), (NEXT.into(), 2)].into());
    set_image(&mut cluster, service, "mesh/whoami:3");
    assert_eq!(update(&cluster, service).slots, 4);
    until_state(&mut cluster, service, UpdateState::Completed);
    assert_eq!(images(&cluster, service), all("mesh/whoami:3", 4));
    let previous = object(&cluster, service).previous_spec.clone().unwrap();
    assert_eq!(previous.task.container.image, NEXT);
}

#[test]
fn going_back_by_an_update_leaves_what_was_not_changed_yet() {
    for order in [UpdateOrder::StopFirst, UpdateOrder::StartFirst] {
        let (mut cluster, service) = updating(2, 4, UpdateConfig { order, ..UpdateConfig::default() });
        let before = ids(&cluster.live(service));
        cluster.behave_image(NEXT, Behaviour { step: secs(5), ..Behaviour::default() });
        set_image(&mut cluster, service, NEXT);
        cluster.run_for(secs(12));
        assert_eq!(cluster.live(service).len(), if order == UpdateOrder::StartFirst { 5 } else { 4 });
        set_image(&mut cluster, service, GOOD);
        let dirty = if order == UpdateOrder::StartFirst { None } else { Some(1) };
        assert_eq!(object(&cluster, service).update.as_ref().map(|update| update.slots), dirty);
        cluster.run_for(secs(10));
        assert_eq!(images(&cluster, service), all(GOOD, 4));
        let kept = ids(&cluster.live(service)).iter().filter(|task| before.contains(task)).count();
        assert_eq!(kept, if order == UpdateOrder::StartFirst { 4 } else { 3 });
    }
}

#[test]
fn a_paused_update_goes_on_with_an_update_and_not_with_scale() {
    let (mut cluster, service) = updating(2, 3, UpdateConfig::default());
    set_image(&mut cluster, service, BAD);
    until_state(&mut cluster, service, UpdateState::Paused);
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 2 }).unwrap();
    cluster.run_for(secs(10));
    assert_eq!(state_of(&cluster, service), Some(UpdateState::Paused));
    cluster.behave_image(BAD, Behaviour::default());
    cluster.update_service(service, |_| {}).unwrap();
    assert_eq!(state_of(&cluster, service), Some(UpdateState::Updating));
    until_state(&mut cluster, service, UpdateState::Completed);
    assert_eq!(images(&cluster, service), all(BAD, 2));
    let previous = object(&cluster, service).previous_spec.clone().unwrap();
    assert_eq!(previous.task.container.image, GOOD, "the way back is the one from before the bad image");
}

#[test]
fn scaling_does_not_disturb_an_update() {
    let config = UpdateConfig { failure_action: FailureAction::Rollback, ..UpdateConfig::default() };
    let (mut cluster, service) = updating(3, 4, config);
    cluster.behave_image(BAD, Behaviour { ends: Some((secs(3), TaskState::Failed)), ..Behaviour::default() });
    set_image(&mut cluster, service, BAD);
    let begun = update(&cluster, service);
    cluster.run_for(secs(1));
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 6 }).unwrap();
    assert_eq!(update(&cluster, service), begun);
    until_state(&mut cluster, service, UpdateState::RollbackCompleted);
    assert_eq!(images(&cluster, service), all(GOOD, 4));
}

#[test]
fn fewer_replicas_in_the_middle_end_where_they_should() {
    for order in [UpdateOrder::StopFirst, UpdateOrder::StartFirst] {
        let (mut cluster, service) =
            updating(3, 6, UpdateConfig { order, parallelism: 2, delay: secs(3), ..UpdateConfig::default() });
        set_image(&mut cluster, service, NEXT);
        cluster.run_for(secs(4));
        cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 3 }).unwrap();
        until_state(&mut cluster, service, UpdateState::Completed);
        assert_eq!(images(&cluster, service), all(NEXT, 3));
        assert_eq!(cluster.live(service).len(), 3);
    }
}

#[test]
fn a_service_removed_in_the_middle_leaves_nothing() {
    let (mut cluster, service) = updating(2, 4, UpdateConfig::default());
    set_image(&mut cluster, service, NEXT);
    cluster.run_for(Duration::from_millis(20));
    cluster.remove_service(service).unwrap();
    cluster.run_for(secs(2));
    assert_eq!(cluster.store.task_count(), 0);
    cluster.check_assignments();
}

#[test]
fn networks_and_their_addresses_change_with_the_service() {
    let (mut cluster, service) = updating(2, 2, UpdateConfig::default());
    let networks: Vec<_> =
        ["a", "b", "c"].map(|name| cluster.create_network(network_spec(name)).unwrap()).into();
    let join = |spec: &mut ServiceSpec, networks: &[crate::id::NetworkId]| {
        let attach = |network: &_| crate::spec::NetworkAttachment { network: *network, aliases: Vec::new() };
        spec.task.networks = networks.iter().map(attach).collect();
    };
    let vips = |cluster: &VirtualCluster| object(cluster, service).endpoint.vips.clone();
    cluster.update_service(service, |spec| join(spec, &networks[..2])).unwrap();
    let first = vips(&cluster);
    assert_eq!(
        first.keys().copied().collect::<std::collections::BTreeSet<_>>(),
        networks[..2].iter().copied().collect()
    );
    until_state(&mut cluster, service, UpdateState::Completed);
    cluster.update_service(service, |spec| join(spec, &networks[1..])).unwrap();
    assert_eq!(vips(&cluster)[&networks[1]], first[&networks[1]], "an address that is still wanted stays");
    assert!(vips(&cluster).contains_key(&networks[2]) && !vips(&cluster).contains_key(&networks[0]));
    until_state(&mut cluster, service, UpdateState::Completed);
    for task in cluster.live(service) {
        let joined: Vec<_> = task.endpoints.iter().map(|endpoint| endpoint.network).collect();
        assert_eq!(joined, networks[1..]);
    }
    cluster.check_assignments();
}

#[test]
fn what_failed_before_a_paused_update_goes_on_is_tried_anew_and_counts_anew() {
    for order in [UpdateOrder::StopFirst, UpdateOrder::StartFirst] {
        let (mut cluster, service) = updating(2, 3, UpdateConfig { order, ..UpdateConfig::default() });
        cluster.update_service(service, |spec| spec.task.restart.condition = RestartCondition::None).unwrap();
        until_state(&mut cluster, service, UpdateState::Completed);
        set_image(&mut cluster, service, BAD);
        until_state(&mut cluster, service, UpdateState::Paused);
        let first = update(&cluster, service).failed;
        cluster.update_service(service, |_| {}).unwrap();
        until_state(&mut cluster, service, UpdateState::Paused);
        let second = update(&cluster, service).failed;
        assert!(second.len() == 1 && second.is_disjoint(&first), "{order:?}");
        cluster.behave_image(BAD, Behaviour::default());
        cluster.update_service(service, |_| {}).unwrap();
        until_state(&mut cluster, service, UpdateState::Completed);
        let left = if order == UpdateOrder::StartFirst { 3 } else { 1 };
        assert_eq!(images(&cluster, service), all(BAD, left), "{order:?}");
    }
}
