//! The leader's decisions, one by one and run to their end against a group of raft's that obeys.

use proptest::prelude::*;

use super::*;
use crate::command;
use crate::id::Entropy;
use crate::object::ManagerStatus;
use crate::store::Write;
use crate::testing::{Seeded, init_request, join_request};

const AT: Timestamp = Timestamp(1_000_000_000);
const NOBODY: BTreeSet<u64> = BTreeSet::new();

fn node(number: u64) -> NodeId {
    NodeId::from_bits(number.into())
}

/// The store and raft's group. Node N is raft's number N.
struct Group {
    store: Store,
    members: BTreeMap<u64, Member>,
    entering: BTreeSet<u64>,
    own: u64,
    changing: bool,
    roles: Roles,
    now: Timestamp,
}

impl Group {
    /// `count` managers that all answer; the first leads.
    fn of(count: u64) -> Self {
        let mut store = Store::default();
        let begin = command::init_cluster(&store, init_request(), AT, &mut Seeded(1)).unwrap();
        store.apply(1, &begin).unwrap();
        let mut group = Self {
            store,
            members: BTreeMap::new(),
            entering: BTreeSet::new(),
            own: 1,
            changing: false,
            roles: Roles::default(),
            now: AT,
        };
        group.member(1, true, true);
        for number in 2..=count {
            group.join(number, Role::Manager);
            group.member(number, true, true);
            group.write(number, |node| node.manager = Some(status(number)));
        }
        group
    }

    fn join(&mut self, number: u64, role: Role) {
        let mut join = join_request(u32::try_from(number).unwrap());
        join.spec.role = role;
        let made = command::join_node(&self.store, join, AT).unwrap();
        self.store.apply(self.store.index() + 1, &made).unwrap();
    }

    fn member(&mut self, raft_id: u64, votes: bool, answers: bool) {
        self.members.insert(raft_id, Member { votes, answers });
    }

    fn write(&mut self, number: u64, change: impl FnOnce(&mut Node)) {
        let mut changed = Node::clone(self.store.node(node(number)).unwrap());
        change(&mut changed);
        let made = crate::store::Transaction { at: AT, writes: vec![Write::update(changed.into())] };
        self.store.apply(self.store.index() + 1, &made).unwrap();
    }

    fn demote(&mut self, number: u64) {
        self.write(number, |node| node.spec.role = Role::Worker);
    }

    fn forget(&mut self, number: u64) {
        let all = self.members.keys().copied().collect();
        let gone = command::remove_node(&self.store, node(number), true, &all, AT).unwrap();
        self.store.apply(self.store.index() + 1, &gone).unwrap();
    }

    fn silence(&mut self, raft_id: u64) {
        self.members.get_mut(&raft_id).unwrap().answers = false;
    }

    fn decide(&mut self) -> Decision {
        let view = View {
            store: &self.store,
            members: &self.members,
            entering: &self.entering,
            own: self.own,
            changing: self.changing,
        };
        self.roles.decide(view, self.now)
    }

    fn actions(&mut self) -> Vec<RoleAction> {
        self.decide().actions
    }

    /// Another leads, and knows what the store and raft say.
    fn lead(&mut self, raft_id: u64) {
        (self.own, self.roles, self.entering) = (raft_id, Roles::default(), NOBODY);
    }

    /// Does what is decided until nothing is; false when it does not end.
    fn settle(&mut self) -> bool {
        for _ in 0..100 {
            let decision = self.decide();
            if decision.actions.is_empty() {
                match decision.wake_at {
                    Some(at) if at <= self.now + STRAY_GRACE => self.now = at,
                    _ => return true,
                }
            }
            for action in decision.actions {
                self.obey(action);
            }
        }
        false
    }

    fn obey(&mut self, action: RoleAction) {
        match action {
            RoleAction::Clear { node } => {
                let made = command::leave_raft(&self.store, node, AT).unwrap();
                self.store.apply(self.store.index() + 1, &made).unwrap();
            }
            RoleAction::Remove { raft_id, .. } => {
                self.members.remove(&raft_id).expect("a member");
                self.check_quorum();
            }
            RoleAction::HandOver { to } => {
                assert!(self.members[&to].votes && self.members[&to].answers, "{to} cannot lead");
                self.lead(to);
            }
        }
    }

    fn check_quorum(&self) {
        let voters = self.members.values().filter(|it| it.votes);
        let answering = voters.clone().filter(|it| it.answers).count();
        assert!(answering > voters.count() / 2, "the quorum is lost: {:?}", self.members);
        assert!(self.members.contains_key(&self.own), "the leader removed itself");
    }
}

fn status(raft_id: u64) -> ManagerStatus {
    ManagerStatus { raft_id, addr: ([192, 0, 2, 1], 2377).into() }
}

fn remove(raft_id: u64) -> RoleAction {
    RoleAction::Remove { raft_id, node: Some(node(raft_id)) }
}

fn clear(number: u64) -> RoleAction {
    RoleAction::Clear { node: node(number) }
}

