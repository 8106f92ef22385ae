//! `lab exec`: a command inside a node or the client.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use crate::error::LabError;
use crate::layout::{Layout, Member};
use crate::space::Space;

/// Runs a command inside `member` with this process' standard streams. The answer is its exit status, 128
/// plus the signal's number when a signal ended it.
pub fn run(layout: &Layout, member: Member, command: &[OsString]) -> Result<u8, LabError> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(LabError::Option {
            flag: "command",
            value: String::new(),
            rule: "name the command after `--`, as in `lab exec n2 -- ip addr`",
        });
    };
    let directory = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let status = Space::at(layout.space(member)).inside(|| {
        let directory = if directory.is_dir() { directory.as_path() } else { std::path::Path::new("/") };
        let mut command = Command::new(program);
        command.args(arguments).current_dir(directory).env("MESH_LAB_MEMBER", member.to_string());
        if let Member::Node(node) = member {
            command.env("MESH_HOST", format!("unix://{}", layout.socket(node).display()));
        }
        command.status()
    })?;
    match status {
        Ok(status) => {
            let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
            Ok(u8::try_from(code).unwrap_or(1))
        }
        Err(source) => Err(LabError::File { what: "run", path: program.into(), source }),
    }
}
