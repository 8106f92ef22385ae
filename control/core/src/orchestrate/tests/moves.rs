//! Tasks that leave their node while it is there: drain and constraints, new one first or old one first.

use super::*;
use crate::spec::{ServiceSpec, UpdateOrder};

fn start_first(replicas: u32) -> ServiceSpec {
    let mut spec = service_spec("web", replicas);
    spec.update.order = UpdateOrder::StartFirst;
    spec
}

/// A start-first service of one replica that runs, its task, and the node that it is on.
fn one(nodes: u32) -> (VirtualCluster, ServiceId, Task, NodeId) {
    let mut cluster = VirtualCluster::new(nodes, 5);
    let service = cluster.create_service(start_first(1)).unwrap();
    converge(&mut cluster, service, 1);
    let task = cluster.live(service)[0].clone();
    let on = task.node.unwrap();
    (cluster, service, task, on)
}

fn set(cluster: &mut VirtualCluster, node: NodeId, availability: Availability) {
    cluster.update_node(node, |spec| spec.availability = availability).unwrap();
}

/// Lets time pass and gives back the least number of tasks that ran and should.
fn fewest_running(cluster: &mut VirtualCluster, service: ServiceId, span: Duration) -> usize {
    let end = cluster.now + span;
    let mut fewest = usize::MAX;
    while cluster.now < end {
        fewest = fewest.min(cluster.running(service));
        cluster.run_for(Duration::from_millis(1));
    }
    fewest
}

#[test]
fn a_drained_start_first_service_of_one_replica_runs_all_the_time() {
    let (mut cluster, service, old, on) = one(2);
    set(&mut cluster, on, Availability::Drain);
    assert_eq!(fewest_running(&mut cluster, service, SOON), 1);
    let new = cluster.live(service);
    assert_eq!(new.len(), 1);
    assert!(new[0].id != old.id && new[0].node != Some(on) && new[0].slot == old.slot);
    assert_eq!(cluster.store.task(old.id).unwrap().status.state, TaskState::Shutdown);
}

#[test]
fn every_replica_of_a_drained_start_first_node_is_kept_until_its_successor_runs() {
    let mut cluster = VirtualCluster::new(3, 5);
    let service = cluster.create_service(start_first(9)).unwrap();
    converge(&mut cluster, service, 9);
    set(&mut cluster, node(2), Availability::Drain);
    assert!(fewest_running(&mut cluster, service, SOON) >= 9);
    assert_eq!(by_node(&cluster, service).into_values().collect::<Vec<_>>(), [5, 4]);
    assert_eq!(slots(&cluster, service), (1..=9).collect::<Vec<_>>());
}

#[test]
fn a_start_first_task_stays_where_no_other_node_fits_and_its_successor_says_why() {
    let (mut cluster, service, old, on) = one(2);
    let other = if on == node(1) { node(2) } else { node(1) };
    set(&mut cluster, other, Availability::Pause);
    set(&mut cluster, on, Availability::Drain);
    cluster.run_for(secs(1));
    let live = cluster.live(service);
    let successor = live.iter().find(|task| task.id != old.id).unwrap();
    assert_eq!(cluster.running(service), 1);
    assert_eq!(successor.status.err, "no suitable node (2 nodes not available for new tasks)");
    cluster.run_for(secs(600));
    assert_eq!(cluster.live(service).len(), 2, "and there it waits");
    set(&mut cluster, other, Availability::Active);
    assert_eq!(fewest_running(&mut cluster, service, secs(1)), 1);
    assert_eq!(by_node(&cluster, service).into_keys().collect::<Vec<_>>(), [other]);
}

#[test]
fn a_successor_that_is_not_needed_any_more_goes() {
    let (mut cluster, service, old, on) = one(1);
    set(&mut cluster, on, Availability::Drain);
    cluster.run_for(secs(1));
    assert_eq!(cluster.live(service).len(), 2);
    set(&mut cluster, on, Availability::Active);
    assert_eq!(fewest_running(&mut cluster, service, SOON), 1);
    assert_eq!(ids(&cluster.live(service)), [old.id]);
}

#[test]
fn a_drain_can_follow_on_one_that_was_taken_back() {
    let (mut cluster, service, old, on) = one(1);
    for _ in 0..3 {
        set(&mut cluster, on, Availability::Drain);
        cluster.run_for(secs(1));
        set(&mut cluster, on, Availability::Active);
        cluster.run_for(secs(1));
    }
    cluster.join(join_request(2)).unwrap();
    set(&mut cluster, on, Availability::Drain);
    cluster.run_for(SOON);
    assert_ne!(ids(&cluster.live(service)), [old.id]);
    assert_eq!(cluster.running(service), 1);
}

