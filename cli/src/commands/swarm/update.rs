//! `meshctl swarm update`

use clap::Args;

use super::settings::SettingFlags;
use super::unlock_key;
use crate::client::{Client, Rotate};
use crate::error::CliError;
use crate::output::Shell;

/// `meshctl swarm update`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  meshctl swarm update --task-history-limit 10\n  meshctl swarm update --autolock\n  meshctl swarm update --cert-expiry 720h\n  meshctl swarm update --ingress-reply direct"
)]
pub struct UpdateArgs {
    #[command(flatten)]
    settings: SettingFlags,
}

/// Changes the settings.
pub async fn run(args: &UpdateArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    args.settings.check()?;
    if args.settings.is_empty() {
        return Err(CliError::Usage(
            "nothing to change: name a setting, such as --task-history-limit (meshctl swarm update --help)"
                .to_owned(),
        ));
    }
    let swarm = client.swarm().await?;
    let locked_before = swarm.spec.encryption_config.auto_lock_managers == Some(true);
    let mut spec = swarm.spec.clone();
    args.settings.write(&mut spec);
    client.update_swarm(swarm.version.index, &spec, Rotate::default()).await?;
    shell.line("Swarm updated.")?;
    if !locked_before && args.settings.autolock() == Some(true) {
        unlock_key::show(client, shell).await?;
    }
    Ok(())
}
