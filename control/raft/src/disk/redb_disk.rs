//! One redb file with everything a node must not lose, behind a page that is witness to its last commit.
//!
//! Each commit costs one sync. What that leaves open after an unclean stop, the [`super::witness`] closes:
//! what was acknowledged is there or the file is refused.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Builder, Database, ReadableDatabase as _, StorageBackend, WriteTransaction};

use super::behind::{Behind, Medium};
use super::frame::FrameError;
use super::overlay::Overlay;
use super::sealing::Sealing;
use super::table::{self, RowError, Walk};
use super::witness::{self, WitnessError};
use super::{Disk, DiskError, Saved, Write};

/// Memory that redb may use to cache pages. The log is read once, at start.
const CACHE_BYTES: usize = 8 << 20;

/// Bytes of rows that are sealed anew in one commit: a few milliseconds.
const RESEAL_BYTES: usize = 1 << 20;

/// Where redb's file format has its flags, and two of them: the last commit was made in two phases, so that
/// what it says of free pages is believed; and the file was not closed. (redb 4, `docs/design.md`.)
const FLAGS: u64 = 9;
const TWO_PHASE: u8 = 4;
const UNCLEAN: u8 = 2;

/// The state file of one node, held open.
pub struct RedbDisk {
    path: PathBuf,
    sealing: Sealing,
    // Declared before the database: a transaction ends before its database closes.
    txn: Option<WriteTransaction>,
    database: Option<Database>,
    medium: Medium,
    /// The last commit that is durable.
    commit: u64,
    /// Its note may not be.
    restless: bool,
    /// How far rows are sealed anew.
    walk: Option<Walk>,
}

/// Whether a state may be older than its file's witness says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    Exact,
    Any,
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
        Self::fill(path, sealing, saved, &medium(path, file.map_err(io("create"))?)?)?;
        std::fs::hard_link(&fresh, path).map_err(io("create"))?;
        std::fs::remove_file(&fresh).map_err(io("create"))?;
        sync_directory(path).map_err(io("create"))?;
        Self::attach(path, sealing, open_medium(path)?)
    }

    /// Writes the first commit to an empty medium.
    fn fill(path: &Path, sealing: &Sealing, saved: &Saved, medium: &Medium) -> Result<(), DiskError> {
        witness::create(&**medium).map_err(|error| page(path, "create", error))?;
        let database = builder()
            .create_with_backend(Behind(Arc::clone(medium)))
            .map_err(|error| failed(path, "create", error.into()))?;
        let txn = database.begin_write().map_err(|error| failed(path, "write", error.into()))?;
        table::create(&txn, sealing, saved)
            .and_then(|()| table::put_commit(&txn, sealing, 1))
            .map_err(|error| rows(path, "write", error))?;
        txn.commit().map_err(|error| failed(path, "write", error.into()))?;
        witness::note(&**medium, sealing, 1).map_err(|error| page(path, "write", error))?;
        drop(database);
        medium.sync_data().map_err(|source| DiskError::io(path, "write", source))
    }

    /// Opens the file of a node that was there before. It is looked through whole first, and not written to
    /// when anything is wrong with it.
    pub fn open(path: &Path) -> Result<(Self, Saved), DiskError> {
        Self::open_sealed(path, &Sealing::Plain)
    }

    /// [`RedbDisk::open`] with sealed rows.
    pub fn open_sealed(path: &Path, sealing: &Sealing) -> Result<(Self, Saved), DiskError> {
        Self::open_on(path, sealing, open_medium(path)?, Age::Exact)
    }

    /// [`RedbDisk::open_sealed`], and a file whose last commits rotted away is taken as it was before them:
    /// for whoever goes on alone, and must lose as little as can be.
    pub fn open_older(path: &Path, sealing: &Sealing) -> Result<(Self, Saved), DiskError> {
        Self::open_on(path, sealing, open_medium(path)?, Age::Any)
    }

    fn open_on(path: &Path, sealing: &Sealing, medium: Medium, age: Age) -> Result<(Self, Saved), DiskError> {
        let saved = verify(path, sealing, &medium, age)?;
        Ok((Self::attach(path, sealing, medium)?, saved))
    }

    /// A state file that is no file.
    #[cfg(test)]
    pub(crate) fn open_bytes(sealing: &Sealing, bytes: Medium) -> Result<(Self, Saved), DiskError> {
        Self::open_on(Path::new("memory"), sealing, bytes, Age::Exact)
    }

    /// A new state file that is no file.
    #[cfg(test)]
    pub(crate) fn create_bytes(sealing: &Sealing, saved: &Saved, bytes: Medium) -> Result<Self, DiskError> {
        let path = Path::new("memory");
        Self::fill(path, sealing, saved, &bytes)?;
        Self::attach(path, sealing, bytes)
    }

    fn attach(path: &Path, sealing: &Sealing, medium: Medium) -> Result<Self, DiskError> {
        let database = open_checked(path, Behind(Arc::clone(&medium)))?;
        let txn = database.begin_read().map_err(|error| failed(path, "read", error.into()))?;
        let found = table::commit(&txn, sealing).map_err(|error| rows(path, "read", error))?;
        // Numbers that were noted are not used again, by whichever state it goes on with.
        let commit = found.max(witness::newest(&*medium, sealing).unwrap_or(found));
        let (path, sealing) = (path.to_owned(), sealing.clone());
        let database = Some(database);
        Ok(Self { path, sealing, txn: None, database, medium, commit, restless: true, walk: None })
    }

    fn begin(&mut self) -> Result<WriteTransaction, DiskError> {
        match (self.txn.take(), &self.database) {
            (Some(txn), _) => Ok(txn),
            (None, Some(database)) => {
                database.begin_write().map_err(|error| failed(&self.path, "write", error.into()))
            }
            (None, None) => Err(DiskError::Missing { path: self.path.clone() }),
        }
    }

    fn note(&self, commit: u64) -> Result<(), DiskError> {
        witness::note(&*self.medium, &self.sealing, commit).map_err(|error| page(&self.path, "write", error))
    }
}

