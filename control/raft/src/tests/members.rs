//! Members come and go among replicas that talk over a queue.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::members::{ChangeOutcome, ChangeRefused, MemberChange, Part};
use crate::node::Input;
use crate::replica::{Compaction, Settings, joiner};
use crate::testing::{Group, has, put};

fn addr(id: u64) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, u8::try_from(id).expect("small")], 2377))
}

fn add(id: u64) -> MemberChange {
    MemberChange::AddLearner { id, addr: addr(id) }
}

fn small_logs() -> Settings {
    Settings { compaction: Compaction { every: 20, keep: 5, ..Compaction::default() }, ..Settings::default() }
}

/// Starts a manager that wants to join.
fn knock(group: &mut Group, id: u64) {
    let voters: Vec<u64> = group.members.keys().copied().collect();
    group.start(joiner(id, &voters, &BTreeMap::new()).expect("encodes"));
}

fn grow(group: &mut Group, leader: u64, id: u64) {
    knock(group, id);
    group.make(leader, add(id));
    group.tick(30);
    group.make(leader, MemberChange::Promote { id });
}

fn voters(group: &mut Group, at: u64) -> Vec<u64> {
    group.member(at).replica().membership().voters().into_iter().collect()
}

#[test]
fn a_group_grows_from_one_to_three_and_everybody_knows_the_addresses() {
    let mut group = Group::new(&[1], small_logs());
    (0..30).for_each(|number| group.commit(1, &put(number)));
    grow(&mut group, 1, 2);
    grow(&mut group, 1, 3);
    group.tick(5);
    group.assert_equal();
    for id in [1, 2, 3] {
        let members = group.member(id).replica().membership().clone();
        assert!(!members.is_joint());
        assert_eq!(members.voters().into_iter().collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(members.get(3).and_then(|member| member.addr), Some(addr(3)));
    }
    (30..60).for_each(|number| group.commit(1, &put(number)));
    let snapshot = group.member(2).disk.crash().snapshot.get_metadata().index;
    assert!(snapshot > 40, "{snapshot}: the addresses are in a snapshot now");
    group.restart(2);
    let members = group.member(2).replica().membership().clone();
    assert_eq!(members.get(2).and_then(|member| member.addr), Some(addr(2)));
    group.make(1, MemberChange::Move { id: 2, addr: addr(9) });
    assert_eq!(group.member(1).replica().membership().get(2).and_then(|member| member.addr), Some(addr(9)));
    assert_eq!(voters(&mut group, 1), [1, 2, 3]);
}

#[test]
fn a_learner_that_is_behind_is_not_promoted() {
    let mut group = Group::new(&[1], Settings::default());
    assert_eq!(
        group.change(1, MemberChange::Promote { id: 2 }, false),
        Err(ChangeRefused::Unknown { id: 2 })
    );
    knock(&mut group, 2);
    group.isolated.insert(2);
    group.make(1, add(2));
    let member = group.member(1).replica().membership().get(2).expect("a member");
    assert_eq!((member.part, member.addr), (Part::Learner, Some(addr(2))));
    let promote = MemberChange::Promote { id: 2 };
    for force in [false, true] {
        assert_eq!(group.change(1, promote, force), Err(ChangeRefused::Behind { id: 2 }));
    }
    group.isolated.clear();
    group.tick(30);
    group.make(1, promote);
    assert_eq!(group.change(1, promote, false), Err(ChangeRefused::Votes { id: 2 }));
    assert_eq!(group.change(1, add(2), false), Err(ChangeRefused::Exists { id: 2 }));
}

#[test]
fn one_change_at_a_time_and_the_leaders_alone() {
    let mut group = Group::new(&[1, 2, 3], Settings::default());
    let leader = group.elect();
    let follower = leader % 3 + 1;
    let refused = ChangeRefused::NotLeader { leader: Some(leader) };
    assert_eq!(group.change(follower, add(4), false), Err(refused));
    group.change(leader, add(4), false).expect("taken");
    assert_eq!(group.change(leader, add(5), false), Err(ChangeRefused::Pending));
    group.deliver();
    group.make(leader, add(5));
    let own = MemberChange::Remove { id: leader };
    assert_eq!(group.change(leader, own, true), Err(ChangeRefused::Leads { id: leader }));
}

#[test]
fn what_would_break_the_quorum_is_refused_unless_forced() {
    let mut group = Group::new(&[1, 2, 3], Settings::default());
    let leader = group.elect();
    let (dead, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    group.isolated.insert(dead);
    group.tick(15);
    let remove = MemberChange::Remove { id: other };
    let refused = ChangeRefused::Quorum { voters: 2, heard: 1 };
    assert_eq!(group.change(leader, remove, false), Err(refused));
    group.make(leader, MemberChange::Remove { id: dead });
    assert_eq!(voters(&mut group, leader).len(), 2);
    assert_eq!(group.change(leader, add(dead), true), Err(ChangeRefused::Used { id: dead }));
    group.isolated.insert(other);
    group.tick(9);
    group.isolated.remove(&other);
    group.tick(5);
    group.make(leader, remove);
    let last = MemberChange::Remove { id: leader };
    assert_eq!(group.change(leader, last, true), Err(ChangeRefused::LastVoter { id: leader }));
}

#[test]
fn a_leader_judges_the_quorum_once_it_can_have_heard_all() {
    let mut group = Group::new(&[1, 2, 3], Settings::default());
    let old = group.elect();
    group.tick(30);
    group.isolated.insert(old);
    let new = group.elect();
    let other = 6 - old - new;
    let remove = MemberChange::Remove { id: other };
    assert_eq!(
        group.change(new, remove, false),
        Err(ChangeRefused::Early),
        "the old one may answer any time"
    );
    group.tick(10);
    let refused = ChangeRefused::Quorum { voters: 2, heard: 1 };
    assert_eq!(group.change(new, remove, false), Err(refused));
    group.isolated.clear();
    group.tick(5);
    group.isolated.insert(new);
    let next = group.elect();
    group.isolated.clear();
    group.tick(2);
    let away = 6 - next - new;
    group.make(next, MemberChange::Remove { id: away });
}

#[test]
fn force_passes_over_the_count() {
    let mut group = Group::new(&[1, 2, 3], Settings::default());
    let leader = group.elect();
    let (dead, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    group.isolated.insert(dead);
    group.tick(15);
    let id = group.change(leader, MemberChange::Remove { id: other }, true).expect("forced");
    group.deliver();
    // The old majority agreed to enter; the new one is needed to leave, and half of it is dead.
    assert!(!group.member(leader).seen.changes.contains(&(id, ChangeOutcome::Made)));
    group.isolated.clear();
    group.tick(60);
    let next = group.elect();
    assert!(!group.member(next).replica().membership().is_joint());
    assert!(!voters(&mut group, next).contains(&other));
}

#[test]
fn a_leader_hands_over_and_is_removed_by_the_next() {
    let mut group = Group::new(&[1, 2, 3], Settings::default());
    let old = group.elect();
    group.commit(old, &put(1));
    let heir = group.member(old).replica().node().heir().expect("they answer");
    group.member(old).driver.replica_mut().step(Input::Transfer(heir)).expect("taken");
    group.deliver();
    assert!(group.member(heir).replica().leads(), "at once, without an election timeout");
    group.make(heir, MemberChange::Remove { id: old });
    group.commit(heir, &put(2));
    // It is told nothing more, and disturbs nobody.
    group.tick(100);
    assert!(group.member(heir).replica().leads());
    assert!(!has(group.member(old).replica().store(), 99) && !voters(&mut group, heir).contains(&old));
}

#[test]
fn a_leader_that_finds_itself_removed_steps_down() {
    let mut group = Group::new(&[1, 2, 3], Settings::default());
    let first = group.elect();
    let second = first % 3 + 1;
    group.change(first, MemberChange::Remove { id: second }, false).expect("taken");
    // Its followers have the entry and do not know that it is committed; one of them takes over.
    group.deliver_some(2);
    group.member(second).driver.replica_mut().step(Input::Campaign).expect("taken");
    group.isolated.insert(first);
    group.tick(60);
    group.isolated.clear();
    let leader = group.elect();
    group.tick(60);
    let leader = if group.member(leader).replica().leads() { leader } else { group.elect() };
    assert_ne!(leader, second);
    assert!(!voters(&mut group, leader).contains(&second));
    assert!(!group.member(second).replica().leads());
}

/// The members of `survivors` agree, none is joint, and one of them takes writes.
fn assert_settled(group: &mut Group, number: u128, what: &str) {
    let leader = group.elect();
    group.tick(40);
    let leader = if group.member(leader).replica().leads() { leader } else { group.elect() };
    let members = group.member(leader).replica().membership().clone();
    assert!(!members.is_joint(), "{what}: joint for ever");
    group.commit(leader, &put(number));
    group.tick(20);
    for id in members.voters() {
        if let Some(member) = group.members.get(&id) {
            assert_eq!(member.replica().membership(), &members, "{what}: at {id}");
            assert!(has(member.replica().store(), number), "{what}: {id} is behind");
        }
    }
}

#[test]
fn a_crash_at_any_message_of_a_change_is_survived() {
    for (name, begins) in [("promote", true), ("remove", false)] {
        for crash in 0..30 {
            for stays_away in [false, true] {
                let what = format!("{name}, crash after {crash} messages, away: {stays_away}");
                let settings = Settings { seed: crash, ..small_logs() };
                let mut group = Group::new(&[1, 2, 3], settings);
                let leader = group.elect();
                knock(&mut group, 4);
                group.make(leader, add(4));
                group.tick(30);
                if !begins {
                    // Four, so that those who are left have a quorum without the leader.
                    group.make(leader, MemberChange::Promote { id: 4 });
                }
                let removed = leader % 3 + 1;
                let change = if begins {
                    MemberChange::Promote { id: 4 }
                } else {
                    MemberChange::Remove { id: removed }
                };
                group.change(leader, change, false).expect("taken");
                group.deliver_some(usize::try_from(crash).expect("small"));
                let mut dead = group.members.remove(&leader).expect("a member");
                if !stays_away {
                    group.start(dead.disk.crash());
                }
                assert_settled(&mut group, 1_000, &what);
                if stays_away {
                    group.start(dead.disk.crash());
                    group.tick(60);
                    assert_settled(&mut group, 1_001, &what);
                }
            }
        }
    }
}
