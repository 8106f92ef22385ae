//! Waiting for the end of tasks.

use std::sync::{Arc, Weak};

use mesh_core::id::TaskId;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use tokio::task::AbortHandle;

use super::spawn::Shim;
use super::{Entry, Inner, KILLED, blocking, locked};
use crate::error::RuntimeError;
use crate::process::ProcessMark;
use crate::state::Exit;
use crate::sys;
use crate::task::{RunState, RuntimeEvent};

/// A wait for one task's shim; dropping it ends the wait, not the task.
#[derive(Debug)]
pub struct Watcher(AbortHandle);

impl Watcher {
    /// Begins to wait for the shim of `task`; the entry holds the wait.
    pub fn begin(
        inner: &Arc<Inner>,
        task: TaskId,
        entry: &Arc<Entry>,
        shim: Shim,
    ) -> Result<(), RuntimeError> {
        let pidfd =
            sys::readable(shim.pidfd).map_err(RuntimeError::io("watch shim of", format!("task {task}")))?;
        let (inner, held) = (Arc::downgrade(inner), Arc::downgrade(entry));
        let waiting = tokio::spawn(async move {
            if let Err(error) = pidfd.readable().await {
                tracing::error!(%task, %error, "waiting for a task's shim");
            }
            reap(shim.mark);
            ended(&inner, task, &held).await;
        });
        *locked(&entry.watcher) = Some(Self(waiting.abort_handle()));
        Ok(())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The shim is a child of the daemon that started it, and nobody's concern of one that adopted it.
fn reap(shim: ProcessMark) {
    if let Ok(pid) = i32::try_from(shim.pid) {
        let _not_a_child = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
    }
}

async fn ended(inner: &Weak<Inner>, task: TaskId, entry: &Weak<Entry>) {
    let (Some(runtime), Some(entry)) = (inner.upgrade(), entry.upgrade()) else { return };
    let places = runtime.places.clone();
    let code = blocking(move || {
        if let Some(Exit { code }) = places.dir(task).exit()? {
            return Ok(code);
        }
        tracing::warn!(%task, "the task's shim was killed; so is the task");
        places.kill_cgroup(task)?;
        places.dir(task).write_exit(Exit { code: KILLED })?;
        Ok(KILLED)
    });
    let code = code.await.unwrap_or_else(|error| {
        tracing::error!(%task, %error, "learning how a task ended");
        KILLED
    });
    entry.state.send_replace(RunState::Exited { code });
    let listeners = locked(&runtime.listeners).clone();
    for listener in listeners {
        let _gone = listener.send(RuntimeEvent::Exited { task, code }).await;
    }
    locked(&runtime.listeners).retain(|listener| !listener.is_closed());
}
