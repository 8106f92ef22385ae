//! A disk for simulations: it forgets at a crash what was not synced, and can be made to lie.

use super::{Disk, DiskError, Saved, Truncate, Write};

/// How a disk betrays its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// It says that it has synced and has not.
    SyncsNothing,
    /// It says that it has synced, and does so with the next sync.
    SyncsLate,
}

/// What a node wrote, in two layers: what a crash leaves and what it takes.
#[derive(Debug, Clone)]
pub struct MemoryDisk {
    durable: Saved,
    unsynced: Vec<Write>,
    /// Writes of which a disk that is late says that they are durable.
    late: Vec<Write>,
    lie: Option<Lie>,
    /// Appends that still succeed before the disk is full.
    space: Option<u64>,
    /// How often something was made durable.
    syncs: u64,
}

impl MemoryDisk {
    /// The disk of a new node.
    pub fn create(saved: Saved) -> Self {
        Self { durable: saved, unsynced: Vec::new(), late: Vec::new(), lie: None, space: None, syncs: 0 }
    }

    /// From here on the disk lies.
    pub fn betray(&mut self, lie: Lie) {
        self.lie = Some(lie);
    }

    /// From here on this many appends succeed; `None` is all.
    pub fn limit(&mut self, space: Option<u64>) {
        self.space = space;
    }

    /// How often something was made durable.
    pub fn syncs(&self) -> u64 {
        self.syncs
    }

    /// What a node that crashed now finds when it comes back.
    pub fn crash(&mut self) -> Saved {
        self.unsynced.clear();
        self.late.clear();
        self.durable.clone()
    }
}

impl Disk for MemoryDisk {
    fn append(&mut self, write: &Write) -> Result<(), DiskError> {
        match &mut self.space {
            Some(0) => return Err(DiskError::Full { path: "memory".into() }),
            Some(left) => *left -= 1,
            None => {}
        }
        self.unsynced.push(write.clone());
        Ok(())
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        let synced = match self.lie {
            Some(Lie::SyncsNothing) => return Ok(()),
            Some(Lie::SyncsLate) => std::mem::replace(&mut self.late, std::mem::take(&mut self.unsynced)),
            None => std::mem::take(&mut self.unsynced),
        };
        self.syncs += 1;
        for write in synced {
            apply(&mut self.durable, write);
        }
        Ok(())
    }

    fn recover(&mut self) -> Result<(), DiskError> {
        if self.space == Some(0) {
            return Err(DiskError::Full { path: "memory".into() });
        }
        self.unsynced.clear();
        Ok(())
    }
}

fn apply(saved: &mut Saved, write: Write) {
    if let Some(snapshot) = write.snapshot {
        saved.snapshot = snapshot;
    }
    match write.truncate {
        Some(Truncate::UpTo(position)) => {
            saved.entries.retain(|entry| entry.index > position.index);
            saved.truncated = position;
        }
        Some(Truncate::All(position)) => {
            saved.entries.clear();
            saved.truncated = position;
        }
        None => {}
    }
    if let Some(first) = write.entries.first() {
        saved.entries.retain(|entry| entry.index < first.index);
        saved.entries.extend(write.entries);
    }
    if let Some(hard_state) = write.hard_state {
        saved.hard_state = hard_state;
    }
}
