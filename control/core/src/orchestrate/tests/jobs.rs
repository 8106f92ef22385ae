//! Jobs: so many completions, so many at once, once on each node.

use super::*;
use crate::spec::ServiceSpec;

fn job(max_concurrent: u32, total_completions: u32) -> ServiceSpec {
    let mode = ServiceMode::ReplicatedJob { max_concurrent, total_completions };
    ServiceSpec { mode, ..service_spec("job", 0) }
}

fn global_job() -> ServiceSpec {
    ServiceSpec { mode: ServiceMode::GlobalJob, ..service_spec("job", 0) }
}

/// Tasks end like this a second after they run.
fn ending(state: TaskState) -> Behaviour {
    Behaviour { ends: Some((secs(1), state)), ..Behaviour::default() }
}

fn completed(cluster: &VirtualCluster, service: ServiceId) -> usize {
    cluster.store.service_tasks(service).filter(|task| task.status.state == TaskState::Complete).count()
}

/// Tasks that are under way.
fn unfinished(cluster: &VirtualCluster, service: ServiceId) -> Vec<Task> {
    let mut tasks = cluster.live(service);
    tasks.retain(|task| !task.status.state.is_final());
    tasks
}

#[test]
fn a_job_completes_as_often_as_it_should_with_no_more_at_once_than_it_may() {
    for (most, total) in [(1, 0), (0, 0), (1, 1), (1, 3), (2, 5), (5, 5), (9, 4)] {
        let mut cluster = VirtualCluster::new(3, 5);
        cluster.behave(ending(TaskState::Complete));
        let service = cluster.create_service(job(most, total)).unwrap();
        let mut peak = 0;
        for _ in 0..600 {
            cluster.run_for(Duration::from_millis(10));
            peak = peak.max(unfinished(&cluster, service).len());
        }
        assert_eq!(peak, most.min(total) as usize, "{most} of {total}");
        assert_eq!(completed(&cluster, service), total as usize);
        let mut slots: Vec<_> = cluster.store.service_tasks(service).map(|task| task.slot).collect();
        slots.sort_unstable();
        assert_eq!(slots, (1..=total).collect::<Vec<_>>(), "each completion has a slot of its own");
        let at_rest = cluster.applied;
        cluster.new_leader();
        cluster.run_for(secs(60));
        assert!(cluster.store.service_tasks(service).all(|task| task.job_iteration == Some(0)));
        assert_eq!(cluster.applied, at_rest, "what is done is done");
    }
}

#[test]
fn what_fails_in_a_job_is_tried_again_in_its_slot_after_the_delay() {
    let mut cluster = VirtualCluster::new(2, 5);
    cluster.behave(ending(TaskState::Failed));
    let mut spec = job(2, 3);
    spec.task.restart.delay = secs(5);
    let service = cluster.create_service(spec).unwrap();
    let mut peak = 0;
    for _ in 0..2000 {
        cluster.run_for(Duration::from_millis(10));
        peak = peak.max(unfinished(&cluster, service).len());
    }
    assert_eq!((peak, completed(&cluster, service)), (2, 0), "a slot that waits is one that is under way");
    let failed = cluster.store.service_tasks(service).filter(|task| task.status.state == TaskState::Failed);
    assert_eq!(failed.filter(|task| task.slot == 1).count(), 4, "a round is a second and five");
    cluster.behave(ending(TaskState::Complete));
    cluster.run_for(secs(20));
    assert_eq!((completed(&cluster, service), unfinished(&cluster, service).len()), (3, 0));
}

#[test]
fn attempts_of_a_job_run_out_slot_by_slot() {
    let mut cluster = VirtualCluster::new(1, 5);
    cluster.behave(ending(TaskState::Failed));
    let mut spec = job(2, 4);
    spec.task.restart.max_attempts = 2;
    let service = cluster.create_service(spec).unwrap();
    cluster.run_for(secs(60));
    let tasks: Vec<_> = cluster.store.service_tasks(service).cloned().collect();
    assert!(tasks.iter().all(|task| task.desired_state == TaskState::Shutdown));
    assert_eq!(tasks.len(), 12, "once and two restarts in each of four slots");
    cluster.new_leader();
    cluster.run_for(secs(60));
    assert_eq!(cluster.store.service_tasks(service).count(), 12);
}