#[test]
fn a_group_that_is_as_it_should_be_is_left_alone() {
    let mut group = Group::of(3);
    group.join(4, Role::Worker);
    group.join(5, Role::Manager);
    assert_eq!(group.decide(), Decision::default(), "one that is promoted enters by itself");
    group.silence(3);
    assert_eq!(group.decide(), Decision::default(), "and one that does not answer stays");
}

#[test]
fn a_demoted_manager_leaves_raft_and_then_the_store_says_so() {
    let mut group = Group::of(3);
    group.demote(2);
    let decision = group.decide();
    assert_eq!(decision, Decision { actions: vec![remove(2)], wake_at: Some(AT + RETRY_AFTER) });
    assert_eq!(group.actions(), [remove(2)], "until it is done");
    group.members.remove(&2);
    assert_eq!(group.actions(), [clear(2)]);
    group.write(2, |node| node.manager = None);
    assert_eq!(group.decide(), Decision::default());
}

#[test]
fn a_demoted_leader_hands_over_and_the_next_removes_it() {
    let mut group = Group::of(4);
    group.demote(1);
    assert_eq!(group.actions(), [RoleAction::HandOver { to: 2 }]);
    group.silence(2);
    assert_eq!(group.actions(), [RoleAction::HandOver { to: 3 }], "to one that answers");
    group.lead(3);
    assert_eq!(group.actions(), [remove(1)]);
}

#[test]
fn leadership_is_handed_to_one_that_stays_and_answers() {
    let mut group = Group::of(2);
    group.demote(1);
    group.silence(2);
    let waiting = group.decide();
    assert_eq!(waiting, Decision { actions: Vec::new(), wake_at: Some(AT + RETRY_AFTER) });
    // One that is to leave as well would only hand it back.
    let mut group = Group::of(3);
    group.demote(1);
    group.demote(2);
    group.silence(3);
    assert_eq!(group.actions(), []);
    // It is the only one: whoever demoted it was not asked.
    let mut group = Group::of(1);
    group.demote(1);
    assert_eq!(group.actions(), []);
    // A learner leads nothing.
    group.join(2, Role::Manager);
    group.member(2, false, true);
    group.write(2, |node| node.manager = Some(status(2)));
    assert_eq!(group.actions(), []);
}

#[test]
fn one_change_at_a_time_the_least_important_first() {
    let mut group = Group::of(5);
    group.members.get_mut(&5).unwrap().votes = false;
    group.silence(4);
    for number in [1, 3, 4, 5] {
        group.demote(number);
    }
    let mut order = Vec::new();
    while let [action, ..] = group.actions()[..] {
        order.push(action);
        group.obey(action);
    }
    let expected = [
        remove(5),
        clear(5),
        remove(4),
        clear(4),
        remove(3),
        clear(3),
        RoleAction::HandOver { to: 2 },
        remove(1),
        clear(1),
    ];
    assert_eq!(order, expected);
    assert_eq!(group.members.keys().copied().collect::<Vec<_>>(), [2]);
}

#[test]
fn while_a_change_is_on_its_way_no_other_begins() {
    let mut group = Group::of(3);
    group.demote(2);
    group.demote(3);
    group.members.remove(&3);
    group.changing = true;
    assert_eq!(group.actions(), [clear(3)], "what the store says is no change of the members");
    assert!(group.decide().wake_at.is_some());
    group.changing = false;
    assert_eq!(group.actions(), [clear(3), remove(2)]);
    // Nor does the leader go meanwhile.
    let mut group = Group::of(3);
    group.demote(1);
    group.changing = true;
    assert_eq!(group.actions(), []);
}

#[test]
fn nobody_goes_whose_vote_the_others_need() {
    let mut group = Group::of(3);
    group.silence(3);
    group.demote(2);
    let waiting = group.decide();
    assert_eq!(waiting, Decision { actions: Vec::new(), wake_at: Some(AT + RETRY_AFTER) });
    group.members.get_mut(&3).unwrap().answers = true;
    assert_eq!(group.actions(), [remove(2)]);
    // The one that does not answer may go, and makes way for the other.
    let mut group = Group::of(3);
    group.silence(3);
    group.demote(2);
    group.demote(3);
    assert_eq!(group.actions(), [remove(3)]);
    group.obey(remove(3));
    assert_eq!(group.actions(), [clear(3), remove(2)]);
}

#[test]
fn a_manager_that_was_removed_by_force_leaves_raft_at_once() {
    let mut group = Group::of(3);
    group.decide();
    group.forget(3);
    assert_eq!(group.actions(), [RoleAction::Remove { raft_id: 3, node: None }]);
    // A leader that came after that has never seen it: it waits first.
    group.lead(2);
    let waiting = group.decide();
    assert_eq!(waiting, Decision { actions: Vec::new(), wake_at: Some(AT + STRAY_GRACE) });
    group.now = AT + STRAY_GRACE;
    assert_eq!(group.actions(), [RoleAction::Remove { raft_id: 3, node: None }]);
}

