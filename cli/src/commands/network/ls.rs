//! `meshctl network ls`

use clap::Args;
use mesh_api::engine::network::Network;

use crate::client::Client;
use crate::error::CliError;
use crate::output::Shell;
use crate::output::list::{ListArgs, Listing, Row};
use crate::output::natural::natural;
use crate::output::words::short_id;

/// `meshctl network ls`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  meshctl network ls\n  meshctl network ls --filter name=back -q")]
pub struct LsArgs {
    #[command(flatten)]
    list: ListArgs,
}

const FIELDS: &[(&str, &str)] = &[
    ("ID", "NETWORK ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("Internal", "INTERNAL"),
    ("Subnet", "SUBNET"),
    ("Labels", "LABELS"),
    ("CreatedAt", "CREATED AT"),
];

/// Lists networks by name.
pub async fn run(args: &LsArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    let mut networks = client.networks(&args.list.filters()).await?;
    networks.sort_by(|one, other| natural(&one.name, &other.name));
    let rows = networks.into_iter().map(|network| row(network, args.list.no_trunc)).collect();
    Listing { fields: FIELDS, columns: &["ID", "Name", "Driver", "Scope"], rows }.show(&args.list, shell)
}

fn row(network: Network, whole: bool) -> Row {
    let labels: Vec<_> = network.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let subnets: Vec<_> = network.ipam.config.into_iter().map(|config| config.subnet).collect();
    Row::new(
        FIELDS,
        [
            if whole { network.id } else { short_id(&network.id) },
            network.name,
            network.driver,
            network.scope,
            network.internal.to_string(),
            subnets.join(","),
            labels.join(","),
            network.created,
        ],
    )
}