#[test]
fn restart_conditions_of_a_job() {
    let cases = [
        (RestartCondition::None, TaskState::Failed, 0),
        (RestartCondition::None, TaskState::Complete, 3),
        (RestartCondition::OnFailure, TaskState::Complete, 3),
        (RestartCondition::Any, TaskState::Complete, 3),
    ];
    for (condition, state, completions) in cases {
        let mut cluster = VirtualCluster::new(1, 5);
        cluster.behave(ending(state));
        let mut spec = job(1, 3);
        spec.task.restart.condition = condition;
        let service = cluster.create_service(spec).unwrap();
        cluster.run_for(secs(20));
        assert_eq!(completed(&cluster, service), completions, "{condition:?} after {state}");
        assert_eq!(cluster.store.service_tasks(service).count(), 3, "each slot had its one try");
        assert!(unfinished(&cluster, service).is_empty());
    }
}

#[test]
fn more_completions_go_on_and_fewer_take_what_is_not_complete() {
    let mut cluster = VirtualCluster::new(2, 5);
    cluster.behave(ending(TaskState::Complete));
    let service = cluster.create_service(job(3, 3)).unwrap();
    cluster.run_for(secs(3));
    assert_eq!(completed(&cluster, service), 3);
    cluster.behave(Behaviour::default());
    cluster.scale_service(service, 6).unwrap();
    cluster.run_for(secs(1));
    let (tasks, complete) = (unfinished(&cluster, service), completed(&cluster, service));
    assert_eq!((tasks.iter().map(|task| task.slot).collect::<Vec<_>>(), complete), (vec![4, 5, 6], 3));
    cluster.scale_service(service, 4).unwrap();
    cluster.run_for(secs(1));
    let slots: Vec<_> = unfinished(&cluster, service).iter().map(|task| task.slot).collect();
    assert_eq!((slots, cluster.store.service_tasks(service).count()), (vec![4], 4));
    cluster.scale_service(service, 2).unwrap();
    cluster.run_for(secs(1));
    assert_eq!((unfinished(&cluster, service).len(), completed(&cluster, service)), (0, 3));
}

#[test]
fn an_unfinished_task_of_a_job_leaves_a_node_that_is_drained_or_down() {
    let mut cluster = VirtualCluster::new(3, 5);
    let mut spec = job(3, 3);
    spec.task.restart.delay = secs(600);
    let service = cluster.create_service(spec).unwrap();
    cluster.run_for(secs(1));
    cluster.update_node(node(2), |spec| spec.availability = Availability::Drain).unwrap();
    cluster.silence(node(3));
    cluster.run_for(secs(10));
    let tasks = unfinished(&cluster, service);
    assert_eq!((tasks.len(), cluster.running(service)), (3, 3), "at once, whatever the delay");
    assert!(tasks.iter().all(|task| task.node == Some(node(1))));
}

#[test]
fn what_is_complete_is_not_done_again_when_its_node_goes() {
    let mut cluster = VirtualCluster::new(3, 5);
    cluster.behave(ending(TaskState::Complete));
    let service = cluster.create_service(job(3, 3)).unwrap();
    cluster.run_for(secs(3));
    cluster.update_node(node(2), |spec| spec.availability = Availability::Drain).unwrap();
    cluster.remove_node(node(3), true).unwrap();
    cluster.run_for(secs(10));
    assert_eq!((completed(&cluster, service), cluster.store.service_tasks(service).count()), (3, 3));
}

#[test]
fn a_job_goes_on_under_leaders_that_change() {
    let mut cluster = VirtualCluster::new(3, 5);
    cluster.behave(ending(TaskState::Complete));
    let service = cluster.create_service(job(2, 20)).unwrap();
    for _ in 0..60 {
        let pause = Duration::from_millis(cluster.below(900));
        cluster.run_for(pause);
        assert!(unfinished(&cluster, service).len() <= 2);
        cluster.new_leader();
    }
    cluster.run_for(secs(30));
    assert_eq!((completed(&cluster, service), cluster.store.service_tasks(service).count()), (20, 20));
}

