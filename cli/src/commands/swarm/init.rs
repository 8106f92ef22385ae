//! `meshctl swarm init`

use clap::Args;
use mesh_api::engine::swarm::{InitRequest, SwarmSpec};

use super::join_token::join_line;
use super::settings::SettingFlags;
use crate::client::Client;
use crate::commands::unsupported::SwarmFlags;
use crate::error::CliError;
use crate::output::Shell;

/// `meshctl swarm init`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  meshctl swarm init\n  meshctl swarm init --advertise-addr 192.0.2.11 --default-addr-pool 10.64.0.0/12"
)]
pub struct InitArgs {
    /// Address that other nodes reach this one at, with or without a port, or an interface
    #[arg(long, value_name = "ADDRESS", default_value = "")]
    advertise_addr: String,
    /// Address and port to listen on for other nodes
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "")]
    listen_addr: String,
    /// Address or interface that carries the traffic of networks
    #[arg(long, value_name = "ADDRESS", default_value = "")]
    data_path_addr: String,
    /// UDP port that carries the traffic of networks, 1024 to 49151
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    data_path_port: u32,
    /// Range that networks are cut from; may be given several times
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    default_addr_pool: Vec<String>,
    /// Prefix length of the networks cut from it
    #[arg(long, value_name = "LENGTH", default_value_t = 24)]
    default_addr_pool_mask_length: u32,
    /// Whether this node takes tasks: active, pause, drain
    #[arg(long, value_name = "WORD", default_value = "active", value_parser = ["active", "pause", "drain"])]
    availability: String,
    #[command(flatten)]
    settings: SettingFlags,
    #[command(flatten)]
    unsupported: SwarmFlags,
}

/// Makes the cluster and says how others join it.
pub async fn run(args: &InitArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    args.unsupported.check()?;
    let request = request(args);
    let node = client.init(&request).await?;
    shell.line(&format!("Swarm initialized: current node ({node}) is now a manager."))?;
    shell.line("\nTo add a worker to this swarm, run the following command:\n")?;
    shell.line(&format!("    {}", join_line(client, false).await?))?;
    shell.line(
        "\nTo add a manager to this swarm, run 'meshctl swarm join-token manager' and follow the instructions.\n",
    )?;
    Ok(())
}

fn request(args: &InitArgs) -> InitRequest {
    let mut spec = SwarmSpec::default();
    args.settings.write(&mut spec);
    InitRequest {
        listen_addr: args.listen_addr.clone(),
        advertise_addr: args.advertise_addr.clone(),
        data_path_addr: args.data_path_addr.clone(),
        data_path_port: args.data_path_port,
        force_new_cluster: false,
        spec,
        auto_lock_managers: false,
        availability: args.availability.clone(),
        default_addr_pool: args.default_addr_pool.clone(),
        subnet_size: args.default_addr_pool_mask_length,
    }
}
