//! What `meshd` does for the runtime in its `main`, alone: the tests' stand-in for the daemon's binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    mesh_runtime::dispatch(std::env::args_os()).unwrap_or_else(|| {
        eprintln!("runtime-shim: this is no program of its own");
        ExitCode::from(64)
    })
}