#[test]
fn a_successor_that_fails_is_tried_again_after_the_delay_beside_the_old_one() {
    let mut cluster = VirtualCluster::new(2, 5);
    let mut spec = start_first(1);
    spec.task.restart.delay = secs(5);
    let service = cluster.create_service(spec).unwrap();
    converge(&mut cluster, service, 1);
    let old = cluster.live(service)[0].clone();
    cluster.behave(Behaviour { step: secs(1), ..Behaviour::default() });
    set(&mut cluster, old.node.unwrap(), Availability::Drain);
    let mut tries = std::collections::BTreeSet::new();
    for _ in 0..300 {
        cluster.run_for(Duration::from_millis(100));
        assert!(cluster.running(service) >= 1);
        let preparing = |task: &&Task| task.status.state == TaskState::Preparing;
        if let Some(task) = cluster.live(service).iter().find(preparing) {
            tries.insert(task.id);
            end(&mut cluster, task, TaskState::Rejected);
        }
    }
    assert!((5..=7).contains(&tries.len()), "{} tries in half a minute", tries.len());
    cluster.run_for(secs(15));
    assert_eq!(ids(&cluster.live(service)).len(), 1);
    assert_ne!(cluster.live(service)[0].id, old.id);
}

#[test]
fn tries_run_out_and_the_old_task_stays() {
    let mut init = crate::testing::init_request();
    init.spec.task_history_limit = 0;
    let mut cluster = VirtualCluster::with(init, 2, 5);
    let mut spec = start_first(1);
    spec.task.restart.max_attempts = 2;
    let service = cluster.create_service(spec).unwrap();
    converge(&mut cluster, service, 1);
    let old = cluster.live(service)[0].clone();
    let on = old.node.unwrap();
    let other = if on == node(1) { node(2) } else { node(1) };
    cluster.agent(other).behaviour = Behaviour { step: secs(1), ..Behaviour::default() };
    set(&mut cluster, on, Availability::Drain);
    let mut tries = std::collections::BTreeSet::new();
    for _ in 0..600 {
        cluster.run_for(Duration::from_millis(100));
        for task in cluster.live(service).iter().filter(|task| task.node == Some(other)) {
            tries.insert(task.id);
            end(&mut cluster, task, TaskState::Failed);
        }
    }
    assert_eq!((tries.len(), ids(&cluster.live(service))), (3, vec![old.id]), "once and two restarts");
}

#[test]
fn a_task_that_ends_while_its_successor_comes_up_is_not_replaced_twice() {
    let (mut cluster, service, old, on) = one(2);
    cluster.behave(Behaviour { step: secs(1), ..Behaviour::default() });
    set(&mut cluster, on, Availability::Drain);
    cluster.run_for(secs(2));
    end(&mut cluster, &old, TaskState::Failed);
    cluster.run_for(Duration::from_millis(100));
    assert_eq!(cluster.live(service).len(), 1);
    cluster.run_for(secs(10));
    assert_eq!((cluster.running(service), cluster.store.service_tasks(service).count()), (1, 2));
}

#[test]
fn a_move_goes_on_under_a_new_leader() {
    let (mut cluster, service, old, on) = one(2);
    cluster.behave(Behaviour { step: secs(1), ..Behaviour::default() });
    set(&mut cluster, on, Availability::Drain);
    for _ in 0..6 {
        cluster.run_for(Duration::from_millis(800));
        cluster.new_leader();
        assert!(cluster.running(service) >= 1);
    }
    assert!(fewest_running(&mut cluster, service, secs(10)) >= 1);
    assert_eq!(cluster.store.service_tasks(service).count(), 2, "one successor was enough");
    assert_ne!(ids(&cluster.live(service)), [old.id]);
}

#[test]
fn a_successor_moves_on_when_its_node_is_drained_too() {
    let (mut cluster, service, _, on) = one(3);
    cluster.behave(Behaviour { step: secs(1), ..Behaviour::default() });
    set(&mut cluster, on, Availability::Drain);
    cluster.run_for(secs(2));
    let successor = cluster.live(service).into_iter().find(|task| task.node != Some(on)).unwrap();
    set(&mut cluster, successor.node.unwrap(), Availability::Drain);
    assert!(fewest_running(&mut cluster, service, secs(12)) >= 1);
    let live = cluster.live(service);
    assert!(live.len() == 1 && live[0].node != Some(on) && live[0].node != successor.node);
}

