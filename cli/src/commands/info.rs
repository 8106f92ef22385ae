//! `meshctl info`

use clap::Args;
use mesh_api::engine::swarm::Swarm;
use mesh_api::engine::system::{SwarmInfo, SystemInfo};

use crate::client::Client;
use crate::error::CliError;
use crate::output::Shell;
use crate::output::template::Template;
use crate::output::words::{go_duration, human_size};

/// `meshctl info`
#[derive(Debug, Args)]
pub struct InfoArgs {
    /// `json`, or a Go template such as '{{.Swarm.LocalNodeState}}'
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Shows the asked node.
pub async fn run(args: &InfoArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    let info = client.info().await?;
    let Some(format) = &args.format else { return Ok(shell.raw(&pretty(&info))?) };
    let value = serde_json::to_value(&info).map_err(|error| CliError::Output(error.into()))?;
    let text = if format == "json" { value.to_string() } else { Template::parse(format)?.fill(&value)? };
    Ok(shell.line(&text)?)
}

fn pretty(info: &SystemInfo) -> String {
    let mut lines = vec![
        format!("Server Version: {}", info.server_version),
        format!("Tasks Running: {}", info.containers_running),
        format!("Network: {}", info.plugins.network.join(" ")),
    ];
    lines.extend(swarm(&info.swarm));
    lines.extend([
        format!("Default Runtime: {}", info.default_runtime),
        format!("Kernel Version: {}", info.kernel_version),
        format!("Operating System: {}", info.operating_system),
        format!("OSType: {}", info.os_type),
        format!("Architecture: {}", info.architecture),
        format!("CPUs: {}", info.ncpu),
        format!("Total Memory: {}", human_size(info.mem_total)),
        format!("Name: {}", info.name),
    ]);
    lines.extend(info.warnings.iter().cloned());
    lines.join("\n") + "\n"
}

fn swarm(swarm: &SwarmInfo) -> Vec<String> {
    let mut lines = vec![format!("Swarm: {}", swarm.local_node_state)];
    if swarm.local_node_state == "inactive" {
        return lines;
    }
    if !swarm.node_id.is_empty() {
        lines.push(format!(" NodeID: {}", swarm.node_id));
    }
    if !swarm.error.is_empty() {
        lines.push(format!(" Error: {}", swarm.error));
    }
    lines.push(format!(" Is Manager: {}", swarm.control_available));
    if let Some(cluster) = &swarm.cluster {
        lines.push(format!(" ClusterID: {}", cluster.id));
        lines.push(format!(" Managers: {}", swarm.managers));
        lines.push(format!(" Nodes: {}", swarm.nodes));
        lines.extend(settings(cluster));
    }
    if !swarm.node_addr.is_empty() {
        lines.push(format!(" Node Address: {}", swarm.node_addr));
    }
    let managers = swarm.remote_managers.iter().flatten();
    let addresses: Vec<_> = managers.map(|manager| format!("  {}", manager.addr)).collect();
    if !addresses.is_empty() {
        lines.push(" Manager Addresses:".to_owned());
        lines.extend(addresses);
    }
    lines
}

fn settings(cluster: &Swarm) -> Vec<String> {
    let spec = &cluster.spec;
    vec![
        format!(" Default Address Pool: {}", cluster.default_addr_pool.join("  ")),
        format!(" SubnetSize: {}", cluster.subnet_size),
        format!(" Data Path Port: {}", cluster.data_path_port),
        " Orchestration:".to_owned(),
        format!(
            "  Task History Retention Limit: {}",
            spec.orchestration.task_history_retention_limit.unwrap_or_default()
        ),
        " Raft:".to_owned(),
        format!("  Snapshot Interval: {}", spec.raft.snapshot_interval),
        format!("  Number of Old Snapshots to Retain: {}", spec.raft.keep_old_snapshots.unwrap_or_default()),
        format!("  Heartbeat Tick: {}", spec.raft.heartbeat_tick),
        format!("  Election Tick: {}", spec.raft.election_tick),
        " Dispatcher:".to_owned(),
        format!("  Heartbeat Period: {}", go_duration(spec.dispatcher.heartbeat_period)),
        " CA Configuration:".to_owned(),
        format!("  Expiry Duration: {}", go_duration(spec.ca_config.node_cert_expiry)),
        format!("  Force Rotate: {}", spec.ca_config.force_rotate),
        format!(" Autolock Managers: {}", spec.encryption_config.auto_lock_managers.unwrap_or_default()),
        format!(" Root Rotation In Progress: {}", cluster.root_rotation_in_progress),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_outside_of_a_cluster() {
        let info = SystemInfo {
            server_version: "0.1.0".to_owned(),
            ncpu: 2,
            mem_total: 1 << 30,
            name: "n1".to_owned(),
            swarm: SwarmInfo { local_node_state: "inactive".to_owned(), ..SwarmInfo::default() },
            ..SystemInfo::default()
        };
        let text = pretty(&info);
        assert!(text.contains("\nSwarm: inactive\nDefault Runtime: \n"), "{text}");
        assert!(text.ends_with("CPUs: 2\nTotal Memory: 1GiB\nName: n1\n"), "{text}");
    }

    #[test]
    fn a_join_under_way_and_what_is_wrong_with_it() {
        let swarm = SwarmInfo {
            local_node_state: "pending".to_owned(),
            error: "192.0.2.99:2377: no answer".to_owned(),
            ..SwarmInfo::default()
        };
        let words = "WARNING: this manager takes no writes: no space left";
        let info = SystemInfo { swarm, warnings: vec![words.to_owned()], ..SystemInfo::default() };
        let text = pretty(&info);
        assert!(
            text.contains(
                "\nSwarm: pending\n Error: 192.0.2.99:2377: no answer\n Is Manager: false\nDefault Runtime: \n"
            ),
            "{text}"
        );
        assert!(text.ends_with("\nWARNING: this manager takes no writes: no space left\n"), "{text}");
    }
}
