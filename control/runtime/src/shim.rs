//! The re-executions that outlive the daemon or enter a task.
//!
//! `shim run DIR` starts the task whose record is in DIR, is the parent of its first process, keeps its
//! output, writes how it ended and ends itself; so whoever waits for the shim knows when the task is over.
//! `shim exec DIR -- COMMAND…` runs a command in that task; `shim probe …` does so in a cgroup of its own
//! below the task's, so that it can be killed whole.
//!
//! Nothing secret is in arguments or environment: both read the record, which only root can.

mod exec;
mod log;
mod run;

use std::ffi::OsString;
use std::process::ExitCode;

pub use self::exec::EXEC_FAILED;
use crate::state::TaskDir;

/// Exit status for a wrong command line.
const USAGE: u8 = 64;

/// Runs `shim ARGS`. The process must have one thread only.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    match (args.first().and_then(|verb| verb.to_str()), args.get(1..)) {
        (Some("run"), Some([dir])) => run::run(&TaskDir::new(dir)),
        (Some(verb @ ("exec" | "probe")), Some([dir, dashes, command @ ..]))
            if dashes == "--" && !command.is_empty() =>
        {
            let command = command.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>();
            exec::exec(&TaskDir::new(dir), &command, verb == "probe")
        }
        _ => {
            eprintln!("usage: shim run DIR | shim exec|probe DIR -- COMMAND [ARG...]");
            ExitCode::from(USAGE)
        }
    }
}
