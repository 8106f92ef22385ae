//! How many tasks a service has.

use clap::{Args, ValueEnum};
use mesh_api::engine::service::{Global, Replicated, ReplicatedJob, ServiceMode, ServiceSpec};

use crate::error::CliError;

/// What decides how many tasks a service has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// A number of tasks
    Replicated,
    /// One task on each node
    Global,
    /// A number of runs that come to their end
    ReplicatedJob,
    /// One run that comes to its end on each node
    GlobalJob,
}

impl Mode {
    /// The mode with nothing said of numbers.
    pub fn bare(self) -> ServiceMode {
        let none = ServiceMode::default();
        match self {
            Self::Replicated => ServiceMode { replicated: Some(Replicated { replicas: Some(1) }), ..none },
            Self::Global => ServiceMode { global: Some(Global {}), ..none },
            Self::ReplicatedJob => ServiceMode { replicated_job: Some(ReplicatedJob::default()), ..none },
            Self::GlobalJob => ServiceMode { global_job: Some(Global {}), ..none },
        }
    }
}

/// How many tasks.
#[derive(Debug, Default, Args)]
pub struct ScaleFlags {
    /// Number of tasks; of a job, runs that have to complete [default: 1]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    replicas: Option<u64>,
    /// Runs of a job at once [default: --replicas]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    max_concurrent: Option<u64>,
    /// Most tasks of the service on one node; 0 is unlimited
    #[arg(long, value_name = "NUMBER")]
    replicas_max_per_node: Option<u64>,
}

impl ScaleFlags {
    /// Writes what was given into the spec.
    pub fn change(&self, spec: &mut ServiceSpec) -> Result<(), CliError> {
        let mode = spec.mode.get_or_insert_with(|| Mode::Replicated.bare());
        if let Some(replicas) = self.replicas {
            set_replicas(mode, replicas, "replicas")?;
        }
        if let Some(most) = self.max_concurrent {
            let only = || usage("max-concurrent can only be used with replicated-job mode");
            mode.replicated_job.as_mut().ok_or_else(only)?.max_concurrent = Some(most);
        }
        if let Some(most) = self.replicas_max_per_node {
            if most > 0 && (mode.global.is_some() || mode.global_job.is_some()) {
                return Err(not_counted("replicas-max-per-node"));
            }
            spec.task_template.placement.get_or_insert_default().max_replicas = most;
        }
        Ok(())
    }
}

/// Sets the number of tasks, of a job those that have to complete; `what` asks for it.
pub fn set_replicas(mode: &mut ServiceMode, replicas: u64, what: &str) -> Result<(), CliError> {
    match (&mut mode.replicated, &mut mode.replicated_job) {
        (Some(replicated), _) => replicated.replicas = Some(replicas),
        (None, Some(job)) => {
            job.total_completions = Some(replicas);
            job.max_concurrent = job.max_concurrent.or(Some(replicas));
        }
        (None, None) => return Err(not_counted(what)),
    }
    Ok(())
}

/// Refuses what makes no sense for a service with one task on each node.
fn not_counted(what: &str) -> CliError {
    usage(&format!("{what} can only be used with replicated or replicated-job mode"))
}

fn usage(text: &str) -> CliError {
    CliError::Usage(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(mode: &ServiceMode, flags: &ScaleFlags) -> Result<ServiceMode, String> {
        let mut spec = ServiceSpec { mode: Some(mode.clone()), ..ServiceSpec::default() };
        flags.change(&mut spec).map_err(|error| error.to_string())?;
        Ok(spec.mode.unwrap())
    }

    fn job(max_concurrent: Option<u64>, total_completions: Option<u64>) -> ServiceMode {
        let job = ReplicatedJob { max_concurrent, total_completions };
        ServiceMode { replicated_job: Some(job), ..ServiceMode::default() }
    }

    #[test]
    fn a_job_runs_as_many_at_once_as_it_has_when_nothing_is_said() {
        let ten = ScaleFlags { replicas: Some(10), ..ScaleFlags::default() };
        assert_eq!(changed(&Mode::ReplicatedJob.bare(), &ten), Ok(job(Some(10), Some(10))));
        let two = ScaleFlags { replicas: Some(10), max_concurrent: Some(2), ..ScaleFlags::default() };
        assert_eq!(changed(&Mode::ReplicatedJob.bare(), &two), Ok(job(Some(2), Some(10))));
        assert_eq!(
            changed(&job(Some(3), Some(5)), &ten),
            Ok(job(Some(3), Some(10))),
            "what was said before stays"
        );
        assert_eq!(changed(&Mode::ReplicatedJob.bare(), &ScaleFlags::default()), Ok(job(None, None)));
    }

    #[test]
    fn numbers_are_for_what_is_counted() {
        let replicas = ScaleFlags { replicas: Some(2), ..ScaleFlags::default() };
        let at_once = ScaleFlags { max_concurrent: Some(2), ..ScaleFlags::default() };
        let per_node = ScaleFlags { replicas_max_per_node: Some(2), ..ScaleFlags::default() };
        for (mode, flags, what) in [
            (Mode::Global, &replicas, "replicas can only be used with replicated or replicated-job mode"),
            (Mode::GlobalJob, &replicas, "replicas can only be used with replicated or"),
            (Mode::Replicated, &at_once, "max-concurrent can only be used with replicated-job mode"),
            (Mode::GlobalJob, &at_once, "max-concurrent can only be used with replicated-job mode"),
            (Mode::Global, &per_node, "replicas-max-per-node can only be used with replicated or"),
        ] {
            let message = changed(&mode.bare(), flags).unwrap_err();
            assert!(message.starts_with(what), "{mode:?}: {message}");
        }
    }
}
