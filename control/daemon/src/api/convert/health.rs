//! How a task is probed. Docker has no word for a probe over HTTP: it is a label of the container,
//! [`HEALTH_HTTP_LABEL`], which every client and compose file can carry.

use std::time::Duration;

use mesh_api::engine::Map;
use mesh_api::engine::service::{ContainerSpec as WireContainer, Healthcheck};
use mesh_api::mesh::HEALTH_HTTP_LABEL;
use mesh_core::port::Port;
use mesh_core::spec::{ContainerSpec, HealthConfig, HealthTest};

use super::super::error::ApiError;
use super::{nanos, process_text, span};

const FIELD: &str = "TaskTemplate.ContainerSpec.Healthcheck";
const LABEL_FIELD: &str = "TaskTemplate.ContainerSpec.Labels[mesh.health-http]";

/// Least time of a probe's schedule; Docker's.
const TIME_MIN: Duration = Duration::from_millis(1);

/// The probe, and the container's labels without the one that is about it.
pub fn read(wire: &WireContainer) -> Result<(HealthConfig, Map), ApiError> {
    let mut labels = wire.labels.clone();
    let none = Healthcheck::default();
    let given = wire.healthcheck.as_ref().unwrap_or(&none);
    let test = match labels.remove(HEALTH_HTTP_LABEL) {
        Some(_) if !given.test.is_empty() => {
            let reason = format!("the label {HEALTH_HTTP_LABEL} asks for another probe: give one of them");
            return Err(ApiError::field(format!("{FIELD}.Test"), reason));
        }
        Some(text) => http(&text)?,
        None => test(&given.test)?,
    };
    let health = HealthConfig {
        test,
        interval: time("Interval", given.interval)?,
        timeout: time("Timeout", given.timeout)?,
        start_period: time("StartPeriod", given.start_period)?,
        start_interval: time("StartInterval", given.start_interval)?,
        retries: retries(given.retries)?,
    };
    Ok((health, labels))
}

fn test(words: &[String]) -> Result<HealthTest, ApiError> {
    let field = || format!("{FIELD}.Test");
    for (at, word) in words.iter().enumerate() {
        process_text(&format!("{FIELD}.Test[{at}]"), word)?;
    }
    let refuse = |reason: String| Err(ApiError::field(field(), reason));
    let Some((kind, rest)) = words.split_first() else { return Ok(HealthTest::Inherit) };
    match (kind.as_str(), rest) {
        ("NONE", []) => Ok(HealthTest::Disabled),
        ("NONE", _) => refuse("nothing can follow NONE".to_owned()),
        ("CMD", [program, ..]) if !program.is_empty() => Ok(HealthTest::Exec(rest.to_vec())),
        ("CMD", _) => refuse("CMD needs a program".to_owned()),
        ("CMD-SHELL", [line]) if !line.trim().is_empty() => Ok(HealthTest::Shell(line.clone())),
        ("CMD-SHELL", _) => refuse("CMD-SHELL needs one line".to_owned()),
        _ => refuse(format!(
            "{kind:?}: NONE, CMD or CMD-SHELL is expected (a probe over HTTP is the container label \
             {HEALTH_HTTP_LABEL}=PORT/PATH)"
        )),
    }
}

/// Reads `PORT` or `PORT/PATH`.
fn http(text: &str) -> Result<HealthTest, ApiError> {
    let refused =
        || ApiError::field(LABEL_FIELD, format!("{text:?}: PORT/PATH is expected, as in 80/healthz"));
    let (port, path) = match text.find('/') {
        Some(at) => text.split_at(at),
        None => (text, "/"),
    };
    let port: Port = port.parse().map_err(|_| refused())?;
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(refused());
    }
    Ok(HealthTest::Http { port, path: path.to_owned() })
}

/// Zero is not said.
fn time(name: &str, nanos: i64) -> Result<Option<Duration>, ApiError> {
    let field = format!("{FIELD}.{name}");
    let time = span(&field, nanos)?;
    if !time.is_zero() && time < TIME_MIN {
        return Err(ApiError::field(field, format!("{nanos} ns: cannot be less than 1ms")));
    }
    Ok(Some(time).filter(|time| !time.is_zero()))
}

/// Zero is not said.
fn retries(count: i64) -> Result<Option<u32>, ApiError> {
    let refused = |reason: &str| ApiError::field(format!("{FIELD}.Retries"), format!("{count} {reason}"));
    if count < 0 {
        return Err(refused("cannot be negative"));
    }
    let count = u32::try_from(count).map_err(|_| refused("is too large"))?;
    Ok(Some(count).filter(|count| *count > 0))
}

/// The probe, as the API shows it.
pub fn show(health: &HealthConfig) -> Option<Healthcheck> {
    let time = |time: Option<Duration>| time.map_or(0, nanos);
    let shown = Healthcheck {
        test: match &health.test {
            HealthTest::Inherit | HealthTest::Http { .. } => Vec::new(),
            HealthTest::Disabled => vec!["NONE".to_owned()],
            HealthTest::Exec(line) => [&["CMD".to_owned()], line.as_slice()].concat(),
            HealthTest::Shell(line) => vec!["CMD-SHELL".to_owned(), line.clone()],
        },
        interval: time(health.interval),
        timeout: time(health.timeout),
        start_period: time(health.start_period),
        start_interval: time(health.start_interval),
        retries: health.retries.map_or(0, i64::from),
    };
    Some(shown).filter(|shown| *shown != Healthcheck::default())
}

