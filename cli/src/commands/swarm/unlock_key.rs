//! `meshctl swarm unlock-key`

use clap::Args;

use crate::client::{Client, Rotate};
use crate::error::CliError;
use crate::output::Shell;

/// `meshctl swarm unlock-key`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  meshctl swarm unlock-key\n  meshctl swarm unlock-key -q\n  meshctl swarm unlock-key --rotate"
)]
pub struct UnlockKeyArgs {
    /// Make a new key; keep the old one until every manager has heard of it
    #[arg(long)]
    rotate: bool,
    /// Only show the key
    #[arg(short, long)]
    quiet: bool,
}

/// Shows the key that unlocks managers.
pub async fn run(args: &UnlockKeyArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    if args.rotate {
        let swarm = client.swarm().await?;
        if swarm.spec.encryption_config.auto_lock_managers != Some(true) {
            return Err(CliError::Refused(
                "cannot rotate because autolock is not turned on (`meshctl swarm update --autolock` does it)"
                    .to_owned(),
            ));
        }
        let rotate = Rotate { unlock_key: true, ..Rotate::default() };
        client.update_swarm(swarm.version.index, &swarm.spec, rotate).await?;
        if !args.quiet {
            shell.line("Successfully rotated manager unlock key.\n")?;
        }
    }
    if args.quiet {
        return Ok(shell.line(&key(client).await?)?);
    }
    show(client, shell).await
}

async fn key(client: &Client) -> Result<String, CliError> {
    let key = client.unlock_key().await?;
    if key.is_empty() {
        return Err(CliError::Refused(
            "no unlock key is set (`meshctl swarm update --autolock` locks managers)".to_owned(),
        ));
    }
    Ok(key)
}

/// Says how a manager that was started again is unlocked.
pub async fn show(client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    Ok(shell.raw(&words(&key(client).await?))?)
}

fn words(key: &str) -> String {
    format!(
        "To unlock a swarm manager after it restarts, run the `meshctl swarm unlock`\ncommand and provide the \
         following key:\n\n    {key}\n\nRemember to store this key in a password manager, since without it you\n\
         will not be able to restart the manager.\n"
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_key_is_shown_as_docker_shows_it() {
        assert_eq!(
            super::words("SWMKEY-1-abc"),
            "To unlock a swarm manager after it restarts, run the `meshctl swarm unlock`\n\
             command and provide the following key:\n\n    SWMKEY-1-abc\n\n\
             Remember to store this key in a password manager, since without it you\n\
             will not be able to restart the manager.\n"
        );
    }
}
