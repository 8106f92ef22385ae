//! A manager: a replica on a disk that survives it, and the leader when it leads.

use std::collections::BTreeMap;

use mesh_core::assignment::Held;
use mesh_core::id::{NodeId, SessionId};
use mesh_core::leader::{History, Leader};
use mesh_core::object::NodeDescription;
use mesh_core::store::Store;
use mesh_core::time::Timestamp;
use mesh_raft::envelope::ProposalId;
use mesh_raft::node::Pace;
use mesh_raft::replica::{
    Compaction, Driver, Effects, FlushError, Mistake, Outlet, ReadId, Replica, ReplicaError, Settings,
};
use raft::eraftpb::Message;

use crate::client::Op;
use crate::disk::SimDisk;

/// Who waits for a proposal.
#[derive(Debug, Clone, PartialEq)]
pub enum Ticket {
    Leader,
    Client(Op),
}

/// The machine.
pub struct Manager {
    pub id: u64,
    /// Counted up by each crash.
    pub life: u64,
    pub process: Option<Process>,
    pub disk: SimDisk,
    /// Nanoseconds that its clock is ahead of the world's.
    pub skew: u64,
    /// Length of its tick: clocks drift.
    pub tick: u64,
    /// Parts in ten thousand by which its clock runs faster.
    pub drift: u64,
    pub frozen_until: u64,
    /// What comes while it stands still is lost.
    pub deaf: bool,
    /// A planted mistake.
    pub mistake: Option<Mistake>,
}

/// What runs on it.
pub struct Process {
    pub driver: Driver,
    /// What a leader needs to know of the past.
    pub history: History,
    pub leading: Option<Leading>,
    pub flush_is_due: bool,
    pub disk_is_full: bool,
    pub tickets: BTreeMap<ProposalId, Ticket>,
    /// Reads that wait, with what was acknowledged when they began.
    pub reads: BTreeMap<ReadId, u64>,
    /// Sessions that open once a quorum has said that this manager leads.
    pub opening: BTreeMap<ReadId, Opening>,
}

/// A session that an agent wants.
pub struct Opening {
    pub agent: usize,
    pub session: SessionId,
    pub description: Box<NodeDescription>,
    pub held: Option<Held>,
}

/// A term of leadership.
pub struct Leading {
    pub leader: Leader,
    pub term: u64,
    pub wake_at: Option<Timestamp>,
    pub sessions: BTreeMap<SessionId, Session>,
    /// The store that it began with.
    pub first: Store,
}

/// The leader's end of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Session {
    pub agent: usize,
    pub node: NodeId,
    /// Packets of a stream arrive in order.
    pub last_arrival: u64,
    /// Something was lost on the way: nothing comes after it.
    pub broken: bool,
}

/// What a flush let out.
#[derive(Default)]
pub struct Flushed {
    pub messages: Vec<Message>,
    /// With the entry applied last at that time.
    pub settled: Vec<(u64, Effects)>,
}

impl Outlet for Flushed {
    fn send(&mut self, messages: Vec<Message>) {
        self.messages.extend(messages);
    }

    fn settle(&mut self, replica: &Replica, effects: Effects) {
        self.settled.push((replica.applied().index, effects));
    }
}

impl Manager {
    /// Starts it from its disk. `seed` is this start's own.
    pub fn boot(&mut self, seed: u64) -> Result<(), ReplicaError> {
        let settings = Settings { pace: Pace::default(), compaction: Compaction::default(), seed };
        let mut replica = Replica::new(self.disk.crash(), settings)?;
        if let Some(mistake) = self.mistake {
            replica.plant(mistake);
        }
        self.process = Some(Process {
            history: History::new(replica.store()),
            driver: Driver::new(replica),
            leading: None,
            flush_is_due: false,
            disk_is_full: false,
            tickets: BTreeMap::new(),
            reads: BTreeMap::new(),
            opening: BTreeMap::new(),
        });
        Ok(())
    }

    /// The power goes.
    pub fn crash(&mut self) {
        self.life += 1;
        self.process = None;
    }

    /// What its clock says.
    pub fn now(&self, world: u64) -> Timestamp {
        Timestamp(world + self.skew + world / 10_000 * self.drift)
    }

    pub fn replica(&self) -> Option<&Replica> {
        self.process.as_ref().map(|process| process.driver.replica())
    }

    /// Writes what waits; a disk that was full is tried again.
    pub fn flush(&mut self) -> (Flushed, Result<(), FlushError>) {
        let mut flushed = Flushed::default();
        let Some(process) = &mut self.process else { return (flushed, Ok(())) };
        process.flush_is_due = false;
        let recovered =
            if process.disk_is_full { mesh_raft::disk::Disk::recover(&mut self.disk) } else { Ok(()) };
        let result = match recovered {
            Ok(()) => process.driver.flush(&mut self.disk, &mut flushed),
            Err(error) => Err(error.into()),
        };
        process.disk_is_full = matches!(&result, Err(FlushError::Disk(error)) if error.is_full());
        (flushed, result)
    }
}
