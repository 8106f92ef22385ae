//! One redb file with everything a node must not lose.
//!
//! Each commit is in two phases: with one, redb goes back a transaction when it finds the last one damaged
//! after an unclean stop, and cannot tell a torn write from an acknowledged one that rotted. With two, what
//! was acknowledged is there or the file is refused.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{Builder, Database, ReadableDatabase as _, WriteTransaction};

use super::frame::FrameError;
use super::overlay::Overlay;
use super::sealing::Sealing;
use super::table::{self, RowError};
use super::{Disk, DiskError, Saved, Write};

/// Memory that redb may use to cache pages. The log is read once, at start.
const CACHE_BYTES: usize = 8 << 20;

/// The state file of one node, held open.
pub struct RedbDisk {
    path: PathBuf,
    sealing: Sealing,
    // Declared before the database: a transaction ends before its database closes.
    txn: Option<WriteTransaction>,
    database: Option<Database>,
}

impl RedbDisk {
    /// Makes the file of a new node. It appears under its name when everything is in it, or not at all.
    pub fn create(path: &Path, saved: &Saved) -> Result<Self, DiskError> {
        Self::create_sealed(path, &Sealing::Plain, saved)
    }

    /// [`RedbDisk::create`] with sealed rows.
    pub fn create_sealed(path: &Path, sealing: &Sealing, saved: &Saved) -> Result<Self, DiskError> {
        if path.exists() {
            return Err(DiskError::Exists { path: path.to_owned() });
        }
        let fresh = path.with_extension("new");
        let io = |tried| move |source| DiskError::io(path, tried, source);
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&fresh);
        let database = builder()
            .create_file(file.map_err(io("create"))?)
            .map_err(|error| failed(path, "create", error.into()))?;
        let txn = begin(path, &database)?;
        table::create(&txn, sealing, saved).map_err(|error| rows(path, "write", error))?;
        txn.commit().map_err(|error| failed(path, "write", error.into()))?;
        drop(database);
        std::fs::hard_link(&fresh, path).map_err(io("create"))?;
        std::fs::remove_file(&fresh).map_err(io("create"))?;
        sync_directory(path).map_err(io("create"))?;
        Self::attach(path, sealing)
    }

    /// Opens the file of a node that was there before. It is looked through whole first, and not written to
    /// when anything is wrong with it.
    pub fn open(path: &Path) -> Result<(Self, Saved), DiskError> {
        Self::open_sealed(path, &Sealing::Plain)
    }

    /// [`RedbDisk::open`] with sealed rows.
    pub fn open_sealed(path: &Path, sealing: &Sealing) -> Result<(Self, Saved), DiskError> {
        verify(path, sealing)?;
        let disk = Self::attach(path, sealing)?;
        let saved = match &disk.database {
            Some(database) => load(path, database, sealing)?,
            None => return Err(DiskError::Missing { path: path.to_owned() }),
        };
        Ok((disk, saved))
    }

    fn attach(path: &Path, sealing: &Sealing) -> Result<Self, DiskError> {
        let database = builder().open(path).map_err(|error| failed(path, "open", error.into()))?;
        Ok(Self { path: path.to_owned(), sealing: sealing.clone(), txn: None, database: Some(database) })
    }
}

impl Disk for RedbDisk {
    fn append(&mut self, write: &Write) -> Result<(), DiskError> {
        let txn = match (self.txn.take(), &self.database) {
            (Some(txn), _) => txn,
            (None, Some(database)) => begin(&self.path, database)?,
            (None, None) => return Err(DiskError::Missing { path: self.path.clone() }),
        };
        table::write(&txn, &self.sealing, write).map_err(|error| rows(&self.path, "write", error))?;
        self.txn = Some(txn);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        let Some(txn) = self.txn.take() else { return Ok(()) };
        txn.commit().map_err(|error| failed(&self.path, "write", error.into()))
    }

    /// redb refuses all further work after an error: the file is opened anew, at what was last committed.
    fn recover(&mut self) -> Result<(), DiskError> {
        self.txn = None;
        self.database = None;
        *self = Self::attach(&self.path, &self.sealing)?;
        Ok(())
    }
}

impl Drop for RedbDisk {
    fn drop(&mut self) {
        self.txn = None;
    }
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn begin(path: &Path, database: &Database) -> Result<WriteTransaction, DiskError> {
    let mut txn = database.begin_write().map_err(|error| failed(path, "write", error.into()))?;
    txn.set_two_phase_commit(true);
    Ok(txn)
}

/// Reads everything once through a view that keeps repairs away from the file.
fn verify(path: &Path, sealing: &Sealing) -> Result<(), DiskError> {
    let file = File::options().read(true).write(true).open(path);
    let file = file.map_err(|source| DiskError::io(path, "open", source))?;
    let corrupt = |what: String| DiskError::Corrupt { path: path.to_owned(), what };
    let attempt = catch_unwind(AssertUnwindSafe(|| {
        let view = Overlay::new(file).map_err(|error| failed(path, "open", error.into()))?;
        if view_is_empty(&view) {
            return Err(corrupt("the file is empty".to_owned()));
        }
        let mut database =
            builder().create_with_backend(view).map_err(|error| failed(path, "open", error.into()))?;
        match database.check_integrity() {
            Ok(true) => load(path, &database, sealing).map(drop),
            Ok(false) => Err(corrupt("its checksums do not hold".to_owned())),
            Err(error) => Err(failed(path, "check", error.into())),
        }
    }));
    attempt.unwrap_or_else(|_| Err(corrupt("it cannot be read".to_owned())))
}

/// An empty file would be taken for a new database.
fn view_is_empty(view: &Overlay) -> bool {
    use redb::StorageBackend as _;
    view.len().is_ok_and(|len| len == 0)
}

fn load(path: &Path, database: &Database, sealing: &Sealing) -> Result<Saved, DiskError> {
    let txn = database.begin_read().map_err(|error| failed(path, "read", error.into()))?;
    table::read(&txn, sealing).map_err(|error| rows(path, "read", error))
}

fn rows(path: &Path, tried: &'static str, error: RowError) -> DiskError {
    match error {
        RowError::Redb(error) => failed(path, tried, error),
        RowError::Frame(FrameError::NoKey { id, .. }) => DiskError::Sealed { path: path.to_owned(), id },
        RowError::Format { found } => {
            DiskError::Format { path: path.to_owned(), found, known: table::FORMAT }
        }
        other => DiskError::Corrupt { path: path.to_owned(), what: other.to_string() },
    }
}

fn failed(path: &Path, tried: &'static str, error: redb::Error) -> DiskError {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    match error {
        redb::Error::Io(source) if matches!(source.kind(), UnexpectedEof | InvalidData) => {
            DiskError::Corrupt { path: path.to_owned(), what: source.to_string() }
        }
        redb::Error::Io(source) => DiskError::io(path, tried, source),
        redb::Error::DatabaseAlreadyOpen => DiskError::InUse { path: path.to_owned() },
        redb::Error::PreviousIo => {
            DiskError::io(path, tried, std::io::Error::other("an earlier write had failed"))
        }
        other => DiskError::Corrupt { path: path.to_owned(), what: other.to_string() },
    }
}

fn sync_directory(path: &Path) -> std::io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}
