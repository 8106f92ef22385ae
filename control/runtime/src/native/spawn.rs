//! Starting the re-executions of [`crate::shim`].

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::ExecStdio;
use crate::error::RuntimeError;
use crate::process::{self, ProcessMark};
use crate::state::{StartReport, TaskDir};

/// What process lists call the re-executions; `/proc/self/exe` would tell nothing.
const NAME: &str = "meshd";

/// A shim that runs.
#[derive(Debug)]
pub struct Shim {
    /// Which process it is.
    pub mark: ProcessMark,
    /// Readable once it ended.
    pub pidfd: OwnedFd,
}

/// A task that was started.
#[derive(Debug)]
pub struct Started {
    /// Its first process.
    pub init: ProcessMark,
    /// Its shim.
    pub shim: Shim,
}

/// Starts the task of this directory under a shim of its own; returns once its program runs. After a failure
/// it can be started again.
pub fn shim(exe: &Path, dir: &TaskDir) -> Result<Started, RuntimeError> {
    let log = dir.file("shim.log");
    let stderr = std::fs::File::create(&log).map_err(RuntimeError::io("make", &log))?;
    let mut command = Command::new(exe);
    command.arg0(NAME).args(["shim", "run"]).arg(dir.path()).env_clear().current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
    let mut child = command.spawn().map_err(RuntimeError::io("run", exe))?;
    // Not reaped yet, so the id is the child's even if it has ended.
    let pidfd = process::open(child.id()).map_err(RuntimeError::io("open shim of", dir.path()))?;
    match report(&mut child).map_err(RuntimeError::io("read the report of", exe))? {
        Ok((init, mark)) => Ok(Started { init, shim: Shim { mark, pidfd } }),
        Err(reason) => {
            child.wait().map_err(RuntimeError::io("wait for", exe))?;
            // Not what another shim holds: one whose daemon ended before it could be told of it.
            if dir.shim()?.is_some_and(|shim| shim.pid == child.id()) {
                dir.forget_start()?;
            }
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            let reason = if reason.is_empty() { format!("the shim failed: {}", said.trim()) } else { reason };
            Err(RuntimeError::Start { reason })
        }
    }
}

/// What the shim says; empty words when it ended without a report.
fn report(child: &mut Child) -> io::Result<Result<(ProcessMark, ProcessMark), String>> {
    let mut text = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut text)?;
    }
    if text.is_empty() {
        return Ok(Err(String::new()));
    }
    match serde_json::from_str(&text)? {
        StartReport::Started { init, shim } => Ok(Ok((init, shim))),
        StartReport::Failed { reason } => Ok(Err(reason)),
    }
}

/// Runs a command in the task of this directory, as `verb` of the shim's has it.
pub async fn inside(
    exe: &Path,
    verb: &str,
    dir: &TaskDir,
    argv: &[String],
    stdio: ExecStdio,
) -> Result<i32, RuntimeError> {
    let mut command = tokio::process::Command::new(exe);
    command.arg0(NAME).args(["shim", verb]).arg(dir.path()).arg("--").args(argv).env_clear().current_dir("/");
    command.stdin(stdio.stdin).stdout(stdio.stdout).stderr(stdio.stderr).kill_on_drop(true);
    let status = command.status().await.map_err(RuntimeError::io("run", exe))?;
    Ok(status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1))
}
