//! The program of the built-in images: an HTTP server and UDP echo that tell which task answered and which
//! client they saw, with switches for delay and failure, and clients for the same, since their image holds
//! nothing else.

mod answer;
mod body;
mod dns;
mod get;
mod health;
mod options;
mod ping;
mod server;
mod udp;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

pub use self::health::health;
use self::options::{Mode, Options};

/// Exit status for a wrong command line.
const USAGE: u8 = 64;

/// Runs `whoami ARGS` (without the program's name).
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let options = match Options::try_parse_from([OsString::from("whoami")].into_iter().chain(args)) {
        Ok(options) => options,
        Err(error) => {
            let _closed = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let done = match options.mode {
        None => server::serve(&options.serve),
        Some(Mode::Get(get)) => get::get(&get),
        Some(Mode::Resolve(resolve)) => dns::resolve(&resolve),
        Some(Mode::Ping(ping)) => ping::ping(&ping),
    };
    done.unwrap_or_else(|error| {
        eprintln!("whoami: {error}");
        ExitCode::FAILURE
    })
}
