//! The leader's own promises: who is there, what is told of tasks, and that nothing is decided twice.

use std::time::Duration;

use super::liveness::{RESTART_GRACE, TAKEOVER_GRACE};
use super::*;
use crate::command;
use crate::object::{NodeState, Task, TaskState};
use crate::spec::ServiceMode;
use crate::testing::{Seeded, VirtualCluster, init_request, join_request, service_spec};

const SOON: Duration = Duration::from_secs(2);
const HEARTBEAT: Duration = Duration::from_secs(1);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn node(number: u128) -> NodeId {
    NodeId::from_bits(number)
}

fn state(cluster: &VirtualCluster, number: u128) -> NodeState {
    cluster.node(node(number)).status.state
}

/// How long until a node is in a state.
fn until(cluster: &mut VirtualCluster, number: u128, wanted: NodeState) -> Option<Duration> {
    cluster.run_until(secs(120), |cluster| state(cluster, number) == wanted)
}

#[test]
fn a_node_is_ready_once_its_agent_speaks() {
    let mut cluster = VirtualCluster::new(2, 1);
    assert_eq!((state(&cluster, 1), state(&cluster, 2)), (NodeState::Ready, NodeState::Ready));
    cluster.run_for(secs(600));
    assert_eq!((state(&cluster, 1), state(&cluster, 2)), (NodeState::Ready, NodeState::Ready));
    assert_eq!(
        cluster.node(node(2)).meta.version,
        cluster.node(node(1)).meta.version.max(4),
        "heartbeats write nothing"
    );
}

#[test]
fn a_node_is_down_after_more_than_three_heartbeats_of_silence() {
    let mut cluster = VirtualCluster::new(2, 1);
    // Its last heartbeat is not older than the cluster's first 50 ms.
    cluster.silence(node(2));
    cluster.run_for(HEARTBEAT * 3);
    assert_eq!(state(&cluster, 2), NodeState::Ready);
    let left = until(&mut cluster, 2, NodeState::Down).unwrap();
    assert!(left <= HEARTBEAT / 2 + Duration::from_millis(2), "{left:?}");
    assert_eq!(cluster.node(node(2)).status.message, "heartbeat failure");
    cluster.resume(node(2));
    let back = until(&mut cluster, 2, NodeState::Ready).unwrap();
    assert!(back < Duration::from_millis(10), "{back:?}");
    assert_eq!(cluster.node(node(2)).status.message, "");
}

#[test]
fn the_heartbeat_is_a_setting_that_takes_effect_at_once() {
    let mut cluster = VirtualCluster::new(2, 1);
    let mut spec = cluster.store.cluster().unwrap().spec.clone();
    spec.heartbeat = secs(5);
    let request =
        command::UpdateCluster { version: 1, spec: Some(spec), ..command::UpdateCluster::default() };
    let transaction = command::update_cluster(&cluster.store, request, cluster.now).unwrap();
    cluster.commit(&transaction).unwrap();
    cluster.check_assignments();
    cluster.run_for(secs(20));
    cluster.silence(node(2));
    let took = until(&mut cluster, 2, NodeState::Down).unwrap();
    assert!(took > secs(12) && took <= secs(18), "{took:?}");
}

#[test]
fn an_announced_restart_has_thirty_seconds() {
    let mut cluster = VirtualCluster::new(2, 1);
    let service = cluster.create_service(service_spec("web", 2)).unwrap();
    cluster.run_for(SOON);
    let tasks: Vec<_> = cluster.live(service).iter().map(|task| task.id).collect();
    cluster.restart(node(2));
    cluster.run_for(secs(29));
    assert_eq!(state(&cluster, 2), NodeState::Ready);
    cluster.resume(node(2));
    cluster.run_for(secs(10));
    assert_eq!(
        cluster.live(service).iter().map(|task| task.id).collect::<Vec<_>>(),
        tasks,
        "nothing was replaced"
    );
    cluster.restart(node(2));
    let took = until(&mut cluster, 2, NodeState::Down).unwrap();
    assert!(took >= RESTART_GRACE && took < RESTART_GRACE + secs(1), "{took:?}");
}

