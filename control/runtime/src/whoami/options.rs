//! The command line.

use std::net::IpAddr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// An HTTP server and UDP echo that tell which task answered.
///
/// Paths: /healthz (200 or 503; POST /healthz?status=503 has it answer so from then on), /stream?seconds=60&interval=100ms, /bytes?n=10000000, POST /upload; any
/// other tells who answers, as key=value lines or, with Accept: application/json, as JSON. A UDP datagram is
/// answered with the same lines followed by its own content.
#[derive(Debug, Parser)]
#[command(name = "whoami", args_conflicts_with_subcommands = true, disable_version_flag = true)]
pub struct Options {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub mode: Option<Mode>,
    /// How to serve.
    #[command(flatten)]
    pub serve: Serve,
}

/// Options of the server. Each can be given in the environment too.
#[derive(Debug, Clone, Args)]
pub struct Serve {
    /// TCP port of HTTP
    #[arg(long, env = "WHOAMI_PORT", default_value_t = 80)]
    pub port: u16,
    /// UDP port of the echo [default: the number of --port]
    #[arg(long, env = "WHOAMI_UDP_PORT")]
    pub udp_port: Option<u16>,
    /// Version to report
    #[arg(long, env = "WHOAMI_VERSION", default_value = "0")]
    pub report_version: String,
    /// Wait before listening
    #[arg(long, env = "WHOAMI_START_DELAY", default_value = "0s", value_parser = duration)]
    pub start_delay: Duration,
    /// Exit with status 1 instead of listening
    #[arg(long, env = "WHOAMI_FAIL_START")]
    pub fail_start: bool,
    /// Exit this long after the start
    #[arg(long, env = "WHOAMI_EXIT_AFTER", value_parser = duration)]
    pub exit_after: Option<Duration>,
    /// Status to exit with then
    #[arg(long, env = "WHOAMI_EXIT_CODE", default_value_t = 1)]
    pub exit_code: u8,
    /// Answer 503 on /healthz
    #[arg(long, env = "WHOAMI_FAIL_HEALTH")]
    pub fail_health: bool,
    /// Answer 503 on /healthz from this long after the start
    #[arg(long, env = "WHOAMI_FAIL_HEALTH_AFTER", value_parser = duration)]
    pub fail_health_after: Option<Duration>,
    /// Go on accepting connections for this long after SIGTERM
    #[arg(long, env = "WHOAMI_SHUTDOWN_DELAY", default_value = "0s", value_parser = duration)]
    pub shutdown_delay: Duration,
}

/// Client modes.
#[derive(Debug, Subcommand)]
pub enum Mode {
    /// Send requests, print one line for each answer and a summary; status 1 when one failed
    Get(Get),
    /// Ask the name server of /etc/resolv.conf
    Resolve(Resolve),
    /// Send ICMP echo requests; status 1 when one stays without an answer
    Ping(Ping),
}

/// Requests.
#[derive(Debug, Args)]
pub struct Get {
    /// URL (the scheme `http` only), or HOST:PORT with --udp
    pub url: String,
    /// How many, each from a port of its own
    #[arg(short = 'n', long, default_value_t = 1)]
    pub count: u32,
    /// Time between the beginnings of two requests
    #[arg(long, default_value = "0s", value_parser = duration)]
    pub interval: Duration,
    /// Longest time for one
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub timeout: Duration,
    /// Send UDP datagrams
    #[arg(long)]
    pub udp: bool,
    /// POST this many bytes
    #[arg(long, conflicts_with = "udp")]
    pub upload: Option<u64>,
    /// Print the summary only
    #[arg(short, long)]
    pub quiet: bool,
}

/// A question for the name server.
#[derive(Debug, Args)]
pub struct Resolve {
    /// Name, or address with --type PTR
    pub name: String,
    /// Record type
    #[arg(long = "type", value_enum, default_value_t = RecordType::A, ignore_case = true)]
    pub kind: RecordType,
    /// Ask this server, on port 53, instead
    #[arg(long)]
    pub server: Option<IpAddr>,
}

/// Record types that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RecordType {
    /// IPv4 addresses
    A,
    /// IPv6 addresses
    Aaaa,
    /// Name of an address
    Ptr,
}

/// Echo requests.
#[derive(Debug, Args)]
pub struct Ping {
    /// IPv4 address or name
    pub target: String,
    /// Bytes of data after the 8 of the ICMP header
    #[arg(short, long, default_value_t = 56)]
    pub size: u16,
    /// Set don't fragment
    #[arg(long)]
    pub df: bool,
    /// How many
    #[arg(short = 'n', long, default_value_t = 1)]
    pub count: u16,
    /// Longest time for one
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub timeout: Duration,
}

/// `100ms`, `5s`, `1.5m`, `2h`; a bare number is seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let scale = match unit {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("unknown unit {unit:?}: give ms, s, m or h")),
    };
    let number: f64 = number.parse().map_err(|_| format!("{text:?} is no duration such as 100ms or 5s"))?;
    Duration::try_from_secs_f64(number * scale).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn durations_are_read_as_users_write_them() {
        let millis = |text| duration(text).map(|duration| duration.as_millis());
        assert_eq!(millis("100ms"), Ok(100));
        assert_eq!(millis("5s"), Ok(5_000));
        assert_eq!(millis("1.5m"), Ok(90_000));
        assert_eq!(millis("7"), Ok(7_000));
        for text in ["", "s", "-1s", "5 s", "5d", "1e9s", "1..2s"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }
}
