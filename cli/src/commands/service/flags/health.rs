//! Flags about a task's health, as `service create` and `service update` have them.

use clap::Args;
use mesh_api::engine::service::{ContainerSpec, Healthcheck, ServiceSpec};
use mesh_api::mesh::HEALTH_HTTP_LABEL;

use crate::error::CliError;
use crate::parse::units;

/// How a task's health is probed.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Health")]
pub struct HealthFlags {
    /// Line for the task's shell that tells whether it is healthy; empty: the image's
    #[arg(id = "health-cmd", long = "health-cmd", value_name = "COMMAND", conflicts_with = "health-http")]
    command: Option<String>,
    /// GET request that tells whether it is healthy (answered with 200 to 399), as in 80/healthz; empty: the image's
    #[arg(id = "health-http", long = "health-http", value_name = "PORT/PATH")]
    http: Option<String>,
    /// Time from one probe to the next [default: the image's, or 30s]
    #[arg(id = "health-interval", long = "health-interval", value_name = "DURATION", value_parser = units::duration)]
    interval: Option<i64>,
    /// Time after which a probe has failed [default: the image's, or 30s]
    #[arg(id = "health-timeout", long = "health-timeout", value_name = "DURATION", value_parser = units::duration)]
    timeout: Option<i64>,
    /// Failures in a row that make a task unhealthy [default: the image's, or 3]
    #[arg(id = "health-retries", long = "health-retries", value_name = "NUMBER")]
    retries: Option<i64>,
    /// Time after the start in which failures do not count [default: the image's, or 0s]
    #[arg(id = "health-start-period", long = "health-start-period", value_name = "DURATION", value_parser = units::duration)]
    start_period: Option<i64>,
    /// Time from one probe to the next within the start period [default: the image's, or 5s]
    #[arg(id = "health-start-interval", long = "health-start-interval", value_name = "DURATION", value_parser = units::duration)]
    start_interval: Option<i64>,
    /// Probe nothing, whatever the image says
    #[arg(id = "no-healthcheck", long = "no-healthcheck")]
    none: bool,
}

impl HealthFlags {
    /// Writes what was given into the spec.
    pub fn change(&self, spec: &mut ServiceSpec) -> Result<(), CliError> {
        if self.none && self.is_given() {
            return Err(CliError::Usage("--no-healthcheck conflicts with --health-* options".to_owned()));
        }
        let process = spec.task_template.container_spec.get_or_insert_default();
        if self.none {
            process.labels.remove(HEALTH_HTTP_LABEL);
            process.healthcheck =
                Some(Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() });
        } else if self.is_given() {
            self.change_check(process);
        }
        Ok(())
    }

    fn is_given(&self) -> bool {
        let times = [self.interval, self.timeout, self.retries, self.start_period, self.start_interval];
        self.command.is_some() || self.http.is_some() || times.iter().any(Option::is_some)
    }

    fn change_check(&self, process: &mut ContainerSpec) {
        let check = process.healthcheck.get_or_insert_default();
        if check.test.first().is_some_and(|word| word == "NONE") || self.http.is_some() {
            check.test.clear();
        }
        if let Some(line) = &self.command {
            process.labels.remove(HEALTH_HTTP_LABEL);
            check.test = match line.as_str() {
                "" => Vec::new(),
                line => vec!["CMD-SHELL".to_owned(), line.to_owned()],
            };
        }
        match self.http.as_deref() {
            None => {}
            Some("") => drop(process.labels.remove(HEALTH_HTTP_LABEL)),
            Some(probe) => drop(process.labels.insert(HEALTH_HTTP_LABEL.to_owned(), probe.to_owned())),
        }
        for (place, given) in [
            (&mut check.interval, self.interval),
            (&mut check.timeout, self.timeout),
            (&mut check.retries, self.retries),
            (&mut check.start_period, self.start_period),
            (&mut check.start_interval, self.start_interval),
        ] {
            *place = given.unwrap_or(*place);
        }
    }
}

