//! `meshctl swarm update`

use clap::Args;

use super::settings::SettingFlags;
use crate::client::Client;
use crate::commands::unsupported::SwarmFlags;
use crate::error::CliError;
use crate::output::Shell;

/// `meshctl swarm update`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  meshctl swarm update --task-history-limit 10\n  meshctl swarm update --ingress-reply direct"
)]
pub struct UpdateArgs {
    #[command(flatten)]
    settings: SettingFlags,
    #[command(flatten)]
    unsupported: SwarmFlags,
}

/// Changes the settings.
pub async fn run(args: &UpdateArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    args.unsupported.check()?;
    let swarm = client.swarm().await?;
    let mut spec = swarm.spec.clone();
    args.settings.write(&mut spec);
    client.update_swarm(swarm.version.index, &spec, false, false).await?;
    Ok(shell.line("Swarm updated.")?)
}
