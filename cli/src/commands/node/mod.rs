//! `meshctl node`

mod inspect;
mod ls;
mod ps;
mod rm;
mod update;

use clap::Subcommand;

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
    /// Change a node's labels or availability
    Update(update::UpdateArgs),
    /// Make nodes managers
    Promote {
        /// Nodes
        #[arg(required = true)]
        nodes: Vec<String>,
    },
    /// Make managers workers
    Demote {
        /// Nodes
        #[arg(required = true)]
        nodes: Vec<String>,
    },
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
        Verb::Promote { nodes } => update::roles(&nodes, true, client, shell).await,
        Verb::Demote { nodes } => update::roles(&nodes, false, client, shell).await,
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
