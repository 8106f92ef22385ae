//! What a node knows of the others: who belongs to the group, who answers, and who could take over.

use std::collections::BTreeSet;

use raft::StateRole;
use raft::eraftpb::ConfState;

use super::{LAG, Node};

impl Node {
    pub(super) fn is_joint(&self) -> bool {
        !self.members().voters_outgoing.is_empty()
    }

    /// Whether a change of members has not ended, so that raft would take no other.
    pub fn is_changing(&self) -> bool {
        self.raw.raft.has_pending_conf() || self.is_joint()
    }

    /// The members as of the last entry applied.
    pub fn members(&self) -> ConfState {
        self.raw.raft.prs().conf().to_conf_state()
    }

    /// The peers from which something came within an election timeout.
    pub fn heard(&self) -> BTreeSet<u64> {
        self.heard.keys().copied().collect()
    }

    /// Whether something came from this peer within an election timeout; a node always hears itself.
    pub fn hears(&self, peer: u64) -> bool {
        peer == self.id() || self.heard.contains_key(&peer)
    }

    /// Whether who was not heard does not answer: a leader whose time has just begun may have had no word yet from
    /// some who do.
    pub fn has_heard_all(&self) -> bool {
        let leads = self.raw.raft.state == StateRole::Leader;
        let (term, ticks) = self.led;
        let long = term == self.raw.raft.term && ticks >= self.pace.election;
        !leads || long || self.members().voters.iter().all(|id| self.hears(*id))
    }

    pub(super) fn age_leadership(&mut self) {
        if self.raw.raft.state == StateRole::Leader {
            let term = self.raw.raft.term;
            let before = if self.led.0 == term { self.led.1 } else { 0 };
            self.led = (term, before + 1);
        }
    }

    /// Whether a peer that answers has about all that is committed, as far as the leader knows.
    pub fn has_caught_up(&self, peer: u64) -> bool {
        let progress = self.raw.raft.prs().get(peer);
        let matched = progress.map_or(0, |progress| progress.matched);
        matched > 0 && self.hears(peer) && matched + LAG >= self.raw.raft.raft_log.committed
    }

    /// Who could lead in this leader's place: of the voters that answer, the one that has most of the log.
    pub fn heir(&self) -> Option<u64> {
        let voters = self.members().voters;
        let others = voters.into_iter().filter(|id| *id != self.id() && self.hears(*id));
        let progress = self.raw.raft.prs();
        others.max_by_key(|id| progress.get(*id).map_or(0, |progress| progress.matched))
    }

    /// Raft lets a leader that is no member any more lead on.
    pub(super) fn step_down_when_removed(&mut self) {
        let (conf, id) = (self.members(), self.id());
        let votes = conf.voters.contains(&id) || conf.voters_outgoing.contains(&id);
        if self.raw.raft.state != StateRole::Leader || votes {
            return;
        }
        let (heir, raft) = (self.heir(), &mut self.raw.raft);
        if let Some(heir) = heir {
            raft.send_timeout_now(heir);
        }
        raft.become_follower(raft.term, raft::INVALID_ID);
    }
}
