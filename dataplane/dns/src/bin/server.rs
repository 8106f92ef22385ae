//! The DNS server as a program of its own; `meshd dns-server` is the same.

use std::process::ExitCode;

fn main() -> ExitCode {
    mesh_dns::server::main(std::env::args_os().skip(1))
}