#[test]
fn a_job_that_is_removed_leaves_nothing() {
    let mut cluster = VirtualCluster::new(2, 5);
    cluster.behave(ending(TaskState::Complete));
    let service = cluster.create_service(job(2, 6)).unwrap();
    cluster.run_for(Duration::from_millis(1500));
    cluster.remove_service(service).unwrap();
    cluster.run_for(secs(1));
    assert_eq!(cluster.store.task_count(), 0);
}

#[test]
fn a_global_job_runs_once_on_each_node_that_matches_and_on_those_that_come() {
    let mut cluster = VirtualCluster::new(3, 5);
    cluster.behave(ending(TaskState::Complete));
    let mut spec = global_job();
    spec.task.placement.constraints = vec!["node.hostname != n2".parse().unwrap()];
    let service = cluster.create_service(spec).unwrap();
    cluster.run_for(secs(3));
    let nodes = |cluster: &VirtualCluster| {
        let mut nodes: Vec<_> = cluster.store.service_tasks(service).map(|task| task.node.unwrap()).collect();
        nodes.sort_unstable();
        nodes
    };
    assert_eq!((nodes(&cluster), completed(&cluster, service)), (vec![node(1), node(3)], 2));
    cluster.join(join_request(4)).unwrap();
    cluster.behave(ending(TaskState::Complete));
    cluster.run_for(secs(3));
    assert_eq!((nodes(&cluster), completed(&cluster, service)), (vec![node(1), node(3), node(4)], 3));
    cluster.silence(node(3));
    cluster.run_for(secs(10));
    cluster.resume(node(3));
    cluster.run_for(secs(10));
    assert_eq!(cluster.store.service_tasks(service).count(), 3, "a node that returns has done its part");
}

#[test]
fn a_global_job_that_was_cut_off_runs_when_its_node_is_back() {
    let mut cluster = VirtualCluster::new(2, 5);
    let service = cluster.create_service(global_job()).unwrap();
    cluster.run_for(secs(1));
    cluster.update_node(node(2), |spec| spec.availability = Availability::Drain).unwrap();
    cluster.run_for(secs(1));
    assert_eq!(unfinished(&cluster, service).len(), 1);
    cluster.behave(ending(TaskState::Complete));
    cluster.update_node(node(2), |spec| spec.availability = Availability::Active).unwrap();
    cluster.run_for(secs(3));
    assert_eq!(completed(&cluster, service), 1);
    let task = unfinished(&cluster, service)[0].clone();
    end(&mut cluster, &task, TaskState::Complete);
    cluster.run_for(secs(1));
    assert_eq!((completed(&cluster, service), unfinished(&cluster, service).len()), (2, 0));
}

#[test]
fn a_paused_node_gets_no_global_job() {
    let mut cluster = VirtualCluster::new(2, 5);
    cluster.behave(ending(TaskState::Complete));
    cluster.update_node(node(2), |spec| spec.availability = Availability::Pause).unwrap();
    let service = cluster.create_service(global_job()).unwrap();
    cluster.run_for(secs(3));
    assert_eq!(completed(&cluster, service), 1);
    cluster.update_node(node(2), |spec| spec.availability = Availability::Active).unwrap();
    cluster.run_for(secs(3));
    assert_eq!(completed(&cluster, service), 2);
}

#[test]
fn jobs_that_make_no_sense_are_refused() {
    let mut cluster = VirtualCluster::new(1, 5);
    let updated = |config: fn(&mut ServiceSpec)| {
        let mut spec = job(1, 1);
        config(&mut spec);
        spec
    };
    let cases = [
        (job(0, 1), "max concurrent"),
        (job(1, 100_001), "total completions"),
        (job(100_001, 1), "max concurrent"),
        (updated(|spec| spec.update.parallelism = 2), "Jobs may not have an update config"),
        (updated(|spec| spec.rollback.parallelism = 2), "Jobs may not have an update config"),
    ];
    for (spec, reason) in cases {
        let refusal = cluster.create_service(spec).unwrap_err().to_string();
        assert!(refusal.contains(reason), "{refusal}");
    }
}

