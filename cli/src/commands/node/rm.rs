//! `meshctl node rm`

use clap::Args;

use crate::client::Client;
use crate::commands::inspect::each;
use crate::error::CliError;
use crate::output::Shell;

/// `meshctl node rm`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  meshctl node rm n3\n  meshctl node rm --force n3")]
pub struct RmArgs {
    /// Nodes
    #[arg(required = true)]
    nodes: Vec<String>,
    /// Remove a node that is not down, too; a manager that is lost for good leaves raft with it
    #[arg(short, long)]
    force: bool,
}

/// Removes nodes.
pub async fn run(args: &RmArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    each(&args.nodes, shell, |name| async move {
        client.remove_node(name, args.force).await.map_err(|error| error.named("node", name))
    })
    .await
}
