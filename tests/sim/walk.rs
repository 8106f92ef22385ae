//! Managers come and go while everything else goes wrong, and what must hold of the group meanwhile.

use mesh_raft::disk::Saved;
use mesh_raft::members::{MemberChange, Members, Part};
use mesh_raft::node::Input;
use mesh_raft::replica::joiner;
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState};

use crate::disk::SimDisk;
use crate::fault::Fault;
use crate::ledger::Violation;
use crate::manager::Manager;
use crate::network::{Host, MS};
use crate::plan::{Planted, SECOND};
use crate::world::{Event, World};

/// Longest time for which a group whose quorum is up may have no leader, or be between two configurations.
const PATIENCE: u64 = 5 * SECOND;

/// What goes wrong just when the members change.
const MOMENTS: [Fault; 4] = [Fault::Crash, Fault::IsolateLeader, Fault::Partition, Fault::Freeze];

/// Most managers that a walk leads to, and fewest.
const MOST: usize = 8;
const FEWEST: usize = 2;

/// The group as it is looked at from outside.
#[derive(Debug, Default)]
pub struct Watch {
    /// The newest configuration that anybody has applied, and its entry.
    conf: ConfState,
    applied: u64,
    /// Since when a quorum is up, if it is.
    fine_since: Option<u64>,
    led_at: u64,
    whole_at: u64,
}

impl World {
    /// One step of the walk, if there is anybody to take it.
    pub fn step_walk(&mut self, fault: Fault) -> bool {
        if self.plan.managers == 1 {
            return false;
        }
        let Some(leader) = self.leader() else { return false };
        let Some(replica) = self.managers[&leader].replica() else { return false };
        let members = replica.membership().clone();
        let heir = replica.node().heir();
        match fault {
            Fault::Join => self.join_manager(leader, &members),
            Fault::Promote => {
                let learner = members.iter().find(|(_, member)| member.part == Part::Learner);
                learner.is_some_and(|(id, _)| self.change(leader, MemberChange::Promote { id }))
            }
            Fault::Leave => self.remove_manager(leader, &members),
            _ => heir.is_some_and(|heir| {
                self.input(leader, Input::Transfer(heir));
                true
            }),
        }
    }

    fn change(&mut self, at: u64, change: MemberChange) -> bool {
        self.proposals += 1;
        let id = mesh_raft::envelope::ProposalId(self.proposals);
        let Some(process) = &mut self.manager(at).process else { return false };
        let taken = process.driver.replica_mut().change(id, change, false).is_ok();
        self.schedule_flush(at);
        self.trace(&("change", self.now, change, taken));
        if taken {
            self.tempt_fate();
        }
        taken
    }

    fn join_manager(&mut self, leader: u64, members: &Members) -> bool {
        if members.iter().count() >= MOST {
            return false;
        }
        self.last_manager += 1;
        let id = self.last_manager;
        match self.plan.planted {
            Some(Planted::UncheckedVoters) => return self.add_voter_unchecked(leader, id),
            Some(Planted::SkippedChangeCheck) => return self.replace_unchecked(leader, members),
            _ => {}
        }
        let addr = std::net::SocketAddr::from(([192, 0, 2, 100], u16::try_from(id).expect("few")));
        if !self.change(leader, MemberChange::AddLearner { id, addr }) {
            return false;
        }
        let voters: Vec<u64> = members.voters().into_iter().collect();
        let saved = joiner(id, &voters, &std::collections::BTreeMap::new()).expect("it encodes");
        self.new_manager(id, saved);
        self.schedule(MS, Event::ManagerBoot(id));
        true
    }

    pub fn new_manager(&mut self, id: u64, saved: Saved) {
        let mut disk = SimDisk::new(saved);
        if self.plan.planted == Some(Planted::AckBeforeSync) {
            disk.betray(mesh_raft::disk::Lie::SyncsLate);
        }
        let skew = 1_700_000_000 * SECOND + self.rng.under(4 * SECOND);
        let tick = 50 * MS + self.rng.under(2 * MS);
        let (drift, mistake) = (self.rng.under(10), self.plan.planted.and_then(Planted::mistake));
        let manager = Manager {
            id,
            life: 0,
            process: None,
            disk,
            skew,
            tick,
            drift,
            frozen_until: 0,
            deaf: false,
            mistake,
        };
        self.managers.insert(id, manager);
    }

    /// Often something goes wrong just when the members change.
    fn tempt_fate(&mut self) {
        if self.rng.chance(250) {
            let fault = *self.rng.pick(&MOMENTS).expect("there are some");
            let after = self.rng.under(80 * MS);
            self.schedule(after, Event::Strike(fault));
        }
    }