#[test]
fn a_new_leader_gives_every_node_a_full_grace_period() {
    let mut cluster = VirtualCluster::new(3, 1);
    cluster.silence(node(2));
    cluster.run_for(Duration::from_millis(2900));
    cluster.silence(node(3));
    until(&mut cluster, 2, NodeState::Down).unwrap();
    cluster.new_leader();
    let took = until(&mut cluster, 3, NodeState::Down).unwrap();
    assert!(took >= TAKEOVER_GRACE, "{took:?}");
    assert_eq!((state(&cluster, 1), state(&cluster, 2)), (NodeState::Ready, NodeState::Down));
}

#[test]
fn a_leader_that_was_frozen_blames_nobody() {
    let mut cluster = VirtualCluster::new(3, 1);
    cluster.run_for(SOON);
    // Nothing happens for a minute, not even the leader's own alarm; then everything at once.
    cluster.now = cluster.now + secs(60);
    cluster.run_for(SOON);
    assert!((1..=3).all(|number| state(&cluster, number) == NodeState::Ready));
    assert!(cluster.store.nodes().all(|node| node.meta.version < 10), "nobody was down in between");
}

/// A leader alone, with one node whose session is 7, after everything settled.
fn alone() -> (Leader, Store, Seeded, Timestamp) {
    let (mut store, mut entropy, now) = (Store::default(), Seeded(1), Timestamp(1));
    let begin = command::init_cluster(&store, init_request(), now, &mut entropy).unwrap();
    store.apply(1, &begin).unwrap();
    let mut leader = Leader::new(&store, now);
    let opened = leader.step(opened(1, 7), now, &mut entropy);
    assert!(
        matches!(opened.send.as_slice(), [(session, AssignmentUpdate::Full { .. })] if *session == SessionId::from_bits(7))
    );
    settle(&mut leader, &mut store, opened, now, &mut entropy);
    (leader, store, entropy, now)
}

fn opened(number: u32, session: u128) -> Event {
    let join = join_request(number);
    Event::SessionOpened {
        node: join.id,
        session: SessionId::from_bits(session),
        description: Box::new(join.description),
        addr: join.addr,
        data_path_addr: join.data_path_addr,
    }
}

/// Applies what a leader proposes, and what it proposes next, until it is content.
fn settle(leader: &mut Leader, store: &mut Store, actions: Actions, now: Timestamp, entropy: &mut Seeded) {
    let mut queue = std::collections::VecDeque::from(actions.propose);
    while let Some(transaction) = queue.pop_front() {
        let index = store.index() + 1;
        let settled = match store.apply(index, &transaction) {
            Ok(changes) => {
                queue.extend(leader.step(Event::Committed { index, changes }, now, entropy).propose);
                Some(index)
            }
            Err(_) => None,
        };
        queue.extend(leader.step(Event::Settled { index: settled }, now, entropy).propose);
    }
}

/// A user's transaction, committed and told to the leader.
fn commit(
    leader: &mut Leader,
    store: &mut Store,
    transaction: &Transaction,
    now: Timestamp,
    entropy: &mut Seeded,
) -> Actions {
    let index = store.index() + 1;
    let changes = store.apply(index, transaction).unwrap();
    leader.step(Event::Committed { index, changes }, now, entropy)
}

#[test]
fn one_batch_is_outstanding_at_a_time() {
    let (mut leader, mut store, mut entropy, now) = alone();
    let (first, made) = command::create_service(&store, service_spec("first", 3), now, &mut entropy).unwrap();
    let batch = commit(&mut leader, &mut store, &made, now, &mut entropy);
    assert_eq!(batch.propose.len(), 1);
    assert_eq!(batch.propose[0].writes.len(), 3);
    let (_, made) = command::create_service(&store, service_spec("second", 3), now, &mut entropy).unwrap();
    let second = commit(&mut leader, &mut store, &made, now, &mut entropy);
    assert!(second.propose.is_empty(), "the first batch is on its way");
    let index = store.index() + 1;
    let changes = store.apply(index, &batch.propose[0]).unwrap();
    // Settled may come before Committed: the leader waits for both.
    let settled = leader.step(Event::Settled { index: Some(index) }, now, &mut entropy);
    assert!(settled.propose.is_empty());
    let committed = leader.step(Event::Committed { index, changes }, now, &mut entropy);
    assert_eq!(committed.propose.iter().map(|it| it.writes.len()).sum::<usize>(), 3);
    settle(&mut leader, &mut store, committed, now, &mut entropy);
    assert_eq!(store.service_tasks(first).count(), 3, "nothing was made twice");
    assert_eq!(leader.store().digest(), store.digest());
}

