//! `meshctl`, the command line of the mesh.
//!
//! From the outside in: [`cli`] is the command line as it was typed, [`commands`] has one file a verb,
//! [`client`] asks the daemon, [`follow`] hears of changes, [`output`] writes everything that is seen, [`input`] asks, [`parse`] reads
//! values of flags.

mod cli;
mod client;
mod commands;
mod error;
mod follow;
mod http;
mod input;
mod output;
mod parse;
#[cfg(test)]
mod tests;
mod usage;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::cli::Cli;
use crate::error::CliError;
use crate::output::Shell;

/// Exit status of wrong usage (`EX_USAGE` of sysexits.h).
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(refuse(&error)),
    };
    let mut shell = Shell::standard();
    match cli::run(cli, &mut shell) {
        Ok(status) => ExitCode::from(status),
        Err(CliError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(CliError::Told) => ExitCode::from(1),
        Err(error) => {
            shell.note(&error.to_string());
            ExitCode::from(error.exit())
        }
    }
}

/// Says what is wrong with the command line, or what was asked of it: help, the version.
fn refuse(error: &clap::Error) -> u8 {
    if error.use_stderr() && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        Shell::standard().note(&usage::line(&error.render().to_string()));
        return USAGE;
    }
    // Nothing can be done when the terminal is gone.
    let _ = error.print();
    if error.use_stderr() { USAGE } else { 0 }
}
