//! The probe that the built-in images bring: the server answers as soon as it listens.

use std::time::Duration;

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches};
use mesh_core::port::Port;
use mesh_core::spec::{HealthConfig, HealthTest};

use super::options::Options;

/// The server listens some milliseconds after its start; a node full of tasks that start late is not to be
/// kept busy by asking.
const START_INTERVAL: Duration = Duration::from_millis(25);
/// Longer than any `--start-delay` that is meant to succeed.
const START_PERIOD: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;

/// How a task with these arguments and this environment is probed; not at all when it does not serve.
pub fn health(args: &[String], env: &[String]) -> HealthConfig {
    let Some(port) = port(args, env) else { return HealthConfig::default() };
    HealthConfig {
        test: HealthTest::Http { port, path: "/healthz".to_owned() },
        interval: Some(INTERVAL),
        timeout: Some(TIMEOUT),
        start_period: Some(START_PERIOD),
        start_interval: Some(START_INTERVAL),
        retries: Some(RETRIES),
    }
}

/// The port of HTTP. The environment is the task's, not this process's.
fn port(args: &[String], env: &[String]) -> Option<Port> {
    let command = Options::command().mut_args(|arg| arg.env(None::<&str>));
    let words = std::iter::once("whoami").chain(args.iter().map(String::as_str));
    let matches = command.try_get_matches_from(words).ok()?;
    let options = Options::from_arg_matches(&matches).ok().filter(|options| options.mode.is_none())?;
    let given = matches.value_source("port") == Some(ValueSource::CommandLine);
    let variable = env.iter().rev().find_map(|entry| entry.strip_prefix("WHOAMI_PORT="));
    match variable.filter(|_| !given) {
        Some(text) => text.parse().ok(),
        None => Port::new(options.serve.port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(args: &str, env: &str) -> Option<u16> {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        super::port(&words(args), &words(env)).map(Port::get)
    }

    #[test]
    fn the_port_is_that_of_the_command_line_then_of_the_environment() {
        assert_eq!(port("", ""), Some(80));
        assert_eq!(port("--fail-health --start-delay 1s", "A=1"), Some(80));
        assert_eq!(port("--port 8080", "WHOAMI_PORT=9"), Some(8080));
        assert_eq!(port("--port=8080", ""), Some(8080));
        assert_eq!(port("", "WHOAMI_PORT=9 WHOAMI_PORT=10"), Some(10));
    }

    #[test]
    fn what_does_not_serve_is_not_probed() {
        for (args, env) in
            [("get http://web/", ""), ("--no-such-flag", ""), ("--port 0", ""), ("", "WHOAMI_PORT=x")]
        {
            assert_eq!(port(args, env), None, "{args} {env}");
        }
        assert_eq!(health(&["ping".to_owned(), "web".to_owned()], &[]), HealthConfig::default());
    }
}
