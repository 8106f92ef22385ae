//! `meshctl swarm join`

use clap::Args;
use mesh_api::engine::swarm::JoinRequest;

use crate::client::Client;
use crate::error::CliError;
use crate::output::Shell;

/// `meshctl swarm join`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  meshctl swarm join --token SWMTKN-1-… 192.0.2.11:2377")]
pub struct JoinArgs {
    /// Token that `swarm join-token` shows on a manager
    #[arg(long, value_name = "TOKEN")]
    token: String,
    /// Address that other nodes reach this one at, with or without a port, or an interface
    #[arg(long, value_name = "ADDRESS", default_value = "")]
    advertise_addr: String,
    /// Address and port to listen on for other nodes
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "")]
    listen_addr: String,
    /// Address or interface that carries the traffic of networks
    #[arg(long, value_name = "ADDRESS", default_value = "")]
    data_path_addr: String,
    /// Whether this node takes tasks: active, pause, drain
    #[arg(long, value_name = "WORD", default_value = "active", value_parser = ["active", "pause", "drain"])]
    availability: String,
    /// A manager of the cluster
    #[arg(value_name = "HOST:PORT")]
    remote: String,
}

/// Joins and says as what.
pub async fn run(args: JoinArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    let request = JoinRequest {
        listen_addr: args.listen_addr,
        advertise_addr: args.advertise_addr,
        data_path_addr: args.data_path_addr,
        remote_addrs: vec![args.remote],
        join_token: args.token,
        availability: args.availability,
    };
    client.join(&request).await?;
    let manager = client.info().await?.swarm.control_available;
    let role = if manager { "manager" } else { "worker" };
    Ok(shell.line(&format!("This node joined a swarm as a {role}."))?)
}
