//! The program of the built-in images.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs `whoami ARGS`.
pub fn main(_args: impl IntoIterator<Item = OsString>) -> ExitCode {
    ExitCode::FAILURE
}
