//! The states of a task, and that each one that comes to nothing says why.

use super::*;
use crate::object::TaskStatus;
use crate::spec::{NetworkAttachment, ServiceSpec};
use crate::testing::network_spec;

const STATES: [TaskState; 8] = [
    TaskState::New,
    TaskState::Pending,
    TaskState::Assigned,
    TaskState::Accepted,
    TaskState::Preparing,
    TaskState::Ready,
    TaskState::Starting,
    TaskState::Running,
];

/// The states that the service's first task was seen in, from its first to its last within `span`.
fn seen(cluster: &mut VirtualCluster, service: ServiceId, span: Duration) -> Vec<(TaskState, TaskState)> {
    let (mut states, end) = (Vec::new(), cluster.now + span);
    let mut first: Option<TaskId> = None;
    while cluster.now < end {
        cluster.run_for(Duration::from_micros(500));
        let task = match first {
            Some(id) => cluster.store.task(id).cloned(),
            None => cluster.store.service_tasks(service).next().cloned(),
        };
        let Some(task) = task else { continue };
        first = Some(task.id);
        let state = (task.desired_state, task.status.state);
        if states.last() != Some(&state) {
            states.push(state);
        }
    }
    states
}

/// The status of the service's only task.
fn status(cluster: &VirtualCluster, service: ServiceId) -> TaskStatus {
    let tasks: Vec<_> = cluster.store.service_tasks(service).collect();
    assert_eq!(tasks.len(), 1);
    tasks[0].status.clone()
}

#[test]
fn a_task_passes_through_every_state_in_their_order() {
    let mut cluster = VirtualCluster::new(1, 5);
    let service = cluster.create_service(service_spec("web", 1)).unwrap();
    let states = seen(&mut cluster, service, secs(1));
    // What the managers do in one batch is seen as one.
    let given = STATES.iter().position(|state| *state == TaskState::Assigned).unwrap();
    let wanted: Vec<_> = STATES[given..].iter().map(|state| (TaskState::Running, *state)).collect();
    assert_eq!(states, wanted);
    let forward = STATES.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(forward && TaskState::Running < TaskState::Complete);
}

#[test]
fn a_task_without_an_address_is_new_and_one_without_a_node_is_pending() {
    let mut cluster = VirtualCluster::new(1, 5);
    let mut net = network_spec("net");
    net.subnet = Some("10.9.0.0/29".parse().unwrap());
    let net = cluster.create_network(net).unwrap();
    let attached = |name: &str, replicas| {
        let mut spec = service_spec(name, replicas);
        spec.task.networks = vec![NetworkAttachment { network: net, aliases: Vec::new() }];
        spec
    };
    let mut greedy = attached("greedy", 1);
    greedy.task.resources.reservations.nano_cpus = 5_000_000_000;
    let greedy = cluster.create_service(greedy).unwrap();
    cluster.run_for(secs(1));
    let waits = status(&cluster, greedy);
    assert_eq!(waits.state, TaskState::Pending);
    assert_eq!(waits.err, "no suitable node (insufficient resources on 1 node)");
    // Six addresses: the gateway, the greedy one's two, the other service's own, and two of its tasks.
    let web = cluster.create_service(attached("web", 3)).unwrap();
    cluster.run_for(secs(1));
    let stuck: Vec<_> = cluster.live(web).into_iter().filter(|task| task.node.is_none()).collect();
    assert_eq!(stuck.len(), 1);
    assert_eq!((stuck[0].status.state, stuck[0].desired_state), (TaskState::New, TaskState::Running));
    assert_eq!(stuck[0].status.err, "no available addresses on network net (10.9.0.0/29)");
    cluster.remove_service(greedy).unwrap();
    cluster.run_for(secs(1));
    assert_eq!(cluster.running(web), 3, "what was given up is given on at once");
    assert!(cluster.live(web).iter().all(|task| task.status.err.is_empty()));
}

