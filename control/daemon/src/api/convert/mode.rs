//! How many tasks a service has.

use mesh_api::engine::service::{Global, Replicated, ReplicatedJob, ServiceMode as WireMode};
use mesh_core::spec::ServiceMode;

use super::super::error::ApiError;

/// How many tasks; one when nothing is said.
pub fn mode(wire: Option<&WireMode>) -> Result<ServiceMode, ApiError> {
    let Some(wire) = wire else { return Ok(ServiceMode::Replicated { replicas: 1 }) };
    let WireMode { replicated, global, replicated_job, global_job } = wire;
    match (replicated, global, replicated_job, global_job) {
        (None, None, None, None) => Ok(ServiceMode::Replicated { replicas: 1 }),
        (Some(wanted), None, None, None) => {
            let replicas = number("Replicated.Replicas", wanted.replicas.unwrap_or(1))?;
            Ok(ServiceMode::Replicated { replicas })
        }
        (None, Some(Global {}), None, None) => Ok(ServiceMode::Global),
        (None, None, Some(job), None) => replicated_job_of(*job),
        (None, None, None, Some(Global {})) => Ok(ServiceMode::GlobalJob),
        _ => Err(ApiError::field(
            "Mode",
            "one of Replicated, Global, ReplicatedJob and GlobalJob is expected, not several",
        )),
    }
}

fn replicated_job_of(wire: ReplicatedJob) -> Result<ServiceMode, ApiError> {
    const MOST: &str = "ReplicatedJob.MaxConcurrent";
    let most = wire.max_concurrent.unwrap_or(1);
    let max_concurrent = number(MOST, most)?;
    let total_completions = number("ReplicatedJob.TotalCompletions", wire.total_completions.unwrap_or(most))?;
    if max_concurrent == 0 && total_completions > 0 {
        let reason = "a job of which nothing may run at once does not come to its end";
        return Err(ApiError::field(format!("Mode.{MOST}"), reason));
    }
    Ok(ServiceMode::ReplicatedJob { max_concurrent, total_completions })
}

fn number(field: &str, wanted: u64) -> Result<u32, ApiError> {
    u32::try_from(wanted)
        .map_err(|_| ApiError::field(format!("Mode.{field}"), format!("{wanted} are more than {}", u32::MAX)))
}

/// How many tasks, as the API shows it.
pub fn show(mode: ServiceMode) -> WireMode {
    let nothing = WireMode::default();
    match mode {
        ServiceMode::Replicated { replicas } => {
            WireMode { replicated: Some(Replicated { replicas: Some(u64::from(replicas)) }), ..nothing }
        }
        ServiceMode::Global => WireMode { global: Some(Global {}), ..nothing },
        ServiceMode::ReplicatedJob { max_concurrent, total_completions } => {
            let job = ReplicatedJob {
                max_concurrent: Some(u64::from(max_concurrent)),
                total_completions: Some(u64::from(total_completions)),
            };
            WireMode { replicated_job: Some(job), ..nothing }
        }
        ServiceMode::GlobalJob => WireMode { global_job: Some(Global {}), ..nothing },
    }
}

/// The mode's name in filters.
pub fn word(mode: ServiceMode) -> &'static str {
    match mode {
        ServiceMode::Replicated { .. } => "replicated",
        ServiceMode::Global => "global",
        ServiceMode::ReplicatedJob { .. } => "replicated-job",
        ServiceMode::GlobalJob => "global-job",
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::decode::decode;

    use super::*;

    fn meant(text: &str) -> Result<ServiceMode, String> {
        let wire: WireMode = decode(text.as_bytes()).unwrap();
        mode(Some(&wire)).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_said_is_dockers_default() {
        let job = |max_concurrent, total_completions| ServiceMode::ReplicatedJob {
            max_concurrent,
            total_completions,
        };
        assert_eq!(mode(None).unwrap(), ServiceMode::Replicated { replicas: 1 });
        for (text, wanted) in [
            ("{}", ServiceMode::Replicated { replicas: 1 }),
            (r#"{"Replicated":{}}"#, ServiceMode::Replicated { replicas: 1 }),
            (r#"{"Replicated":{"Replicas":0}}"#, ServiceMode::Replicated { replicas: 0 }),
            (r#"{"ReplicatedJob":{}}"#, job(1, 1)),
            (r#"{"ReplicatedJob":{"MaxConcurrent":3}}"#, job(3, 3)),
            (r#"{"ReplicatedJob":{"TotalCompletions":9}}"#, job(1, 9)),
            (r#"{"ReplicatedJob":{"MaxConcurrent":0,"TotalCompletions":0}}"#, job(0, 0)),
        ] {
            assert_eq!(meant(text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn every_mode_shows_as_it_was_given() {
        for given in [
            ServiceMode::Replicated { replicas: 0 },
            ServiceMode::Replicated { replicas: 7 },
            ServiceMode::Global,
            ServiceMode::ReplicatedJob { max_concurrent: 2, total_completions: 10 },
            ServiceMode::GlobalJob,
        ] {
            let text = serde_json::to_string(&show(given)).unwrap();
            assert_eq!(meant(&text), Ok(given), "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (text, reason) in [
            (r#"{"Replicated":{},"Global":{}}"#, "invalid value for Mode: one of"),
            (r#"{"Replicated":{},"GlobalJob":{}}"#, "invalid value for Mode: one of"),
            (
                r#"{"Replicated":{"Replicas":4294967296}}"#,
                "invalid value for Mode.Replicated.Replicas: 4294967296 are more than 4294967295",
            ),
            (
                r#"{"ReplicatedJob":{"TotalCompletions":4294967296}}"#,
                "invalid value for Mode.ReplicatedJob.TotalCompletions: 4294967296 are",
            ),
            (
                r#"{"ReplicatedJob":{"MaxConcurrent":0,"TotalCompletions":1}}"#,
                "invalid value for Mode.ReplicatedJob.MaxConcurrent: a job",
            ),
        ] {
            let message = meant(text).expect_err(text);
            assert!(message.starts_with(reason), "{text}: {message}");
        }
    }
}