#[test]
fn stop_first_chosen_while_two_stand_side_by_side_lets_the_old_one_go() {
    let (mut cluster, service, old, on) = one(1);
    set(&mut cluster, on, Availability::Drain);
    cluster.run_for(secs(1));
    cluster.update_service(service, |spec| spec.update.order = UpdateOrder::StopFirst).unwrap();
    cluster.run_for(secs(1));
    let live = cluster.live(service);
    assert!(live.len() == 1 && live[0].id != old.id && live[0].node.is_none());
}

#[test]
fn a_label_moves_a_start_first_task_without_a_gap() {
    let mut cluster = VirtualCluster::new(2, 5);
    let zone = |value: &str| -> crate::spec::Labels { [("zone".to_owned(), value.to_owned())].into() };
    cluster.update_node(node(1), |spec| spec.labels = zone("a")).unwrap();
    let mut spec = start_first(1);
    spec.task.placement.constraints = vec!["node.labels.zone==a".parse().unwrap()];
    let service = cluster.create_service(spec).unwrap();
    converge(&mut cluster, service, 1);
    cluster.update_node(node(1), |spec| spec.labels = zone("b")).unwrap();
    cluster.run_for(secs(1));
    let waiting = cluster.live(service).into_iter().find(|task| task.node.is_none()).unwrap();
    assert_eq!(waiting.status.err, "no suitable node (scheduling constraints not satisfied on 2 nodes)");
    assert_eq!(cluster.running(service), 1, "the old one serves until there is a place");
    cluster.update_node(node(2), |spec| spec.labels = zone("a")).unwrap();
    assert_eq!(fewest_running(&mut cluster, service, secs(1)), 1);
    assert_eq!(by_node(&cluster, service).into_iter().collect::<Vec<_>>(), [(node(2), 1)]);
}

#[test]
fn a_lost_node_is_not_waited_for_whatever_the_order() {
    let (mut cluster, service, old, on) = one(2);
    cluster.silence(on);
    cluster.run_for(secs(10));
    let live = cluster.live(service);
    assert!(live.len() == 1 && live[0].id != old.id);
    assert_eq!(cluster.running(service), 1);
    cluster.resume(on);
    cluster.run_for(SOON);
    assert_eq!(ids(&cluster.live(service)), ids(&live), "nothing moves back by itself");
    assert_eq!(cluster.store.task(old.id).unwrap().status.state, TaskState::Shutdown);
}

#[test]
fn a_drain_that_may_not_restart_anything_only_stops() {
    for order in [UpdateOrder::StopFirst, UpdateOrder::StartFirst] {
        let mut cluster = VirtualCluster::new(2, 5);
        let mut spec = start_first(1);
        (spec.update.order, spec.task.restart.condition) = (order, RestartCondition::None);
        let service = cluster.create_service(spec).unwrap();
        converge(&mut cluster, service, 1);
        let old = cluster.live(service)[0].clone();
        set(&mut cluster, old.node.unwrap(), Availability::Drain);
        cluster.run_for(SOON);
        assert!(cluster.live(service).is_empty());
        assert_eq!(cluster.store.task(old.id).unwrap().status.state, TaskState::Shutdown);
    }
}

#[test]
fn fewer_replicas_take_both_tasks_of_a_slot() {
    let mut cluster = VirtualCluster::new(1, 5);
    let service = cluster.create_service(start_first(2)).unwrap();
    converge(&mut cluster, service, 2);
    set(&mut cluster, node(1), Availability::Drain);
    cluster.run_for(secs(1));
    assert_eq!(cluster.live(service).len(), 4);
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 1 }).unwrap();
    cluster.run_for(secs(1));
    let live = cluster.live(service);
    assert_eq!(live.iter().map(|task| task.slot).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(cluster.running(service), 1);
}

