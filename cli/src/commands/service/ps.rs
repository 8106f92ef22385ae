//! `meshctl service ps`

use clap::Args;

use crate::client::Client;
use crate::commands::tasks::{TaskArgs, show};
use crate::error::CliError;
use crate::output::Shell;

/// `meshctl service ps`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  meshctl service ps web\n  meshctl service ps web --filter desired-state=running -q"
)]
pub struct PsArgs {
    /// Services
    #[arg(required = true)]
    services: Vec<String>,
    #[command(flatten)]
    tasks: TaskArgs,
}

/// Lists their tasks. A service that does not exist is told; the others are shown.
pub async fn run(args: &PsArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    let mut filters = args.tasks.filters(client).await?;
    let mut missing = false;
    for name in &args.services {
        match client.service(name).await {
            Ok(service) => filters.add("service", &service.id),
            Err(error) if error.is_not_found() => {
                shell.note(&error.named("service", name).to_string());
                missing = true;
            }
            Err(error) => return Err(error),
        }
    }
    if filters.get("service").is_some() {
        show(&filters, &args.tasks, client, shell).await?;
    }
    if missing { Err(CliError::Told) } else { Ok(()) }
}
