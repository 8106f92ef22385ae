//! The process of a task.

use clap::Args;
use mesh_api::engine::service::{ContainerSpec, ServiceSpec};

use crate::parse::units;
use crate::parse::words::Words;

/// The process of a task.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Process")]
pub struct ProcessFlags {
    /// Host name inside
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// User, as UID[:GID] or by name
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "PATH")]
    workdir: Option<String>,
    /// Signal that asks the process to stop
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Time from that signal to SIGKILL [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    stop_grace_period: Option<i64>,
    /// Mount the root file system read-only
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    read_only: Option<bool>,
    /// Replaces the image's entry point; quoted as for a shell
    #[arg(long, value_name = "COMMAND", allow_hyphen_values = true)]
    entrypoint: Option<Words>,
}

impl ProcessFlags {
    /// Writes what was given into the spec.
    pub fn change(&self, spec: &mut ServiceSpec) {
        let process: &mut ContainerSpec = spec.task_template.container_spec.get_or_insert_default();
        for (place, given) in [
            (&mut process.hostname, &self.hostname),
            (&mut process.user, &self.user),
            (&mut process.dir, &self.workdir),
            (&mut process.stop_signal, &self.stop_signal),
        ] {
            if let Some(given) = given {
                place.clone_from(given);
            }
        }
        process.stop_grace_period = self.stop_grace_period.or(process.stop_grace_period);
        process.read_only = self.read_only.unwrap_or(process.read_only);
        if let Some(Words(entrypoint)) = &self.entrypoint {
            process.command.clone_from(entrypoint);
        }
    }
}
