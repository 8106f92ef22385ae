//! `meshctl secret` and `meshctl config`: the same verbs for both.

mod create;
mod inspect;
mod ls;
mod rotate;

use clap::Subcommand;

use crate::client::Client;
use crate::commands::inspect::each;
use crate::error::CliError;
use crate::output::Shell;

/// Secrets or configs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What nobody is shown again.
    Secret,
    /// What every user may read.
    Config,
}

impl Kind {
    /// The word for one.
    pub fn word(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Config => "config",
        }
    }

    /// The API's path for all.
    pub fn collection(self) -> &'static str {
        match self {
            Self::Secret => "secrets",
            Self::Config => "configs",
        }
    }
}

/// `meshctl secret …` and `meshctl config …`
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make one out of a file or standard input
    Create(create::CreateArgs),
    /// List them
    #[command(alias = "list")]
    Ls(ls::LsArgs),
    /// Show some in full; the data of configs alone
    Inspect(inspect::InspectArgs),
    /// Make a new version and roll it out to the services that have an older one
    Rotate(rotate::RotateArgs),
    /// Remove some that no service needs
    #[command(
        alias = "remove",
        after_help = "Examples:\n  meshctl secret rm key\n  meshctl config rm app.v1 app.v2"
    )]
    Rm {
        /// Names or ids
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

/// Does it.
pub async fn run(kind: Kind, verb: Verb, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    match verb {
        Verb::Create(args) => create::run(kind, args, client, shell).await,
        Verb::Ls(args) => ls::run(kind, &args, client, shell).await,
        Verb::Inspect(args) => inspect::run(kind, &args, client, shell).await,
        Verb::Rotate(args) => rotate::run(kind, args, client, shell).await,
        Verb::Rm { names } => {
            each(&names, shell, |name| async move {
                client.remove_content(kind, name).await.map_err(|error| error.named(kind.word(), name))
            })
            .await
        }
    }
}