/// A change of a node, after which a constraint that it fulfilled holds no longer.
type Breach = (&'static str, fn(&mut VirtualCluster, NodeId));

const BREACHES: [Breach; 5] = [
    ("node.labels.zone == a", |cluster, on| cluster.update_node(on, |spec| spec.labels.clear()).unwrap()),
    ("node.labels.zone != b", |cluster, on| {
        let labels = [("zone".to_owned(), "b".to_owned())].into();
        cluster.update_node(on, |spec| spec.labels = labels).unwrap();
    }),
    ("node.role == worker", |cluster, on| {
        cluster.update_node(on, |spec| spec.role = crate::spec::Role::Manager).unwrap();
    }),
    ("engine.labels.disk != slow", |cluster, on| {
        cluster.describe(on, |it| drop(it.engine_labels.insert("disk".to_owned(), "slow".to_owned())));
    }),
    ("node.platform.arch == x86_64", |cluster, on| {
        cluster.describe(on, |description| "aarch64".clone_into(&mut description.arch));
    }),
];

#[test]
fn every_constraint_holds_after_placement_too_in_the_order_of_the_service() {
    for order in [UpdateOrder::StopFirst, UpdateOrder::StartFirst] {
        for (constraint, breach) in BREACHES {
            let mut cluster = VirtualCluster::new(3, 5);
            for number in 1..=3 {
                let labels = [("zone".to_owned(), "a".to_owned())].into();
                cluster.update_node(node(number), |spec| spec.labels = labels).unwrap();
            }
            let mut spec = start_first(1);
            spec.update.order = order;
            spec.task.placement.constraints = vec![constraint.parse().unwrap()];
            spec.task.placement.constraints.push("node.hostname != n1".parse().unwrap());
            let service = cluster.create_service(spec).unwrap();
            converge(&mut cluster, service, 1);
            let old = cluster.live(service)[0].clone();
            breach(&mut cluster, old.node.unwrap());
            let least = fewest_running(&mut cluster, service, SOON);
            assert_eq!(least, usize::from(order == UpdateOrder::StartFirst), "{constraint} {order:?}");
            let live = cluster.live(service);
            assert_eq!((live.len(), cluster.running(service)), (1, 1), "{constraint} {order:?}");
            assert_ne!(live[0].node, old.node, "{constraint} {order:?}");
            assert_eq!(cluster.store.task(old.id).unwrap().status.state, TaskState::Shutdown);
        }
    }
}

/// Whether two tasks of one slot run.
fn stand_beside(cluster: &VirtualCluster, service: ServiceId) -> bool {
    let runs = cluster.store.service_tasks(service).filter(|task| task.status.state == TaskState::Running);
    let mut places: Vec<_> = runs.map(|task| (task.slot, task.node.filter(|_| task.slot == 0))).collect();
    let all = places.len();
    places.sort_unstable();
    places.dedup();
    places.len() < all
}

/// Lets time pass, in which no slot has two tasks that run.
fn one_at_a_time(cluster: &mut VirtualCluster, service: ServiceId, span: Duration) {
    let met = cluster.run_until(span, |cluster| stand_beside(cluster, service));
    assert_eq!(met, None, "{:#?}", cluster.store.service_tasks(service).collect::<Vec<_>>());
}

#[test]
fn what_is_scaled_up_again_starts_when_the_old_tasks_have_ended() {
    let (mut cluster, service) = running(2, 3);
    cluster.behave(Behaviour { stop: secs(3), ..Behaviour::default() });
    cluster.scale_service(service, 1).unwrap();
    cluster.run_for(Duration::from_millis(100));
    cluster.scale_service(service, 3).unwrap();
    one_at_a_time(&mut cluster, service, secs(5));
    assert_eq!((cluster.running(service), slots(&cluster, service)), (3, vec![1, 2, 3]));
}

#[test]
fn a_job_that_is_run_again_starts_when_its_earlier_tasks_have_ended() {
    for mode in
        [ServiceMode::ReplicatedJob { max_concurrent: 1, total_completions: 1 }, ServiceMode::GlobalJob]
    {
        let mut cluster = VirtualCluster::new(2, 5);
        cluster.behave(Behaviour { stop: secs(3), ..Behaviour::default() });
        let service = cluster.create_service(ServiceSpec { mode, ..service_spec("job", 0) }).unwrap();
        cluster.run_for(secs(1));
        assert!(cluster.running(service) > 0);
        cluster.update_service(service, |spec| spec.task.force_update += 1).unwrap();
        one_at_a_time(&mut cluster, service, secs(5));
        assert!(cluster.live(service).iter().all(|task| task.job_iteration == Some(1)));
        assert!(cluster.running(service) > 0, "{mode:?}");
    }
}
