//! `meshctl swarm leave`

use clap::Args;

use crate::client::Client;
use crate::error::CliError;
use crate::output::Shell;

/// `meshctl swarm leave`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  meshctl swarm leave\n  meshctl swarm leave --force")]
pub struct LeaveArgs {
    /// Leave even when the cluster's state is lost with this node
    #[arg(short, long)]
    force: bool,
}

/// Leaves.
pub async fn run(args: &LeaveArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    client.leave(args.force).await?;
    Ok(shell.line("Node left the swarm.")?)
}
