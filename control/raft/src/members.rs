//! Who belongs to the group, and where each is reached.
//!
//! Raft itself knows numbers alone. What else there is to know of a member travels in the context of the
//! change that brings it, and is kept beside the store in every snapshot, so that all members have the same
//! list at the same entry.

mod change;
mod note;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use raft::eraftpb::ConfState;
use serde::{Deserialize, Serialize};

pub use change::{ChangeOutcome, ChangeRefused, MemberChange};
pub use note::NoteError;
pub(crate) use note::{Note, head, split};

/// What a member's word counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// It votes, and counts for the quorum.
    Voter,
    /// It hears everything and does not vote yet.
    Learner,
}

/// One member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Its management address; `None` for the first of a group that was made without.
    pub addr: Option<SocketAddr>,
    /// What its word counts.
    pub part: Part,
}

/// The members as of one entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    list: BTreeMap<u64, Member>,
    known: Known,
    joint: bool,
}

/// What raft does not know of its members.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub addrs: BTreeMap<u64, SocketAddr>,
    /// Numbers that are never used again.
    pub removed: BTreeSet<u64>,
}

impl Members {
    pub(crate) fn new(conf: &ConfState, known: Known) -> Self {
        let mut members = Self { list: BTreeMap::new(), known, joint: false };
        members.follow(conf);
        members
    }

    /// Every member by raft's number.
    pub fn iter(&self) -> impl Iterator<Item = (u64, Member)> {
        self.list.iter().map(|(id, member)| (*id, *member))
    }

    /// One member.
    pub fn get(&self, id: u64) -> Option<Member> {
        self.list.get(&id).copied()
    }

    /// The numbers of those who vote.
    pub fn voters(&self) -> BTreeSet<u64> {
        self.iter().filter(|(_, member)| member.part == Part::Voter).map(|(id, _)| id).collect()
    }

    /// Whether a change has begun and not ended: old and new majorities must both agree until it has.
    pub fn is_joint(&self) -> bool {
        self.joint
    }

    /// Whether this number belonged to a member that is gone. Nobody gets it again.
    pub fn is_removed(&self, id: u64) -> bool {
        self.known.removed.contains(&id)
    }

    pub(crate) fn known(&self) -> &Known {
        &self.known
    }

    /// A change was applied: `note` is what it brought, `conf` what raft makes of it.
    pub(crate) fn apply(&mut self, conf: &ConfState, note: Option<&MemberChange>) {
        if let Some(MemberChange::AddLearner { id, addr } | MemberChange::Move { id, addr }) = note {
            self.known.addrs.insert(*id, *addr);
        }
        let before: BTreeSet<u64> = self.list.keys().copied().collect();
        self.follow(conf);
        self.known.removed.extend(before.into_iter().filter(|id| !self.list.contains_key(id)));
        self.known.addrs.retain(|id, _| self.list.contains_key(id));
    }

    fn follow(&mut self, conf: &ConfState) {
        self.joint = !conf.voters_outgoing.is_empty();
        let learners = conf.learners.iter().chain(&conf.learners_next).map(|id| (*id, Part::Learner));
        let voters = conf.voters.iter().chain(&conf.voters_outgoing).map(|id| (*id, Part::Voter));
        let member = |(id, part)| (id, Member { addr: self.known.addrs.get(&id).copied(), part });
        self.list = learners.chain(voters).map(member).collect();
    }
}
