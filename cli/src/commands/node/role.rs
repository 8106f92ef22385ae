//! `meshctl node promote` and `demote`: give nodes a role, and wait until they have it.

use std::time::Duration;

use clap::Args;
use mesh_api::engine::node::Node;
use mesh_api::mesh::{Object, WatchEvent};
use tokio::time::sleep;

use super::{change, resolve};
use crate::client::Client;
use crate::error::CliError;
use crate::follow::follow;
use crate::output::Shell;

/// How long a node may take until it is a manager, or none any more: it renews its certificate, hears the whole
/// log and is voted in.
const PATIENCE: Duration = Duration::from_mins(1);

/// `meshctl node promote` and `demote`
#[derive(Debug, Args)]
pub struct RoleArgs {
    /// Nodes; `self` is the asked one
    #[arg(required = true, value_name = "NODE")]
    nodes: Vec<String>,
    /// Do not wait until it is so
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true)]
    detach: bool,
}

/// Gives nodes a role, one after the other: each counts before the next is asked for.
pub async fn run(args: &RoleArgs, manager: bool, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    let mut failed = false;
    for name in &args.nodes {
        match give(name, manager, args.detach, client, shell).await {
            Ok(()) => {}
            Err(error @ (CliError::Unreachable { .. } | CliError::Interrupted)) => return Err(error),
            Err(error) => {
                shell.note(&error.to_string());
                failed = true;
            }
        }
    }
    if failed { Err(CliError::Told) } else { Ok(()) }
}

async fn give(
    name: &str,
    manager: bool,
    detach: bool,
    client: &Client,
    shell: &mut Shell,
) -> Result<(), CliError> {
    let id = resolve(name, client).await?;
    let role = word(manager);
    let before = client.node(&id).await.map_err(|error| error.named("node", name))?;
    if before.spec.role == role && before.manager_status.is_some() == manager {
        return Ok(shell.line(&format!("Node {name} is already a {role}."))?);
    }
    if before.spec.role != role {
        let wanted = role.to_owned();
        change(&before.id, client, |spec| {
            spec.role.clone_from(&wanted);
            Ok(())
        })
        .await?;
    }
    if !detach {
        wait(&before, name, manager, client, shell).await?;
    }
    Ok(shell.line(&done(name, manager))?)
}

fn word(manager: bool) -> &'static str {
    if manager { "manager" } else { "worker" }
}

fn done(name: &str, manager: bool) -> String {
    if manager {
        format!("Node {name} promoted to a manager in the swarm.")
    } else {
        format!("Manager {name} demoted in the swarm.")
    }
}

/// Follows the node until it is a manager that votes, or none. Ctrl-C ends the waiting, not the work.
pub async fn wait(
    node: &Node,
    name: &str,
    manager: bool,
    client: &Client,
    shell: &mut Shell,
) -> Result<(), CliError> {
    if manager && node.status.state != "ready" {
        shell.note(&format!("node {name} is {}: it becomes a manager when it is back", node.status.state));
        return Ok(());
    }
    let own = client.info().await?.swarm.node_id == node.id;
    shell.note(&format!("waiting until {name} is {}", if manager { "a manager" } else { "no manager" }));
    tokio::select! {
        became = becomes(&node.id, manager, own, client) => return became,
        () = sleep(PATIENCE) => {}
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            shell.note("Operation continuing in background.");
            shell.note("Use `meshctl node ls` to check progress.");
            return Ok(());
        }
    }
    Err(CliError::Waited {
        what: format!("node {name} is {} manager", if manager { "not yet a" } else { "still a" }),
        seconds: PATIENCE.as_secs(),
        hint: "`meshctl node ls` shows how far it is, and the log of its meshd what keeps it",
    })
}

/// Follows the node until it has the role.
async fn becomes(id: &str, manager: bool, own: bool, client: &Client) -> Result<(), CliError> {
    let learn = |event: WatchEvent| match says(&event, id) {
        Some(Said::Manager(is)) if is == manager => Ok(Some(())),
        Some(Said::Gone) if manager => Err(CliError::NoSuch { kind: "node", name: id.to_owned() }),
        // A node that is gone is no manager.
        Some(Said::Gone) => Ok(Some(())),
        Some(Said::Manager(_)) | None => Ok(None),
    };
    match follow(client, "/mesh/v1/watch?kinds=node", learn).await {
        // The asked node is a worker now, so it does not answer for the cluster any more.
        Err(CliError::Daemon { message, .. }) if own && !manager && is_a_worker(&message) => Ok(()),
        outcome => outcome,
    }
}

fn is_a_worker(message: &str) -> bool {
    message.contains("Worker nodes can't be used")
}

/// What an event says of a node.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// Whether it is a manager now.
    Manager(bool),
    /// It is no node any more.
    Gone,
}

fn says(event: &WatchEvent, id: &str) -> Option<Said> {
    match event {
        WatchEvent::Put { object: Object::Node(node), .. } if node.id == id => {
            Some(Said::Manager(node.manager_status.is_some()))
        }
        WatchEvent::Delete { id: gone, .. } if gone == id => Some(Said::Gone),
        WatchEvent::Synced { present, .. } if !present.iter().any(|one| one == id) => Some(Said::Gone),
        WatchEvent::Put { .. } | WatchEvent::Delete { .. } | WatchEvent::Synced { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::decode::decode;

    use super::*;

    fn event(text: &str) -> WatchEvent {
        decode(text.as_bytes()).unwrap()
    }

    #[test]
    fn dockers_words() {
        assert_eq!(done("n2", true), "Node n2 promoted to a manager in the swarm.");
        assert_eq!(done("n2", false), "Manager n2 demoted in the swarm.");
    }

    #[test]
    fn a_node_is_a_manager_when_it_votes() {
        let wanted = event(
            r#"{"Type":"Put","Index":1,"Object":{"Kind":"node","Value":{"ID":"a","Spec":{"Role":"manager"}}}}"#,
        );
        assert_eq!(
            says(&wanted, "a"),
            Some(Said::Manager(false)),
            "that it is to be one does not make it one"
        );
        let voting = event(
            r#"{"Type":"Put","Index":1,"Object":{"Kind":"node","Value":{"ID":"a","ManagerStatus":
            {"Reachability":"reachable","Addr":"192.0.2.11:2377"}}}}"#,
        );
        assert_eq!(says(&voting, "a"), Some(Said::Manager(true)));
        assert_eq!(says(&voting, "b"), None);
        let there = WatchEvent::Synced { index: 1, present: vec!["a".to_owned()] };
        assert_eq!((says(&there, "a"), says(&there, "b")), (None, Some(Said::Gone)));
    }
}
