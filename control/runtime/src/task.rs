//! What a runtime is asked to run and what it says of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use mesh_core::id::TaskId;
use mesh_core::spec::{HealthConfig, Resources};
use serde::{Deserialize, Serialize};

use crate::health::HealthCheck;

/// A task as its runtime needs it: the spec with every template and default filled in by the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskLaunch {
    /// The task.
    pub id: TaskId,
    /// `SERVICE.SLOT.TASKID`, the container's name.
    pub name: String,
    /// Image reference, with its tag.
    pub image: String,
    /// Replaces the image's entry point when not empty.
    pub command: Vec<String>,
    /// Arguments.
    pub args: Vec<String>,
    /// Environment, `KEY=value`, on top of the image's. The agent adds `MESH_TASK_ID`, `MESH_TASK_NAME`,
    /// `MESH_TASK_SLOT`, `MESH_SERVICE_NAME`, `MESH_SERVICE_ID`, `MESH_NODE_ID` and `MESH_NODE_HOSTNAME`.
    pub env: Vec<String>,
    /// Labels of the container.
    pub labels: BTreeMap<String, String>,
    /// Host name inside; unset: the first 12 characters of the container id.
    pub hostname: Option<String>,
    /// Working directory; unset: the image's.
    pub dir: Option<String>,
    /// `uid[:gid]` or a name of the image's passwd file; unset: the image's.
    pub user: Option<String>,
    /// Limits and reservations.
    pub resources: Resources,
    /// Signal number that asks the process to stop.
    pub stop_signal: i32,
    /// Time from that signal to SIGKILL.
    pub stop_grace_period: Duration,
    /// Mount the root file system read-only.
    pub read_only: bool,
    /// How it is probed, as far as that is not the image's.
    #[serde(default)]
    pub health: HealthConfig,
    /// Lines of `/etc/resolv.conf`.
    pub resolv_conf: Vec<String>,
    /// Lines of `/etc/hosts` after those for localhost.
    pub hosts: Vec<String>,
}

/// A task whose namespace exists and whose process could be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// The network namespace, bind-mounted, so that it can be entered and outlives every process.
    pub netns: PathBuf,
    /// Container id, 64 hexadecimal digits.
    pub container_id: String,
    /// How it is to be probed; `None`: not at all.
    #[serde(default)]
    pub health: Option<HealthCheck>,
}

/// How far a task is with its runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunState {
    /// Namespace and file system exist, no process was started.
    Prepared,
    /// The process runs.
    Running {
        /// Its process id on the node.
        pid: u32,
    },
    /// The process ended.
    Exited {
        /// Exit status, 128 + signal number for a signal.
        code: i32,
    },
}

/// A task that was found when the daemon came back.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// What it was started from.
    pub launch: TaskLaunch,
    /// Namespace and container id.
    pub prepared: Prepared,
    /// How far it is.
    pub state: RunState,
}

/// What a runtime tells without being asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeEvent {
    /// The process ended.
    Exited {
        /// The task.
        task: TaskId,
        /// Exit status, 128 + signal number for a signal.
        code: i32,
    },
}
