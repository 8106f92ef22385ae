//! Forms the cluster out of started nodes, with the commands that a person would type.

use std::process::Command;

use crate::error::LabError;
use crate::layout::{Layout, NodeName};
use crate::state::LabState;

/// Initialises the cluster on the first node and lets the others join, each in its role.
pub fn form(layout: &Layout, state: &LabState, mut progress: impl FnMut(&str)) -> Result<(), LabError> {
    let Some((first, rest)) = state.nodes.split_first() else { return Ok(()) };
    let first = first.name;
    let address = first.address().to_string();
    progress(&format!("{first}: swarm init"));
    meshctl(layout, first, &["swarm", "init", "--advertise-addr", &address])?;
    for record in rest {
        let role = if record.manager { "manager" } else { "worker" };
        progress(&format!("{}: swarm join as {role}", record.name));
        let token = meshctl(layout, first, &["swarm", "join-token", "-q", role])?;
        let (own, to) = (record.name.address().to_string(), format!("{address}:2377"));
        meshctl(
            layout,
            record.name,
            &["swarm", "join", "--token", token.trim(), "--advertise-addr", &own, &to],
        )?;
    }
    Ok(())
}

/// Runs this very program against a node's socket and answers what it printed.
fn meshctl(layout: &Layout, node: NodeName, arguments: &[&str]) -> Result<String, LabError> {
    let own = std::env::current_exe().map_err(LabError::file("find", "/proc/self/exe"))?;
    let socket = format!("unix://{}", layout.socket(node).display());
    let output = Command::new(&own)
        .args(["-H", &socket])
        .args(arguments)
        .output()
        .map_err(LabError::file("run", &own))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(LabError::Step {
        step: format!(
            "{node}: {}",
            arguments.first().zip(arguments.get(1)).map_or(String::new(), |(a, b)| format!("{a} {b}"))
        ),
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
