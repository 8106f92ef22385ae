//! `meshctl service rebalance`

use clap::Args;

use super::converge::{self, Wanted};
use super::flags::WaitFlags;
use crate::client::Client;
use crate::error::CliError;
use crate::output::Shell;

/// `meshctl service rebalance`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  meshctl service rebalance web\n  meshctl service rebalance --parallelism 2 web api"
)]
pub struct RebalanceArgs {
    /// Services
    #[arg(required = true)]
    services: Vec<String>,
    /// Tasks that move at once; each starts on its new node before it leaves the old one
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    parallelism: u32,
    #[command(flatten)]
    wait: WaitFlags,
}

/// Spreads the tasks of services over the nodes anew, one service after the other.
pub async fn run(args: &RebalanceArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    for name in &args.services {
        let service = client.service(name).await.map_err(|error| error.named("service", name))?;
        client.rebalance_service(&service.id, args.parallelism).await?;
        shell.line(name)?;
        let before = service.update_status.as_ref();
        let wanted = Wanted { before, rebalance: true, ..Wanted::of(&service.id, name) };
        converge::wait(&wanted, args.wait, client, shell).await?;
    }
    Ok(())
}
