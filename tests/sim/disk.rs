//! A manager's disk: the memory disk of [`mesh_raft`], and a power cut at any of its operations.

use mesh_raft::disk::{Disk, DiskError, Lie, MemoryDisk, Saved, Write};

/// When the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    /// Operations that are done before.
    after: u64,
    /// Whether the last one is done still.
    done: bool,
}

/// A disk that outlives its manager.
#[derive(Debug)]
pub struct SimDisk {
    inner: MemoryDisk,
    cut: Option<Cut>,
}

impl SimDisk {
    pub fn new(saved: Saved) -> Self {
        Self { inner: MemoryDisk::create(saved), cut: None }
    }

    /// The power goes at one of the next operations, before or after it is done.
    pub fn cut_after(&mut self, after: u64, done: bool) {
        self.cut = Some(Cut { after, done });
    }

    /// The power stays.
    pub fn spare(&mut self) {
        self.cut = None;
    }

    /// From now on this many appends have space; `None` is all.
    pub fn limit(&mut self, appends: Option<u64>) {
        self.inner.limit(appends);
    }

    pub fn betray(&mut self, lie: Lie) {
        self.inner.betray(lie);
    }

    /// What is there when the power is back.
    pub fn crash(&mut self) -> Saved {
        self.cut = None;
        self.inner.limit(None);
        self.inner.crash()
    }

    fn operate(
        &mut self,
        operation: impl FnOnce(&mut MemoryDisk) -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        let gone = Err(DiskError::io("simulated".as_ref(), "reach", std::io::Error::other("power cut")));
        match &mut self.cut {
            None => operation(&mut self.inner),
            Some(cut) if cut.after > 0 => {
                cut.after -= 1;
                operation(&mut self.inner)
            }
            Some(Cut { done: true, .. }) => {
                let _ = operation(&mut self.inner);
                gone
            }
            Some(_) => gone,
        }
    }
}

impl Disk for SimDisk {
    fn append(&mut self, write: &Write) -> Result<(), DiskError> {
        self.operate(|disk| disk.append(write))
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        self.operate(MemoryDisk::sync)
    }

    fn recover(&mut self) -> Result<(), DiskError> {
        self.operate(MemoryDisk::recover)
    }
}