    /// A mistake: a voter is added that nobody has seen answer.
    fn add_voter_unchecked(&mut self, leader: u64, id: u64) -> bool {
        let mut single = ConfChangeSingle { node_id: id, ..ConfChangeSingle::default() };
        single.set_change_type(ConfChangeType::AddNode);
        let mut change = ConfChangeV2::default();
        change.mut_changes().push(single);
        self.input(leader, Input::Change(change));
        true
    }

    /// A mistake: the leader keeps to itself, and takes two new managers in the place of all others at once.
    fn replace_unchecked(&mut self, leader: u64, members: &Members) -> bool {
        let voters: Vec<u64> = members.voters().into_iter().collect();
        let fresh = [self.last_manager, self.last_manager + 1];
        self.last_manager += 1;
        let mut change = ConfChangeV2::default();
        let gone = voters.iter().filter(|id| **id != leader).map(|id| (*id, ConfChangeType::RemoveNode));
        for (id, kind) in gone.chain(fresh.map(|id| (id, ConfChangeType::AddNode))) {
            let mut single = ConfChangeSingle { node_id: id, ..ConfChangeSingle::default() };
            single.set_change_type(kind);
            change.mut_changes().push(single);
        }
        for id in fresh {
            let saved = joiner(id, &voters, &std::collections::BTreeMap::new()).expect("it encodes");
            self.new_manager(id, saved);
            self.schedule(MS, Event::ManagerBoot(id));
        }
        self.input(leader, Input::Change(change));
        self.tempt_fate();
        true
    }

    /// The machine runs on: it may not hear that it is no manager any more, and must disturb nobody.
    fn remove_manager(&mut self, leader: u64, members: &Members) -> bool {
        let ids: Vec<u64> = members.iter().map(|(id, _)| id).collect();
        let Some(id) = self.rng.pick(&ids).copied().filter(|_| ids.len() > FEWEST) else { return false };
        if id == leader {
            let heir = self.managers[&leader].replica().and_then(|replica| replica.node().heir());
            return heir.is_some_and(|heir| {
                self.input(leader, Input::Transfer(heir));
                true
            });
        }
        self.change(leader, MemberChange::Remove { id })
    }

    /// What one manager shows of the group.
    pub fn watch_members(&mut self, id: u64) -> Result<(), Violation> {
        let Some(replica) = self.managers[&id].replica() else { return Ok(()) };
        let applied = replica.applied().index;
        if applied > self.watch.applied {
            let conf = replica.members();
            self.watch.applied = applied;
            if conf != self.watch.conf {
                self.watch.conf = conf;
                self.watch.fine_since = None;
            }
        }
        self.ledger.members(id, applied, replica.membership())
    }

    /// Looks whether the group has gone without a leader, or stayed joint, for too long.
    pub fn watch_group(&mut self) -> Result<(), Violation> {
        self.schedule(250 * MS, Event::WatchGroup);
        let now = self.now;
        if self.leader().is_some() {
            self.watch.led_at = now;
        }
        if self.watch.conf.voters_outgoing.is_empty() {
            self.watch.whole_at = now;
        }
        if !self.quorum_is_up() {
            self.watch.fine_since = None;
            return Ok(());
        }
        let fine = *self.watch.fine_since.get_or_insert(now);
        if now > PATIENCE + fine.max(self.watch.led_at) {
            return Err(Violation::NoLeader { seconds: (now - fine.max(self.watch.led_at)) / SECOND });
        }
        if now > PATIENCE + fine.max(self.watch.whole_at) {
            return Err(Violation::Joint { seconds: (now - fine.max(self.watch.whole_at)) / SECOND });
        }
        Ok(())
    }

    /// Whether a majority of each configuration runs, has space, and hears each other well.
    fn quorum_is_up(&self) -> bool {
        let runs = |id: &&u64| {
            let manager = self.managers.get(*id).filter(|manager| manager.frozen_until <= self.now);
            manager.and_then(|manager| manager.process.as_ref()).is_some_and(|process| !process.disk_is_full)
        };
        let conf = &self.watch.conf;
        let majority = |voters: &Vec<u64>| voters.iter().filter(runs).count() * 2 > voters.len();
        let up =
            majority(&conf.voters) && (conf.voters_outgoing.is_empty() || majority(&conf.voters_outgoing));
        let voters: Vec<u64> =
            conf.voters.iter().chain(&conf.voters_outgoing).filter(runs).copied().collect();
        let reaches = |one: &u64| {
            voters.iter().all(|other| self.network.reaches(Host::Manager(*one), Host::Manager(*other)))
        };
        up && self.network.loss == 0 && self.network.slowed == 0 && voters.iter().all(reaches)
    }
}
