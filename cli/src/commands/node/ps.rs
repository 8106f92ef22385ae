//! `meshctl node ps`

use clap::Args;

use super::resolve;
use crate::client::Client;
use crate::commands::tasks::{TaskArgs, show};
use crate::error::CliError;
use crate::output::Shell;

/// `meshctl node ps`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  meshctl node ps\n  meshctl node ps n2 --filter desired-state=running")]
pub struct PsArgs {
    /// Nodes; the asked one when none is named
    #[arg(default_value = "self", hide_default_value = true)]
    nodes: Vec<String>,
    #[command(flatten)]
    tasks: TaskArgs,
}

/// Lists their tasks. A node that does not exist is told; the others are shown.
pub async fn run(args: &PsArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    let mut filters = args.tasks.filters(client).await?;
    let mut found = false;
    let mut missing = false;
    for name in &args.nodes {
        let id = resolve(name, client).await?;
        match client.node(&id).await {
            Ok(node) => {
                filters.add("node", &node.id);
                found = true;
            }
            Err(error) if error.is_not_found() => {
                shell.note(&error.named("node", name).to_string());
                missing = true;
            }
            Err(error) => return Err(error),
        }
    }
    if found {
        show(&filters, &args.tasks, client, shell).await?;
    }
    if missing { Err(CliError::Told) } else { Ok(()) }
}