#[test]
fn a_long_job_is_no_burden() {
    let mut cluster = VirtualCluster::new(10, 5);
    cluster.behave(Behaviour {
        ends: Some((Duration::from_millis(50), TaskState::Complete)),
        ..Behaviour::default()
    });
    let time = processor_time();
    let service = cluster.create_service(job(200, 5000)).unwrap();
    let done = |cluster: &VirtualCluster| completed(cluster, service) == 5000;
    for _ in 0..100 {
        cluster.run_for(Duration::from_millis(200));
    }
    assert!(done(&cluster), "{} are complete", completed(&cluster, service));
    let time = processor_time().saturating_sub(time);
    assert!(time < secs(20), "{time:?}");
}

fn force(cluster: &mut VirtualCluster, service: ServiceId) {
    cluster.update_service(service, |spec| spec.task.force_update += 1).unwrap();
}

fn iterations(cluster: &VirtualCluster, service: ServiceId) -> BTreeMap<u64, usize> {
    let mut runs = BTreeMap::new();
    for task in cluster.store.service_tasks(service) {
        *runs.entry(task.job_iteration.unwrap()).or_default() += 1;
    }
    runs
}

#[test]
fn a_forced_update_runs_a_job_again() {
    let mut cluster = VirtualCluster::new(2, 5);
    cluster.behave(ending(TaskState::Complete));
    let service = cluster.create_service(job(2, 3)).unwrap();
    cluster.run_for(secs(5));
    let first = cluster.store.service(service).unwrap().job.unwrap();
    force(&mut cluster, service);
    let mut peak = 0;
    for _ in 0..500 {
        cluster.run_for(Duration::from_millis(10));
        peak = peak.max(unfinished(&cluster, service).len());
    }
    let known = cluster.store.service(service).unwrap();
    let again = known.job.unwrap();
    assert_eq!((first.iteration, again.iteration, peak), (0, 1, 2));
    assert!(again.last_execution > first.last_execution && known.update.is_none());
    assert_eq!(iterations(&cluster, service), [(0, 3), (1, 3)].into(), "what was done is history");
    for _ in 0..6 {
        force(&mut cluster, service);
        cluster.run_for(secs(5));
    }
    assert_eq!(iterations(&cluster, service).values().sum::<usize>(), 15, "five a slot");
    assert_eq!(iterations(&cluster, service).get(&7), Some(&3));
}

#[test]
fn a_run_that_was_not_done_is_stopped_by_the_next() {
    let mut cluster = VirtualCluster::new(2, 5);
    let service = cluster.create_service(job(3, 5)).unwrap();
    cluster.run_for(secs(1));
    assert_eq!(cluster.running(service), 3);
    cluster.update_service(service, |spec| spec.task.container.image = "mesh/whoami:2".to_owned()).unwrap();
    cluster.run_for(secs(1));
    assert_eq!(iterations(&cluster, service), [(1, 3)].into(), "what was not done is gone");
    let tasks = cluster.live(service);
    assert!(tasks.iter().all(|task| task.spec.container.image == "mesh/whoami:2"));
    assert_eq!(cluster.running(service), 3);
    cluster.scale_service(service, 2).unwrap();
    cluster.run_for(secs(1));
    assert_eq!(iterations(&cluster, service), [(1, 2)].into());
}

#[test]
fn fewer_completions_in_a_later_run_leave_no_slots_behind() {
    let mut cluster = VirtualCluster::new(2, 5);
    cluster.behave(ending(TaskState::Complete));
    let service = cluster.create_service(job(5, 5)).unwrap();
    cluster.run_for(secs(3));
    cluster
        .update_service(service, |spec| {
            spec.mode = ServiceMode::ReplicatedJob { max_concurrent: 5, total_completions: 2 };
            spec.task.force_update += 1;
        })
        .unwrap();
    cluster.run_for(secs(3));
    assert_eq!(iterations(&cluster, service), [(0, 2), (1, 2)].into());
}