impl Disk for RedbDisk {
    fn append(&mut self, write: &Write) -> Result<(), DiskError> {
        let txn = self.begin()?;
        table::write(&txn, &self.sealing, write).map_err(|error| rows(&self.path, "write", error))?;
        self.txn = Some(txn);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        let Some(txn) = self.txn.take() else { return Ok(()) };
        let commit = self.commit + 1;
        table::put_commit(&txn, &self.sealing, commit).map_err(|error| rows(&self.path, "write", error))?;
        txn.commit().map_err(|error| failed(&self.path, "write", error.into()))?;
        self.commit = commit;
        self.restless = true;
        self.note(commit)
    }

    /// redb refuses all further work after an error: the file is opened anew, at what was last committed.
    fn recover(&mut self) -> Result<(), DiskError> {
        self.txn = None;
        self.database = None;
        let (commit, walk) = (self.commit, self.walk);
        *self = Self::attach(&self.path, &self.sealing, open_medium(&self.path)?)?;
        self.walk = walk;
        if self.commit < commit {
            return Err(went_back(&self.path, self.commit, commit));
        }
        Ok(())
    }

    fn rest(&mut self) -> Result<(), DiskError> {
        if !std::mem::take(&mut self.restless) {
            return Ok(());
        }
        self.medium.sync_data().map_err(|source| DiskError::io(&self.path, "write", source))
    }

    fn reseal(&mut self, sealing: &Sealing) -> Result<(), DiskError> {
        if let Some(id) = sealing.lacks(&self.sealing) {
            return Err(DiskError::Sealed { path: self.path.clone(), id });
        }
        self.sealing = sealing.clone();
        self.walk = Some(Walk::default());
        Ok(())
    }

