//! `meshctl node`

mod inspect;
mod ls;
mod ps;
mod rm;
mod role;
mod update;

use std::time::Duration;

use clap::Subcommand;
use mesh_api::engine::node::NodeSpec;
use tokio::time::sleep;

use crate::client::Client;
use crate::error::CliError;
use crate::output::Shell;

/// `meshctl node …`
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List nodes
    #[command(alias = "list")]
    Ls(ls::LsArgs),
    /// List the tasks of nodes
    Ps(ps::PsArgs),
    /// Show nodes in full
    Inspect(inspect::InspectArgs),
    /// Change a node's labels, availability or role
    Update(update::UpdateArgs),
    /// Make nodes managers
    #[command(after_help = "Examples:\n  meshctl node promote n2 n3\n  meshctl node promote --detach n2")]
    Promote(role::RoleArgs),
    /// Make managers workers
    #[command(after_help = "Examples:\n  meshctl node demote n3\n  meshctl node demote self")]
    Demote(role::RoleArgs),
    /// Remove nodes that are down
    #[command(alias = "remove")]
    Rm(rm::RmArgs),
}

/// Does it.
pub async fn run(verb: Verb, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    match verb {
        Verb::Ls(args) => ls::run(&args, client, shell).await,
        Verb::Ps(args) => ps::run(&args, client, shell).await,
        Verb::Inspect(args) => inspect::run(&args, client, shell).await,
        Verb::Update(args) => update::run(&args, client, shell).await,
        Verb::Promote(args) => role::run(&args, role::Role::Manager, client, shell).await,
        Verb::Demote(args) => role::run(&args, role::Role::Worker, client, shell).await,
        Verb::Rm(args) => rm::run(&args, client, shell).await,
    }
}

/// The node's id; `self` is the asked node.
async fn resolve(name: &str, client: &Client) -> Result<String, CliError> {
    if name == "self" {
        return Ok(client.info().await?.swarm.node_id);
    }
    Ok(name.to_owned())
}

/// How often a change is tried: the node itself changes when it reports in, and leaders come and go.
const ATTEMPTS: u32 = 5;

/// Pause before a change is tried again that no leader took.
const PAUSE: Duration = Duration::from_millis(200);

/// Changes a node's spec as `write` says, on the newest version of it. A change of which it is not known whether it
/// was made is looked for before it is made again.
async fn change(
    id: &str,
    client: &Client,
    write: impl Fn(&mut NodeSpec) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let mut sent = None;
    let mut attempt = 1;
    loop {
        let node = client.node(id).await?;
        if sent.as_ref() == Some(&node.spec) {
            return Ok(());
        }
        let mut spec = node.spec;
        write(&mut spec)?;
        match client.update_node(&node.id, node.version.index, &spec).await {
            Err(CliError::Daemon { message, .. })
                if attempt < ATTEMPTS && message.contains("update out of sequence") => {}
            Err(CliError::Daemon { status: 503, .. }) if attempt < ATTEMPTS => sleep(PAUSE).await,
            outcome => return outcome,
        }
        sent = Some(spec);
        attempt += 1;
    }
}
