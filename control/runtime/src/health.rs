//! What a probe of a task is, and what came of one. When to probe, and what follows from it, is the agent's.

use std::fmt;
use std::time::Duration;

use mesh_core::port::Port;
use mesh_core::spec::{HealthConfig, HealthTest};
use serde::{Deserialize, Serialize};

/// Docker's defaults.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_PERIOD: Duration = Duration::ZERO;
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;

/// What is asked of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probe {
    /// A program and its arguments, run in the task; healthy when it exits with 0.
    Exec(Vec<String>),
    /// A line for the task's `/bin/sh -c`.
    Shell(String),
    /// A GET request to 127.0.0.1 in the task's network; healthy when answered with 200 to 399.
    Http {
        /// Port of the task.
        port: Port,
        /// Path, from `/`.
        path: String,
    },
}

impl Probe {
    /// The program and its arguments, of a probe that is a command.
    pub fn command(&self) -> Option<Vec<String>> {
        match self {
            Self::Exec(line) => Some(line.clone()),
            Self::Shell(line) => Some(["/bin/sh", "-c", line].map(str::to_owned).to_vec()),
            Self::Http { .. } => None,
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exec(line) => f.write_str(&line.join(" ")),
            Self::Shell(line) => f.write_str(line),
            Self::Http { port, path } => write!(f, "GET http://127.0.0.1:{port}{path}"),
        }
    }
}

/// How a task is probed, every default filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// Time from one probe to the next.
    pub interval: Duration,
    /// Time after which a probe has failed.
    pub timeout: Duration,
    /// Time after the start in which failures do not count.
    pub start_period: Duration,
    /// Time from one probe to the next within the start period, until the first success.
    pub start_interval: Duration,
    /// Failures in a row that make the task unhealthy.
    pub retries: u32,
}

impl HealthCheck {
    /// What a spec asks for, filled in by the image, then by Docker's defaults; `None`: nothing is probed.
    pub fn of(spec: &HealthConfig, image: &HealthConfig) -> Option<Self> {
        let test = if spec.test == HealthTest::Inherit { &image.test } else { &spec.test };
        let probe = match test {
            HealthTest::Inherit | HealthTest::Disabled => return None,
            HealthTest::Exec(line) => Probe::Exec(line.clone()),
            HealthTest::Shell(line) => Probe::Shell(line.clone()),
            HealthTest::Http { port, path } => Probe::Http { port: *port, path: path.clone() },
        };
        Some(Self {
            probe,
            interval: spec.interval.or(image.interval).unwrap_or(INTERVAL),
            timeout: spec.timeout.or(image.timeout).unwrap_or(TIMEOUT),
            start_period: spec.start_period.or(image.start_period).unwrap_or(START_PERIOD),
            start_interval: spec.start_interval.or(image.start_interval).unwrap_or(START_INTERVAL),
            retries: spec.retries.or(image.retries).unwrap_or(RETRIES),
        })
    }
}

/// What came of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeOutcome {
    /// The task is healthy, as far as this probe goes.
    pub healthy: bool,
    /// What the probe said, on one line.
    pub output: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(test: HealthTest) -> HealthConfig {
        HealthConfig { test, ..HealthConfig::default() }
    }

    fn exec(word: &str) -> HealthTest {
        HealthTest::Exec(vec![word.to_owned()])
    }

    #[test]
    fn the_image_fills_in_what_the_spec_leaves_out_and_docker_the_rest() {
        let spec = HealthConfig { retries: Some(7), ..HealthConfig::default() };
        let image = HealthConfig {
            interval: Some(Duration::from_secs(1)),
            retries: Some(9),
            ..config(exec("image"))
        };
        let check = HealthCheck::of(&spec, &image).expect("the image's probe");
        let expected = HealthCheck {
            probe: Probe::Exec(vec!["image".to_owned()]),
            interval: Duration::from_secs(1),
            timeout: TIMEOUT,
            start_period: START_PERIOD,
            start_interval: START_INTERVAL,
            retries: 7,
        };
        assert_eq!(check, expected);
    }

    #[test]
    fn the_specs_probe_goes_before_the_images() {
        let probe = |spec, image| HealthCheck::of(&config(spec), &config(image)).map(|check| check.probe);
        let named = |word: &str| Some(Probe::Exec(vec![word.to_owned()]));
        assert_eq!(probe(exec("spec"), exec("image")), named("spec"));
        assert_eq!(probe(HealthTest::Inherit, exec("image")), named("image"));
        assert_eq!(probe(HealthTest::Disabled, exec("image")), None);
        assert_eq!(probe(HealthTest::Inherit, HealthTest::Disabled), None);
        assert_eq!(probe(HealthTest::Inherit, HealthTest::Inherit), None);
    }
}
