//! meshd: the node daemon, and the processes that outlive it as re-executions of the same binary.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use meshd::agent::network::DNS_SUBCOMMAND;
use meshd::args::{Command, CommandLine};
use meshd::config::Config;
use meshd::{dataplane_command, describe, start};

/// Exit status for wrong usage (sysexits.h).
const USAGE: u8 = 64;

fn main() -> ExitCode {
    // Before any thread is started: these make sessions and namespaces of their own.
    if let Some(code) = mesh_runtime::dispatch(std::env::args_os()) {
        return code;
    }
    let mut args = std::env::args_os().skip(1);
    if args.next().as_deref() == Some(DNS_SUBCOMMAND.as_ref()) {
        return mesh_dns::server::main(args.collect::<Vec<OsString>>());
    }
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => return usage(&error),
    };
    let done = match line.command {
        Some(Command::Dataplane { run_dir, action }) => {
            dataplane_command::run(run_dir, &action).map_err(anyhow::Error::from)
        }
        None => Config::new(line.settings).map_err(anyhow::Error::from).and_then(|config| {
            describe::offer(config.generic.clone());
            start::run(config).map_err(anyhow::Error::from)
        }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("meshd: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage(error: &clap::Error) -> ExitCode {
    // Printing can only fail when nobody reads.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => ExitCode::from(USAGE),
    }
}
