//! Managers: who may become one, who may stop being one.

use super::*;

/// A cluster whose nodes are managers from 1 to `count`, each with its node's number in raft, and all of them
/// members.
fn managers(count: u32) -> Bench {
    let mut bench = Bench::new();
    for number in 2..=count {
        let id = bench.join(number, |join| join.spec.role = Role::Manager).unwrap();
        let entered = enter_raft(&bench.store, id, status(number.into()), AT).unwrap();
        bench.apply(&entered);
    }
    bench
}

fn node(number: u128) -> NodeId {
    NodeId::from_bits(number)
}

impl Bench {
    fn give_role(&mut self, number: u128, role: Role, reachable: &[u64]) -> Result<(), Refusal> {
        let node = self.node(number);
        let (id, version, spec) = (node.id, node.meta.version, NodeSpec { role, ..node.spec.clone() });
        let reachable = reachable.iter().copied().collect();
        let made = update_node(&self.store, id, version, spec, &reachable, AT)?;
        self.apply(&made);
        Ok(())
    }

    fn remove(&mut self, number: u128, force: bool, reachable: &[u64]) -> Result<(), Refusal> {
        let reachable = reachable.iter().copied().collect();
        let made = remove_node(&self.store, node(number), force, &reachable, AT)?;
        self.apply(&made);
        Ok(())
    }
}

const LAST: &str = "attempting to demote the last manager of the swarm";
const QUORUM: &str = "can't remove member from the raft: this would result in a loss of quorum";

fn precondition(text: &str) -> (RefusalKind, String) {
    (RefusalKind::FailedPrecondition, text.to_owned())
}

#[test]
fn a_node_is_promoted_and_enters_raft_when_it_is_ready_for_it() {
    let mut bench = Bench::new();
    let id = bench.join(2, |_| {}).unwrap();
    let early = enter_raft(&bench.store, id, status(2), AT);
    assert_eq!(words(early), precondition(&format!("node {id} is not to be a manager: promote it first")));
    bench.give_role(2, Role::Manager, &[1]).unwrap();
    assert_eq!((bench.node(2).spec.role, &bench.node(2).manager), (Role::Manager, &None));
    let entered = enter_raft(&bench.store, id, status(2), AT).unwrap();
    bench.apply(&entered);
    assert_eq!(bench.node(2).manager, Some(status(2)));
    let again = enter_raft(&bench.store, id, status(2), AT).unwrap();
    assert!(again.writes.is_empty(), "entering twice is no change");
    let moved = ManagerStatus { addr: ([192, 0, 2, 99], 2377).into(), ..status(2) };
    let moved = enter_raft(&bench.store, id, moved, AT).unwrap();
    assert_eq!(moved.writes.len(), 1, "another address is one");
}

#[test]
fn raft_numbers_belong_to_one_node() {
    let mut bench = managers(2);
    let id = bench.join(3, |join| join.spec.role = Role::Manager).unwrap();
    let taken = enter_raft(&bench.store, id, status(2), AT);
    assert_eq!(words(taken), precondition(&format!("raft id 2 belongs to node {}", node(2))));
    let nobody = enter_raft(&bench.store, id, status(0), AT);
    assert_eq!(words(nobody), (RefusalKind::InvalidArgument, "invalid raft id: 0 is nobody's".into()));
    // Two who enter at once with one number: the second finds it taken when it is applied.
    let other = bench.join(4, |join| join.spec.role = Role::Manager).unwrap();
    let first = enter_raft(&bench.store, id, status(9), AT).unwrap();
    let second = enter_raft(&bench.store, other, status(9), AT).unwrap();
    bench.apply(&first);
    let conflict = bench.store.clone().apply(bench.store.index() + 1, &second).unwrap_err();
    assert_eq!(conflict.to_string(), format!("node {other} wants raft id 9, which belongs to node {id}"));
    let left = leave_raft(&bench.store, id, AT).unwrap();
    bench.apply(&left);
    bench.apply(&second);
    assert!(leave_raft(&bench.store, id, AT).unwrap().writes.is_empty(), "leaving twice is no change");
}

#[test]
fn the_last_manager_stays_one() {
    let mut bench = managers(1);
    assert_eq!(words(bench.give_role(1, Role::Worker, &[1])), precondition(LAST));
    // One that was promoted and is no member yet does not count, and may be demoted again.
    bench.join(2, |join| join.spec.role = Role::Manager).unwrap();
    assert_eq!(words(bench.give_role(1, Role::Worker, &[1])), precondition(LAST));
    bench.give_role(2, Role::Worker, &[1]).unwrap();
    let entered = enter_raft(&bench.store, node(2), status(2), AT);
    assert_eq!(words(entered).0, RefusalKind::FailedPrecondition);
    // Nor does one that is to become a worker and is still a member.
    let mut bench = managers(2);
    bench.give_role(2, Role::Worker, &[1, 2]).unwrap();
    assert_eq!(words(bench.give_role(1, Role::Worker, &[1, 2])), precondition(LAST));
    let leaving = depart_node(&bench.store, node(1), false, &[1, 2].into(), AT);
    assert_eq!(words(leaving), precondition(LAST));
    let back = rejoin_node(&bench.store, join_request(1), &[1, 2].into(), AT);
    assert_eq!(words(back), precondition(LAST), "a worker's token makes it none either");
    depart_node(&bench.store, node(1), true, &[1, 2].into(), AT).expect("by force it goes");
}