#[test]
fn a_task_that_is_to_be_ready_stops_there() {
    let mut cluster = VirtualCluster::new(1, 5);
    let mut spec = service_spec("web", 1);
    spec.task.restart.delay = secs(5);
    let service = cluster.create_service(spec).unwrap();
    converge(&mut cluster, service, 1);
    let first = cluster.live(service)[0].clone();
    end(&mut cluster, &first, TaskState::Failed);
    cluster.run_for(secs(4));
    let next = cluster.live(service)[0].clone();
    assert_eq!((next.desired_state, next.status.state), (TaskState::Ready, TaskState::Ready));
    assert_eq!(next.start_at.since(first.meta.created_at).as_secs(), 5);
    cluster.run_for(SOON);
    let next = cluster.live(service)[0].clone();
    assert_eq!((next.desired_state, next.status.state), (TaskState::Running, TaskState::Running));
}

#[test]
fn every_end_has_its_state_and_the_managers_wish_for_it() {
    let cases = [
        (TaskState::Complete, ""),
        (TaskState::Failed, "task: non-zero exit (1)"),
        (TaskState::Rejected, ""),
        (TaskState::Shutdown, ""),
    ];
    for (state, err) in cases {
        let (mut cluster, service) = running(1, 1);
        let task = cluster.live(service)[0].clone();
        match state {
            TaskState::Shutdown => {
                cluster.update_node(node(1), |spec| spec.availability = Availability::Drain).unwrap();
            }
            _ => end(&mut cluster, &task, state),
        }
        cluster.run_for(secs(1));
        let task = cluster.store.task(task.id).unwrap();
        assert_eq!((task.status.state, task.desired_state), (state, TaskState::Shutdown));
        assert_eq!(task.status.err, err, "{state}");
    }
}

#[test]
fn a_task_that_no_node_has_ends_without_one() {
    let mut cluster = VirtualCluster::new(1, 5);
    let mut spec: ServiceSpec = service_spec("web", 1);
    spec.task.placement.constraints = vec!["node.hostname == nowhere".parse().unwrap()];
    spec.mode = ServiceMode::Replicated { replicas: 1 };
    let service = cluster.create_service(spec).unwrap();
    cluster.run_for(secs(1));
    let waits = status(&cluster, service);
    assert_eq!(waits.state, TaskState::Pending);
    assert_eq!(waits.err, "no suitable node (scheduling constraints not satisfied on 1 node)");
    cluster.remove_service(service).unwrap();
    cluster.run_for(Duration::from_millis(10));
    assert_eq!(cluster.store.task_count(), 0, "nobody has to be asked");
}

#[test]
fn the_reason_follows_what_is_the_case_and_goes_with_it() {
    let mut cluster = VirtualCluster::new(2, 5);
    let mut spec = service_spec("web", 1);
    spec.task.resources.reservations.memory_bytes = 9 << 30;
    let service = cluster.create_service(spec).unwrap();
    cluster.run_for(secs(1));
    assert_eq!(status(&cluster, service).err, "no suitable node (insufficient resources on 2 nodes)");
    cluster.update_node(node(1), |spec| spec.availability = Availability::Pause).unwrap();
    cluster.run_for(secs(1));
    let err = status(&cluster, service).err;
    assert!(err.contains("1 node not available for new tasks"), "{err}");
    assert!(err.contains("insufficient resources on 1 node"), "{err}");
    cluster.describe(node(2), |description| description.resources.memory_bytes = 16 << 30);
    cluster.run_for(secs(1));
    assert_eq!((cluster.running(service), status(&cluster, service).err.as_str()), (1, ""));
}

#[test]
fn reasons_are_told_within_a_second_however_many_tasks_wait() {
    let mut cluster = VirtualCluster::new(3, 5);
    let mut spec = service_spec("web", 5000);
    spec.task.placement.constraints = vec!["node.labels.zone == a".parse().unwrap()];
    let service = cluster.create_service(spec).unwrap();
    cluster.run_for(secs(1));
    let tasks = cluster.live(service);
    assert_eq!(tasks.len(), 5000);
    assert!(tasks.iter().all(|task| task.status.err.starts_with("no suitable node (")));
}
