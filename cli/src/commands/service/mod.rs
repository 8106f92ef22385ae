//! `meshctl service`

pub(super) mod converge;
mod create;
pub(super) mod flags;
mod inspect;
mod ls;
mod pretty;
mod ps;
mod rebalance;
mod rm;
mod rollback;
mod scale;
mod settle;
mod update;

use clap::Subcommand;

use crate::client::Client;
use crate::error::CliError;
use crate::output::Shell;

/// `meshctl service …`
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a service
    Create(Box<create::CreateArgs>),
    /// List services
    #[command(alias = "list")]
    Ls(ls::LsArgs),
    /// List the tasks of services
    Ps(ps::PsArgs),
    /// Show services in full
    Inspect(inspect::InspectArgs),
    /// Change how many tasks services have
    Scale(scale::ScaleArgs),
    /// Change a service
    Update(Box<update::UpdateArgs>),
    /// Spread the tasks of services over the nodes anew
    Rebalance(rebalance::RebalanceArgs),
    /// Take a service back to what it was before its last change
    Rollback(rollback::RollbackArgs),
    /// Remove services and their tasks
    #[command(alias = "remove")]
    Rm(rm::RmArgs),
}

/// Does it.
pub async fn run(verb: Verb, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    match verb {
        Verb::Create(args) => create::run(&args, client, shell).await,
        Verb::Ls(args) => ls::run(&args, client, shell).await,
        Verb::Ps(args) => ps::run(&args, client, shell).await,
        Verb::Inspect(args) => inspect::run(&args, client, shell).await,
        Verb::Scale(args) => scale::run(&args, client, shell).await,
        Verb::Update(args) => update::run(&args, client, shell).await,
        Verb::Rebalance(args) => rebalance::run(&args, client, shell).await,
        Verb::Rollback(args) => rollback::run(&args, client, shell).await,
        Verb::Rm(args) => rm::run(&args, client, shell).await,
    }
}
