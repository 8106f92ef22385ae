//! How far a service is: its update, its job, its tasks counted.

use mesh_api::engine::Version;
use mesh_api::engine::service::{JobStatus as WireJob, ServiceStatus, UpdateStatus as WireUpdate};
use mesh_core::object::{JobStatus, Service, Task, TaskState, UpdateState, UpdateStatus};
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

/// Counts of a service's tasks: those that run, how many are wanted, and of a job's last run those that are done.
/// As Docker counts them: a replicated job wants as many as it may run at once, a global job what is not done yet.
pub fn counts(service: &Service, store: &Store) -> ServiceStatus {
    let run = service.job.map(|job| job.iteration);
    count(service.spec.mode, run, store.service_tasks(service.id).map(AsRef::as_ref))
}

fn count<'a>(mode: ServiceMode, run: Option<u64>, tasks: impl Iterator<Item = &'a Task>) -> ServiceStatus {
    let mut counts = ServiceStatus::default();
    for task in tasks.filter(|task| run.is_none() || task.job_iteration == run) {
        // A job's tasks are meant to be complete.
        let wanted = task.desired_state <= TaskState::Complete;
        let done = run.is_some() && task.status.state == TaskState::Complete;
        counts.running_tasks += u64::from(wanted && task.status.state == TaskState::Running);
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
    use mesh_core::id::{ServiceId, TaskId};
    use mesh_core::object::{Meta, TaskStatus};
    use mesh_core::spec::{ContainerSpec, Placement, Resources, RestartPolicy, TaskSpec};
    use mesh_core::time::Timestamp;

    use super::*;

    fn task(run: Option<u64>, state: TaskState, desired_state: TaskState) -> Task {
        let spec = TaskSpec {
            container: ContainerSpec::default(),
            resources: Resources::default(),
            restart: RestartPolicy::default(),
            placement: Placement::default(),
            networks: Vec::new(),
            force_update: 0,
        };
        Task {
            id: TaskId::from_bits(1),
            meta: Meta::default(),
            service: ServiceId::from_bits(1),
            service_name: "web".parse().unwrap(),
            spec: std::sync::Arc::new(spec),
            spec_version: 1,
            slot: 1,
            node: None,
            desired_state,
            status: TaskStatus {
                state,
                timestamp: Timestamp::ZERO,
                message: String::new(),
                err: String::new(),
                container: None,
            },
            endpoints: Vec::new(),
            host_ports: Vec::new(),
            start_at: Timestamp::ZERO,
            restarts: Vec::new(),
            running_at: None,
            leaving: None,
            generic: std::collections::BTreeMap::new(),
            job_iteration: run,
            watched: false,
        }
    }

    fn counted(mode: ServiceMode, run: Option<u64>, tasks: &[Task]) -> [u64; 3] {
        let ServiceStatus { running_tasks, desired_tasks, completed_tasks } = count(mode, run, tasks.iter());
        [running_tasks, desired_tasks, completed_tasks]
    }

    #[test]
    fn a_service_counts_what_runs_and_is_meant_to() {
        use TaskState::{Complete, Failed, Pending, Running, Shutdown};
        let tasks = [
            task(None, Running, Running),
            task(None, Running, Shutdown),
            task(None, Failed, Shutdown),
            task(None, Complete, Running),
            task(None, Pending, Running),
        ];
        assert_eq!(counted(ServiceMode::Replicated { replicas: 7 }, None, &tasks), [1, 7, 0]);
        assert_eq!(counted(ServiceMode::Global, None, &tasks), [1, 3, 0]);
    }

    #[test]
    fn a_job_counts_its_last_run() {
        use TaskState::{Complete, Failed, Pending, Running, Shutdown};
        let tasks = [
            task(Some(1), Complete, Complete),
            task(Some(1), Running, Shutdown),
            task(Some(2), Complete, Complete),
            task(Some(2), Failed, Shutdown),
            task(Some(2), Running, Complete),
            task(Some(2), Pending, Complete),
        ];
        let job = ServiceMode::ReplicatedJob { max_concurrent: 4, total_completions: 9 };
        assert_eq!(counted(job, Some(2), &tasks), [1, 4, 1]);
        assert_eq!(counted(ServiceMode::GlobalJob, Some(2), &tasks), [1, 2, 1]);
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
        let job = JobStatus { iteration: 3, last_execution: Timestamp::ZERO };
        assert_eq!(
            serde_json::to_value(show_job(job)).unwrap(),
            serde_json::json!({"JobIteration": {"Index": 3}, "LastExecution": "1970-01-01T00:00:00Z"})
        );
    }
}
