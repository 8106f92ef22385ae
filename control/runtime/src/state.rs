//! What is on disk of a task: written by the daemon before it starts the shim, by the shim while the task
//! runs, read by either and by a daemon that comes back. Every file appears whole or not at all.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cgroup::TaskCgroup;
use crate::error::RuntimeError;
use crate::image::Image;
use crate::process::ProcessMark;
use crate::task::{Prepared, TaskLaunch};

/// Version of [`Record`]'s format.
const FORMAT: u32 = 1;

/// Everything the shim needs. That it exists means that the task is prepared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    format: u32,
    /// What the agent asked for.
    pub launch: TaskLaunch,
    /// What the agent was answered.
    pub prepared: Prepared,
    /// The image, resolved.
    pub image: Image,
    /// Where the task's processes go.
    pub cgroup: TaskCgroup,
    /// Cgroup of the shims, in the unified hierarchy.
    pub shim_cgroup: PathBuf,
    /// Directory with `upper`, `work` and `root` for the overlay.
    pub writable: PathBuf,
}

impl Record {
    /// A record in the present format.
    pub fn new(
        launch: TaskLaunch,
        prepared: Prepared,
        image: Image,
        cgroup: TaskCgroup,
        shim_cgroup: PathBuf,
        writable: PathBuf,
    ) -> Self {
        Self { format: FORMAT, launch, prepared, image, cgroup, shim_cgroup, writable }
    }

    /// Host name inside.
    pub fn hostname(&self) -> &str {
        let short = self.prepared.container_id.get(..12).unwrap_or(&self.prepared.container_id);
        self.launch.hostname.as_deref().unwrap_or(short)
    }
}

/// How the task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit status, 128 + signal number for a signal.
    pub code: i32,
}

/// A task got its stop signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopMark {
    /// When it is killed: time since the machine's start, by `CLOCK_BOOTTIME` of `clock_gettime(2)`.
    kill_at: Duration,
}

impl StopMark {
    /// It gets its signal now, and is killed after `grace`.
    pub fn now(grace: Duration) -> io::Result<Self> {
        Ok(Self { kill_at: since_boot()?.saturating_add(grace) })
    }

    /// Time that it has left.
    pub fn left(self) -> io::Result<Duration> {
        Ok(self.kill_at.saturating_sub(since_boot()?))
    }
}

fn since_boot() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_BOOTTIME)?.into())
}

/// What the shim says on its standard output once the task runs or cannot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartReport {
    /// The program runs.
    Started {
        /// The task's first process.
        init: ProcessMark,
        /// The shim.
        shim: ProcessMark,
    },
    /// It could not be started; nothing of it is left.
    Failed {
        /// Why, in words.
        reason: String,
    },
}

/// The directory of one task below the run directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskDir(PathBuf);

impl TaskDir {
    /// The directory at this path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A file of it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// What to start; `None` while the task is half-made.
    pub fn record(&self) -> Result<Option<Record>, RuntimeError> {
        let path = self.file("launch.json");
        let record: Option<Record> = read(&path)?;
        match record {
            Some(record) if record.format != FORMAT => {
                Err(RuntimeError::Corrupt { path, reason: format!("format {}, not {FORMAT}", record.format) })
            }
            other => Ok(other),
        }
    }

    /// Makes the task a prepared one.
    pub fn write_record(&self, record: &Record) -> Result<(), RuntimeError> {
        write(&self.file("launch.json"), record)
    }

    /// Makes the task a half-made one again, before its things are removed.
    pub fn remove_record(&self) -> Result<(), RuntimeError> {
        remove_file(&self.file("launch.json"))
    }

    /// The shim that runs or ran the task.
    pub fn shim(&self) -> Result<Option<ProcessMark>, RuntimeError> {
        read(&self.file("shim.json"))
    }

    /// Makes the calling process the task's shim; fails with `AlreadyExists` when it has one, or had.
    pub fn claim(&self, shim: ProcessMark) -> io::Result<()> {
        let (path, draft) = (self.file("shim.json"), self.file(&format!("shim.{}", shim.pid)));
        create(&draft)?.write_all(&serde_json::to_vec(&shim)?)?;
        let linked = fs::hard_link(&draft, &path);
        fs::remove_file(&draft)?;
        linked
    }

    /// The task's first process.
    pub fn init(&self) -> Result<Option<ProcessMark>, RuntimeError> {
        read(&self.file("init.json"))
    }

    /// Remembers the task's first process.
    pub fn write_init(&self, init: ProcessMark) -> Result<(), RuntimeError> {
        write(&self.file("init.json"), &init)
    }

    /// How the task ended, if it has.
    pub fn exit(&self) -> Result<Option<Exit>, RuntimeError> {
        read(&self.file("exit.json"))
    }

    /// Remembers how the task ended.
    pub fn write_exit(&self, exit: Exit) -> Result<(), RuntimeError> {
        write(&self.file("exit.json"), &exit)
    }

    /// When the task got its stop signal, if it has.
    pub fn stop_mark(&self) -> Result<Option<StopMark>, RuntimeError> {
        read(&self.file("stop.json"))
    }

    /// Remembers that the task got its stop signal.
    pub fn write_stop_mark(&self, mark: StopMark) -> Result<(), RuntimeError> {
        write(&self.file("stop.json"), &mark)
    }

    /// Forgets a start that failed, so that there may be another.
    pub fn forget_start(&self) -> Result<(), RuntimeError> {
        remove_file(&self.file("init.json"))?;
        remove_file(&self.file("shim.json"))
    }
}

fn create(path: &Path) -> io::Result<fs::File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, RuntimeError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(RuntimeError::io("read", path)(error)),
    };
    let damaged =
        |error: serde_json::Error| RuntimeError::Corrupt { path: path.to_owned(), reason: error.to_string() };
    serde_json::from_slice(&bytes).map(Some).map_err(damaged)
}

fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), RuntimeError> {
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    let written = serde_json::to_vec(value)
        .map_err(io::Error::from)
        .and_then(|bytes| create(&draft)?.write_all(&bytes))
        .and_then(|()| fs::rename(&draft, path));
    written.map_err(RuntimeError::io("write", path))
}

/// Removes a file; one that is not there is removed.
pub fn remove_file(path: &Path) -> Result<(), RuntimeError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(RuntimeError::io("remove", path)(error)),
        _ => Ok(()),
    }
}
