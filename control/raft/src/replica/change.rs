//! Changes of the members: what is checked before one is proposed, and how it is found to have ended.

use raft::eraftpb::ConfState;

use super::{Replica, ReplicaError, State};
use crate::envelope::ProposalId;
use crate::log::Position;
use crate::members::{ChangeOutcome, ChangeRefused, MemberChange, Note};
use crate::node::{Input, Refused};

/// A change that was asked for here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Underway {
    at: Position,
    id: ProposalId,
    /// It is applied, and the joint configuration that it led to is not left yet.
    entered: bool,
}

impl Replica {
    /// Begins a change of the members; how it ends is told in [`super::Effects::changes`]. One at a time, the
    /// leader never removes itself, and `force` passes over nothing but the count of those who answer.
    pub fn change(&mut self, id: ProposalId, change: MemberChange, force: bool) -> Result<(), ChangeRefused> {
        if !self.leads() {
            let leader = self.node.standing().leader.filter(|leader| *leader != self.id());
            return Err(ChangeRefused::NotLeader { leader });
        }
        if self.node.is_changing() {
            return Err(ChangeRefused::Pending);
        }
        self.allows(&change)?;
        if !force {
            let counted = change.keeps_quorum(&self.state.members, |peer| self.node.hears(peer));
            counted.map_err(|few| if self.node.has_heard_all() { few } else { ChangeRefused::Early })?;
        }
        let part = self.state.members.get(change.id()).map(|member| member.part);
        let context = Note { id, change }.encode().map_err(|_| ChangeRefused::Busy)?;
        match self.node.step(Input::Change(change.to_raft(part, context))) {
            Ok(Some(at)) => {
                self.state.end_change(ChangeOutcome::Lost);
                self.state.change = Some(Underway { at, id, entered: false });
                Ok(())
            }
            Err(Refused::NotLeader) => Err(ChangeRefused::NotLeader { leader: None }),
            Ok(None) | Err(_) => Err(ChangeRefused::Busy),
        }
    }

    fn allows(&self, change: &MemberChange) -> Result<(), ChangeRefused> {
        change.fits(&self.state.members)?;
        match *change {
            MemberChange::Promote { id } if !self.node.has_caught_up(id) => Err(ChangeRefused::Behind { id }),
            MemberChange::Remove { id } if id == self.id() => Err(ChangeRefused::Leads { id }),
            _ => Ok(()),
        }
    }
}

impl State {
    /// An entry changed the members.
    pub(super) fn change_members(
        &mut self,
        at: Position,
        conf: &ConfState,
        context: &[u8],
    ) -> Result<(), ReplicaError> {
        let note =
            Note::decode(context).map_err(|source| ReplicaError::Members { index: at.index, source })?;
        self.members.apply(conf, note.as_ref().map(|note| &note.change));
        self.settle_change(at, note.map(|note| note.id));
        if !self.members.is_joint() && self.change.is_some_and(|change| change.entered) {
            self.end_change(ChangeOutcome::Made);
        }
        Ok(())
    }

    /// The place of the change that is underway is filled, by it or by another entry.
    pub(super) fn settle_change(&mut self, at: Position, found: Option<ProposalId>) {
        let Some(change) = self.change.as_mut().filter(|change| change.at.index == at.index) else { return };
        if found == Some(change.id) {
            change.entered = true;
        } else {
            self.end_change(ChangeOutcome::Lost);
        }
    }

    /// A snapshot shows that a change which had begun has ended; of others it shows nothing.
    pub(super) fn settle_change_by_snapshot(&mut self) {
        match self.change {
            Some(change) if change.entered && !self.members.is_joint() => {
                self.end_change(ChangeOutcome::Made);
            }
            Some(change) if !change.entered => self.change = None,
            _ => {}
        }
    }

    fn end_change(&mut self, outcome: ChangeOutcome) {
        self.effects.changes.extend(self.change.take().map(|change| (change.id, outcome)));
    }
}
