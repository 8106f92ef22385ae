//! Probes a task for as long as it should be: the clock and the runtime around [`super::health`]. The agent
//! hears of changes alone, so that thousands of good answers cost it nothing.

use std::time::Duration;

use mesh_core::id::TaskId;
use mesh_core::object::Health;
use mesh_runtime::error::RuntimeError;
use mesh_runtime::health::{HealthCheck, ProbeOutcome};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::health::Monitor;
use super::seam::TaskRuntime;
use super::ways::Event;

/// A task that is being probed, until this is dropped.
#[derive(Debug)]
pub struct Probing(AbortHandle);

impl Drop for Probing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is known of a task when its probing begins.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// How long ago it was started.
    pub age: Duration,
    /// What its probe said last.
    pub health: Health,
}

/// Begins to probe a task. Each change is told as [`Event::Health`].
pub fn begin<R: TaskRuntime>(
    runtime: R,
    task: TaskId,
    check: HealthCheck,
    known: Known,
    events: mpsc::UnboundedSender<Event>,
) -> Probing {
    let probing = tokio::spawn(async move {
        let monitor = Monitor::new(check, known.health);
        watch(&runtime, task, monitor, known, &events).await;
    });
    Probing(probing.abort_handle())
}

async fn watch<R: TaskRuntime>(
    runtime: &R,
    task: TaskId,
    mut monitor: Monitor,
    known: Known,
    events: &mpsc::UnboundedSender<Event>,
) {
    let (begun, mut told) = (Instant::now(), (known.health, monitor.is_failing()));
    let age = || known.age + begun.elapsed();
    loop {
        let at = age();
        let Some(outcome) = probe(runtime, task, monitor.check()).await else { return };
        let health = monitor.take_in(at, &outcome);
        let failing = monitor.is_failing();
        if told != (health, failing) {
            told = (health, failing);
            let complaint = failing.then(|| format!("health check failed: {}", outcome.output));
            // An agent that has ended does not listen.
            let _ended = events.send(Event::Health { task, health, complaint });
        }
        let Some(wait) = monitor.wait(age()) else { return };
        tokio::time::sleep(wait).await;
    }
}

/// `None` when the task does not run any more; the agent hears of that otherwise.
async fn probe<R: TaskRuntime>(runtime: &R, task: TaskId, check: &HealthCheck) -> Option<ProbeOutcome> {
    match runtime.probe(&task, &check.probe, check.timeout).await {
        Ok(outcome) => Some(outcome),
        Err(RuntimeError::NoSuchTask { .. } | RuntimeError::WrongState { .. }) => None,
        // What cannot be asked cannot be known to be healthy.
        Err(error) => Some(ProbeOutcome { healthy: false, output: error.to_string() }),
    }
}
