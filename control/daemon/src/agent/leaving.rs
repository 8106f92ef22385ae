//! Waiting while a task leaves: until nobody is connected to it, and, once its process is gone, until what it said
//! last has arrived. Only tasks that leave are looked at.

use std::convert::Infallible;
use std::time::Duration;

use mesh_core::id::TaskId;
use mesh_runtime::sockets::Connections;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::seam::TaskRuntime;

/// How long a task that is to leave serves on without word that no node sends to it any more.
pub const UNHEARD: Duration = Duration::from_secs(15);

/// Time between two looks at a task's connections. A first packet that another node sent before it took the task
/// out of its balancers is here by the next one.
const LOOK: Duration = Duration::from_millis(40);
/// Looks in a row that have to find nobody connected.
const QUIET: u32 = 2;
/// The same for what a process that ended has left to say,
const FLUSH_LOOK: Duration = Duration::from_millis(10);
/// which gets so much time at most: as long as a packet that is lost once takes, a little over.
const FLUSH: Duration = Duration::from_secs(2);

/// Waits until nobody is connected to the task, for `time` at most, or until the other end of `cut` is dropped.
pub async fn drain<R: TaskRuntime>(
    runtime: &R,
    task: &TaskId,
    time: Duration,
    cut: oneshot::Receiver<Infallible>,
) {
    let deadline = Instant::now() + time;
    let left = async {
        let mut quiet = 0;
        loop {
            let inbound = look(runtime, task).await.inbound;
            quiet = if inbound == 0 { quiet + 1 } else { 0 };
            if quiet == QUIET {
                return;
            }
            sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = left => {}
        () = tokio::time::sleep_until(deadline) => {}
        _ = cut => {}
    }
}

/// Waits until the other side has acknowledged all that the task's connections carried, or will not.
pub async fn flush<R: TaskRuntime>(runtime: &R, task: &TaskId) {
    let flushed = async {
        while look(runtime, task).await.unsent > 0 {
            sleep(FLUSH_LOOK).await;
        }
    };
    if timeout(FLUSH, flushed).await.is_err() {
        tracing::debug!(%task, "its last words were not acknowledged");
    }
}

/// A task that cannot be looked at has nobody to wait for.
async fn look<R: TaskRuntime>(runtime: &R, task: &TaskId) -> Connections {
    let seen = runtime.connections(task).await;
    seen.inspect_err(|error| tracing::debug!(%task, %error, "its connections are not known"))
        .unwrap_or_default()
}