#[test]
fn a_leader_whose_node_was_removed_hands_over() {
    let mut group = Group::of(3);
    group.decide();
    group.forget(1);
    assert_eq!(group.actions(), [RoleAction::HandOver { to: 2 }]);
}

#[test]
fn a_member_that_is_entering_is_given_time() {
    let mut group = Group::of(1);
    group.join(2, Role::Manager);
    group.member(2, false, true);
    group.entering.insert(2);
    group.now = AT + STRAY_GRACE * 10;
    assert_eq!(group.decide(), Decision::default(), "as long as the leader is at it");
    group.entering.clear();
    let began = group.now;
    assert_eq!(group.decide().wake_at, Some(began + STRAY_GRACE), "its time begins when the leader gives up");
    group.now = began + STRAY_GRACE / 2;
    group.entering.insert(2);
    assert_eq!(group.decide(), Decision::default());
    group.entering.clear();
    assert_eq!(group.decide().wake_at, Some(group.now + STRAY_GRACE), "and anew when it asked again");
    group.member(2, true, true);
    group.write(2, |node| node.manager = Some(status(2)));
    group.now = began + STRAY_GRACE * 10;
    assert_eq!(group.decide(), Decision::default(), "it is in");
}

#[test]
fn a_node_that_enters_with_a_new_number_leaves_the_old_one_behind() {
    let mut group = Group::of(3);
    group.decide();
    group.silence(3);
    group.member(33, true, true);
    group.entering.insert(33);
    group.write(3, |node| node.manager = Some(status(33)));
    group.entering.clear();
    assert_eq!(group.actions(), [RoleAction::Remove { raft_id: 3, node: None }]);
    assert!(group.settle());
    assert_eq!(group.members.keys().copied().collect::<Vec<_>>(), [1, 2, 33]);
}

#[test]
fn a_manager_that_raft_does_not_have_is_not_called_one() {
    let mut group = Group::of(3);
    group.members.remove(&2);
    assert_eq!(group.actions(), [clear(2)], "it is still to be one, and enters again");
    assert!(group.settle());
    assert_eq!(group.store.node(node(2)).unwrap().spec.role, Role::Manager);
}

/// One random thing happens.
fn disturb(group: &mut Group, entropy: &mut Seeded) {
    let number = 1 + entropy.below(7);
    let known = group.store.node(node(number)).cloned();
    let all: BTreeSet<u64> = group.members.iter().filter(|(_, it)| it.answers).map(|(id, _)| *id).collect();
    match (entropy.below(6), known) {
        (0, None) => group.join(number, Role::Manager),
        (1, Some(known)) => {
            let role = if entropy.below(2) == 0 { Role::Worker } else { Role::Manager };
            let spec = crate::spec::NodeSpec { role, ..known.spec.clone() };
            if let Ok(made) = command::update_node(&group.store, known.id, known.meta.version, spec, &all, AT)
            {
                group.store.apply(group.store.index() + 1, &made).unwrap();
            }
        }
        // It enters, perhaps a second time with an empty disk, and perhaps its leader dies before all is done.
        (2, Some(known)) if known.spec.role == Role::Manager => {
            let raft_id = 100 + entropy.below(u64::MAX - 100);
            let votes = entropy.below(2) == 0;
            let leads = known.manager.as_ref().is_some_and(|manager| manager.raft_id == group.own);
            group.member(raft_id, votes, true);
            if votes && !leads && entropy.below(2) == 0 {
                group.write(number, |node| node.manager = Some(status(raft_id)));
            }
        }
        (3, Some(_)) => {
            if let Ok(gone) = command::remove_node(&group.store, node(number), true, &all, AT) {
                group.store.apply(group.store.index() + 1, &gone).unwrap();
            }
        }
        (4, _) => {
            if let Some(action) = group.actions().into_iter().next() {
                group.obey(action);
            }
        }
        _ => group.now = group.now + Duration::from_secs(entropy.below(8)),
    }
}

proptest! {
    #![proptest_config(crate::testing::cases(128))]

    /// Whatever was asked for meanwhile, and however often another led: in the end the members are the managers,
    /// and on the way there was always a quorum and the leader never removed itself.
    #[test]
    fn members_become_what_the_managers_are(seed: u64) {
        let (mut group, mut entropy) = (Group::of(3), Seeded(seed));
        for _ in 0..60 {
            disturb(&mut group, &mut entropy);
        }
        let ends = group.settle();
        prop_assert!(ends, "it goes on for ever: {} leads {:?}", group.own, group.members);
        let wanted: BTreeSet<u64> = group
            .store
            .nodes()
            .filter_map(|node| node.manager.as_ref().map(|it| (node.spec.role, it.raft_id)))
            .map(|(role, raft_id)| {
                assert_eq!(role, Role::Manager, "a worker is no member");
                raft_id
            })
            .collect();
        prop_assert_eq!(group.members.keys().copied().collect::<BTreeSet<_>>(), wanted);
    }
}
