//! `meshctl service rollback`

use clap::Args;
use mesh_api::engine::service::Service;

use super::converge::{self, Wanted};
use super::flags::WaitFlags;
use crate::client::Client;
use crate::error::CliError;
use crate::output::Shell;

/// `meshctl service rollback`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  meshctl service rollback web\n  meshctl service rollback --detach web")]
pub struct RollbackArgs {
    /// The service
    service: String,
    #[command(flatten)]
    wait: WaitFlags,
}

/// Takes a service back to its previous spec.
pub async fn run(args: &RollbackArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    let name = &args.service;
    let service = client.service(name).await.map_err(|error| error.named("service", name))?;
    roll_back(&service, name, args.wait, client, shell).await
}

/// Does it for a service as it was read.
pub async fn roll_back(
    service: &Service,
    name: &str,
    flags: WaitFlags,
    client: &Client,
    shell: &mut Shell,
) -> Result<(), CliError> {
    client.update_service(&service.id, service.version.index, &service.spec, true).await?;
    shell.line(name)?;
    let before = service.update_status.as_ref();
    let wanted = Wanted { before, rollback: true, ..Wanted::of(&service.id, name) };
    converge::wait(&wanted, flags, client, shell).await
}
