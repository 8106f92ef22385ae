//! `meshctl network create`

use clap::Args;
use mesh_api::engine::network::{Ipam, IpamConfig, NetworkCreate};

use crate::client::Client;
use crate::commands::unsupported::NetworkFlags;
use crate::error::CliError;
use crate::output::Shell;
use crate::parse::label;

/// `meshctl network create`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  meshctl network create back\n  meshctl network create -d overlay --subnet 10.9.0.0/24 --internal back\n  meshctl network create -o com.docker.network.driver.mtu=1400 back"
)]
pub struct CreateArgs {
    /// Name
    name: String,
    /// Driver; every network of the mesh is an overlay
    #[arg(short, long, default_value = "overlay")]
    driver: String,
    /// Address range
    #[arg(long, value_name = "CIDR")]
    subnet: Option<String>,
    /// Address of the gateway
    #[arg(long, value_name = "ADDRESS")]
    gateway: Option<String>,
    /// Containers outside services may join
    #[arg(long)]
    attachable: bool,
    /// No way out of the network
    #[arg(long)]
    internal: bool,
    /// Make it the routing mesh's own network
    #[arg(long)]
    ingress: bool,
    /// Label
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// Option of the driver
    #[arg(short, long = "opt", value_name = "KEY=VALUE", value_parser = label)]
    opt: Vec<(String, String)>,
    /// Scope; `swarm`
    #[arg(long, value_name = "SCOPE", default_value = "", hide = true)]
    scope: String,
    #[command(flatten)]
    unsupported: NetworkFlags,
}

/// Makes it and tells its id.
pub async fn run(args: CreateArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    args.unsupported.check()?;
    let made = client.create_network(&request(args)).await?;
    if !made.warning.is_empty() {
        shell.note(&format!("WARNING: {}", made.warning));
    }
    Ok(shell.line(&made.id)?)
}

fn request(args: CreateArgs) -> NetworkCreate {
    let ranged = args.subnet.is_some() || args.gateway.is_some();
    let range = IpamConfig {
        subnet: args.subnet.unwrap_or_default(),
        gateway: args.gateway.unwrap_or_default(),
        ..IpamConfig::default()
    };
    NetworkCreate {
        name: args.name,
        driver: args.driver,
        scope: args.scope,
        ipam: ranged.then(|| Ipam { driver: "default".to_owned(), config: vec![range], ..Ipam::default() }),
        internal: args.internal,
        attachable: args.attachable,
        ingress: args.ingress,
        options: args.opt.into_iter().collect(),
        labels: args.label.into_iter().collect(),
        ..NetworkCreate::default()
    }
}
