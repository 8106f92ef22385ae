//! Raft between managers over real TLS on the loopback: messages, snapshots, peers that die, freeze and move,
//! and who is heard.

#![allow(clippy::unwrap_used, reason = "what a test needs and does not get fails the test")]

mod group;

use std::time::Duration;

use group::{Group, PATIENCE};
use mesh_core::id::NodeId;
use mesh_core::spec::Role;
use mesh_raft::{MemberChange, Message, MessageType, wire};
use meshd::rpc::proto::{RaftHello, RaftMessages, RaftPart};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_elect_and_write_and_one_that_was_away_catches_up() {
    let mut group = Group::start(3).await;
    let first = group.put(10).await;
    for id in 1..=3 {
        group.has(id, first).await;
    }
    let away = group.kill_follower().await;
    let second = group.put(10).await;
    group.restart(away).await;
    group.has(away, second).await;

    let leader = group.leader().await;
    group.kill(leader).await;
    let third = group.put(10).await;
    assert_ne!(group.leader().await, leader);
    group.restart(leader).await;
    group.has(leader, third).await;
    let [one, two, three] = [1, 2, 3].map(|id| group.raft(id).store().digest());
    assert!(one == two && two == three);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_catches_up_by_a_snapshot_of_many_parts_and_then_votes() {
    let mut group = Group::start(3).await;
    let mut last = group.put(10).await;
    for _ in 0..20 {
        last = group.put(300 << 10).await;
    }
    group.enter(4).await;
    let mut changes = group.raft(4).changes();
    group.change(MemberChange::AddLearner { id: 4, addr: group.addr(4) }).await;
    group.has(4, last).await;
    assert!(changes.recv().await.unwrap().replaced, "the log alone does not go back that far");
    group.change(MemberChange::Promote { id: 4 }).await;

    // With the fourth's voice and without one of the others there is a quorum.
    let leader = group.leader().await;
    let other = (1..=3).find(|id| *id != leader).unwrap();
    group.kill(other).await;
    let after = group.put(10).await;
    group.has(4, after).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_moves_is_found_at_its_new_address() {
    let mut group = Group::start(3).await;
    let mover = group.kill_follower().await;
    let addr = group.restart_elsewhere(mover).await;
    let first = group.put(10).await;
    group.has(mover, first).await;
    group.change(MemberChange::Move { id: mover, addr }).await;
    let second = group.put(10).await;
    group.has(mover, second).await;
    assert_eq!(group.raft(mover).members().borrow().get(mover).unwrap().addr, Some(addr));
}

/// Its members are those of before: that the fourth leads is known to it by the fourth's own word alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_missed_that_its_leader_was_let_in_hears_it_and_answers() {
    let mut group = Group::start(3).await;
    let away = group.kill_follower().await;
    group.enter(4).await;
    group.change(MemberChange::AddLearner { id: 4, addr: group.addr(4) }).await;
    group.change(MemberChange::Promote { id: 4 }).await;
    group.raft(group.leader().await).transfer(Some(4)).await.unwrap();
    let written = group.put(10).await;
    group.restart(away).await;
    group.has(away, written).await;
}

/// As a process that was stopped: the kernel accepts in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_accepts_and_never_answers_holds_nobody_up() {
    let mut group = Group::start(3).await;
    let frozen = group.kill_follower().await;
    let listener = std::net::TcpListener::bind(group.addr(frozen)).unwrap();
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        write_on(&group).await;
    }
    drop(listener);
    group.restart(frozen).await;
    group.has(frozen, write_on(&group).await).await;
}

/// As a process that was stopped in the middle, or that hangs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_takes_a_stream_and_never_reads_holds_nobody_up_and_is_dialled_anew() {
    let mut group = Group::start(3).await;
    let frozen = group.kill_follower().await;
    for _ in 0..10 {
        // Together far more than fits the buffers towards it.
        write_on(&group).await;
    }
    let mut deaf = group.serve_deaf(frozen).await;
    while *deaf.streams.borrow() < 2 {
        let write = write_on(&group);
        tokio::select! {
            _ = write => {}
            changed = deaf.streams.changed() => changed.unwrap(),
        }
    }
    deaf.end();
    group.restart(frozen).await;
    group.has(frozen, write_on(&group).await).await;
}

/// A write among those that answer.
async fn write_on(group: &Group) -> NodeId {
    let put = tokio::time::timeout(PATIENCE / 4, group.put(100 << 10)).await;
    put.expect("a write among the two that answer")
}

fn hello(from: u64, to: u64) -> RaftMessages {
    let addr = "127.0.0.1:9".to_owned();
    RaftMessages { messages: Vec::new(), hello: Some(RaftHello { from, to, addr }) }
}

/// What would make raft follow `from`.
fn usurp(from: u64, to: u64) -> RaftMessages {
    message(MessageType::MsgHeartbeat, Message { from, to, term: 1_000, ..Message::default() })
}

fn answer(from: u64, to: u64) -> RaftMessages {
    message(MessageType::MsgHeartbeatResponse, Message { from, to, term: 1, ..Message::default() })
}

