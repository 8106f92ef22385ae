//! `meshctl swarm init`

use clap::Args;
use mesh_api::engine::swarm::{InitRequest, SwarmSpec};
use mesh_api::mesh::NewCluster;

use super::join_token::join_line;
use super::settings::SettingFlags;
use super::unlock_key;
use crate::client::Client;
use crate::error::CliError;
use crate::output::Shell;
use crate::output::words::counted;

/// `meshctl swarm init`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  meshctl swarm init\n  meshctl swarm init --advertise-addr 192.0.2.11 --default-addr-pool 10.64.0.0/12\n  meshctl swarm init --autolock --cert-expiry 720h\n  meshctl swarm init --force-new-cluster --dry-run"
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
    /// Go on alone with the cluster that this manager has, when most managers are lost for good. Services,
    /// networks, tokens and running tasks stay; the lost managers must never come back with their old state
    #[arg(long)]
    force_new_cluster: bool,
    /// With --force-new-cluster: only say what would be kept and who would be dropped
    #[arg(long, requires = "force_new_cluster")]
    dry_run: bool,
    #[command(flatten)]
    settings: SettingFlags,
}

/// Makes the cluster and says how others join it.
pub async fn run(args: &InitArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    args.settings.check()?;
    let request = request(args);
    if args.dry_run {
        return Ok(shell.raw(&survey(&client.survey_new_cluster(&request).await?))?);
    }
    let node = client.init(&request).await?;
    shell.line(&format!("Swarm initialized: current node ({node}) is now a manager."))?;
    shell.line("\nTo add a worker to this swarm, run the following command:\n")?;
    shell.line(&format!("    {}", join_line(client, false).await?))?;
    shell.line(
        "\nTo add a manager to this swarm, run 'meshctl swarm join-token manager' and follow the instructions.\n",
    )?;
    if request.auto_lock_managers {
        unlock_key::show(client, shell).await?;
    }
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
        force_new_cluster: args.force_new_cluster,
        spec,
        auto_lock_managers: args.settings.autolock() == Some(true),
        availability: args.availability.clone(),
        default_addr_pool: args.default_addr_pool.clone(),
        subnet_size: args.default_addr_pool_mask_length,
    }
}

/// What going on alone would mean, in lines.
fn survey(survey: &NewCluster) -> String {
    let mut lines = vec![format!(
        "This manager would go on alone, with everything up to change {}. Nothing was changed.",
        survey.index
    )];
    let kept = [
        counted(survey.nodes, "node"),
        counted(survey.services, "service"),
        counted(survey.networks, "network"),
        counted(survey.tasks, "task"),
    ];
    lines.push(format!(" Kept: {}", kept.join(", ")));
    if survey.uncertain > 0 {
        lines.push(format!(
            " Kept, though it is not known whether they were acknowledged: the last {}",
            counted(survey.uncertain, "change")
        ));
    }
    match survey.dropped.len() {
        0 => lines.push(" Dropped managers: none; it is alone already".to_owned()),
        _ => lines.push(" Dropped managers, which come back by leaving and joining again:".to_owned()),
    }
    for manager in &survey.dropped {
        let words = [&manager.hostname, &manager.node_id, &manager.addr];
        let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).map(String::as_str).collect();
        let words = if words.is_empty() { "one of unknown address".to_owned() } else { words.join(" ") };
        lines.push(format!("  {words}"));
    }
    lines.push("The same without --dry-run does it.".to_owned());
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use mesh_api::mesh::DroppedManager;

    use super::*;

    #[test]
    fn going_on_alone_is_told_before_it_is_done() {
        let dropped = DroppedManager {
            node_id: "abc".to_owned(),
            hostname: "n2".to_owned(),
            addr: "192.0.2.12:2377".to_owned(),
        };
        let told = NewCluster {
            dropped: vec![dropped, DroppedManager::default()],
            uncertain: 1,
            index: 812,
            nodes: 3,
            services: 1,
            networks: 2,
            tasks: 10,
        };
        assert_eq!(
            survey(&told),
            "This manager would go on alone, with everything up to change 812. Nothing was changed.\n Kept: 3 nodes, \
             1 service, 2 networks, 10 tasks\n Kept, though it is not known whether they were acknowledged: the \
             last 1 change\n Dropped managers, which come back by leaving and joining again:\n  n2 abc \
             192.0.2.12:2377\n  one of unknown address\nThe same without --dry-run does it.\n"
        );
        let alone = survey(&NewCluster { index: 5, nodes: 1, ..NewCluster::default() });
        assert!(alone.contains(" Dropped managers: none; it is alone already\n"), "{alone}");
    }
}
