//! Replicas that talk over a queue.

use raft::StateRole;
use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, MessageType};

use crate::disk::{Lie, Saved};
use crate::envelope::{self, EnvelopeError, ProposalId};
use crate::node::{Input, Refused};
use crate::replica::{Compaction, FlushError, Outcome, ReplicaError, Settings};
use crate::testing::{Group, first_disk, has, put};

fn small_logs() -> Settings {
    Settings { compaction: Compaction { every: 20, keep: 5, ..Compaction::default() }, ..Settings::default() }
}

#[test]
fn a_voter_that_is_alone_leads_at_once() {
    let mut group = Group::new(&[1], Settings::default());
    assert!(group.member(1).replica().leads());
    group.commit(1, &put(7));
    assert!(has(group.member(1).replica().store(), 7));
}

#[test]
fn three_voters_elect_one_and_agree() {
    let mut group = Group::new(&[1, 2, 3], Settings::default());
    let leader = group.elect();
    (0..50).for_each(|number| group.commit(leader, &put(number)));
    group.tick(4);
    group.assert_equal();
    assert_eq!(group.member(leader).replica().store().nodes().count(), 50);
}

#[test]
fn one_seed_makes_one_history() {
    let run = |seed| {
        let mut group = Group::new(&[1, 2, 3], Settings { seed, ..Settings::default() });
        let leader = group.elect();
        group.commit(leader, &put(1));
        group.isolated.insert(leader);
        let next = group.elect();
        group.isolated.clear();
        group.commit(next, &put(2));
        group.tick(40);
        group.trace
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn a_conflict_is_the_proposers_to_know() {
    let mut group = Group::new(&[1], Settings::default());
    group.commit(1, &put(7));
    let again = group.propose(1, &put(7)).expect("the leader takes it");
    group.deliver();
    assert!(matches!(group.outcome(1, again), Some(Outcome::Conflict(_))));
}

#[test]
fn proposals_are_the_leaders() {
    let mut group = Group::new(&[1, 2, 3], Settings::default());
    let leader = group.elect();
    let follower = leader % 3 + 1;
    assert_eq!(group.propose(follower, &put(1)), Err(Refused::NotLeader));
}

#[test]
fn what_another_leader_replaced_is_lost_and_says_so() {
    let mut group = Group::new(&[1, 2, 3], Settings::default());
    let old = group.elect();
    group.isolated.insert(old);
    let lost = group.propose(old, &put(1)).expect("it still believes that it leads");
    let new = group.elect();
    group.commit(new, &put(2));
    assert_eq!(group.outcome(old, lost), None);
    group.isolated.clear();
    group.tick(30);
    assert_eq!(group.outcome(old, lost), Some(Outcome::Lost));
    group.assert_equal();
    assert!(!has(group.member(old).replica().store(), 1));
}

#[test]
fn a_leader_that_was_frozen_answers_no_read_with_what_it_had() {
    let mut group = Group::new(&[1, 2, 3], Settings::default());
    let old = group.elect();
    group.commit(old, &put(1));
    // Frozen: no tick reaches it, so by its own count its lease still holds.
    group.isolated.insert(old);
    for _ in 0..60 {
        for (id, member) in &mut group.members {
            if *id != old {
                member.driver.replica_mut().step(Input::Tick).expect("ticks are taken");
            }
        }
        group.deliver();
    }
    let new = *group.members.iter().find(|(id, m)| **id != old && m.replica().leads()).expect("a leader").0;
    group.commit(new, &put(2));
    assert_eq!(group.role(old), StateRole::Leader);
    let read = group.member(old).driver.replica_mut().read().expect("begun");
    group.deliver();
    assert!(!group.member(old).seen.reads.contains(&read));
    group.isolated.clear();
    group.tick(30);
    let read = group.member(old).driver.replica_mut().read().expect("begun");
    group.deliver();
    assert!(group.member(old).seen.reads.contains(&read));
    assert!(has(group.member(old).replica().store(), 2));
}

#[test]
fn nothing_is_told_before_it_is_durable() {
    let mut group = Group::new(&[1, 2, 3], Settings::default());
    let leader = group.elect();
    let follower = leader % 3 + 1;
    group.member(follower).disk.limit(Some(0));
    let proposed = group.propose(leader, &put(1)).expect("the leader takes it");
    let member = group.member(leader);
    member.flush().expect("a sound disk");
    let messages = std::mem::take(&mut member.seen.messages);
    let append = messages.into_iter().find(|message| message.to == follower).expect("an append");
    let member = group.member(follower);
    member.driver.replica_mut().step(Input::Message(Box::new(append))).expect("taken");
    assert!(matches!(member.flush(), Err(FlushError::Disk(error)) if error.is_full()));
    assert!(member.seen.messages.is_empty(), "it acknowledged what it does not have");
    assert_eq!(member.driver.replica_mut().step(Input::Tick), Err(Refused::Stalled));
    member.disk.limit(None);
    member.flush().expect("there is space again");
    assert_eq!(member.seen.messages.len(), 1);
    group.deliver();
    assert!(matches!(group.outcome(leader, proposed), Some(Outcome::Committed(_))));
}

#[test]
fn a_crash_forgets_nothing_that_was_acknowledged_unless_the_disk_lies() {
    for lie in [None, Some(Lie::SyncsNothing)] {
        let mut group = Group::new(&[1], Settings::default());
        if let Some(lie) = lie {
            group.member(1).disk.betray(lie);
        }
        group.commit(1, &put(5));
        group.restart(1);
        assert_eq!(has(group.member(1).replica().store(), 5), lie.is_none());
    }
}

#[test]
fn a_restart_replays_to_the_same_digest_across_snapshots() {
    let mut group = Group::new(&[1], small_logs());
    for number in 0..73 {
        group.commit(1, &put(number));
    }
    let before = group.member(1).replica().store().digest();
    let Saved { snapshot, entries, truncated, .. } = group.member(1).disk.crash();
    assert!(snapshot.get_metadata().index >= 60, "{}", snapshot.get_metadata().index);
    assert!(entries.len() <= 25 && truncated.index + 5 == snapshot.get_metadata().index);
    group.restart(1);
    assert_eq!(group.member(1).replica().store().digest(), before);
    assert!(group.member(1).replica().leads());
}

#[test]
fn a_follower_far_behind_catches_up_by_snapshot_even_when_the_first_is_lost() {
    let mut group = Group::new(&[1, 2, 3], small_logs());
    let leader = group.elect();
    let behind = leader % 3 + 1;
    group.isolated.insert(behind);
    (0..60).for_each(|number| group.commit(leader, &put(number)));
    group.isolated.clear();
    group.lost.push(MessageType::MsgSnapshot);
    group.tick(5);
    assert!(!has(group.member(behind).replica().store(), 59));
    group.lost.clear();
    group.tick(60);
    assert!(group.member(behind).seen.applied.iter().any(|(_, replaced)| *replaced));
    group.assert_equal();
    group.restart(behind);
    group.tick(30);
    group.assert_equal();
}

fn change(kind: ConfChangeType, nodes: &[u64]) -> ConfChangeV2 {
    let mut change = ConfChangeV2::default();
    change.set_transition(ConfChangeTransition::Implicit);
    for node in nodes {
        let mut single = ConfChangeSingle { node_id: *node, ..ConfChangeSingle::default() };
        single.set_change_type(kind);
        change.mut_changes().push(single);
    }
    change
}

#[test]
fn members_come_and_go_and_the_joint_configuration_is_left() {
    let mut group = Group::new(&[1], small_logs());
    (0..30).for_each(|number| group.commit(1, &put(number)));
    // A joiner begins with the configuration that there is, and hears the rest.
    for id in [2, 3] {
        group.start(Saved { node: id, ..first_disk(1, &[1]) });
    }
    let added = Input::Change(change(ConfChangeType::AddNode, &[2, 3]));
    group.member(1).driver.replica_mut().step(added).expect("taken");
    group.deliver();
    group.tick(60);
    for id in [1, 2, 3] {
        let members = group.member(id).replica().members();
        assert_eq!((members.voters.len(), members.voters_outgoing.len()), (3, 0), "at {id}");
    }
    group.assert_equal();
    group.restart(2);
    assert_eq!(group.member(2).replica().members().voters.len(), 3, "kept over a restart");
}

#[test]
fn a_new_leader_leaves_the_joint_configuration_that_it_finds() {
    let mut group = Group::new(&[1, 2, 3], Settings::default());
    let old = group.elect();
    for id in [4, 5] {
        group.start(Saved { node: id, ..first_disk(1, &[1, 2, 3]) });
    }
    // Explicit: nobody leaves by itself, as after a leader that died in between.
    let mut enter = change(ConfChangeType::AddNode, &[4, 5]);
    enter.set_transition(ConfChangeTransition::Explicit);
    group.member(old).driver.replica_mut().step(Input::Change(enter)).expect("taken");
    let node = group.member(old);
    node.flush().expect("a sound disk");
    group.deliver();
    group.isolated.insert(old);
    let new = group.elect();
    assert_ne!(new, old);
    group.tick(20);
    assert!(group.member(new).replica().members().voters_outgoing.is_empty());
    group.isolated.clear();
    group.tick(60);
    group.assert_equal();
    assert_eq!(group.member(old).replica().members().voters.len(), 5);
}

#[test]
fn an_entry_of_a_newer_meshd_stops_the_node_with_its_version() {
    let mut group = Group::new(&[1], Settings::default());
    let mut entry = envelope::encode(ProposalId(1), &put(1)).expect("encodes");
    entry[0] = 9;
    group.member(1).driver.replica_mut().propose(ProposalId(1), entry).expect("taken");
    let stopped = group.member(1).flush();
    let Err(FlushError::Replica(ReplicaError::Entry { source, .. })) = stopped else {
        panic!("{stopped:?}");
    };
    assert_eq!(source, EnvelopeError::UnknownVersion { found: 9 });
}

#[test]
fn messages_that_belong_elsewhere_are_refused() {
    let mut group = Group::new(&[1, 2, 3], Settings::default());
    let mut message = raft::eraftpb::Message { from: 2, to: 3, ..Default::default() };
    message.set_msg_type(MessageType::MsgHeartbeat);
    for (from, to, kind) in [
        (2, 3, MessageType::MsgHeartbeat),
        (1, 1, MessageType::MsgHeartbeat),
        (2, 1, MessageType::MsgPropose),
        (2, 1, MessageType::MsgHup),
    ] {
        (message.from, message.to) = (from, to);
        message.set_msg_type(kind);
        let taken = group.member(1).driver.replica_mut().step(Input::Message(Box::new(message.clone())));
        assert_eq!(taken, Err(Refused::Misdelivered { kind, from, to }));
    }
}
