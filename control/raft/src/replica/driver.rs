//! The order in which a replica's work is written, sent and told.

use raft::eraftpb::Message;

use super::{Effects, Replica, ReplicaError};
use crate::disk::{Disk, DiskError};
use crate::node::Prepared;

/// Where a replica's effects go.
pub trait Outlet {
    /// Messages for peers; losing one is allowed.
    fn send(&mut self, messages: Vec<Message>);
    /// What happened; `replica` is as it was right after.
    fn settle(&mut self, replica: &Replica, effects: Effects);
}

/// Why a flush ended early.
#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    /// The disk failed; after [`Disk::recover`] the flush may be tried again, and goes on where it was.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The replica cannot go on.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
}

/// A replica with the write that it waits for.
pub struct Driver {
    replica: Replica,
    prepared: Option<Prepared>,
}

impl Driver {
    /// A driver for `replica`.
    pub fn new(replica: Replica) -> Self {
        Self { replica, prepared: None }
    }

    /// The replica.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// The replica, for inputs; it refuses them while a write waits.
    pub fn replica_mut(&mut self) -> &mut Replica {
        &mut self.replica
    }

    /// Does all that the inputs since the last flush led to. Whatever came in before shares one sync.
    pub fn flush(&mut self, disk: &mut impl Disk, outlet: &mut impl Outlet) -> Result<(), FlushError> {
        while let Some(prepared) = self.next(outlet) {
            if let Some(write) = &prepared.write
                && let Err(error) = disk.append(write).and_then(|()| disk.sync())
            {
                self.prepared = Some(prepared);
                return Err(error.into());
            }
            let (messages, effects) = self.replica.complete(prepared)?;
            outlet.send(messages);
            outlet.settle(&self.replica, effects);
        }
        if let Some(write) = self.replica.checkpoint()? {
            disk.append(&write)?;
            disk.sync()?;
            self.replica.node.checkpointed(write);
        }
        Ok(())
    }

    fn next(&mut self, outlet: &mut impl Outlet) -> Option<Prepared> {
        self.prepared.take().or_else(|| {
            let mut prepared = self.replica.node.prepare()?;
            outlet.send(std::mem::take(&mut prepared.messages));
            Some(prepared)
        })
    }
}