#[test]
fn a_batch_that_conflicts_is_decided_anew() {
    let (mut leader, mut store, mut entropy, now) = alone();
    let (service, made) = command::create_service(&store, service_spec("web", 2), now, &mut entropy).unwrap();
    let batch = commit(&mut leader, &mut store, &made, now, &mut entropy);
    // The user removes the service while its first tasks are on their way.
    let gone = command::remove_service(&store, service, now).unwrap();
    commit(&mut leader, &mut store, &gone, now, &mut entropy);
    assert!(store.apply(store.index() + 1, &batch.propose[0]).is_err());
    let after = leader.step(Event::Settled { index: None }, now, &mut entropy);
    assert!(after.propose.is_empty(), "there is nothing left to do: {:?}", after.propose);
    settle(&mut leader, &mut store, after, now, &mut entropy);
    assert_eq!(store.task_count(), 0);
}

#[test]
fn a_batch_that_is_lost_is_made_again_after_a_moment() {
    let (mut leader, mut store, mut entropy, now) = alone();
    let (service, made) = command::create_service(&store, service_spec("web", 2), now, &mut entropy).unwrap();
    let batch = commit(&mut leader, &mut store, &made, now, &mut entropy);
    assert_eq!(batch.propose.len(), 1);
    let lost = leader.step(Event::Settled { index: None }, now, &mut entropy);
    assert!(lost.propose.is_empty(), "not at once: that would spin");
    let later = lost.wake_at.unwrap();
    assert!(later.since(now) <= Duration::from_millis(100));
    let again = leader.step(Event::Wake, later, &mut entropy);
    assert_eq!(again.propose[0].writes.len(), 2);
    settle(&mut leader, &mut store, again, later, &mut entropy);
    let tasks: Vec<_> = store.service_tasks(service).collect();
    assert!(
        tasks.len() == 2 && tasks.iter().all(|task| task.status.state == TaskState::Assigned),
        "{tasks:?}"
    );
}

#[test]
fn a_batch_that_was_applied_in_part_is_completed() {
    let (mut leader, mut store, mut entropy, now) = alone();
    let (service, made) =
        command::create_service(&store, service_spec("web", 1200), now, &mut entropy).unwrap();
    let batch = commit(&mut leader, &mut store, &made, now, &mut entropy).propose;
    assert_eq!(batch.iter().map(|transaction| transaction.writes.len()).collect::<Vec<_>>(), [500, 500, 200]);
    let index = store.index() + 1;
    let changes = store.apply(index, &batch[1]).unwrap();
    leader.step(Event::Settled { index: None }, now, &mut entropy);
    leader.step(Event::Committed { index, changes }, now, &mut entropy);
    leader.step(Event::Settled { index: Some(index) }, now, &mut entropy);
    let rest = leader.step(Event::Settled { index: None }, now, &mut entropy);
    settle(&mut leader, &mut store, rest, now, &mut entropy);
    let slots: std::collections::BTreeSet<_> = store.service_tasks(service).map(|task| task.slot).collect();
    assert_eq!((store.service_tasks(service).count(), slots.len()), (1200, 1200));
    assert_eq!((slots.first(), slots.last()), (Some(&1), Some(&1200)));
}

#[test]
fn large_tasks_make_small_transactions() {
    let (mut leader, mut store, mut entropy, now) = alone();
    let mut spec = service_spec("web", 20);
    spec.task.container.env = vec![format!("A={}", "x".repeat(200_000))];
    let (_, made) = command::create_service(&store, spec, now, &mut entropy).unwrap();
    let batch = commit(&mut leader, &mut store, &made, now, &mut entropy).propose;
    assert_eq!(batch.len(), 4);
    for transaction in batch {
        assert!(transaction.to_bytes().unwrap().len() < 2 << 20);
    }
}

