//! `meshctl network`

mod create;
mod ls;

use clap::{Args, Subcommand};

use crate::client::Client;
use crate::commands::inspect::{self, each};
use crate::error::CliError;
use crate::output::Shell;

/// `meshctl network …`
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a network
    Create(Box<create::CreateArgs>),
    /// List networks
    #[command(alias = "list")]
    Ls(ls::LsArgs),
    /// Show networks in full
    Inspect(InspectArgs),
    /// Remove networks that nothing uses
    #[command(alias = "remove", after_help = "Examples:\n  meshctl network rm back")]
    Rm {
        /// Networks
        #[arg(required = true)]
        networks: Vec<String>,
    },
}

/// `meshctl network inspect`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  meshctl network inspect back\n  meshctl network inspect back --format '{{range .IPAM.Config}}{{.Subnet}}{{end}}'"
)]
pub struct InspectArgs {
    /// Networks
    #[arg(required = true)]
    networks: Vec<String>,
    /// `json`, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Does it.
pub async fn run(verb: Verb, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    match verb {
        Verb::Create(args) => create::run(*args, client, shell).await,
        Verb::Ls(args) => ls::run(&args, client, shell).await,
        Verb::Inspect(args) => {
            inspect::show("networks", "network", &args.networks, args.format.as_deref(), client, shell).await
        }
        Verb::Rm { networks } => {
            each(&networks, shell, |name| async move {
                client.remove_network(name).await.map_err(|error| error.named("network", name))
            })
            .await
        }
    }
}
