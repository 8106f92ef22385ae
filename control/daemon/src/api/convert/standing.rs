//! How far a service is: its update, its job, its tasks counted.

use mesh_api::engine::Version;
use mesh_api::engine::service::{JobStatus as WireJob, ServiceStatus, UpdateStatus as WireUpdate};
use mesh_api::mesh::Rebalance as WireRebalance;
use mesh_core::object::{JobStatus, Rebalance, Service, TaskState, UpdateState, UpdateStatus};
use mesh_core::spec::ServiceMode;
use mesh_core::store::Store;

use super::time_text;

/// How an update goes, as the API shows it.
pub fn show_update(update: &UpdateStatus) -> WireUpdate {
    WireUpdate {
        state: update_word(update.state).to_owned(),
        started_at: Some(time_text(update.started_at)),
        completed_at: update.completed_at.map(time_text),
        message: update.message.clone(),
    }
}

/// The state of an update as Docker spells it.
pub fn update_word(state: UpdateState) -> &'static str {
    match state {
        UpdateState::Updating => "updating",
        UpdateState::Paused => "paused",
        UpdateState::Completed => "completed",
        UpdateState::RollbackStarted => "rollback_started",
        UpdateState::RollbackPaused => "rollback_paused",
        UpdateState::RollbackCompleted => "rollback_completed",
    }
}

/// How often a job was run, as the API shows it.
pub fn show_job(job: JobStatus) -> WireJob {
    WireJob { job_iteration: Version { index: job.iteration }, last_execution: time_text(job.last_execution) }
}

/// How far a rebalance is, as the API shows it.
pub fn show_rebalance(rebalance: &Rebalance) -> WireRebalance {
    WireRebalance {
        parallelism: rebalance.parallelism,
        started_at: time_text(rebalance.started_at),
        moving: rebalance.moving.len() as u64,
        moved: u64::from(rebalance.moved),
    }
}

/// Counts of a service's tasks: those that run, how many are wanted, and of a job's last run those that are done.
/// As Docker counts them: a replicated job wants as many as it may run at once, a global job what is not done yet.
pub fn counts(service: &Service, store: &Store) -> ServiceStatus {
    let run = service.job.map(|job| job.iteration);
    let tasks = store.service_tasks(service.id);
    let tasks = tasks.filter(|task| run.is_none() || task.job_iteration == run);
    count(service.spec.mode, run.is_some(), tasks.map(|task| (task.status.state, task.desired_state)))
}

/// Counts tasks by their observed and desired states.
fn count(mode: ServiceMode, job: bool, tasks: impl Iterator<Item = (TaskState, TaskState)>) -> ServiceStatus {
    let mut counts = ServiceStatus::default();
    for (state, desired) in tasks {
        // A job's tasks are meant to be complete.
        let wanted = desired <= TaskState::Complete;
        let done = job && state == TaskState::Complete;
        counts.running_tasks += u64::from(wanted && state == TaskState::Running);
        counts.completed_tasks += u64::from(done);
        counts.desired_tasks += u64::from(wanted && !done);
    }
    match mode {
        ServiceMode::Replicated { replicas } => counts.desired_tasks = u64::from(replicas),
        ServiceMode::ReplicatedJob { max_concurrent, .. } => {
            counts.desired_tasks = u64::from(max_concurrent);
        }
        ServiceMode::Global | ServiceMode::GlobalJob => {}
    }
    counts
}

#[cfg(test)]
mod tests {
    use mesh_core::id::TaskId;
    use mesh_core::time::Timestamp;

    use super::*;

    fn counted(mode: ServiceMode, tasks: &[(TaskState, TaskState)]) -> [u64; 3] {
        let ServiceStatus { running_tasks, desired_tasks, completed_tasks } =
            count(mode, mode.is_job(), tasks.iter().copied());
        [running_tasks, desired_tasks, completed_tasks]
    }

    #[test]
    fn a_service_counts_what_runs_and_is_meant_to() {
        use TaskState::{Complete, Failed, Pending, Running, Shutdown};
        let tasks = [
            (Running, Running),
            (Running, Shutdown),
            (Failed, Shutdown),
            (Complete, Running),
            (Pending, Running),
        ];
        assert_eq!(counted(ServiceMode::Replicated { replicas: 7 }, &tasks), [1, 7, 0]);
        assert_eq!(counted(ServiceMode::Global, &tasks), [1, 3, 0]);
    }

    #[test]
    fn a_job_counts_what_is_complete_and_what_is_to_be() {
        use TaskState::{Complete, Failed, Pending, Running, Shutdown};
        let tasks = [(Complete, Running), (Failed, Shutdown), (Running, Running), (Pending, Running)];
        let job = ServiceMode::ReplicatedJob { max_concurrent: 4, total_completions: 9 };
        assert_eq!(counted(job, &tasks), [1, 4, 1]);
        assert_eq!(counted(ServiceMode::GlobalJob, &tasks), [1, 2, 1]);
    }

    #[test]
    fn updates_and_jobs_are_told_in_dockers_words() {
        let update = UpdateStatus {
            state: UpdateState::RollbackStarted,
            started_at: Timestamp::ZERO,
            completed_at: None,
            message: "manually requested rollback".to_owned(),
            slots: 3,
            failed: std::collections::BTreeSet::new(),
        };
        assert_eq!(
            serde_json::to_value(show_update(&update)).unwrap(),
            serde_json::json!({"State": "rollback_started", "StartedAt": "1970-01-01T00:00:00Z",
                "Message": "manually requested rollback"})
        );
        let rebalance = Rebalance {
            parallelism: 2,
            started_at: Timestamp::ZERO,
            moving: [TaskId::from_bits(1)].into(),
            moved: 4,
        };
        assert_eq!(
            serde_json::to_value(show_rebalance(&rebalance)).unwrap(),
            serde_json::json!({"Parallelism": 2, "StartedAt": "1970-01-01T00:00:00Z", "Moving": 1, "Moved": 4})
        );
        let job = JobStatus { iteration: 3, last_execution: Timestamp::ZERO };
        assert_eq!(
            serde_json::to_value(show_job(job)).unwrap(),
            serde_json::json!({"JobIteration": {"Index": 3}, "LastExecution": "1970-01-01T00:00:00Z"})
        );
    }
}
