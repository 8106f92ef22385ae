//! Changes of the members and of the leader, as the rest of the daemon asks for them.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::error::{ChangeError, TransferError};
use super::handle::Raft;
use super::role::Role;
use super::surface::ChangeReply;
use super::worker::Command;
use crate::members::{MemberChange, Members};

/// How a change of the members is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeOptions {
    /// How long is waited: for the change before it, for a learner to catch up, and for the end.
    pub deadline: Duration,
    /// Make it even if too few of those who would vote answer.
    pub force: bool,
}

impl Default for ChangeOptions {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(20), force: false }
    }
}

/// How often a transfer is begun before it is given up.
const TRANSFERS: u32 = 5;

impl Raft {
    /// Changes the members, one change after the other, and returns them when it is made. Before a new member
    /// is added it must answer at its address: nothing here dials it.
    ///
    /// A leader that is to remove itself hands leadership over first, and answers
    /// [`ChangeError::Refused`] with the leader that can.
    pub async fn change(&self, change: MemberChange) -> Result<Members, ChangeError> {
        self.change_with(change, ChangeOptions::default()).await
    }

    /// [`Raft::change`] with options.
    pub async fn change_with(
        &self,
        change: MemberChange,
        options: ChangeOptions,
    ) -> Result<Members, ChangeError> {
        let after = options.deadline;
        let (reply, outcome): (ChangeReply, _) = oneshot::channel();
        let command = Command::Change { id: self.next_id(), change, options, reply };
        self.ask(command).map_err(ChangeError::Alarm)?;
        match tokio::time::timeout(after, outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(ChangeError::Interrupted { reason: self.stopped().to_string() }),
            Err(_) => Err(ChangeError::Timeout { after }),
        }
    }

    /// The members as of the last entry applied here, as they change.
    pub fn members(&self) -> watch::Receiver<Members> {
        self.seen().members.clone()
    }

    /// The peers that this manager heard from within an election timeout, as they change. A leader hears all
    /// that are reachable; a follower hears its leader.
    pub fn heard(&self) -> watch::Receiver<BTreeSet<u64>> {
        self.seen().heard.clone()
    }

    /// The managers that answer, the leader among them, as a leader can tell. One whose time has just begun waits
    /// until it has heard all, or has led for an election timeout, or has an alarm.
    pub async fn answering(&self) -> BTreeSet<u64> {
        let mut heard_all = self.seen().heard_all.clone();
        // Without its thread it goes by what was heard last.
        drop(heard_all.wait_for(|all| *all).await);
        let heard = self.seen().heard.borrow().clone();
        heard.into_iter().chain(self.role().borrow().leader).collect()
    }

    /// Hands leadership to `to`, or to the one that has most of the log; returns when another leads.
    pub async fn transfer(&self, to: Option<u64>) -> Result<u64, TransferError> {
        let patience = self.seen().transfer_patience;
        let mut handed = Err(TransferError::Timeout { after: patience * TRANSFERS });
        for attempt in 0..TRANSFERS {
            // Raft gives a transfer up silently: the heir may have had a change of members to apply first.
            match tokio::time::timeout(patience, self.hand_over(to)).await {
                Ok(Err(TransferError::NotLeader { leader: Some(leader) })) if attempt > 0 => {
                    return Ok(leader);
                }
                Ok(result) => return result,
                Err(_) if self.role().borrow().role == Role::Stopped => {
                    handed = Err(TransferError::Alarm(self.stopped()));
                }
                Err(_) => {}
            }
        }
        handed
    }

    async fn hand_over(&self, to: Option<u64>) -> Result<u64, TransferError> {
        let (reply, begun) = oneshot::channel();
        self.ask(Command::Transfer { to, reply }).map_err(TransferError::Alarm)?;
        let own = begun.await.map_err(|_| TransferError::Alarm(self.stopped()))??;
        let other = |leader: Option<u64>| leader.filter(|leader| *leader != own);
        let mut role = self.role();
        let wanted = role.wait_for(|state| other(state.leader).is_some() || state.role == Role::Stopped);
        let leader = wanted.await.map_or(None, |state| other(state.leader));
        leader.ok_or_else(|| TransferError::Alarm(self.stopped()))
    }
}