#[test]
fn the_same_inputs_give_the_same_outputs() {
    let run = || {
        let mut cluster = VirtualCluster::new(5, 42);
        let service = cluster.create_service(service_spec("web", 9)).unwrap();
        cluster.run_for(SOON);
        cluster.silence(node(3));
        cluster.run_for(secs(9));
        cluster.update_service(service, |spec| spec.mode = ServiceMode::Replicated { replicas: 4 }).unwrap();
        cluster.run_for(SOON);
        (cluster.store.digest(), cluster.applied)
    };
    assert_eq!(run(), run());
}

/// A running task of `alone`, its service and everything else.
fn with_task() -> (Leader, Store, Seeded, Timestamp, Task) {
    let (mut leader, mut store, mut entropy, now) = alone();
    let (service, made) = command::create_service(&store, service_spec("web", 1), now, &mut entropy).unwrap();
    let batch = commit(&mut leader, &mut store, &made, now, &mut entropy);
    settle(&mut leader, &mut store, batch, now, &mut entropy);
    let task = Task::clone(store.service_tasks(service).next().unwrap());
    (leader, store, entropy, now, task)
}

fn report(task: &Task, session: u128, state: TaskState, message: &str) -> Event {
    let mut status = task.status.clone();
    (status.state, status.message) = (state, message.to_owned());
    Event::Statuses {
        node: node(1),
        session: SessionId::from_bits(session),
        statuses: vec![(task.id, status)],
    }
}

#[test]
fn reports_move_tasks_forward_only() {
    let (mut leader, mut store, mut entropy, now, task) = with_task();
    let cases = [
        (TaskState::Preparing, "pulling", TaskState::Preparing),
        (TaskState::Accepted, "late", TaskState::Preparing),
        (TaskState::Preparing, "pulled", TaskState::Preparing),
        (TaskState::New, "forged", TaskState::Preparing),
        (TaskState::Orphaned, "forged", TaskState::Preparing),
        (TaskState::Remove, "forged", TaskState::Preparing),
        (TaskState::Running, "started", TaskState::Running),
        (TaskState::Starting, "late", TaskState::Running),
        (TaskState::Failed, "crashed", TaskState::Failed),
        (TaskState::Rejected, "late", TaskState::Failed),
        (TaskState::Running, "late", TaskState::Failed),
    ];
    for (reported, message, expected) in cases {
        let actions = leader.step(report(&task, 7, reported, message), now, &mut entropy);
        settle(&mut leader, &mut store, actions, now, &mut entropy);
        let status = store.task(task.id).unwrap().status.clone();
        assert_eq!(status.state, expected, "after {reported} {message}");
        assert_eq!(
            status.message == message,
            !message.starts_with("late") && message != "forged",
            "{message}"
        );
    }
}

#[test]
fn a_report_that_says_nothing_new_is_not_written() {
    let (mut leader, mut store, mut entropy, now, task) = with_task();
    for _ in 0..3 {
        let actions = leader.step(report(&task, 7, TaskState::Running, "started"), now, &mut entropy);
        settle(&mut leader, &mut store, actions, now, &mut entropy);
    }
    assert_eq!(store.task(task.id).unwrap().meta.version, task.meta.version + 1);
}

#[test]
fn reports_wait_for_the_batch_that_is_on_its_way() {
    let (mut leader, mut store, mut entropy, now, task) = with_task();
    let batch = leader.step(report(&task, 7, TaskState::Preparing, ""), now, &mut entropy);
    for state in [TaskState::Ready, TaskState::Starting, TaskState::Running] {
        assert!(leader.step(report(&task, 7, state, ""), now, &mut entropy).propose.is_empty());
    }
    settle(&mut leader, &mut store, batch, now, &mut entropy);
    let task = store.task(task.id).unwrap();
    assert_eq!(task.status.state, TaskState::Running);
}

