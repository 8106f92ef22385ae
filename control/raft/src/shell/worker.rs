//! The thread: takes what waits, ticks, writes once for all of it, and tells.

mod upkeep;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use raft::eraftpb::Message;
use tokio::sync::oneshot;

use super::change::ChangeOptions;
use super::config::RaftConfig;
use super::error::{ChangeError, OpenError, ProposeError, ReadError, TransferError};
use super::role::{Alarm, Role, RoleState};
use super::surface::{ChangeReply, ProposeReply, Published, ReadReply, ResealReply, Surface, show};
use super::waiting::Changes;
use crate::disk::{Disk, Saved, Sealing};
use crate::envelope::ProposalId;
use crate::members::MemberChange;
use crate::node::{Input, Refused};
use crate::replica::{Driver, FlushError, Replica};

/// Most commands that are taken before what they led to is written.
const BATCH: usize = 4_096;

/// Ticks from one attempt to write to a full disk to the next.
const FULL_PATIENCE: u32 = 10;

/// Ticks from one rest of the disk to the next.
const REST: u32 = 20;

/// What the thread is asked.
pub(super) enum Command {
    Propose {
        id: ProposalId,
        entry: Vec<u8>,
        reply: ProposeReply,
    },
    Read {
        reply: ReadReply,
    },
    Change {
        id: ProposalId,
        change: MemberChange,
        options: ChangeOptions,
        reply: ChangeReply,
    },
    /// Answered with this node's number once it is begun.
    Transfer {
        to: Option<u64>,
        reply: oneshot::Sender<Result<u64, TransferError>>,
    },
    Reseal {
        sealing: Sealing,
        reply: ResealReply,
    },
    Message(Box<Message>),
    Unreachable(u64),
    SnapshotSent {
        to: u64,
        arrived: bool,
    },
    Shutdown,
}

/// The thread's state.
pub(super) struct Worker<D> {
    driver: Driver,
    disk: D,
    surface: Surface,
    tick: Duration,
    next_tick: Instant,
    alarm: Option<Alarm>,
    /// Ticks until a full disk is tried again.
    retry_in: u32,
    changes: Changes,
    /// Those who wait until every row is sealed anew.
    resealing: Vec<ResealReply>,
    /// Ticks until the disk rests.
    rest_in: u32,
    /// It is to stop, and waits at most until then for another to lead.
    closing: Option<Instant>,
    election: Duration,
}

/// How a turn of the loop ends.
enum Turn {
    Next,
    Stop,
}

impl<D: Disk> Worker<D> {
    pub fn start(
        config: &RaftConfig,
        disk: D,
        saved: Saved,
        published: Published,
    ) -> Result<Self, OpenError> {
        let surface = Surface::new(published, Arc::clone(&config.transport));
        let mut worker = Self {
            driver: Driver::new(Replica::new(saved, config.settings)?),
            disk,
            surface,
            tick: config.tick,
            next_tick: Instant::now() + config.tick,
            alarm: None,
            retry_in: 0,
            changes: Changes::default(),
            resealing: Vec::new(),
            rest_in: REST,
            closing: None,
            election: config.tick * u32::try_from(config.settings.pace.election).unwrap_or(u32::MAX),
        };
        worker.surface.published.store.store(Arc::new(worker.driver.replica().store().clone()));
        worker.driver.flush(&mut worker.disk, &mut worker.surface)?;
        worker.publish_role();
        Ok(worker)
    }

    /// Runs until it is told to stop, nobody holds a handle, or it cannot go on.
    pub fn run(mut self, commands: &Receiver<Command>) {
        let ended = catch_unwind(AssertUnwindSafe(|| self.work(commands)));
        let reason = match ended {
            Ok(Ok(())) => "it was shut down".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => format!("internal error: {}", panic_text(panic.as_ref())),
        };
        tracing::info!(reason, "raft stopped");
        let alarm = Alarm::Stopped { reason };
        // The file is closed before anybody hears that the thread has ended.
        let Self { surface, driver, disk, .. } = self;
        drop((driver, disk));
        surface.published.role.send_modify(|state| {
            state.role = Role::Stopped;
            state.leader = None;
            state.alarm = Some(alarm.clone());
        });
        // What was not taken is known not to have happened.
        for command in commands.try_iter() {
            match command {
                Command::Propose { reply, .. } => {
                    let _ = reply.send(Err(ProposeError::ReadOnly(alarm.clone())));
                }
                Command::Read { reply } => {
                    let _ = reply.send(Err(ReadError::Alarm(alarm.clone())));
                }
                Command::Change { reply, .. } => {
                    let _ = reply.send(Err(ChangeError::Alarm(alarm.clone())));
                }
                _ => {}
            }
        }
    }

    fn work(&mut self, commands: &Receiver<Command>) -> Result<(), FlushError> {
        loop {
            let turn = self.take(commands);
            if Instant::now() >= self.next_tick {
                self.tick();
            }
            self.begin_reads();
            self.begin_change();
            self.flush()?;
            self.look_after_disk()?;
            self.publish_role();
            if matches!(turn, Turn::Stop) || self.has_handed_over() {
                return self.say_farewell();
            }
        }
    }

    /// Waits for a command or the next tick, then takes all that is there.
    fn take(&mut self, commands: &Receiver<Command>) -> Turn {
        let patience = if self.resealing.is_empty() {
            self.next_tick.saturating_duration_since(Instant::now())
        } else {
            Duration::ZERO
        };
        let first = match commands.recv_timeout(patience) {
            Ok(command) => Some(command),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Turn::Stop,
        };
        for command in first.into_iter().chain(commands.try_iter().take(BATCH)) {
            if let Turn::Stop = self.handle(command) {
                return Turn::Stop;
            }
        }
        Turn::Next
    }

