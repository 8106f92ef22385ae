//! The managers' part of the world: their raft, their disks and the leader's shell.

use std::collections::VecDeque;

use mesh_core::id::SessionId;
use mesh_core::leader::{self, History, Leader};
use mesh_core::store::Transaction;
use mesh_core::time::Timestamp;
use mesh_raft::envelope::{self, ProposalId};
use mesh_raft::members::ChangeOutcome;
use mesh_raft::node::Input;
use mesh_raft::replica::{Effects, FlushError, Outcome};
use raft::StateRole;
use raft::eraftpb::{Message, MessageType};

use crate::agent::News;
use crate::client::Op;
use crate::ledger::{self, Violation};
use crate::manager::{Leading, Ticket};
use crate::network::{Host, MS};
use crate::world::{Event, World};

impl World {
    /// The manager that leads and can be asked, by its own word.
    pub fn leader(&self) -> Option<u64> {
        let leads = self.managers.values().filter(|manager| manager.frozen_until <= self.now);
        let leads = leads.filter_map(|manager| manager.replica().filter(|replica| replica.leads()));
        leads.max_by_key(|replica| replica.standing().term).map(mesh_raft::replica::Replica::id)
    }

    pub fn boot_manager(&mut self, id: u64) -> Result<(), Violation> {
        let seed = self.rng.next();
        let manager = self.manager(id);
        if manager.process.is_some() {
            return Ok(());
        }
        let stopped = |error: mesh_raft::replica::ReplicaError| Violation::Stopped {
            manager: id,
            reason: error.to_string(),
        };
        manager.boot(seed).map_err(stopped)?;
        let (life, tick) = (manager.life, manager.tick);
        self.schedule(tick, Event::Tick { manager: id, life });
        self.schedule_flush(id);
        Ok(())
    }

    /// The power goes; it comes back some time later.
    pub fn crash_manager(&mut self, id: u64) -> bool {
        if self.managers[&id].process.is_none() {
            return false;
        }
        self.cut_sessions(id);
        self.manager(id).crash();
        self.report.crashes += 1;
        let back = self.rng.between(100 * MS, 4_000 * MS);
        self.schedule(back, Event::ManagerBoot(id));
        true
    }

    pub fn tick(&mut self, id: u64, life: u64) {
        if self.lives(id, life) {
            self.input(id, Input::Tick);
            let tick = self.managers[&id].tick;
            self.schedule(tick, Event::Tick { manager: id, life });
        }
    }

    pub fn deliver(&mut self, to: u64, message: Box<Message>) {
        self.trace(&(self.now, to, message.get_msg_type(), message.term, message.index));
        self.input(to, Input::Message(message));
    }

    /// What a replica refuses is lost, as in the daemon.
    pub fn input(&mut self, id: u64, input: Input) {
        let process = self.managers.get_mut(&id).and_then(|manager| manager.process.as_mut());
        if let Some(process) = process {
            let _ = process.driver.replica_mut().step(input);
            self.schedule_flush(id);
        }
    }

    pub fn schedule_flush(&mut self, id: u64) {
        let delay = self.rng.between(MS / 10, 3 * MS);
        let manager = self.manager(id);
        let life = manager.life;
        let Some(process) = &mut manager.process else { return };
        if !process.flush_is_due {
            process.flush_is_due = true;
            let delay = if process.disk_is_full { 300 * MS } else { delay };
            self.schedule(delay, Event::Flush { manager: id, life });
        }
    }

    pub fn flush(&mut self, id: u64) -> Result<(), Violation> {
        let (flushed, result) = self.manager(id).flush();
        self.send(id, flushed.messages);
        let mut events = VecDeque::new();
        for (applied, effects) in flushed.settled {
            self.remember(id, &effects);
            self.settle(id, applied, effects, &mut events)?;
        }
        match result {
            Ok(()) => {}
            Err(FlushError::Disk(error)) if error.is_full() => self.schedule_flush(id),
            Err(FlushError::Disk(_)) => {
                self.crash_manager(id);
                return Ok(());
            }
            Err(FlushError::Replica(error)) => {
                return Err(Violation::Stopped { manager: id, reason: error.to_string() });
            }
        }
        self.look_at(id)?;
        self.follow_role(id, &mut events);
        self.lead(id, events);
        Ok(())
    }

