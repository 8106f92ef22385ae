//! Services on virtual time: how many tasks, where, and what follows the end of one.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::{NodeId, ServiceId, TaskId};
use crate::object::{Task, TaskState};
use crate::spec::{Availability, RestartCondition, ServiceMode};
use crate::testing::{Behaviour, VirtualCluster, join_request, service_spec};

const SOON: Duration = Duration::from_secs(2);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn node(number: u128) -> NodeId {
    NodeId::from_bits(number)
}

/// A cluster of `nodes` with a service of `replicas` that runs.
fn running(nodes: u32, replicas: u32) -> (VirtualCluster, ServiceId) {
    let mut cluster = VirtualCluster::new(nodes, 7);
    let service = cluster.create_service(service_spec("web", replicas)).unwrap();
    converge(&mut cluster, service, replicas as usize);
    (cluster, service)
}

fn converge(cluster: &mut VirtualCluster, service: ServiceId, tasks: usize) -> Duration {
    let done =
        |cluster: &VirtualCluster| cluster.running(service) == tasks && cluster.live(service).len() == tasks;
    cluster.run_until(secs(60), done).unwrap_or_else(|| panic!("{tasks} tasks: {:#?}", cluster.live(service)))
}

fn by_node(cluster: &VirtualCluster, service: ServiceId) -> BTreeMap<NodeId, usize> {
    let mut nodes = BTreeMap::new();
    for task in cluster.live(service) {
        *nodes.entry(task.node.unwrap()).or_default() += 1;
    }
    nodes
}

fn slots(cluster: &VirtualCluster, service: ServiceId) -> Vec<u32> {
    let mut slots: Vec<_> = cluster.live(service).iter().map(|task| task.slot).collect();
    slots.sort_unstable();
    slots
}

/// Ends a running task on its node.
fn end(cluster: &mut VirtualCluster, task: &Task, state: TaskState) {
    let now = cluster.now;
    cluster.agent(task.node.unwrap()).end(task.id, state, now);
}

fn ids(tasks: &[Task]) -> Vec<TaskId> {
    tasks.iter().map(|task| task.id).collect()
}

#[test]
fn a_service_converges_and_is_spread() {
    let (cluster, service) = running(3, 7);
    assert_eq!(slots(&cluster, service), [1, 2, 3, 4, 5, 6, 7]);
    let mut counts: Vec<_> = by_node(&cluster, service).into_values().collect();
    counts.sort_unstable();
    assert_eq!(counts, [2, 2, 3]);
    assert_eq!(cluster.conflicts, 0);
    cluster.check_assignments();
}

#[test]
fn more_replicas_take_the_lowest_free_slots() {
    let (mut cluster, service) = running(3, 4);
    let before = ids(&cluster.live(service));
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 2 }).unwrap();
    converge(&mut cluster, service, 2);
    let kept = slots(&cluster, service);
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 5 }).unwrap();
    converge(&mut cluster, service, 5);
    assert_eq!(slots(&cluster, service), [1, 2, 3, 4, 5]);
    let stayed =
        cluster.live(service).into_iter().filter(|task| before.contains(&task.id)).map(|task| task.slot);
    assert_eq!(stayed.collect::<Vec<_>>(), kept, "the tasks that stayed were not touched");
}

#[test]
fn fewer_replicas_leave_the_fullest_nodes_first() {
    let (mut cluster, service) = running(2, 4);
    // A third node joins and takes the two new ones: 2, 2, 2; then one of them alone holds four.
    cluster.join(join_request(3)).unwrap();
    cluster.run_for(secs(1));
    for number in [1, 2] {
        cluster.update_node(node(number), |spec| spec.availability = Availability::Pause).unwrap();
    }
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 8 }).unwrap();
    converge(&mut cluster, service, 8);
    assert_eq!(by_node(&cluster, service).into_values().collect::<Vec<_>>(), [2, 2, 4]);
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 6 }).unwrap();
    converge(&mut cluster, service, 6);
    assert_eq!(by_node(&cluster, service).into_values().collect::<Vec<_>>(), [2, 2, 2]);
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 3 }).unwrap();
    converge(&mut cluster, service, 3);
    assert_eq!(by_node(&cluster, service).into_values().collect::<Vec<_>>(), [1, 1, 1]);
}

