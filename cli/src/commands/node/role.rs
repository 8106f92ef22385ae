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

/// What a node is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// One that votes.
    Manager,
    /// None that votes.
    Worker,
}

impl Role {
    /// The API's word.
    fn as_str(self) -> &'static str {
        match self {
            Self::Manager => "manager",
            Self::Worker => "worker",
        }
    }

    /// The role that a word of the API means.
    pub fn of(word: &str) -> Self {
        if word == "manager" { Self::Manager } else { Self::Worker }
    }

    /// What a node is that votes, or does not.
    fn that_votes(votes: bool) -> Self {
        if votes { Self::Manager } else { Self::Worker }
    }

    /// The node has the role, as docker says it.
    fn given(self, name: &str) -> String {
        match self {
            Self::Manager => format!("Node {name} promoted to a manager in the swarm."),
            Self::Worker => format!("Manager {name} demoted in the swarm."),
        }
    }
}

/// Gives nodes a role, one after the other: each counts before the next is asked for.
pub async fn run(args: &RoleArgs, role: Role, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    let mut failed = false;
    for name in &args.nodes {
        match give(name, role, args.detach, client, shell).await {
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
    role: Role,
    detach: bool,
    client: &Client,
    shell: &mut Shell,
) -> Result<(), CliError> {
    let id = resolve(name, client).await?;
    let before = client.node(&id).await.map_err(|error| error.named("node", name))?;
    let asked = Role::of(&before.spec.role) == role;
    if asked && Role::that_votes(before.manager_status.is_some()) == role {
        return Ok(shell.line(&format!("Node {name} is already a {}.", role.as_str()))?);
    }
    if !asked {
        change(&before.id, client, |spec| {
            role.as_str().clone_into(&mut spec.role);
            Ok(())
        })
        .await?;
    }
    if !detach {
        wait(&before, name, role, client, shell).await?;
    }
    Ok(shell.line(&role.given(name))?)
}

/// Follows the node until it is a manager that votes, or none. Ctrl-C ends the waiting, not the work.
pub async fn wait(
    node: &Node,
    name: &str,
    role: Role,
    client: &Client,
    shell: &mut Shell,
) -> Result<(), CliError> {
    if role == Role::Manager && node.status.state != "ready" {
        shell.note(&format!("node {name} is {}: it becomes a manager when it is back", node.status.state));
        return Ok(());
    }
    let own = client.info().await?.swarm.node_id == node.id;
    let (wanted, missed) = match role {
        Role::Manager => ("a manager", "not yet a manager"),
        Role::Worker => ("no manager", "still a manager"),
    };
    shell.note(&format!("waiting until {name} is {wanted}"));
    tokio::select! {
        became = becomes(&node.id, role, own, client) => return became,
        () = sleep(PATIENCE) => {}
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            shell.note("Operation continuing in background.");
            shell.note("Use `meshctl node ls` to check progress.");
            return Ok(());
        }
    }
    Err(CliError::Waited {
        what: format!("node {name} is {missed}"),
        seconds: PATIENCE.as_secs(),
        hint: "`meshctl node ls` shows how far it is, and the log of its meshd what keeps it",
    })
}

/// Follows the node until it has the role.
async fn becomes(id: &str, role: Role, own: bool, client: &Client) -> Result<(), CliError> {
    let learn = |event: WatchEvent| match says(&event, id) {
        Some(Said::Is(is)) if is == role => Ok(Some(())),
        Some(Said::Gone) if role == Role::Manager => {
            Err(CliError::NoSuch { kind: "node", name: id.to_owned() })
        }
        // A node that is gone is no manager.
        Some(Said::Gone) => Ok(Some(())),
        Some(Said::Is(_)) | None => Ok(None),
    };
    match follow(client, "/mesh/v1/watch?kinds=node", learn).await {
        // The asked node is a worker now, so it does not answer for the cluster any more.
        Err(CliError::Daemon { message, .. }) if own && role == Role::Worker && is_a_worker(&message) => {
            Ok(())
        }
        outcome => outcome,
    }
}

fn is_a_worker(message: &str) -> bool {
    message.contains("Worker nodes can't be used")
}

/// What an event says of a node.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// What it is now.
    Is(Role),
    /// It is no node any more.
    Gone,
}

fn says(event: &WatchEvent, id: &str) -> Option<Said> {
    match event {
        WatchEvent::Put { object: Object::Node(node), .. } if node.id == id => {
            Some(Said::Is(Role::that_votes(node.manager_status.is_some())))
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
        assert_eq!(Role::Manager.given("n2"), "Node n2 promoted to a manager in the swarm.");
        assert_eq!(Role::Worker.given("n2"), "Manager n2 demoted in the swarm.");
    }

    #[test]
    fn a_node_is_a_manager_when_it_votes() {
        let wanted = event(
            r#"{"Type":"Put","Index":1,"Object":{"Kind":"node","Value":{"ID":"a","Spec":{"Role":"manager"}}}}"#,
        );
        assert_eq!(
            says(&wanted, "a"),
            Some(Said::Is(Role::Worker)),
            "that it is to be one does not make it one"
        );
        let voting = event(
            r#"{"Type":"Put","Index":1,"Object":{"Kind":"node","Value":{"ID":"a","ManagerStatus":
            {"Reachability":"reachable","Addr":"192.0.2.11:2377"}}}}"#,
        );
        assert_eq!(says(&voting, "a"), Some(Said::Is(Role::Manager)));
        assert_eq!(says(&voting, "b"), None);
        let there = WatchEvent::Synced { index: 1, present: vec!["a".to_owned()] };
        assert_eq!((says(&there, "a"), says(&there, "b")), (None, Some(Said::Gone)));
    }
}