    fn handle(&mut self, command: Command) -> Turn {
        match command {
            Command::Propose { id, entry, reply } => self.propose(id, entry, reply),
            Command::Read { reply } => self.read(reply),
            Command::Message(message) => self.step(Input::Message(message)),
            Command::Unreachable(peer) => self.step(Input::Unreachable(peer)),
            Command::SnapshotSent { to, arrived } => self.step(Input::SnapshotSent { to, arrived }),
            Command::Change { id, change, options, reply } => self.change(id, change, options, reply),
            Command::Transfer { to, reply } => {
                let _ = reply.send(self.transfer(to));
            }
            Command::Reseal { sealing, reply } => self.reseal(&sealing, reply),
            Command::Shutdown => return self.close(),
        }
        Turn::Next
    }

    fn propose(&mut self, id: ProposalId, entry: Vec<u8>, reply: ProposeReply) {
        let refused = match &self.alarm {
            Some(alarm) => ProposeError::ReadOnly(alarm.clone()),
            None => match self.driver.replica_mut().propose(id, entry) {
                Ok(()) => {
                    self.surface.proposals.insert(id, reply);
                    return;
                }
                Err(Refused::Busy) => ProposeError::Busy,
                Err(_) => ProposeError::NotLeader { leader: self.other_leader() },
            },
        };
        let _ = reply.send(Err(refused));
    }

    fn other_leader(&self) -> Option<u64> {
        let replica = self.driver.replica();
        replica.standing().leader.filter(|leader| *leader != replica.id())
    }

    fn read(&mut self, reply: ReadReply) {
        match &self.alarm {
            Some(alarm) => {
                let _ = reply.send(Err(ReadError::Alarm(alarm.clone())));
            }
            None => self.surface.fresh.push(reply),
        }
    }

    fn change(&mut self, id: ProposalId, change: MemberChange, options: ChangeOptions, reply: ChangeReply) {
        match &self.alarm {
            Some(alarm) => {
                let _ = reply.send(Err(ChangeError::Alarm(alarm.clone())));
            }
            None => self.changes.take(id, change, options, reply),
        }
    }

    fn begin_change(&mut self) {
        if self.alarm.is_none() {
            self.surface.changing.extend(self.changes.begin(self.driver.replica_mut()));
        }
    }

    fn transfer(&mut self, to: Option<u64>) -> Result<u64, TransferError> {
        let replica = self.driver.replica();
        if !replica.leads() {
            return Err(TransferError::NotLeader { leader: self.other_leader() });
        }
        let heir = match to {
            None => replica.node().heir(),
            Some(to) if to == replica.id() => None,
            Some(to) => {
                Some(to).filter(|to| replica.members().voters.contains(to) && replica.node().hears(*to))
            }
        };
        let own = replica.id();
        self.step(Input::Transfer(heir.ok_or(TransferError::NoHeir)?));
        Ok(own)
    }

    /// A leader stops once another leads, or none wants to.
    fn close(&mut self) -> Turn {
        if self.closing.is_none() && (self.alarm.is_some() || self.transfer(None).is_err()) {
            return Turn::Stop;
        }
        self.closing.get_or_insert_with(|| Instant::now() + self.election * 2);
        Turn::Next
    }

    fn has_handed_over(&self) -> bool {
        let leads = self.driver.replica().standing().role == raft::StateRole::Leader;
        self.closing.is_some_and(|until| !leads || self.alarm.is_some() || Instant::now() >= until)
    }

    fn step(&mut self, input: Input) {
        if let Err(refused) = self.driver.replica_mut().step(input) {
            tracing::debug!(%refused, "raft input refused");
        }
    }

    /// One tick, however late: those missed while the process stood still say nothing about the leader.
    fn tick(&mut self) {
        let now = Instant::now();
        self.next_tick += self.tick;
        if self.next_tick <= now {
            self.next_tick = now + self.tick;
        }
        self.retry_in = self.retry_in.saturating_sub(1);
        self.rest_in = self.rest_in.saturating_sub(1);
        if self.alarm.is_none() {
            self.step(Input::Tick);
        }
        if self.closing.is_some() {
            // Raft may have given the last attempt up.
            let _ = self.transfer(None);
        }
        self.surface.age();
    }

    /// One read index for everybody who waits for one.
    fn begin_reads(&mut self) {
        self.surface.fresh.retain(|reply| !reply.is_closed());
        if self.surface.fresh.is_empty() || self.alarm.is_some() {
            return;
        }
        if let Ok(id) = self.driver.replica_mut().read() {
            let replies = std::mem::take(&mut self.surface.fresh);
            self.surface.begun.insert(id, (0, replies));
        }
    }

    fn publish_role(&self) {
        let replica = self.driver.replica();
        let standing = replica.standing();
        let role = match standing.role {
            raft::StateRole::Leader if replica.leads() => Role::Leader,
            raft::StateRole::Follower => Role::Follower,
            _ => Role::Candidate,
        };
        let now = RoleState { role, term: standing.term, leader: standing.leader, alarm: self.alarm.clone() };
        let published = &self.surface.published;
        show(&published.members, replica.membership());
        show(&published.heard, &replica.node().heard());
        // While there is an alarm no tick is taken, so the time to wait would never be over.
        show(&published.heard_all, &(replica.node().has_heard_all() || self.alarm.is_some()));
        show(&published.role, &now);
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no reason given")
}
