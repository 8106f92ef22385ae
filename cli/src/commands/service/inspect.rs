//! `meshctl service inspect`

use std::collections::BTreeMap;

use clap::Args;
use jiff::Timestamp;
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
    let mut failed = false;
    for name in &args.services {
        match client.service(name).await {
            Ok(service) => shell.raw(&pretty(&service, &names, Timestamp::now()))?,
            Err(error) if error.is_not_found() => {
                shell.note(&error.named("service", name).to_string());
                failed = true;
            }
            Err(error) => return Err(error),
        }
    }
    if failed { Err(CliError::Told) } else { Ok(()) }
}
