//! What must outlive the process, and the seam at which a simulation puts its own disk.

mod behind;
mod frame;
#[cfg(any(test, feature = "testing"))]
mod memory;
mod overlay;
mod redb_disk;
mod sealing;
mod table;
mod witness;

use std::path::{Path, PathBuf};

use raft::eraftpb::{Entry, HardState, Snapshot};

use crate::log::Position;

#[cfg(test)]
pub(crate) use behind::{Behind, Medium};
#[cfg(any(test, feature = "testing"))]
pub use memory::{Lie, MemoryDisk};
#[cfg(test)]
pub(crate) use overlay::Overlay;
pub use redb_disk::RedbDisk;
pub use sealing::{DataKey, Keys, Sealing};

/// All that a node left on its disk.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    /// Raft's number of the node that this disk belongs to.
    pub node: u64,
    /// Term, vote and a lower bound of the commit index.
    pub hard_state: HardState,
    /// The last entry that was compacted away.
    pub truncated: Position,
    /// Entries after it, without a gap.
    pub entries: Vec<Entry>,
    /// The newest snapshot; a node has one from its beginning.
    pub snapshot: Snapshot,
}

/// One change of the disk, whole or not at all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Write {
    /// Takes the place of the snapshot that is kept.
    pub snapshot: Option<Snapshot>,
    /// What of the log goes, before `entries` come.
    pub truncate: Option<Truncate>,
    /// Go after the entries that precede them; whatever stood at their indexes or later goes.
    pub entries: Vec<Entry>,
    /// Takes the place of the hard state that is kept.
    pub hard_state: Option<HardState>,
}

/// What of the log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truncate {
    /// Entries up to this one: they are in the snapshot.
    UpTo(Position),
    /// Every entry: the log goes on after this one, which a leader's snapshot ends with.
    All(Position),
}

/// A disk. What was appended is durable when `sync` has returned, and not before; several appends share one
/// sync. After an error what was appended since the last sync may be there or not: [`Disk::recover`], then
/// append it again.
pub trait Disk: Send {
    /// Takes a change.
    fn append(&mut self, write: &Write) -> Result<(), DiskError>;
    /// Makes every change taken so far durable.
    fn sync(&mut self) -> Result<(), DiskError>;
    /// Goes back to what was last made durable, after an error.
    fn recover(&mut self) -> Result<(), DiskError>;
    /// A while has passed: makes durable what need not be at once. Costs nothing when there is no such thing.
    fn rest(&mut self) -> Result<(), DiskError> {
        Ok(())
    }
    /// Seals with `sealing` from here on. What is there is sealed anew by [`Disk::reseal_some`]; until that is
    /// done `sealing` must open it too, and is refused otherwise.
    fn reseal(&mut self, sealing: &Sealing) -> Result<(), DiskError> {
        let _ = sealing;
        Ok(())
    }
    /// Seals some more rows anew, durably; true: all are. Nothing that was appended may wait for its sync.
    fn reseal_some(&mut self) -> Result<bool, DiskError> {
        Ok(true)
    }
}

/// What a disk refuses.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A node is to begin where one already is.
    #[error("{} exists: this node has state already and none of it was touched", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// There is no state.
    #[error("{} does not exist: this node is in no cluster", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file was damaged.
    #[error(
        "{} is damaged ({what}) and was left as it is. If the other managers have a quorum: `meshctl swarm leave \
         --force` here, then join again. If not: `meshctl swarm init --force-new-cluster` on a manager whose \
         state is whole", path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// Another process holds it.
    #[error("{} is in use: another meshd runs with this data directory", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A newer release wrote it.
    #[error("{} has format {found} and this meshd knows {known}: start the newer meshd again", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Format in the file.
        found: u32,
        /// Newest format that is understood here.
        known: u32,
    },
    /// It is sealed with a key that was not handed in.
    #[error("{} is sealed with data key {id}, which is not at hand", path.display())]
    Sealed {
        /// The file.
        path: PathBuf,
        /// The key's number.
        id: u32,
    },
    /// No space is left.
    #[error("no space left for {}: free some", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// The operating system failed.
    #[error("cannot {tried} {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        tried: &'static str,
        /// What it said.
        source: std::io::Error,
    },
}

impl DiskError {
    /// Whether the same write can succeed later, without a restart.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }

    /// An error of the operating system; a lack of space is told apart.
    pub fn io(path: &Path, tried: &'static str, source: std::io::Error) -> Self {
        use std::io::ErrorKind::{NotFound, QuotaExceeded, StorageFull};
        let path = path.to_owned();
        match source.kind() {
            StorageFull | QuotaExceeded => Self::Full { path },
            NotFound => Self::Missing { path },
            _ => Self::Io { path, tried, source },
        }
    }
}