/// The container's labels, as the API shows them.
pub fn show_labels(container: &ContainerSpec) -> Map {
    let mut labels = container.labels.clone();
    if let HealthTest::Http { port, path } = &container.health.test {
        labels.insert(HEALTH_HTTP_LABEL.to_owned(), format!("{port}{path}"));
    }
    labels
}

#[cfg(test)]
mod tests {
    use mesh_api::decode::decode;

    use super::*;
    use crate::api::convert::container;

    /// A container with this health check, as JSON, and these labels.
    fn wire(check: &str, labels: &[(&str, &str)]) -> WireContainer {
        let body = format!(r#"{{"Image":"mesh/whoami:1","Healthcheck":{check}}}"#);
        let mut wire: WireContainer = decode(body.as_bytes()).unwrap();
        wire.labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        wire
    }

    fn http(path: &str) -> HealthTest {
        HealthTest::Http { port: Port::new(80).unwrap(), path: path.to_owned() }
    }

    #[test]
    fn every_probe_comes_back_as_it_was_given() {
        let label = HEALTH_HTTP_LABEL;
        for (check, labels, test) in [
            ("null", vec![], HealthTest::Inherit),
            (r#"{"Test":["NONE"]}"#, vec![], HealthTest::Disabled),
            (
                r#"{"Test":["CMD","curl","-f","a b"]}"#,
                vec![],
                HealthTest::Exec(vec!["curl".into(), "-f".into(), "a b".into()]),
            ),
            (r#"{"Test":["CMD-SHELL","a || exit 1"]}"#, vec![], HealthTest::Shell("a || exit 1".into())),
            ("null", vec![(label, "80/healthz?a=b"), ("c", "d")], http("/healthz?a=b")),
            (r#"{"Interval":5000000}"#, vec![(label, "80/")], http("/")),
        ] {
            let wire = wire(check, &labels);
            let spec = container::container(&wire).unwrap();
            assert_eq!(spec.health.test, test, "{check}");
            assert!(!spec.labels.contains_key(label));
            let shown = container::show(&spec);
            assert_eq!((&shown.healthcheck, &shown.labels), (&wire.healthcheck, &wire.labels), "{check}");
        }
        assert_eq!(super::http("80").unwrap(), http("/"), "the path may be left out");
    }

    #[test]
    fn times_and_retries_are_the_images_when_zero() {
        let check = r#"{"Interval":1000000,"Timeout":2000000000,"StartPeriod":0,"Retries":4,"startinterval":5000000}"#;
        let (health, _) = read(&wire(check, &[])).unwrap();
        assert_eq!(
            health,
            HealthConfig {
                test: HealthTest::Inherit,
                interval: Some(Duration::from_millis(1)),
                timeout: Some(Duration::from_secs(2)),
                start_period: None,
                start_interval: Some(Duration::from_millis(5)),
                retries: Some(4),
            }
        );
        assert!(read(&wire("{}", &[])).unwrap().0.is_unset());
    }

    #[test]
    fn what_is_out_of_range_is_refused_by_name() {
        let label = HEALTH_HTTP_LABEL;
        for (check, labels, field) in [
            (r#"{"Interval":999999}"#, vec![], "Healthcheck.Interval"),
            (r#"{"Timeout":-1}"#, vec![], "Healthcheck.Timeout"),
            (r#"{"StartPeriod":1}"#, vec![], "Healthcheck.StartPeriod"),
            (r#"{"StartInterval":1}"#, vec![], "Healthcheck.StartInterval"),
            (r#"{"Retries":-1}"#, vec![], "Healthcheck.Retries"),
            (r#"{"Retries":4294967296}"#, vec![], "Healthcheck.Retries"),
            (r#"{"Test":["HTTP","80/"]}"#, vec![], "Healthcheck.Test"),
            (r#"{"Test":["CMD"]}"#, vec![], "Healthcheck.Test"),
            (r#"{"Test":["CMD-SHELL"]}"#, vec![], "Healthcheck.Test"),
            (r#"{"Test":["CMD","a\u0000"]}"#, vec![], "Healthcheck.Test[1]"),
            (r#"{"Test":["NONE"]}"#, vec![(label, "80")], "Healthcheck.Test"),
            ("null", vec![(label, "/healthz")], "Labels[mesh.health-http]"),
            ("null", vec![(label, "0/")], "Labels[mesh.health-http]"),
            ("null", vec![(label, "80/a b")], "Labels[mesh.health-http]"),
            ("null", vec![(label, "")], "Labels[mesh.health-http]"),
        ] {
            let error = container::container(&wire(check, &labels)).expect_err(check).to_string();
            let expected = format!("invalid value for TaskTemplate.ContainerSpec.{field}: ");
            assert!(error.starts_with(&expected), "{check} {labels:?}: {error}");
        }
    }
}
