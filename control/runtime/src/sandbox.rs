//! Turning a freshly forked process into a task: its view of the system, its rights, its program.
//!
//! Everything here runs in the child, single-threaded, and ends in exec or in a [`SetupError`] that the shim
//! passes on. Order matters: mounts need rights that are given up afterwards, and the seccomp filter, which
//! forbids most of what is done here, comes last.

mod caps;
mod program;
mod root;
mod seccomp;
mod user;

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::{set_no_new_privs, set_pdeathsig};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd;

use crate::state::{Record, TaskDir};
use crate::sys;

/// Why a process did not become the task's. The text follows Docker's words where it has some.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A step failed.
    #[error("cannot {doing}: {source}")]
    Step {
        /// The step, as a verb.
        doing: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The image or the launch names no program.
    #[error("no command specified")]
    NoCommand,
    /// The program is not in the root file system.
    #[error("exec: {program:?}: {}", if program.contains('/') { "no such file or directory" } else { "executable file not found in $PATH" })]
    NotFound {
        /// As given.
        program: String,
    },
    /// The program is there and cannot be run.
    #[error("exec: {program:?}: {source}")]
    NotRunnable {
        /// As given.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The image has no such user or group.
    #[error("unable to find {kind} {name}: no matching entries in {file} file")]
    NoUser {
        /// `user` or `group`.
        kind: &'static str,
        /// As given.
        name: String,
        /// Where it was looked for.
        file: &'static str,
    },
    /// A string holds a byte 0.
    #[error("{field} contains a byte 0")]
    Nul {
        /// Which string.
        field: &'static str,
    },
    /// The image cannot be a root file system.
    #[error("the image's {path} is no directory")]
    NoDirectory {
        /// Path inside the image.
        path: String,
    },
}

impl SetupError {
    /// Exit status of a shell for it: 127 for what is not found, 126 for what cannot be run.
    pub fn exit_code(&self) -> u8 {
        if matches!(self, Self::NotFound { .. }) { 127 } else { 126 }
    }
}

/// Names the step that an error comes from.
pub(crate) fn step<E: Into<io::Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> SetupError {
    |error| SetupError::Step { doing: doing.into(), source: error.into() }
}

/// Makes the calling process the first of the task: namespaces (its pid namespace is new already), root file
/// system, rights, program.
pub fn become_init(record: &Record, dir: &TaskDir) -> Result<Infallible, SetupError> {
    let netns = &record.prepared.netns;
    let netns = File::open(netns).map_err(step(format!("open {}", netns.display())))?;
    setns(&netns, CloneFlags::CLONE_NEWNET).map_err(step("enter the network namespace"))?;
    let own = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWCGROUP;
    unshare(own).map_err(step("make namespaces"))?;
    unistd::sethostname(record.hostname()).map_err(step("set the host name"))?;
    root::enter(record, dir)?;
    let line = record.image.config.command_line(&record.launch.command, &record.launch.args);
    run(record, &line, Bond::None)
}

/// Has what the calling process forks from now on join the pid namespace of the task behind `pidfd`.
pub fn join_pids(pidfd: &OwnedFd) -> Result<(), SetupError> {
    setns(pidfd, CloneFlags::CLONE_NEWPID).map_err(step("enter the task's pid namespace"))
}

/// Joins the task's other namespaces.
pub fn join(pidfd: &OwnedFd) -> Result<(), SetupError> {
    let others = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWCGROUP
        | CloneFlags::CLONE_NEWNET;
    setns(pidfd, others).map_err(step("enter the task's namespaces"))
}

/// What the end of the parent means to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bond {
    /// Nothing.
    None,
    /// Its own end.
    Kill,
}

/// Runs `line` as the task's user with the task's environment and rights, in the root file system that the
/// process is in already.
pub fn run(record: &Record, line: &[String], bond: Bond) -> Result<Infallible, SetupError> {
    let identity = user::resolve(record)?;
    let environment = program::environment(record, &identity);
    let directory = program::directory(record);
    unistd::chdir(directory.as_str()).map_err(step(format!("change to {directory}")))?;
    let file = program::find(line, &environment)?;
    let arguments = strings(line, "command")?;
    let variables = strings(&environment, "environment")?;

    sys::close_inherited_on_exec().map_err(step("close descriptors"))?;
    limit_resources()?;
    reset_signals()?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    caps::bound()?;
    user::assume(&identity)?;
    caps::reduce(identity.uid == 0)?;
    if bond == Bond::Kill {
        // After the change of user, which would undo it.
        set_pdeathsig(Signal::SIGKILL).map_err(step("bind to the parent"))?;
    }
    set_no_new_privs().map_err(step("set no_new_privs"))?;
    seccomp::install()?;

    let Err(error) = unistd::execve(&file, &arguments, &variables);
    let program = line.first().cloned().unwrap_or_default();
    Err(SetupError::NotRunnable { program, source: error.into() })
}

fn strings(texts: &[String], field: &'static str) -> Result<Vec<CString>, SetupError> {
    let converted = texts.iter().map(|text| CString::new(text.as_str()));
    converted.collect::<Result<_, _>>().map_err(|_| SetupError::Nul { field })
}

/// No core dumps into the writable layer; open files as systemd gives them to services, within what this
/// host allows.
fn limit_resources() -> Result<(), SetupError> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(step("limit core dumps"))?;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).map_err(step("read the limit of open files"))?;
    let hard = most.min(524_288);
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(65_536), hard).map_err(step("limit open files"))
}

/// Ignored and blocked signals would be inherited through exec.
fn reset_signals() -> Result<(), SetupError> {
    let settable = Signal::iterator().filter(|signal| !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP));
    sys::set_signals(settable, false).map_err(step("reset signals"))?;
    SigSet::empty().thread_set_mask().map_err(step("unblock signals"))
}
