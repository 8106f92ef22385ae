//! What the agent does to tasks, each on a task of its own: the result comes back as an event.

use std::time::Duration;

use mesh_core::id::TaskId;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::sleep;

use super::Worker;
use crate::agent::seam::TaskRuntime;
use crate::agent::task::{Failure, Operation};
use crate::agent::ways::{Event, Outcome};
use crate::agent::{launch, leaving};

/// Waits between tries to remove a task: the first, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(1));

impl<R: TaskRuntime> Worker<R> {
    /// Begins what was decided for a task.
    pub(super) fn begin(&mut self, id: TaskId, operation: Operation) {
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        let (runtime, events) = (self.runtime.clone(), self.events.clone());
        let launch = launch::launch(&entry.task, &self.node);
        let drain = (operation == Operation::Drain).then(|| entry.begin_drain());
        tokio::spawn(async move {
            let done = match operation {
                Operation::Prepare => match launch {
                    Ok(launch) => runtime.prepare(&launch).await.map(Outcome::Prepared),
                    Err(error) => Ok(Outcome::Failed(Failure { error: error.to_string(), rejected: true })),
                },
                Operation::Start => runtime.start(&id).await.map(Outcome::Started),
                Operation::Drain => {
                    if let Some((time, cut)) = drain {
                        leaving::drain(&runtime, &id, time, cut).await;
                    }
                    Ok(Outcome::Drained)
                }
                Operation::Flush => {
                    leaving::flush(&runtime, &id).await;
                    Ok(Outcome::Flushed)
                }
                Operation::Stop => runtime.stop(&id).await.map(Outcome::Stopped),
                Operation::Remove => Ok(remove(&runtime, &id, &events).await),
            };
            let outcome = done.unwrap_or_else(|error| {
                Outcome::Failed(Failure { error: error.to_string(), rejected: error.is_rejection() })
            });
            // The agent may have ended meanwhile; the next one looks at the runtime itself.
            let _ = events.send(Event::Done { task: id, outcome });
        });
    }
}

/// Removes everything the task has, and tries again as long as that fails and the agent is there.
async fn remove<R: TaskRuntime>(runtime: &R, task: &TaskId, agent: &UnboundedSender<Event>) -> Outcome {
    let mut wait = RETRY.0;
    while let Err(error) = runtime.remove(task).await {
        tracing::warn!(%task, %error, ?wait, "a task was not removed whole; trying again");
        tokio::select! {
            () = agent.closed() => break,
            () = sleep(wait) => {}
        }
        wait = (wait * 2).min(RETRY.1);
    }
    Outcome::Removed
}