#[test]
fn only_a_nodes_own_tasks_over_its_own_session_are_believed() {
    let (mut leader, mut store, mut entropy, now, task) = with_task();
    let joined = command::join_node(&store, join_request(2), now).unwrap();
    let actions = commit(&mut leader, &mut store, &joined, now, &mut entropy);
    settle(&mut leader, &mut store, actions, now, &mut entropy);
    let actions = leader.step(opened(2, 8), now, &mut entropy);
    settle(&mut leader, &mut store, actions, now, &mut entropy);
    let Event::Statuses { statuses, .. } = report(&task, 0, TaskState::Failed, "") else { unreachable!() };
    for (number, session, closed) in [(2, 8, false), (2, 7, true), (1, 8, true), (1, 9, true), (3, 7, true)] {
        let session = SessionId::from_bits(session);
        let event = Event::Statuses { node: node(number), session, statuses: statuses.clone() };
        let actions = leader.step(event, now, &mut entropy);
        assert_eq!(actions.close == [session], closed, "node {number} over {session}");
        settle(&mut leader, &mut store, actions, now, &mut entropy);
        assert_eq!(store.task(task.id).unwrap().status.state, TaskState::Assigned);
    }
    let unknown = (TaskId::from_bits(404), task.status.clone());
    let event = Event::Statuses { node: node(1), session: SessionId::from_bits(7), statuses: vec![unknown] };
    assert!(leader.step(event, now, &mut entropy).propose.is_empty());
}

#[test]
fn texts_of_agents_are_cut() {
    let (mut leader, mut store, mut entropy, now, task) = with_task();
    let actions = leader.step(report(&task, 7, TaskState::Running, &"é".repeat(2000)), now, &mut entropy);
    settle(&mut leader, &mut store, actions, now, &mut entropy);
    assert_eq!(store.task(task.id).unwrap().status.message.len(), 1024);
}

#[test]
fn a_second_session_ends_the_first() {
    let (mut leader, _, mut entropy, now) = alone();
    let second = leader.step(opened(1, 8), now, &mut entropy);
    assert_eq!(second.close, [SessionId::from_bits(7)]);
    assert_eq!(second.send.len(), 1);
    let beat = |session| Event::Heartbeat { node: node(1), session: SessionId::from_bits(session) };
    assert_eq!(leader.step(beat(7), now, &mut entropy).close, [SessionId::from_bits(7)]);
    assert!(leader.step(beat(8), now, &mut entropy).close.is_empty());
    let late = Event::SessionClosed { node: node(1), session: SessionId::from_bits(7) };
    leader.step(late, now, &mut entropy);
    assert!(
        leader.step(beat(8), now, &mut entropy).close.is_empty(),
        "the old session's end is not the new one's"
    );
}

#[test]
fn strangers_and_nonsense_get_no_session() {
    let (mut leader, _, mut entropy, now) = alone();
    let stranger = leader.step(opened(9, 9), now, &mut entropy);
    assert_eq!((stranger.close, stranger.send), (vec![SessionId::from_bits(9)], vec![]));
    let Event::SessionOpened { node, session, mut description, addr, data_path_addr } = opened(1, 8) else {
        unreachable!()
    };
    description.hostname.clear();
    let nonsense = Event::SessionOpened { node, session, description, addr, data_path_addr };
    assert_eq!(leader.step(nonsense, now, &mut entropy).close, [SessionId::from_bits(8)]);
}

#[test]
fn a_removed_node_loses_its_session() {
    let mut cluster = VirtualCluster::new(2, 1);
    cluster.remove_node(node(2), true).unwrap();
    cluster.run_for(secs(10));
    assert!(cluster.store.node(node(2)).is_none(), "and does not come back by itself");
    cluster.check_assignments();
}

#[test]
fn what_a_node_tells_of_itself_is_kept() {
    let mut cluster = VirtualCluster::new(2, 1);
    cluster.describe(node(2), |node| node.hostname = "renamed".to_owned());
    cluster.run_for(SOON);
    assert_eq!(cluster.node(node(2)).description.hostname, "renamed");
    let version = cluster.node(node(2)).meta.version;
    cluster.describe(node(2), |_| {});
    cluster.run_for(SOON);
    assert_eq!(cluster.node(node(2)).meta.version, version, "the same again is no change");
}

#[test]
fn a_leader_that_has_nothing_to_do_sleeps() {
    let (mut leader, _, mut entropy, now) = alone();
    let idle = leader.step(Event::Wake, now, &mut entropy);
    assert_eq!((idle.propose.len(), idle.send.len()), (0, 0));
    assert!(idle.wake_at.unwrap().since(now) >= HEARTBEAT * 3);
}