    /// Every manager keeps what a leader has to know of the past.
    fn remember(&mut self, id: u64, effects: &Effects) {
        let Some(process) = &mut self.manager(id).process else { return };
        for entry in &effects.committed {
            process.history.replay(entry.index, &entry.changes);
        }
        if effects.committed.iter().any(|entry| entry.replaced) {
            process.history = History::new(process.driver.replica().store());
        }
    }

    /// What happened in a flush is told to those who wait for it.
    fn settle(
        &mut self,
        id: u64,
        applied: u64,
        effects: Effects,
        events: &mut VecDeque<leader::Event>,
    ) -> Result<(), Violation> {
        for entry in effects.committed {
            ledger::changed(&entry.changes)?;
            self.report.snapshots += u64::from(entry.replaced);
            let (index, changes) = (entry.index, entry.changes.clone());
            events.push_back(leader::Event::Committed { index, changes });
        }
        for (proposal, outcome) in effects.outcomes {
            self.trace(&(self.now, id, proposal, matches!(outcome, Outcome::Committed(_))));
            if let Some(settled) = self.end_proposal(id, proposal, outcome) {
                // The leader must not care which it hears first.
                let first = self.rng.chance(300);
                if first { events.push_front(settled) } else { events.push_back(settled) }
            }
        }
        let made = effects.changes.iter().filter(|(_, outcome)| *outcome == ChangeOutcome::Made).count();
        self.report.changes += made as u64;
        for read in effects.reads {
            let began = self.manager(id).process.as_mut().and_then(|process| process.reads.remove(&read));
            if let Some(acked) = began {
                self.report.reads += 1;
                ledger::answers(id, acked, applied)?;
            }
            let opening = self.manager(id).process.as_mut().and_then(|process| process.opening.remove(&read));
            events.extend(opening.and_then(|opening| self.open_session(id, opening)));
        }
        Ok(())
    }

    fn end_proposal(&mut self, id: u64, proposal: ProposalId, outcome: Outcome) -> Option<leader::Event> {
        let process = self.manager(id).process.as_mut()?;
        let ticket = process.tickets.remove(&proposal)?;
        let term = process.driver.replica().standing().term;
        let index = match outcome {
            Outcome::Committed(entry) => {
                self.report.committed += 1;
                self.ledger.acknowledge(term, entry.index);
                Some(entry.index)
            }
            Outcome::Conflict(_) => {
                self.report.conflicts += 1;
                None
            }
            Outcome::Lost => {
                self.report.lost += 1;
                None
            }
        };
        match (ticket, index) {
            (Ticket::Leader, index) => return Some(leader::Event::Settled { index }),
            (Ticket::Client(Op::MakeService(id, name)), Some(_)) => self.expected.service(id, name),
            (Ticket::Client(Op::MakeNetwork(id, name)), Some(_)) => self.expected.network(id, name),
            (Ticket::Client(_), _) => {}
        }
        None
    }

    /// The invariants that can be seen from one manager.
    fn look_at(&mut self, id: u64) -> Result<(), Violation> {
        let Some(replica) = self.managers[&id].replica() else { return Ok(()) };
        let (standing, applied) = (replica.standing(), replica.applied());
        if standing.role == StateRole::Leader {
            self.ledger.leads(id, standing.term)?;
        }
        self.report.terms = self.report.terms.max(standing.term);
        if replica.leads() {
            self.ledger.serves(id, standing.term, applied.index)?;
        }
        self.ledger.applied(id, applied.index, replica.store())?;
        self.watch_members(id)
    }

