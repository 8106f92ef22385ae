//! One change of the members, and why it is refused.

use std::net::SocketAddr;

use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2};
use serde::{Deserialize, Serialize};

use super::{Members, Part};

/// A change of the members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberChange {
    /// A new member, which does not vote yet.
    AddLearner {
        /// Its number, never used before.
        id: u64,
        /// Where it is reached.
        addr: SocketAddr,
    },
    /// A learner that has caught up votes from now on.
    Promote {
        /// Its number.
        id: u64,
    },
    /// A member goes.
    Remove {
        /// Its number.
        id: u64,
    },
    /// A member is reached elsewhere from now on.
    Move {
        /// Its number.
        id: u64,
        /// Where.
        addr: SocketAddr,
    },
}

impl MemberChange {
    /// The member that it is about.
    pub fn id(&self) -> u64 {
        match self {
            Self::AddLearner { id, .. }
            | Self::Promote { id }
            | Self::Remove { id }
            | Self::Move { id, .. } => *id,
        }
    }

    /// Raft's form of it, by way of a joint configuration that is left by itself.
    pub(crate) fn to_raft(self, part: Option<Part>, context: Vec<u8>) -> ConfChangeV2 {
        let kind = match (self, part) {
            (Self::Remove { .. }, _) => ConfChangeType::RemoveNode,
            (Self::Promote { .. }, _) | (Self::Move { .. }, Some(Part::Voter)) => ConfChangeType::AddNode,
            (Self::AddLearner { .. } | Self::Move { .. }, _) => ConfChangeType::AddLearnerNode,
        };
        let mut single = ConfChangeSingle { node_id: self.id(), ..ConfChangeSingle::default() };
        single.set_change_type(kind);
        let mut change = ConfChangeV2 { context: context.into(), ..ConfChangeV2::default() };
        change.set_transition(ConfChangeTransition::Implicit);
        change.mut_changes().push(single);
        change
    }

    /// Whether the members allow it at all.
    pub(crate) fn fits(&self, members: &Members) -> Result<(), ChangeRefused> {
        let id = self.id();
        let found = members.get(id).map(|member| member.part);
        match (self, found) {
            (Self::AddLearner { .. }, Some(_)) => Err(ChangeRefused::Exists { id }),
            (Self::AddLearner { .. }, None) if id == 0 || members.is_removed(id) => {
                Err(ChangeRefused::Used { id })
            }
            (Self::AddLearner { .. }, None) => Ok(()),
            (_, None) => Err(ChangeRefused::Unknown { id }),
            (Self::Promote { .. }, Some(Part::Voter)) => Err(ChangeRefused::Votes { id }),
            (Self::Remove { .. }, Some(Part::Voter)) if members.voters().len() == 1 => {
                Err(ChangeRefused::LastVoter { id })
            }
            (Self::Promote { .. } | Self::Remove { .. } | Self::Move { .. }, Some(_)) => Ok(()),
        }
    }

    /// Whether those who would vote, and were heard of, can decide anything.
    pub(crate) fn keeps_quorum(
        &self,
        members: &Members,
        is_heard: impl Fn(u64) -> bool,
    ) -> Result<(), ChangeRefused> {
        let mut voters = members.voters();
        let changes = match self {
            Self::Promote { id } => voters.insert(*id),
            Self::Remove { id } => voters.remove(id),
            Self::AddLearner { .. } | Self::Move { .. } => false,
        };
        let heard = voters.iter().filter(|id| is_heard(**id)).count();
        if changes && heard * 2 <= voters.len() {
            return Err(ChangeRefused::Quorum { voters: voters.len(), heard });
        }
        Ok(())
    }
}

/// How a change ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeOutcome {
    /// It is made, and the group is no longer between two configurations.
    Made,
    /// Another leader's entry has its place: it was not and never will be made.
    Lost,
}

/// Why a change is not begun. It was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefused {
    /// Another manager leads, or none.
    #[error("this manager does not lead{}", leader.map(|id| format!(", manager {id} does")).unwrap_or_default())]
    NotLeader {
        /// The leader, where it is known.
        leader: Option<u64>,
    },
    /// Another change has not ended.
    #[error("another change of the managers has not ended")]
    Pending,
    /// Too much is on its way already.
    #[error("too much waits to be committed")]
    Busy,
    /// The learner does not have what the others have.
    #[error("manager {id} has not caught up with the others")]
    Behind {
        /// The learner.
        id: u64,
    },
    /// The leader is to go: leadership goes first.
    #[error("manager {id} leads: another must take over first")]
    Leads {
        /// The leader.
        id: u64,
    },
    /// No such member.
    #[error("no manager has number {id}")]
    Unknown {
        /// The number.
        id: u64,
    },
    /// It is a member.
    #[error("number {id} is a manager's already")]
    Exists {
        /// The number.
        id: u64,
    },
    /// It was a member, or is no number at all.
    #[error("number {id} cannot be given to a manager (again)")]
    Used {
        /// The number.
        id: u64,
    },
    /// It votes.
    #[error("manager {id} votes already")]
    Votes {
        /// The member.
        id: u64,
    },
    /// Nobody would be left.
    #[error("manager {id} is the last: the cluster ends with it")]
    LastVoter {
        /// The member.
        id: u64,
    },
    /// The leader's time has just begun: it cannot tell yet whether enough of those who would vote answer.
    #[error("this manager leads only since, and has not heard from all managers yet")]
    Early,
    /// Too few of those who would vote were heard of lately.
    #[error("only {heard} of the {voters} managers that would be left answer: no quorum")]
    Quorum {
        /// Those who would vote.
        voters: usize,
        /// Those of them that were heard of.
        heard: usize,
    },
}

impl ChangeRefused {
    /// Whether the same change may be taken a little later.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Pending | Self::Busy | Self::Early | Self::Behind { .. } | Self::Leads { .. } => true,
            Self::NotLeader { leader } => leader.is_none(),
            _ => false,
        }
    }
}
