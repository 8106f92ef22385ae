//! What a daemon that comes back finds on disk.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use mesh_core::id::TaskId;

use super::place::Places;
use super::{KILLED, netns, spawn};
use crate::error::RuntimeError;
use crate::state::{Exit, Record};
use crate::sys;
use crate::task::RunState;

/// A task as it was found.
pub struct Recovered {
    /// How far it is.
    pub state: RunState,
    /// The shim to wait for, where one runs.
    pub shim: Option<spawn::Shim>,
}

/// Looks at all that is there: tasks that are whole are given back, everything else is removed. What cannot
/// be removed now is no reason not to start; it is tried again next time.
pub fn all(places: &Places) -> Result<Vec<(Record, Recovered)>, RuntimeError> {
    let (mut found, mut layers) = (Vec::new(), BTreeSet::new());
    for task in places.traces()? {
        match one(places, task)? {
            Some((record, recovered)) => {
                layers.extend(record.image.layers.iter().cloned());
                found.push((record, recovered));
            }
            None => {
                if let Err(error) = places.remove(task) {
                    tracing::warn!(%task, %error, "what is left of a task could not be removed");
                }
            }
        }
    }
    if let Err(error) = places.images.collect(&layers) {
        tracing::warn!(%error, "unused image layers could not be removed");
    }
    Ok(found)
}

/// `None`: nothing that could be used.
fn one(places: &Places, task: TaskId) -> Result<Option<(Record, Recovered)>, RuntimeError> {
    let Some(record) = places.dir(task).record()? else { return Ok(None) };
    let recovered = progress(places, task)?;
    let place = &record.prepared.netns;
    if !netns::is_namespace(place) {
        // The mount went with an earlier daemon's mount namespace. The process still has the namespace.
        let RunState::Running { pid } = recovered.state else { return Ok(None) };
        netns::mount_of(pid, place)?;
    }
    Ok(Some((record, recovered)))
}

fn progress(places: &Places, task: TaskId) -> Result<Recovered, RuntimeError> {
    let dir = places.dir(task);
    let ended = |code| Recovered { state: RunState::Exited { code }, shim: None };
    let Some(mark) = dir.shim()? else {
        return Ok(Recovered { state: RunState::Prepared, shim: None });
    };
    // In this order: a shim writes how the task ended before it ends itself.
    let shim = mark.open().map_err(RuntimeError::io("open shim of", dir.path()))?;
    if let Some(Exit { code }) = dir.exit()? {
        return Ok(ended(code));
    }
    match (shim, dir.init()?) {
        (Some(pidfd), Some(init)) => {
            let shim = spawn::Shim { mark, pidfd };
            Ok(Recovered { state: RunState::Running { pid: init.pid }, shim: Some(shim) })
        }
        // Killed, or on its way when the daemon that waited for it ended.
        (shim, _) => {
            if let Some(pidfd) = shim {
                let killed = sys::pidfd_signal(pidfd.as_fd(), nix::libc::SIGKILL);
                killed.map_err(RuntimeError::io("kill shim of", dir.path()))?;
            }
            places.kill_cgroup(task)?;
            dir.write_exit(Exit { code: KILLED })?;
            Ok(ended(KILLED))
        }
    }
}