#[test]
fn tasks_that_do_not_run_go_before_those_that_do() {
    let (mut cluster, service) = running(1, 2);
    cluster.behave(Behaviour { step: secs(60), ..Behaviour::default() });
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 4 }).unwrap();
    cluster.run_for(secs(1));
    assert_eq!(cluster.running(service), 2);
    let running: Vec<_> =
        cluster.live(service).into_iter().filter(|task| task.status.state == TaskState::Running).collect();
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 2 }).unwrap();
    cluster.run_for(secs(1));
    assert_eq!(ids(&cluster.live(service)), ids(&running));
}

#[test]
fn tasks_without_a_node_go_first_of_all() {
    let mut cluster = VirtualCluster::new(1, 3);
    let mut spec = service_spec("web", 3);
    spec.task.placement.max_replicas_per_node = 1;
    let service = cluster.create_service(spec).unwrap();
    cluster.run_for(SOON);
    let placed: Vec<_> = cluster.live(service).into_iter().filter(|task| task.node.is_some()).collect();
    assert_eq!(placed.len(), 1);
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 1 }).unwrap();
    converge(&mut cluster, service, 1);
    assert_eq!(ids(&cluster.live(service)), ids(&placed));
    assert_eq!(
        cluster.store.service_tasks(service).count(),
        1,
        "a task that no agent has is deleted at once"
    );
}

#[test]
fn scaling_to_zero_leaves_nothing_behind() {
    let (mut cluster, service) = running(2, 3);
    cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 0 }).unwrap();
    cluster.run_for(SOON);
    assert_eq!(cluster.store.service_tasks(service).count(), 0);
    cluster.check_assignments();
}

#[test]
fn a_removed_service_takes_its_tasks_and_their_history_with_it() {
    let (mut cluster, service) = running(2, 3);
    let first = cluster.live(service)[0].clone();
    end(&mut cluster, &first, TaskState::Failed);
    cluster.run_for(SOON);
    assert_eq!(cluster.store.service_tasks(service).count(), 4);
    cluster.remove_service(service).unwrap();
    let desired: Vec<_> = cluster.store.service_tasks(service).map(|task| task.status.state).collect();
    assert_eq!(desired.len(), 4, "tasks go when their agents say so");
    cluster.run_until(SOON, |cluster| cluster.store.task_count() == 0).unwrap();
    cluster.check_assignments();
}

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

#[test]
fn a_new_leader_remembers_the_attempts_that_the_history_shows() {
    let mut cluster = VirtualCluster::new(1, 11);
    let mut spec = service_spec("web", 1);
    spec.task.restart.max_attempts = 3;
    let service = cluster.create_service(spec).unwrap();
    assert_eq!(end_again_and_again(&mut cluster, service, TaskState::Failed, 3), 3);
    cluster.run_for(secs(1));
    cluster.new_leader();
    cluster.run_for(secs(1));
    assert_eq!(end_again_and_again(&mut cluster, service, TaskState::Failed, 10), 1);
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
fn a_batch_fits_the_store_that_it_is_made_for() {
    let mut cluster = VirtualCluster::new(5, 5);
    let net = cluster.create_network(crate::testing::network_spec("net")).unwrap();
    let mut spec = service_spec("web", 60);
    spec.task.networks = vec![crate::spec::NetworkAttachment { network: net, aliases: Vec::new() }];
    let service = cluster.create_service(spec).unwrap();
    converge(&mut cluster, service, 60);
    for replicas in [10, 90, 0, 200] {
        cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas }).unwrap();
        cluster.run_for(secs(3));
        assert_eq!(cluster.running(service), replicas as usize);
    }
    assert_eq!(cluster.conflicts, 0, "nobody interfered");
}

#[test]
fn a_crowd_converges() {
    let started = std::time::Instant::now();
    let mut cluster = VirtualCluster::new(100, 5);
    let service = cluster.create_service(service_spec("web", 1000)).unwrap();
    let took = converge(&mut cluster, service, 1000);
    assert!(by_node(&cluster, service).into_values().all(|tasks| tasks == 10));
    assert!(took < secs(2), "{took:?} of virtual time");
    assert!(started.elapsed() < secs(10), "{:?} of real time", started.elapsed());
    cluster.check_assignments();
}