/// The probe on one line, for people; `None` when all is the image's.
pub fn words(process: &ContainerSpec) -> Option<String> {
    let test = process.healthcheck.as_ref().map_or(&[][..], |check| check.test.as_slice());
    let http = process.labels.get(HEALTH_HTTP_LABEL).map(|probe| format!("HTTP {probe}"));
    http.or_else(|| Some(test.join(" ")).filter(|line| !line.is_empty()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        flags: HealthFlags,
    }

    fn changed(known: ContainerSpec, words: &[&str]) -> Result<ContainerSpec, String> {
        let line = Line::try_parse_from([&["x"], words].concat()).map_err(|error| error.to_string())?;
        let mut spec = ServiceSpec::default();
        spec.task_template.container_spec = Some(known);
        line.flags.change(&mut spec).map_err(|error| error.to_string())?;
        Ok(spec.task_template.container_spec.unwrap_or_default())
    }

    /// The test and the label that become of a container with these, when these words are given.
    fn becomes(test: &[&str], label: Option<&str>, words: &[&str]) -> (Vec<String>, Option<String>) {
        let mut known = ContainerSpec::default();
        if !test.is_empty() {
            let test = test.iter().copied().map(str::to_owned).collect();
            known.healthcheck = Some(Healthcheck { test, interval: 7, ..Healthcheck::default() });
        }
        known.labels.extend(label.map(|label| (HEALTH_HTTP_LABEL.to_owned(), label.to_owned())));
        let changed = changed(known, words).unwrap();
        let label = changed.labels.get(HEALTH_HTTP_LABEL).cloned();
        (changed.healthcheck.unwrap_or_default().test, label)
    }

    fn test(words: &[&str]) -> (Vec<String>, Option<String>) {
        (words.iter().copied().map(str::to_owned).collect(), None)
    }

    #[test]
    fn nothing_given_is_no_change() {
        assert_eq!(changed(ContainerSpec::default(), &[]), Ok(ContainerSpec::default()));
        assert_eq!(becomes(&["CMD", "a"], None, &[]), test(&["CMD", "a"]));
    }

    #[test]
    fn one_probe_takes_the_place_of_the_other() {
        let http = |probe: &str| (Vec::new(), Some(probe.to_owned()));
        assert_eq!(becomes(&[], None, &["--health-cmd", "a b"]), test(&["CMD-SHELL", "a b"]));
        assert_eq!(becomes(&[], Some("80/"), &["--health-cmd", "a"]), test(&["CMD-SHELL", "a"]));
        assert_eq!(becomes(&["CMD", "a"], None, &["--health-http", "81/x"]), http("81/x"));
        assert_eq!(becomes(&[], Some("80/"), &["--health-http", "81/x"]), http("81/x"));
        assert_eq!(becomes(&[], Some("80/"), &["--health-retries", "5"]), http("80/"));
        assert_eq!(becomes(&[], Some("80/"), &["--no-healthcheck"]), test(&["NONE"]));
        assert_eq!(becomes(&["NONE"], None, &["--health-interval", "1s"]), test(&[]));
    }

    #[test]
    fn empty_is_the_images_again() {
        assert_eq!(becomes(&["CMD", "a"], None, &["--health-cmd", ""]), test(&[]));
        assert_eq!(becomes(&[], Some("80/"), &["--health-http", ""]), test(&[]));
    }

    #[test]
    fn times_are_nanoseconds() {
        let words = "--health-interval 1s --health-timeout 2ms --health-retries 4 --health-start-period 1m \
                     --health-start-interval 50ms";
        let words: Vec<_> = words.split_whitespace().collect();
        let check = changed(ContainerSpec::default(), &words).unwrap().healthcheck.unwrap();
        let expected = Healthcheck {
            test: Vec::new(),
            interval: 1_000_000_000,
            timeout: 2_000_000,
            retries: 4,
            start_period: 60_000_000_000,
            start_interval: 50_000_000,
        };
        assert_eq!(check, expected);
    }

    #[test]
    fn contradictions_are_refused() {
        let refused = |words: &[&str]| changed(ContainerSpec::default(), words).expect_err("refused");
        let error = refused(&["--no-healthcheck", "--health-retries", "1"]);
        assert!(error.contains("--no-healthcheck conflicts with --health-* options"), "{error}");
        assert!(refused(&["--health-cmd", "a", "--health-http", "80"]).contains("cannot be used with"));
        assert!(refused(&["--health-interval", "soon"]).contains("invalid duration"));
    }
}