    fn reseal_some(&mut self) -> Result<bool, DiskError> {
        let Some(walk) = self.walk else { return Ok(true) };
        let txn = self.begin()?;
        let walk = table::reseal(&txn, &self.sealing, walk, RESEAL_BYTES)
            .map_err(|error| rows(&self.path, "write", error))?;
        self.txn = Some(txn);
        self.sync()?;
        self.walk = walk;
        if walk.is_none() {
            // The note before the last has the key of its time. Never are both on their way at once.
            self.rest()?;
            self.note(self.commit - 1)?;
            self.restless = true;
        }
        Ok(walk.is_none())
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

fn open_medium(path: &Path) -> Result<Medium, DiskError> {
    let file = File::options().read(true).write(true).open(path);
    medium(path, file.map_err(|source| DiskError::io(path, "open", source))?)
}

fn medium(path: &Path, file: File) -> Result<Medium, DiskError> {
    let file = FileBackend::new(file).map_err(|error| failed(path, "open", error.into()))?;
    Ok(Arc::new(file))
}

/// Reads everything once through a view that keeps repairs away from the file.
fn verify(path: &Path, sealing: &Sealing, medium: &Medium, age: Age) -> Result<Saved, DiskError> {
    witness::check(&**medium).map_err(|error| page(path, "read", error))?;
    let attempt = catch_unwind(AssertUnwindSafe(|| {
        let database = view(path, medium)?;
        let txn = database.begin_read().map_err(|error| failed(path, "read", error.into()))?;
        let saved = table::read(&txn, sealing).map_err(|error| rows(path, "read", error))?;
        let commit = table::commit(&txn, sealing).map_err(|error| rows(path, "read", error))?;
        Ok((saved, commit))
    }));
    let corrupt = |_| DiskError::Corrupt { path: path.to_owned(), what: "it cannot be read".to_owned() };
    let (saved, commit) = attempt.map_err(corrupt)??;
    let noted = witness::newest(&**medium, sealing).map_err(|error| page(path, "read", error))?;
    if commit < noted && age == Age::Exact {
        return Err(went_back(path, commit, noted));
    }
    Ok(saved)
}

fn view(path: &Path, medium: &Medium) -> Result<Database, DiskError> {
    let view = Overlay::new(Behind(Arc::clone(medium)));
    open_checked(path, view.map_err(|source| DiskError::io(path, "open", source))?)
}

/// Opens it so that every page is held against its checksum before anything is made of it. redb does so after
/// an unclean stop alone; after a clean one it believes, and panics at, what it kept of free pages.
fn open_checked(path: &Path, behind: impl StorageBackend) -> Result<Database, DiskError> {
    let mut flags = [0];
    behind
        .read(FLAGS, &mut flags)
        .and_then(|()| behind.write(FLAGS, &[flags[0] & !TWO_PHASE | UNCLEAN]))
        .map_err(|error| failed(path, "open", redb::Error::Io(error)))?;
    builder().create_with_backend(behind).map_err(|error| failed(path, "open", error.into()))
}

fn went_back(path: &Path, commit: u64, noted: u64) -> DiskError {
    let what = format!("it went back from commit {noted} to {commit}");
    DiskError::Corrupt { path: path.to_owned(), what }
}

fn page(path: &Path, tried: &'static str, error: WitnessError) -> DiskError {
    match error {
        WitnessError::Io(error) => failed(path, tried, redb::Error::Io(error)),
        WitnessError::Format { found } => {
            DiskError::Format { path: path.to_owned(), found, known: witness::FORMAT }
        }
        other => DiskError::Corrupt { path: path.to_owned(), what: other.to_string() },
    }
}

fn rows(path: &Path, tried: &'static str, error: RowError) -> DiskError {
    match error {
        RowError::Redb(error) => failed(path, tried, error),
        RowError::Frame(FrameError::NoKey { id, .. }) => DiskError::Sealed { path: path.to_owned(), id },
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
