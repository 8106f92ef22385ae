//! `shim run`: from a record to a running task, and on to its end.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_name;
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, pipe2, setsid};
use rustix::process::{WaitOptions, waitpid};

use super::log::{Log, PART_MAX};
use crate::cgroup;
use crate::error::RuntimeError;
use crate::process::ProcessMark;
use crate::sandbox;
use crate::state::{Exit, Record, StartReport, TaskDir};
use crate::sys;

/// Why the task did not start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("cannot {doing}: {source}")]
    Step { doing: &'static str, source: io::Error },
    #[error(transparent)]
    State(#[from] RuntimeError),
    #[error("{} holds no task", .0.display())]
    NoRecord(std::path::PathBuf),
    #[error("it was started before")]
    StartedBefore,
    #[error("{0}")]
    Setup(String),
}

fn step<E: Into<io::Error>>(doing: &'static str) -> impl FnOnce(E) -> StartError {
    move |error| StartError::Step { doing, source: error.into() }
}

/// A running task as its shim holds it.
struct Task {
    init: Pid,
    mark: ProcessMark,
    pidfd: OwnedFd,
    stdout: File,
    stderr: File,
}

/// Starts the task of this directory and stays until it ends.
pub fn run(dir: &TaskDir) -> ExitCode {
    let started = detach().and_then(|shim| Ok((shim, start(dir, shim)?)));
    let report = match &started {
        Ok((shim, task)) => StartReport::Started { init: task.mark, shim: *shim },
        Err(error) => StartReport::Failed { reason: error.to_string() },
    };
    tell(&report);
    let Ok((_, task)) = started else { return ExitCode::FAILURE };
    match supervise(dir, task).map(|code| dir.write_exit(Exit { code })) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("shim: {error}");
    ExitCode::FAILURE
}

/// Signals that are meant for the daemon, or for a terminal that is long gone, do not end the shim.
fn detach() -> Result<ProcessMark, StartError> {
    sys::set_signals([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGPIPE], true)
        .map_err(step("ignore signals"))?;
    setsid().map_err(step("begin a session"))?;
    set_name(c"mesh-shim").map_err(step("set its name"))?;
    ProcessMark::current().map_err(step("read its own start time"))
}

/// The daemon reads until the end of the stream, so the descriptor is given up at once.
fn tell(report: &StartReport) {
    if let Ok(text) = serde_json::to_vec(report) {
        // A daemon that is gone reads the state files instead.
        let _gone = io::stdout().write_all(&text).and_then(|()| io::stdout().flush());
    }
    let _kept = File::open("/dev/null").map(dup2_stdout);
}

fn start(dir: &TaskDir, shim: ProcessMark) -> Result<Task, StartError> {
    let record = dir.record()?.ok_or_else(|| StartError::NoRecord(dir.path().to_owned()))?;
    dir.claim(shim).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => StartError::StartedBefore,
        _ => step("claim the task")(error),
    })?;
    // A daemon that removes the task takes its record away before it looks for a shim: either it sees the
    // claim, or this does not see the record.
    if dir.record()?.is_none() {
        return Err(StartError::NoRecord(dir.path().to_owned()));
    }
    cgroup::join_or_make(&record.shim_cgroup)?;
    let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(step("make a pipe"));
    let ((stdout, out), (stderr, err)) = (pipe()?, pipe()?);
    let ((may_go, go), (outcome, tell)) = (pipe()?, pipe()?);
    // Not the shim itself: its next child is the first process of the namespace.
    unshare(CloneFlags::CLONE_NEWPID).map_err(step("make a pid namespace"))?;
    match sys::fork_single_threaded().map_err(step("fork"))? {
        ForkResult::Child => {
            // A copy of the other end would keep this one from ever seeing that the shim is gone.
            drop(go);
            let reason = become_task(&record, dir, may_go, out, err);
            let _nobody = File::from(tell).write_all(reason.as_bytes());
            std::process::exit(1)
        }
        ForkResult::Parent { child } => {
            drop((may_go, out, err, tell));
            let (stdout, stderr) = (File::from(stdout), File::from(stderr));
            let admitted = admit(&record, dir, child, go);
            let reason = read_all(outcome).map_err(step("read the outcome"))?;
            match admitted {
                Ok((mark, pidfd)) if reason.is_empty() => {
                    Ok(Task { init: child, mark, pidfd, stdout, stderr })
                }
                other => {
                    let _reaped = exit_code(child);
                    other.and(Err(StartError::Setup(reason)))
                }
            }
        }
    }
}

