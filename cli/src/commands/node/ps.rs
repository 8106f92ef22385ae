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

/// Lists their tasks.
pub async fn run(args: &PsArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    let mut filters = args.tasks.list.filters();
    for name in &args.nodes {
        let name = resolve(name, client).await?;
        let node = client.node(&name).await.map_err(|error| error.named("node", &name))?;
        filters.add("node", &node.id);
    }
    show(&filters, &args.tasks, client, shell).await
}