    /// Begins to lead, or ends it. What was committed before it began is in the store that it begins with.
    fn follow_role(&mut self, id: u64, events: &mut VecDeque<leader::Event>) {
        let manager = &self.managers[&id];
        let Some(process) = &manager.process else { return };
        let replica = process.driver.replica();
        let term = replica.standing().term;
        let leads = replica.leads();
        if process.leading.as_ref().is_some_and(|leading| leads && leading.term == term) {
            return;
        }
        let (store, now) = (replica.store().clone(), manager.now(self.now));
        self.close_sessions(id);
        events.clear();
        let Some(process) = &mut self.manager(id).process else { return };
        process.leading = None;
        if leads {
            let leader = Leader::new(&store, process.history.clone(), now);
            let sessions = std::collections::BTreeMap::new();
            process.leading = Some(Leading { leader, term, wake_at: None, sessions, first: store });
            events.push_back(leader::Event::Wake);
        }
    }

    /// Hands events to the leader, if this manager leads, and does what it wants.
    pub fn lead(&mut self, id: u64, mut events: VecDeque<leader::Event>) {
        while let Some(event) = events.pop_front() {
            let now = self.managers[&id].now(self.now);
            let manager = self.managers.get_mut(&id).expect("a manager");
            let Some(leading) = manager.process.as_mut().and_then(|process| process.leading.as_mut()) else {
                return;
            };
            let actions = leading.leader.step(event, now, &mut self.rng);
            leading.wake_at = actions.wake_at;
            let term = leading.term;
            if let Some(at) = actions.wake_at {
                self.schedule_wake(id, term, at, now);
            }
            for transaction in actions.propose {
                if !self.propose(id, &transaction, Ticket::Leader) {
                    events.push_back(leader::Event::Settled { index: None });
                }
            }
            for (session, update) in actions.send {
                self.tell_session(id, session, News::Update(Box::new(update)));
            }
            for (session, number) in actions.taken {
                self.tell_session(id, session, News::Taken(number));
            }
            for (session, _) in actions.close {
                self.tell_session(id, session, News::Closed(None));
                self.forget_session(id, session);
            }
        }
    }

    fn schedule_wake(&mut self, id: u64, term: u64, at: Timestamp, now: Timestamp) {
        let life = self.managers[&id].life;
        let after = at.0.saturating_sub(now.0);
        self.schedule(after, Event::LeaderWake { manager: id, life, term });
    }

    pub fn wake_leader(&mut self, id: u64, term: u64) {
        let manager = &self.managers[&id];
        let now = manager.now(self.now);
        let leading = manager.process.as_ref().and_then(|process| process.leading.as_ref());
        let due = leading.is_some_and(|leading| {
            leading.term == term && leading.wake_at.is_some_and(|wake_at| wake_at <= now)
        });
        if due {
            self.lead(id, VecDeque::from([leader::Event::Wake]));
        }
    }

    /// Proposes at a manager; false: it would not have it.
    pub fn propose(&mut self, id: u64, transaction: &Transaction, ticket: Ticket) -> bool {
        self.proposals += 1;
        let proposal = ProposalId(self.proposals);
        let entry = envelope::encode(proposal, transaction).expect("it encodes");
        let Some(process) = &mut self.manager(id).process else { return false };
        let taken = process.driver.replica_mut().propose(proposal, entry).is_ok();
        if taken {
            process.tickets.insert(proposal, ticket);
            self.schedule_flush(id);
        }
        taken
    }

    fn send(&mut self, from: u64, messages: Vec<Message>) {
        let life = self.managers[&from].life;
        for message in messages {
            let to = message.to;
            let delays = self.network.route(&mut self.rng, Host::Manager(from), Host::Manager(to));
            if message.get_msg_type() == MessageType::MsgSnapshot && self.rng.chance(700) {
                let fate = Event::SnapshotFate { manager: from, life, to, arrived: !delays.is_empty() };
                self.schedule(20 * MS, fate);
            }
            for delay in delays {
                self.schedule(delay, Event::Deliver { to, message: Box::new(message.clone()) });
            }
        }
    }

    /// Every session of a manager that no longer leads is closed by it.
    fn close_sessions(&mut self, id: u64) {
        let leading = self.managers[&id].process.as_ref().and_then(|process| process.leading.as_ref());
        let sessions: Vec<SessionId> =
            leading.map(|leading| leading.sessions.keys().copied().collect()).unwrap_or_default();
        let hint = self.managers[&id].replica().and_then(|replica| replica.standing().leader);
        for session in sessions {
            self.tell_session(id, session, News::Closed(hint));
        }
    }
}
