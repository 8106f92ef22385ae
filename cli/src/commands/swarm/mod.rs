//! `meshctl swarm` (also `cluster`)

mod ca;
mod init;
mod join;
mod join_token;
mod leave;
mod settings;
mod unlock;
mod unlock_key;
mod update;

use clap::Subcommand;

use crate::client::Client;
use crate::error::CliError;
use crate::output::Shell;
use crate::output::template::Template;

/// `meshctl swarm …`
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a cluster with this node as its first manager
    Init(init::InitArgs),
    /// Join a cluster
    Join(join::JoinArgs),
    /// Show or renew the tokens that nodes join with
    JoinToken(join_token::JoinTokenArgs),
    /// Leave the cluster
    Leave(leave::LeaveArgs),
    /// Change the cluster's settings
    Update(update::UpdateArgs),
    /// Unlock a manager that was started again: the key is asked for, or read from standard input
    Unlock(unlock::UnlockArgs),
    /// Show or renew the key that unlocks managers
    UnlockKey(unlock_key::UnlockKeyArgs),
    /// Show the cluster's root certificate, or change to a new one
    Ca(ca::CaArgs),
    /// Show the cluster and its settings
    #[command(after_help = "Examples:\n  meshctl swarm inspect\n  meshctl swarm inspect --format '{{.ID}}'")]
    Inspect {
        /// `json`, or a Go template
        #[arg(short, long, value_name = "FORMAT")]
        format: Option<String>,
    },
}

/// Does it.
pub async fn run(verb: Verb, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    match verb {
        Verb::Init(args) => init::run(&args, client, shell).await,
        Verb::Join(args) => join::run(args, client, shell).await,
        Verb::JoinToken(args) => join_token::run(&args, client, shell).await,
        Verb::Leave(args) => leave::run(&args, client, shell).await,
        Verb::Update(args) => update::run(&args, client, shell).await,
        Verb::Unlock(unlock::UnlockArgs {}) => unlock::run(client, shell).await,
        Verb::UnlockKey(args) => unlock_key::run(&args, client, shell).await,
        Verb::Ca(args) => ca::run(&args, client, shell).await,
        Verb::Inspect { format } => inspect(format.as_deref(), client, shell).await,
    }
}

async fn inspect(format: Option<&str>, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    let value: serde_json::Value = client.http().get("/swarm").await?;
    match format {
        None => shell.json(&value)?,
        Some("json") => shell.line(&value.to_string())?,
        Some(template) => shell.line(&Template::parse(template)?.fill(&value)?)?,
    }
    Ok(())
}
