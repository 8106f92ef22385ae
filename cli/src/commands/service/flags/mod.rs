//! Flags of `service create` and `service update`. Both have the same ones, each defined once: single values
//! ([`SpecFlags`]) are written into whatever spec there is; lists ([`lists`]) are `--env` of a new service and
//! `--env-add` and `--env-rm` of one that exists.

pub mod contents;
mod generic;
pub mod health;
pub mod lists;
mod policy;
mod process;
pub mod scale;
mod wait;

use clap::Args;
use mesh_api::engine::service::ServiceSpec;

use crate::commands::unsupported::ServiceFlags;
use crate::error::CliError;

pub use wait::WaitFlags;

/// Single values of a service's spec.
#[derive(Debug, Default, Args)]
pub struct SpecFlags {
    #[command(flatten)]
    scale: scale::ScaleFlags,
    /// vip (one virtual address) or dnsrr (the tasks' own by DNS) [default: vip]
    #[arg(long, value_name = "MODE", value_parser = ["vip", "dnsrr"])]
    endpoint_mode: Option<String>,
    #[command(flatten)]
    process: process::ProcessFlags,
    #[command(flatten)]
    health: health::HealthFlags,
    #[command(flatten)]
    policies: policy::PolicyFlags,
    /// Taken for docker's sake: nothing is resolved with a registry
    #[arg(long, hide = true)]
    no_resolve_image: bool,
    #[command(flatten)]
    unsupported: ServiceFlags,
}

impl SpecFlags {
    /// Writes what was given into the spec.
    pub fn change(&self, spec: &mut ServiceSpec) -> Result<(), CliError> {
        self.unsupported.check()?;
        self.scale.change(spec)?;
        self.process.change(spec);
        self.health.change(spec)?;
        self.policies.change(spec);
        if let Some(mode) = &self.endpoint_mode {
            spec.endpoint_spec.get_or_insert_default().mode.clone_from(mode);
        }
        let job = |mode: &mesh_api::engine::service::ServiceMode| {
            mode.replicated_job.is_some() || mode.global_job.is_some()
        };
        let replaces = spec.update_config.is_some() || spec.rollback_config.is_some();
        if replaces && spec.mode.as_ref().is_some_and(job) {
            let reason = "update and rollback configuration is not supported for jobs";
            return Err(CliError::Usage(reason.to_owned()));
        }
        Ok(())
    }
}
