//! `meshctl swarm join-token`

use clap::{Args, ValueEnum};

use crate::client::{Client, Rotate};
use crate::error::CliError;
use crate::output::Shell;

/// `meshctl swarm join-token`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  meshctl swarm join-token worker\n  meshctl swarm join-token -q worker\n  meshctl swarm join-token --rotate worker"
)]
pub struct JoinTokenArgs {
    /// Whose token
    #[arg(value_enum)]
    role: Role,
    /// Make a new token; the old one joins nobody any more
    #[arg(long)]
    rotate: bool,
    /// Only show the token
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    Worker,
    Manager,
}

/// Shows the token.
pub async fn run(args: &JoinTokenArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    let manager = args.role == Role::Manager;
    let role = if manager { "manager" } else { "worker" };
    if args.rotate {
        let swarm = client.swarm().await?;
        let rotate = Rotate { worker: !manager, manager, unlock_key: false };
        client.update_swarm(swarm.version.index, &swarm.spec, rotate).await?;
        if !args.quiet {
            shell.line(&format!("Successfully rotated {role} join token.\n"))?;
        }
    }
    if args.quiet {
        return Ok(shell.line(&token(client, manager).await?)?);
    }
    shell.line(&format!("To add a {role} to this swarm, run the following command:\n"))?;
    Ok(shell.line(&format!("    {}\n", join_line(client, manager).await?))?)
}

async fn token(client: &Client, manager: bool) -> Result<String, CliError> {
    let tokens = client.swarm().await?.join_tokens.unwrap_or_default();
    Ok(if manager { tokens.manager } else { tokens.worker })
}

/// The command that joins a node to this one's cluster.
pub async fn join_line(client: &Client, manager: bool) -> Result<String, CliError> {
    let token = token(client, manager).await?;
    let swarm = client.info().await?.swarm;
    let node = client.node(&swarm.node_id).await?;
    let addr = node.manager_status.map(|status| status.addr).unwrap_or_default();
    Ok(format!("meshctl swarm join --token {token} {addr}"))
}
