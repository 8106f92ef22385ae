//! What goes wrong in a runtime, by what the agent does about it.

use std::io;
use std::path::PathBuf;

use mesh_core::id::TaskId;

/// A runtime could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The image is not on this node.
    #[error("No such image: {image} ({known})")]
    NoSuchImage {
        /// Reference that was asked for.
        image: String,
        /// What there is instead, in words.
        known: String,
    },
    /// The launch cannot be carried out by anybody.
    #[error("invalid {field}: {reason}")]
    Invalid {
        /// Field of the launch.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The runtime has no such task.
    #[error("no such task: {task}")]
    NoSuchTask {
        /// The task.
        task: TaskId,
    },
    /// The task is not in the state that this needs.
    #[error("task {task} is {state}, it must be {needed}")]
    WrongState {
        /// The task.
        task: TaskId,
        /// State that it is in.
        state: &'static str,
        /// State that it should be in.
        needed: &'static str,
    },
    /// The process could not be started.
    #[error("starting container failed: {reason}")]
    Start {
        /// What the shim said.
        reason: String,
    },
    /// A call to the system failed.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The host has no cgroup hierarchy that could be used.
    #[error("{missing} is not mounted: mount it, for example `mount -t cgroup2 none /sys/fs/cgroup`")]
    NoCgroup {
        /// What was looked for.
        missing: &'static str,
    },
    /// A state file holds something else than the runtime wrote.
    #[error("{} is damaged ({reason}); move it away to go on without its task", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A task did not end although it was killed.
    #[error("task {task} still has processes {seconds} s after SIGKILL")]
    Unkillable {
        /// The task.
        task: TaskId,
        /// How long was waited.
        seconds: u64,
    },
    /// The daemon is ending.
    #[error("the runtime is shutting down")]
    ShuttingDown,
    /// Some of a task's things could not be removed; the rest was.
    #[error("removing task {task}: {}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Cleanup {
        /// The task.
        task: TaskId,
        /// Everything that failed.
        errors: Vec<RuntimeError>,
    },
}

impl RuntimeError {
    /// An input or output error while doing `doing` to `path`.
    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }

    /// Whether the task can never run on this node as it is written: the agent reports REJECTED rather than
    /// FAILED.
    pub fn is_rejection(&self) -> bool {
        matches!(self, Self::NoSuchImage { .. } | Self::Invalid { .. })
    }
}