#[test]
fn what_changes_no_task_runs_no_job_again() {
    let mut cluster = VirtualCluster::new(2, 5);
    cluster.behave(ending(TaskState::Complete));
    let service = cluster.create_service(job(2, 2)).unwrap();
    cluster.run_for(secs(3));
    cluster.update_service(service, |spec| spec.labels = [("a".to_owned(), "b".to_owned())].into()).unwrap();
    cluster.scale_service(service, 3).unwrap();
    cluster.run_for(secs(3));
    assert_eq!(iterations(&cluster, service), [(0, 3)].into());
}

#[test]
fn a_spent_job_has_new_attempts_in_its_next_run() {
    let mut cluster = VirtualCluster::new(1, 5);
    cluster.behave(ending(TaskState::Failed));
    let mut spec = job(1, 1);
    spec.task.restart.max_attempts = 1;
    let service = cluster.create_service(spec).unwrap();
    cluster.run_for(secs(10));
    assert_eq!(iterations(&cluster, service), [(0, 2)].into());
    force(&mut cluster, service);
    cluster.run_for(secs(10));
    assert_eq!(iterations(&cluster, service), [(0, 2), (1, 2)].into());
}

#[test]
fn a_global_job_runs_again_on_every_node() {
    let mut cluster = VirtualCluster::new(3, 5);
    cluster.behave(ending(TaskState::Complete));
    let service = cluster.create_service(global_job()).unwrap();
    cluster.run_for(secs(3));
    cluster.behave(Behaviour::default());
    force(&mut cluster, service);
    cluster.run_for(secs(1));
    assert_eq!(cluster.running(service), 3);
    cluster.behave(ending(TaskState::Complete));
    force(&mut cluster, service);
    cluster.run_for(secs(3));
    assert_eq!(iterations(&cluster, service), [(0, 3), (2, 3)].into());
    assert_eq!((completed(&cluster, service), unfinished(&cluster, service).len()), (6, 0));
}

#[test]
fn what_completes_while_it_leaves_is_not_done_again() {
    for limit in [0, 5] {
        let mut init = crate::testing::init_request();
        init.spec.task_history_limit = limit;
        let mut cluster = VirtualCluster::with(init, 2, 5);
        let service = cluster.create_service(job(1, 1)).unwrap();
        cluster.run_for(secs(1));
        let task = unfinished(&cluster, service)[0].clone();
        cluster.behave(Behaviour { stop: secs(60), ..Behaviour::default() });
        cluster.update_node(task.node.unwrap(), |spec| spec.availability = Availability::Drain).unwrap();
        cluster.run_for(secs(1));
        end(&mut cluster, &task, TaskState::Complete);
        cluster.run_for(secs(120));
        force_look(&mut cluster, service);
        assert_eq!((completed(&cluster, service), unfinished(&cluster, service).len()), (1, 0), "{limit}");
    }
}

/// Makes the leader look at the whole service.
fn force_look(cluster: &mut VirtualCluster, service: ServiceId) {
    cluster.update_service(service, |spec| spec.labels = [("a".to_owned(), "b".to_owned())].into()).unwrap();
    cluster.new_leader();
    cluster.run_for(SOON);
}

#[test]
fn what_is_taken_from_a_job_is_begun_again_whatever_the_policy() {
    for drains in [false, true] {
        let mut cluster = VirtualCluster::new(3, 5);
        let mut spec = job(1, 3);
        spec.task.restart.condition = RestartCondition::None;
        let service = cluster.create_service(spec).unwrap();
        cluster.run_for(secs(1));
        let on = unfinished(&cluster, service)[0].node.unwrap();
        if drains {
            cluster.update_node(on, |spec| spec.availability = Availability::Drain).unwrap();
        } else {
            cluster.silence(on);
        }
        cluster.run_for(secs(10));
        cluster.behave(ending(TaskState::Complete));
        for _ in 0..10 {
            for task in unfinished(&cluster, service).into_iter().filter(|task| task.node != Some(on)) {
                if task.status.state == TaskState::Running {
                    end(&mut cluster, &task, TaskState::Complete);
                }
            }
            cluster.run_for(secs(2));
        }
        assert_eq!(completed(&cluster, service), 3, "drains: {drains}");
    }
}
