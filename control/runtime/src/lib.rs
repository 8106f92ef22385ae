//! Runtimes: each ends in "a network namespace and a task in it". The dataplane does the rest, so it is one
//! for all of them.
//!
//! [`native`] runs tasks as processes of this host. What must outlive the daemon is a re-execution of the
//! daemon's own binary: a program that uses this crate calls [`dispatch`] first thing in `main`.
//!
//! This crate knows nothing of services, nodes or addresses; it never talks to the cluster.

mod cgroup;
pub mod error;
pub mod health;
pub mod image;
pub mod native;
mod process;
mod sandbox;
pub mod shim;
pub mod sockets;
mod state;
mod sys;
pub mod task;
pub mod whoami;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

/// Runs the re-execution that the command line `args` (program name included) stands for, if it is one:
/// `PROGRAM shim …`, `PROGRAM whoami …`, or the program under the name `whoami`, as the built-in images
/// have it. `None` means that this is an ordinary start. Call it before any thread is started.
pub fn dispatch(args: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut args = args.into_iter();
    let program = args.next()?;
    if Path::new(&program).file_name() == Some(OsStr::new("whoami")) {
        return Some(whoami::main(args));
    }
    match args.next()?.to_str()? {
        "shim" => Some(shim::main(args)),
        "whoami" => Some(whoami::main(args)),
        _ => None,
    }
}
