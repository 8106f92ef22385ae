//! The thread: takes what waits, ticks, writes once for all of it, and tells.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use mesh_core::store::Store;
use raft::eraftpb::Message;
use tokio::sync::{broadcast, oneshot, watch};

use super::config::{RaftConfig, Transport};
use super::error::{OpenError, ProposeError, ReadError};
use super::role::{Alarm, Role, RoleState};
use crate::disk::{Disk, DiskError, Saved};
use crate::envelope::ProposalId;
use crate::node::{Input, Refused};
use crate::replica::{Committed, Driver, Effects, FlushError, Outcome, Outlet, ReadId, Replica};

/// Most commands that are taken before what they led to is written.
const BATCH: usize = 4_096;

/// Ticks after which a read that was not answered is begun again.
const READ_PATIENCE: u32 = 6;

/// Ticks from one attempt to write to a full disk to the next.
const FULL_PATIENCE: u32 = 10;

pub(super) type ProposeReply = oneshot::Sender<Result<Arc<Committed>, ProposeError>>;
pub(super) type ReadReply = oneshot::Sender<Result<Store, ReadError>>;

/// What the thread is asked.
pub(super) enum Command {
    Propose { id: ProposalId, entry: Vec<u8>, reply: ProposeReply },
    Read { reply: ReadReply },
    Message(Box<Message>),
    Unreachable(u64),
    SnapshotSent { to: u64, arrived: bool },
    Shutdown,
}

/// What the thread shows.
pub(super) struct Published {
    pub store: Arc<ArcSwap<Store>>,
    pub changes: broadcast::Sender<Arc<Committed>>,
    pub role: watch::Sender<RoleState>,
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
}

/// Those who wait, and where results go.
struct Surface {
    published: Published,
    transport: Arc<dyn Transport>,
    proposals: HashMap<ProposalId, ProposeReply>,
    /// Reads that were not begun, or must be begun again.
    fresh: Vec<ReadReply>,
    /// Reads that were begun, with the ticks since.
    begun: HashMap<ReadId, (u32, Vec<ReadReply>)>,
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
        let surface = Surface {
            published,
            transport: Arc::clone(&config.transport),
            proposals: HashMap::new(),
            fresh: Vec::new(),
            begun: HashMap::new(),
        };
        let mut worker = Self {
            driver: Driver::new(Replica::new(saved, config.settings)?),
            disk,
            surface,
            tick: config.tick,
            next_tick: Instant::now() + config.tick,
            alarm: None,
            retry_in: 0,
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
            self.flush()?;
            self.publish_role();
            if let Turn::Stop = turn {
                return self.say_farewell();
            }
        }
    }

    /// Waits for a command or the next tick, then takes all that is there.
    fn take(&mut self, commands: &Receiver<Command>) -> Turn {
        let patience = self.next_tick.saturating_duration_since(Instant::now());
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
            Command::Shutdown => return Turn::Stop,
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
        if self.alarm.is_none() {
            self.step(Input::Tick);
        }
        self.surface.proposals.retain(|_, reply| !reply.is_closed());
        self.surface.age_reads();
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

    fn flush(&mut self) -> Result<(), FlushError> {
        if self.alarm.is_some() {
            if self.retry_in > 0 {
                return Ok(());
            }
            if let Err(error) = self.disk.recover() {
                return self.raise(error);
            }
        }
        match self.driver.flush(&mut self.disk, &mut self.surface) {
            Ok(()) => {
                self.alarm = None;
                Ok(())
            }
            Err(FlushError::Disk(error)) => self.raise(error),
            Err(error) => Err(error),
        }
    }

    /// A full disk is waited out; everything else ends the thread.
    fn raise(&mut self, error: DiskError) -> Result<(), FlushError> {
        let DiskError::Full { path } = error else { return Err(error.into()) };
        if self.alarm.is_none() {
            tracing::error!(path = %path.display(), "disk full: raft takes no writes");
        }
        let alarm = Alarm::DiskFull { path };
        self.surface.interrupt(&alarm);
        self.alarm = Some(alarm);
        self.retry_in = FULL_PATIENCE;
        Ok(())
    }

    fn say_farewell(&mut self) -> Result<(), FlushError> {
        if self.alarm.is_none() {
            self.disk.append(&self.driver.replica().farewell())?;
            self.disk.sync()?;
        }
        Ok(())
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
        self.surface.published.role.send_if_modified(|state| {
            let changed = *state != now;
            *state = now;
            changed
        });
    }
}

impl Surface {
    fn age_reads(&mut self) {
        for (age, _) in self.begun.values_mut() {
            *age += 1;
        }
        for (_, (_, replies)) in self.begun.extract_if(|_, (age, _)| *age >= READ_PATIENCE) {
            self.fresh.extend(replies);
        }
    }

    /// Nobody is kept waiting for a disk that is full.
    fn interrupt(&mut self, alarm: &Alarm) {
        for (_, reply) in self.proposals.drain() {
            let _ = reply.send(Err(ProposeError::Interrupted { reason: alarm.to_string() }));
        }
        let begun = self.begun.drain().flat_map(|(_, (_, replies))| replies);
        for reply in self.fresh.drain(..).chain(begun) {
            let _ = reply.send(Err(ReadError::Alarm(alarm.clone())));
        }
    }
}

impl Outlet for Surface {
    fn send(&mut self, messages: Vec<Message>) {
        if !messages.is_empty() {
            self.transport.send(messages);
        }
    }

    fn settle(&mut self, replica: &Replica, effects: Effects) {
        if !effects.committed.is_empty() {
            self.published.store.store(Arc::new(replica.store().clone()));
        }
        for committed in effects.committed {
            // Nobody listening is no error.
            let _ = self.published.changes.send(committed);
        }
        for (id, outcome) in effects.outcomes {
            if let Some(reply) = self.proposals.remove(&id) {
                let leader = replica.standing().leader.filter(|leader| *leader != replica.id());
                let _ = reply.send(match outcome {
                    Outcome::Committed(committed) => Ok(committed),
                    Outcome::Conflict(conflict) => Err(conflict.into()),
                    Outcome::Lost => Err(ProposeError::NotLeader { leader }),
                });
            }
        }
        for id in effects.reads {
            for reply in self.begun.remove(&id).into_iter().flat_map(|(_, replies)| replies) {
                let _ = reply.send(Ok(replica.store().clone()));
            }
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no reason given")
}
