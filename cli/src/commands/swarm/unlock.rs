//! `meshctl swarm unlock`

use clap::Args;

use crate::client::Client;
use crate::error::CliError;
use crate::input;
use crate::output::Shell;

/// `meshctl swarm unlock`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  meshctl swarm unlock\n  meshctl swarm unlock < key.txt\n  meshctl --node n1 swarm unlock-key -q | meshctl --node n2 swarm unlock"
)]
pub struct UnlockArgs {}

/// Asks for the key and unlocks.
pub async fn run(client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    let state = client.info().await?.swarm.local_node_state;
    match state.as_str() {
        "inactive" => return Err(CliError::Refused("this node is not part of a swarm".to_owned())),
        "locked" => {}
        _ => return Err(CliError::Refused("swarm is not locked".to_owned())),
    }
    let key = input::secret("Please enter unlock key: ", shell).await?;
    if key.is_empty() {
        return Err(CliError::Usage(
            "no unlock key was given: `meshctl swarm unlock-key` shows it on another manager".to_owned(),
        ));
    }
    client.unlock(&key).await
}
