//! `meshctl service rm`

use clap::Args;

use super::settle::settle;
use crate::client::Client;
use crate::commands::inspect::each;
use crate::error::CliError;
use crate::output::Shell;

/// `meshctl service rm`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  meshctl service rm web")]
pub struct RmArgs {
    /// Services
    #[arg(required = true)]
    services: Vec<String>,
}

/// Removes services; returns once no node answers for them.
pub async fn run(args: &RmArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    let removed = each(&args.services, shell, |name| async move {
        client.remove_service(name).await.map_err(|error| error.named("service", name))
    })
    .await;
    let settled = settle(client, shell).await;
    removed.and(settled)
}
