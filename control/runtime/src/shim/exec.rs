//! `shim exec`: a command inside a running task, with its user, environment and rights, on the standard
//! streams given.

use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use nix::unistd::ForkResult;

use super::run::exit_code;
use crate::error::RuntimeError;
use crate::sandbox::{self, Bond, SetupError};
use crate::state::{Record, TaskDir};
use crate::sys;

/// Exit status when the command could not even be tried, as Docker has it.
const NOT_TRIED: u8 = 125;

#[derive(Debug, thiserror::Error)]
enum ExecError {
    #[error(transparent)]
    State(#[from] RuntimeError),
    #[error("{0} is not running")]
    NotRunning(String),
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error("cannot {doing}: {source}")]
    Step { doing: &'static str, source: io::Error },
}

/// What the error output begins with when the command could not be run at all.
pub const EXEC_FAILED: &str = "exec failed: ";

/// Runs `command` in the task of this directory, as a probe or not; gives its exit status.
pub fn exec(dir: &TaskDir, command: &[String], probe: bool) -> ExitCode {
    let result = enter(dir, probe).and_then(|(record, pidfd)| run(&record, &pidfd, command));
    result.unwrap_or_else(|error| {
        eprintln!("{EXEC_FAILED}{error}");
        ExitCode::from(NOT_TRIED)
    })
}

fn enter(dir: &TaskDir, probe: bool) -> Result<(Record, OwnedFd), ExecError> {
    let not_running = || ExecError::NotRunning(dir.path().display().to_string());
    let record = dir.record()?.ok_or_else(not_running)?;
    let init = dir.init()?.ok_or_else(not_running)?;
    let pidfd = init.open().map_err(|source| ExecError::Step { doing: "open the task's process", source })?;
    let pidfd = pidfd.ok_or_else(not_running)?;
    record.cgroup.join(std::process::id())?;
    if probe {
        record.cgroup.join_probe(std::process::id())?;
    }
    sandbox::join_pids(&pidfd)?;
    Ok((record, pidfd))
}

fn run(record: &Record, pidfd: &OwnedFd, command: &[String]) -> Result<ExitCode, ExecError> {
    let step = |doing| move |source| ExecError::Step { doing, source };
    match sys::fork_single_threaded().map_err(step("fork"))? {
        ForkResult::Child => {
            let Err(error) = sandbox::join(pidfd).and_then(|()| sandbox::run(record, command, Bond::Kill));
            eprintln!("{EXEC_FAILED}{error}");
            std::process::exit(i32::from(error.exit_code()))
        }
        ForkResult::Parent { child } => {
            let code = exit_code(child).map_err(step("wait for the command"))?;
            Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
        }
    }
}
