//! `meshctl service inspect`

use std::collections::BTreeMap;

use clap::Args;
use mesh_api::engine::filter::Filters;

use super::pretty::pretty;
use crate::client::Client;
use crate::commands::inspect;
use crate::error::CliError;
use crate::output::Shell;

/// `meshctl service inspect`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  meshctl service inspect web --pretty\n  meshctl service inspect web --format '{{range .Endpoint.VirtualIPs}}{{.Addr}} {{end}}'"
)]
pub struct InspectArgs {
    /// Services
    #[arg(required = true)]
    services: Vec<String>,
    /// `json`, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// For people
    #[arg(long, conflicts_with = "format")]
    pretty: bool,
}

/// Shows services in full.
pub async fn run(args: &InspectArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    if !args.pretty {
        let (services, format) = (&args.services, args.format.as_deref());
        return inspect::show("services", "service", services, format, client, shell).await;
    }
    let networks = client.networks(&Filters::default()).await?;
    let names: BTreeMap<_, _> = networks.into_iter().map(|network| (network.id, network.name)).collect();
    for name in &args.services {
        let service = client.service(name).await.map_err(|error| error.named("service", name))?;
        shell.raw(&pretty(&service, &names))?;
    }
    Ok(())
}
