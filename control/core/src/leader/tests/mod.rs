//! The leader's own promises: who is there, what is told of tasks, and that nothing is decided twice.

mod departure;
mod history;
mod leaving;
mod liveness;
mod reports;
mod resume;

use std::time::Duration;

use super::liveness::{RESTART_GRACE, TAKEOVER_GRACE};
use super::*;
use crate::command;
use crate::object::{NodeState, Task, TaskState};
use crate::spec::ServiceMode;
use crate::testing::{Seeded, VirtualCluster, init_request, join_request, network_spec, service_spec};

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

/// A leader alone, with one node whose session is 7, after everything settled.
fn alone() -> (Leader, Store, Seeded, Timestamp) {
    let (mut store, mut entropy, now) = (Store::default(), Seeded(1), Timestamp(1));
    let begin = command::init_cluster(&store, init_request(), now, &mut entropy).unwrap();
    store.apply(1, &begin).unwrap();
    let mut leader = Leader::new(&store, History::new(&store), now);
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
        held: None,
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
        number: 1,
        statuses: vec![(task.id, status)],
    }
}

#[test]
fn a_second_session_ends_the_first() {
    let (mut leader, _, mut entropy, now) = alone();
    let second = leader.step(opened(1, 8), now, &mut entropy);
    assert_eq!(second.close, [(SessionId::from_bits(7), SessionEnd::Replaced)]);
    assert_eq!(second.send.len(), 1);
    let beat = |session| Event::Heartbeat { node: node(1), session: SessionId::from_bits(session) };
    let stale = leader.step(beat(7), now, &mut entropy);
    assert_eq!(stale.close, [(SessionId::from_bits(7), SessionEnd::Unknown)]);
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
    assert_eq!(
        (stranger.close, stranger.send),
        (vec![(SessionId::from_bits(9), SessionEnd::Removed)], vec![])
    );
    let Event::SessionOpened { node, session, mut description, addr, data_path_addr, held } = opened(1, 8)
    else {
        unreachable!()
    };
    description.hostname.clear();
    let nonsense = Event::SessionOpened { node, session, description, addr, data_path_addr, held };
    let refused = leader.step(nonsense, now, &mut entropy).close;
    assert!(matches!(refused[..], [(_, SessionEnd::Description(_))]), "{refused:?}");
}

#[test]
fn a_node_that_tells_of_itself_anew_is_not_told_everything_again() {
    let (mut leader, mut store, mut entropy, now) = alone();
    let Event::SessionOpened { node, session, mut description, addr, data_path_addr, held } = opened(1, 7)
    else {
        unreachable!()
    };
    description.hostname = "renamed".to_owned();
    let again = Event::SessionOpened { node, session, description, addr, data_path_addr, held };
    let actions = leader.step(again, now, &mut entropy);
    assert_eq!((actions.send.len(), actions.close.len()), (0, 0));
    settle(&mut leader, &mut store, actions, now, &mut entropy);
    assert_eq!(store.node(node).unwrap().description.hostname, "renamed");
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
