//! Who is a member of raft's group, as against who is to be a manager: what the leader does to make the one
//! follow the other. A pure decision, made again whenever either changes; every step may be repeated, so
//! a leader that comes in the middle goes on where the last one was.
//!
//! A node enters by itself, when its certificate and its endpoint are ready for it
//! ([`crate::command::enter_raft`]); it leaves by what is decided here: first raft's group, then in the store.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::command::has_quorum;
use crate::id::NodeId;
use crate::object::Node;
use crate::spec::Role;
use crate::store::Store;
use crate::time::Timestamp;

/// Time that a member nobody knows has until it is removed: it may be about to enter, with a leader that died
/// before it wrote that down, and asks again.
pub const STRAY_GRACE: Duration = Duration::from_secs(10);

/// Time after which what is not done yet is decided anew, when nothing else happens: who answers is no event.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A member of raft's group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// It counts for the quorum; else it only learns.
    pub votes: bool,
    /// It was heard of within an election timeout, or is the leader itself.
    pub answers: bool,
}

/// What the leader sees. The store is read before the members, so that no node seems to have left that has just
/// entered.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The store.
    pub store: &'a Store,
    /// The members by raft's numbers, the leader's own among them.
    pub members: &'a BTreeMap<u64, Member>,
    /// Members that this leader is letting in just now.
    pub entering: &'a BTreeSet<u64>,
    /// The leader's own number.
    pub own: u64,
    /// A change of the members is on its way; there is one at a time.
    pub changing: bool,
}

/// Something to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleAction {
    /// Remove a member from raft's group.
    Remove {
        /// Its number.
        raft_id: u64,
        /// The node that it belongs to, if the store still has it.
        node: Option<NodeId>,
    },
    /// Hand leadership over: the leader itself is to leave, and nobody removes himself.
    HandOver {
        /// A member that stays.
        to: u64,
    },
    /// Write down that a node is no member any more ([`crate::command::leave_raft`]).
    Clear {
        /// The node.
        node: NodeId,
    },
}

/// What is to be done now, and when to ask again at the latest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// At most one of them concerns the members.
    pub actions: Vec<RoleAction>,
    /// When to decide anew, if nothing changes before.
    pub wake_at: Option<Timestamp>,
}

/// What one leader remembers from one decision to the next.
#[derive(Debug, Default)]
pub struct Roles {
    /// Numbers that the store has had for a node: one that it has no more is gone for good.
    known: BTreeSet<u64>,
    /// Members that the store never knew, and since when.
    strays: BTreeMap<u64, Timestamp>,
}

impl Roles {
    /// Decides what to do. Actions that are not carried out come again.
    pub fn decide(&mut self, view: View<'_>, now: Timestamp) -> Decision {
        let owners: BTreeMap<u64, &Node> =
            view.store.nodes().filter_map(|node| Some((node.manager.as_ref()?.raft_id, &**node))).collect();
        self.remember(view, &owners, now);
        let leaving = self.leaving(view, &owners, now);
        let gone = owners.iter().filter(|(id, _)| !view.members.contains_key(id));
        let mut actions: Vec<_> = gone.map(|(_, node)| RoleAction::Clear { node: node.id }).collect();
        let node = |raft_id: u64| owners.get(&raft_id).map(|node| node.id);
        actions.extend(next_change(view, &leaving).filter(|_| !view.changing).map(|change| match change {
            Change::Remove(raft_id) => RoleAction::Remove { raft_id, node: node(raft_id) },
            Change::HandOver(to) => RoleAction::HandOver { to },
        }));
        let again = (!actions.is_empty() || !leaving.is_empty()).then(|| now + RETRY_AFTER);
        let strays = self.strays.values().map(|since| *since + STRAY_GRACE).filter(|at| *at > now);
        Decision { actions, wake_at: strays.chain(again).min() }
    }

    fn remember(&mut self, view: View<'_>, owners: &BTreeMap<u64, &Node>, now: Timestamp) {
        self.known.extend(owners.keys());
        self.known.retain(|id| view.members.contains_key(id));
        let known = &self.known;
        let is_stray =
            |id: &u64| view.members.contains_key(id) && !known.contains(id) && !view.entering.contains(id);
        self.strays.retain(|id, _| is_stray(id));
        for id in view.members.keys().filter(|id| is_stray(id)) {
            self.strays.entry(*id).or_insert(now);
        }
    }

    /// The members that are to go.
    fn leaving(&self, view: View<'_>, owners: &BTreeMap<u64, &Node>, now: Timestamp) -> BTreeSet<u64> {
        let leaves = |id: &u64| match owners.get(id) {
            Some(node) => node.spec.role == Role::Worker,
            None if view.entering.contains(id) => false,
            None => self.strays.get(id).is_none_or(|since| *since + STRAY_GRACE <= now),
        };
        view.members.keys().copied().filter(leaves).collect()
    }
}

/// A change of the members, or what has to come before it.
enum Change {
    Remove(u64),
    HandOver(u64),
}

/// What is next for the members. Those that count least go first: learners, then those that do not answer; the
/// leader hands over last. Nobody goes whose vote the others need.
fn next_change(view: View<'_>, leaving: &BTreeSet<u64>) -> Option<Change> {
    let voters: BTreeSet<u64> = view.members.iter().filter(|(_, it)| it.votes).map(|(id, _)| *id).collect();
    let answering: BTreeSet<u64> =
        view.members.iter().filter(|(_, it)| it.answers).map(|(id, _)| *id).collect();
    let can_go = |id: u64| {
        let others: BTreeSet<u64> = voters.iter().copied().filter(|other| *other != id).collect();
        !voters.contains(&id) || has_quorum(&others, &answering)
    };
    let heir = || voters.difference(leaving).copied().find(|id| *id != view.own && answering.contains(id));
    let others = leaving.iter().copied().filter(|id| *id != view.own && can_go(*id));
    let first = others.min_by_key(|id| (voters.contains(id), answering.contains(id), *id));
    let own_turn = || leaving.contains(&view.own).then(heir).flatten();
    first.map(Change::Remove).or_else(|| own_turn().map(Change::HandOver))
}