fn message(kind: MessageType, mut message: Message) -> RaftMessages {
    message.set_msg_type(kind);
    RaftMessages { messages: vec![wire::encode(&message).unwrap()], hello: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_managers_are_heard_and_only_as_themselves() {
    let group = Group::start(3).await;
    let leader = group.leader().await;
    let other = (1..=3).find(|id| *id != leader).unwrap();
    let third = 6 - leader - other;
    let term = group.raft(leader).role().borrow().term;
    let lost = RaftHello { from: other, to: leader, addr: "nowhere".to_owned() };
    let lost = RaftMessages { messages: Vec::new(), hello: Some(lost) };
    let streams = [
        (group.as_manager(other, leader).await, vec![lost], Code::InvalidArgument),
        (group.as_stranger(Role::Worker, leader).await, vec![hello(other, leader)], Code::PermissionDenied),
        (group.as_stranger(Role::Manager, leader).await, vec![hello(9, leader)], Code::PermissionDenied),
        (group.as_stranger(Role::Manager, leader).await, vec![hello(other, leader)], Code::PermissionDenied),
        (group.as_manager(other, leader).await, vec![hello(third, leader)], Code::PermissionDenied),
        (group.as_manager(other, leader).await, vec![hello(leader, leader)], Code::FailedPrecondition),
        (group.as_manager(other, leader).await, vec![hello(other, third)], Code::FailedPrecondition),
        (group.as_manager(other, leader).await, vec![hello(0, leader)], Code::FailedPrecondition),
        (group.as_manager(other, leader).await, vec![usurp(other, leader)], Code::InvalidArgument),
        (group.as_manager(other, leader).await, vec![], Code::InvalidArgument),
    ];
    for (number, (mut client, messages, code)) in streams.into_iter().enumerate() {
        let answer = client.messages(tokio_stream::iter(messages)).await;
        assert_eq!(answer.unwrap_err().code(), code, "stream {number}");
    }
    // A message in another's name is passed over, and the stream goes on.
    let mut client = group.as_manager(other, leader).await;
    let batches = [hello(other, leader), usurp(third, leader), usurp(other, third)];
    client.messages(tokio_stream::iter(batches)).await.unwrap();
    let state = group.raft(leader).role().borrow().clone();
    assert_eq!((state.term, state.leader), (term, Some(leader)), "nothing of it reached raft");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_is_none_or_not_whole_is_refused() {
    let group = Group::start(3).await;
    let leader = group.leader().await;
    let follower = (1..=3).find(|id| *id != leader).unwrap();
    let parts = |mut message: Message| -> Vec<RaftPart> {
        message.mut_snapshot().data = vec![7; 3 << 20].into();
        wire::parts::cut(&message, 1).unwrap().map(|part| RaftPart { part: part.unwrap() }).collect()
    };
    let message = Message { from: leader, to: follower, ..Message::default() };
    let mut snapshot = message.clone();
    snapshot.set_msg_type(MessageType::MsgSnapshot);
    let elsewhere = Message { to: leader, ..snapshot.clone() };
    let short = parts(snapshot.clone()).into_iter().take(2).collect();
    for (sent, code) in [
        (parts(message), Code::InvalidArgument),
        (short, Code::InvalidArgument),
        (vec![RaftPart { part: vec![0xff; 9] }], Code::InvalidArgument),
        (parts(elsewhere), Code::FailedPrecondition),
    ] {
        let mut client = group.as_manager(leader, follower).await;
        let answer = client.snapshot(tokio_stream::iter(sent)).await;
        assert_eq!(answer.unwrap_err().code(), code);
    }
    let mut worker = group.as_stranger(Role::Worker, follower).await;
    let answer = worker.snapshot(tokio_stream::iter(parts(snapshot))).await;
    assert_eq!(answer.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(group.raft(follower).role().borrow().leader, Some(leader));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_when_a_newer_comes_and_when_its_manager_is_removed() {
    let mut group = Group::start(3).await;
    let leader = group.leader().await;
    let gone = (1..=3).find(|id| *id != leader).unwrap();
    group.kill(gone).await;
    let (first, first_ended) = stand(&group, gone, leader).await;
    first.send(answer(gone, leader)).await.unwrap();
    let mut heard = group.raft(leader).heard();
    let stands = heard.wait_for(|heard| heard.contains(&gone));
    drop(tokio::time::timeout(PATIENCE, stands).await.unwrap().unwrap());
    let (second, second_ended) = stand(&group, gone, leader).await;
    let ended = tokio::time::timeout(PATIENCE, first_ended).await.unwrap().unwrap();
    assert_eq!(ended, Code::Cancelled);
    group.change(MemberChange::Remove { id: gone }).await;
    let ended = tokio::time::timeout(PATIENCE, second_ended).await.unwrap().unwrap();
    assert_eq!(ended, Code::PermissionDenied);
    drop((first, second));

    let mut client = group.as_manager(gone, leader).await;
    let answer = client.messages(tokio_stream::iter([hello(gone, leader)])).await;
    assert_eq!(answer.unwrap_err().code(), Code::PermissionDenied, "nor does it come back");
}

/// Opens a stream as manager `from` and keeps it open; the code with which it ends.
async fn stand(
    group: &Group,
    from: u64,
    to: u64,
) -> (mpsc::Sender<RaftMessages>, tokio::task::JoinHandle<Code>) {
    let mut client = group.as_manager(from, to).await;
    let (batches, stream) = mpsc::channel(1);
    batches.send(hello(from, to)).await.unwrap();
    let call = tokio::spawn(async move {
        let answer = client.messages(ReceiverStream::new(stream)).await;
        answer.unwrap_err().code()
    });
    (batches, call)
}