/// The child's part; gives why it failed, if it does.
fn become_task(record: &Record, dir: &TaskDir, may_go: OwnedFd, out: OwnedFd, err: OwnedFd) -> String {
    // Until it is in its cgroup and known on disk nothing may happen that somebody would have to undo. The
    // shim's end is seen here as the end of the stream.
    if !matches!(read_all(may_go), Ok(text) if text == "go") {
        return "the shim ended".to_owned();
    }
    let streams = File::open("/dev/null")
        .and_then(|null| Ok(dup2_stdin(null)?))
        .and_then(|()| Ok(dup2_stdout(out)?))
        .and_then(|()| Ok(dup2_stderr(err)?))
        .and_then(|()| setsid().map(drop).map_err(io::Error::from));
    if let Err(error) = streams {
        return format!("cannot set standard streams: {error}");
    }
    match sandbox::become_init(record, dir) {
        Ok(never) => match never {},
        Err(error) => error.to_string(),
    }
}

/// Puts the child where it belongs and lets it go on.
fn admit(
    record: &Record,
    dir: &TaskDir,
    child: Pid,
    go: OwnedFd,
) -> Result<(ProcessMark, OwnedFd), StartError> {
    let mark = ProcessMark::of(child.as_raw().unsigned_abs()).map_err(step("read the start time"))?;
    let pidfd = mark.open().map_err(step("open the process"))?;
    let pidfd = pidfd.ok_or_else(|| StartError::Setup("the process ended at once".to_owned()))?;
    record.cgroup.join(mark.pid)?;
    dir.write_init(mark)?;
    File::from(go).write_all(b"go").map_err(step("let the process go on"))?;
    Ok((mark, pidfd))
}

fn read_all(from: OwnedFd) -> io::Result<String> {
    let mut text = String::new();
    File::from(from).read_to_string(&mut text)?;
    Ok(text)
}

/// Keeps the output until the first process ends; gives its exit status.
fn supervise(dir: &TaskDir, task: Task) -> io::Result<i32> {
    let mut streams = Vec::new();
    for (from, name) in [(task.stdout, "stdout.log"), (task.stderr, "stderr.log")] {
        fcntl(&from, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        streams.push((from, Log::open(dir.file(name), PART_MAX)?));
    }
    loop {
        let mut waited = vec![PollFd::new(task.pidfd.as_fd(), PollFlags::POLLIN)];
        waited.extend(streams.iter().map(|(from, _)| PollFd::new(from.as_fd(), PollFlags::POLLIN)));
        match poll(&mut waited, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            other => other?,
        };
        let ended = waited.first().and_then(PollFd::any) == Some(true);
        drop(waited);
        streams.retain_mut(|(from, log)| drain(from, log));
        if ended {
            return exit_code(task.init);
        }
    }
}

/// Moves what is there into the log; false at the end of the stream. A log that cannot be written (the disk
/// is full) loses output rather than to block the task.
fn drain(from: &mut File, log: &mut Log) -> bool {
    let mut buffer = [0; 16 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return false,
            Ok(length) => {
                let _lost = log.append(&buffer[..length]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

/// Waits for the end of a child and reaps it; its status as a shell has it.
pub fn exit_code(child: Pid) -> io::Result<i32> {
    let pid = rustix::process::Pid::from_raw(child.as_raw());
    loop {
        // Not nix's: it has no word for death by a real-time signal.
        match waitpid(pid, WaitOptions::empty()) {
            Ok(Some((_, status))) => {
                let killed = status.terminating_signal().map(|signal| 128 + signal);
                if let Some(code) = status.exit_status().or(killed) {
                    return Ok(code);
                }
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
