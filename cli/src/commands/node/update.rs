//! `meshctl node update`, `promote` and `demote`

use clap::Args;

use super::resolve;
use crate::client::Client;
use crate::error::CliError;
use crate::output::Shell;
use crate::parse::label;

/// `meshctl node update`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  meshctl node update --availability drain n2\n  meshctl node update --label-add zone=a n2"
)]
pub struct UpdateArgs {
    /// The node; `self` is the asked one
    node: String,
    /// Whether it takes tasks
    #[arg(long, value_name = "WORD", value_parser = ["active", "pause", "drain"])]
    availability: Option<String>,
    /// Role that it should have
    #[arg(long, value_name = "WORD", value_parser = ["worker", "manager"])]
    role: Option<String>,
    /// Add or change a label
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label_add: Vec<(String, String)>,
    /// Remove a label
    #[arg(long, value_name = "KEY")]
    label_rm: Vec<String>,
}

/// Changes a node.
pub async fn run(args: &UpdateArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    let id = resolve(&args.node, client).await?;
    let node = client.node(&id).await.map_err(|error| error.named("node", &id))?;
    let mut spec = node.spec.clone();
    if let Some(availability) = &args.availability {
        spec.availability.clone_from(availability);
    }
    if let Some(role) = &args.role {
        spec.role.clone_from(role);
    }
    for key in &args.label_rm {
        if spec.labels.remove(key).is_none() {
            return Err(CliError::Usage(format!("key {key} doesn't exist in node's labels")));
        }
    }
    spec.labels.extend(args.label_add.iter().cloned());
    client.update_node(&node.id, node.version.index, &spec).await?;
    Ok(shell.line(&args.node)?)
}

/// Gives nodes a role.
pub async fn roles(
    names: &[String],
    manager: bool,
    client: &Client,
    shell: &mut Shell,
) -> Result<(), CliError> {
    let role = if manager { "manager" } else { "worker" };
    for name in names {
        let id = resolve(name, client).await?;
        let node = client.node(&id).await.map_err(|error| error.named("node", &id))?;
        if node.spec.role == role {
            shell.note(&format!("Node {name} is already a {role}."));
            continue;
        }
        let spec = mesh_api::engine::node::NodeSpec { role: role.to_owned(), ..node.spec };
        client.update_node(&node.id, node.version.index, &spec).await?;
        shell.line(&if manager {
            format!("Node {name} promoted to a manager in the swarm.")
        } else {
            format!("Manager {name} demoted in the swarm.")
        })?;
    }
    Ok(())
}
