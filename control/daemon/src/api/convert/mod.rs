//! Between the API's words and the core's strict types. Reading refuses, with the field's name, what is out
//! of range or not done here; writing loses nothing.

pub mod cluster;
pub mod constraint;
pub mod container;
pub mod content;
pub mod event;
pub mod forced;
pub mod generic;
pub mod health;
pub mod mode;
pub mod network;
pub mod node;
pub mod policy;
pub mod service;
pub mod standing;
pub mod task;
pub mod tls;

use std::time::Duration;

use mesh_core::spec::Labels;
use mesh_core::time::Timestamp;

use super::error::ApiError;

/// Labels of this prefix are options of the mesh.
const OPTION_PREFIX: &str = "mesh.";

/// The time as RFC 3339 with nanoseconds, as Go writes it.
pub fn time_text(time: Timestamp) -> String {
    let nanos = i128::from(time.0);
    jiff::Timestamp::from_nanosecond(nanos)
        .map_or_else(|_| "0001-01-01T00:00:00Z".to_owned(), |stamp| stamp.to_string())
}

/// Nanoseconds of a span, as the API carries it.
pub fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

/// A span out of nanoseconds; a negative one is refused.
pub fn span(field: &str, nanos: i64) -> Result<Duration, ApiError> {
    u64::try_from(nanos)
        .map(Duration::from_nanos)
        .map_err(|_| ApiError::field(field, format!("a duration cannot be negative ({nanos} ns)")))
}

/// Labels, each with a key; options of the mesh are refused.
pub fn labels(field: &str, labels: &mesh_api::engine::Map) -> Result<Labels, ApiError> {
    labels_with(field, labels, &[])
}

/// The same for objects that have `options` of the mesh; others are refused. What an option holds is checked with
/// the object.
pub fn labels_with(
    field: &str,
    labels: &mesh_api::engine::Map,
    options: &[&str],
) -> Result<Labels, ApiError> {
    for key in labels.keys() {
        if key.trim().is_empty() {
            return Err(ApiError::field(field, "a label needs a key"));
        }
        if key.starts_with(OPTION_PREFIX) && !options.contains(&key.as_str()) {
            return Err(ApiError::unsupported(
                format!("{field}[{key}]"),
                "labels that begin with \"mesh.\" are options of the mesh, and it has none of this name",
            ));
        }
    }
    Ok(labels.clone())
}

/// Text that becomes part of a process: no NUL byte fits in there.
pub fn process_text(field: &str, text: &str) -> Result<(), ApiError> {
    if text.contains('\0') {
        return Err(ApiError::field(field, "a NUL byte cannot be part of it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_go_writes_them() {
        assert_eq!(time_text(Timestamp(1_700_000_000_123_456_789)), "2023-11-14T22:13:20.123456789Z");
        assert_eq!(time_text(Timestamp::ZERO), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn negative_spans_are_refused_by_name() {
        let error = span("RestartPolicy.Delay", -1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid value for RestartPolicy.Delay: a duration cannot be negative (-1 ns)"
        );
    }

    #[test]
    fn options_that_the_mesh_does_not_have_are_refused() {
        let given = mesh_api::engine::Map::from([("mesh.lb".to_owned(), "least".to_owned())]);
        assert!(
            labels("Labels", &given).unwrap_err().to_string().starts_with("Labels[mesh.lb] is not supported")
        );
        let given = mesh_api::engine::Map::from([("meshed".to_owned(), String::new())]);
        assert!(labels("Labels", &given).is_ok());
        let drain = mesh_api::engine::Map::from([("mesh.drain".to_owned(), "1s".to_owned())]);
        assert!(labels("Labels", &drain).is_err() && labels_with("Labels", &drain, &["mesh.drain"]).is_ok());
    }
}