#[test]
fn a_demotion_leaves_a_quorum_that_answers() {
    // Managers, those that answer, the one to be demoted, whether it may be.
    let cases: [(u32, &[u64], u128, bool); 10] = [
        (2, &[1, 2], 2, true),
        (2, &[1], 2, true),
        (3, &[1, 2, 3], 3, true),
        (3, &[1, 2], 3, true),
        (3, &[1, 2], 2, false),
        (4, &[1, 2, 3], 2, true),
        (5, &[1, 2, 3], 3, false),
        (5, &[1, 2, 3], 4, true),
        (5, &[1, 2, 3, 4], 4, true),
        (5, &[], 4, false),
    ];
    for (count, reachable, number, allowed) in cases {
        let case = format!("{count} managers, {reachable:?} answer, {number} goes");
        let outcome = managers(count).give_role(number, Role::Worker, reachable);
        match outcome {
            Ok(()) => assert!(allowed, "{case}"),
            Err(_) => assert_eq!((words(outcome), allowed), (precondition(QUORUM), false), "{case}"),
        }
        let leaves = depart_node(
            &managers(count).store,
            node(number),
            false,
            &reachable.iter().copied().collect(),
            AT,
        );
        assert_eq!(leaves.is_ok(), allowed, "{case}: leaving is no other thing");
        assert_eq!(
            managers(count).remove(number, true, reachable).is_ok(),
            allowed,
            "{case}: nor is removal"
        );
    }
}

#[test]
fn managers_that_are_being_demoted_count_no_more() {
    let mut bench = managers(3);
    bench.give_role(3, Role::Worker, &[1, 2]).unwrap();
    bench.give_role(2, Role::Worker, &[1, 2]).unwrap();
    bench.give_role(2, Role::Worker, &[]).expect("what is a worker already needs nobody");
    bench.give_role(3, Role::Manager, &[]).expect("nor does a promotion");
}

#[test]
fn a_manager_is_removed_by_force_alone() {
    let mut bench = managers(3);
    let refusal = format!(
        "node {} is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal",
        node(3)
    );
    assert_eq!(words(bench.remove(3, false, &[1, 2, 3])), precondition(&refusal));
    assert_eq!(words(bench.remove(3, true, &[1])), precondition(QUORUM));
    bench.remove(3, true, &[1, 2]).unwrap();
    assert!(bench.store.node(node(3)).is_none());
    assert_eq!(words(managers(1).remove(1, true, &[1])), precondition(QUORUM), "nobody would be left");
    let mut bench = managers(2);
    bench.join(3, |join| join.spec.role = Role::Manager).unwrap();
    bench.remove(3, false, &[1, 2]).expect("what is no member yet goes like a worker");
}

#[test]
fn a_manager_that_leaves_is_a_worker_from_then_on() {
    let mut bench = managers(3);
    let left = depart_node(&bench.store, node(3), false, &[1, 2, 3].into(), AT).unwrap();
    bench.apply(&left);
    let node = bench.node(3);
    assert_eq!((node.spec.role, &node.manager), (Role::Worker, &None));
    assert_eq!(node.status.state, NodeState::Disconnected);
    bench.remove(3, false, &[1, 2]).unwrap();
}

#[test]
fn the_one_that_is_left_goes_on_alone() {
    let mut bench = managers(3);
    let worker = bench.join(4, |_| {}).unwrap();
    let service = bench.service(publishing("web", &[tcp(8080)])).unwrap();
    let before = bench.store.clone();
    // It may take a number that a lost manager had.
    let made = force_new_cluster(&bench.store, node(2), &status(3), AT).unwrap();
    bench.apply(&made);
    let parts = (1..=4).map(|number| (bench.node(number).spec.role, bench.node(number).manager.clone()));
    let alone = (Role::Manager, Some(status(3)));
    let others = || (Role::Worker, None);
    assert_eq!(parts.collect::<Vec<_>>(), [others(), alone, others(), others()]);
    let store = &bench.store;
    assert_eq!(store.service(service), before.service(service));
    assert_eq!(store.node(worker), before.node(worker), "a worker is not touched");
    assert_eq!(store.cluster().unwrap().worker_token, before.cluster().unwrap().worker_token);
    assert_eq!(store.networks().count(), before.networks().count());
    let again = force_new_cluster(store, node(2), &status(3), AT).unwrap();
    assert!(again.writes.is_empty(), "done twice it changes nothing");
    // The others are let in again as new managers.
    bench.give_role(1, Role::Manager, &[3]).unwrap();
    let entered = enter_raft(&bench.store, node(1), status(8), AT).unwrap();
    bench.apply(&entered);
}
