//! `meshctl node inspect`

use clap::Args;
use mesh_api::engine::node::Node;

use super::resolve;
use crate::client::Client;
use crate::commands::inspect;
use crate::error::CliError;
use crate::output::Shell;
use crate::output::words::{human_size, title};

/// `meshctl node inspect`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  meshctl node inspect self --pretty\n  meshctl node inspect n2 --format '{{.Status.State}}'"
)]
pub struct InspectArgs {
    /// Nodes; `self` is the asked one
    #[arg(required = true)]
    nodes: Vec<String>,
    /// `json`, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// For people
    #[arg(long, conflicts_with = "format")]
    pretty: bool,
}

/// Shows nodes in full.
pub async fn run(args: &InspectArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    let mut ids = Vec::new();
    for name in &args.nodes {
        ids.push(resolve(name, client).await?);
    }
    if !args.pretty {
        return inspect::show("nodes", "node", &ids, args.format.as_deref(), client, shell).await;
    }
    for id in &ids {
        let node = client.node(id).await.map_err(|error| error.named("node", id))?;
        shell.raw(&pretty(&node))?;
    }
    Ok(())
}

fn pretty(node: &Node) -> String {
    let mut lines = vec![format!("ID:\t\t\t{}", node.id)];
    if !node.spec.labels.is_empty() {
        lines.push("Labels:".to_owned());
        lines.extend(node.spec.labels.iter().map(|(key, value)| format!(" - {key}={value}")));
    }
    lines.extend([
        format!("Hostname:              \t{}", node.description.hostname),
        format!("Joined at:             \t{}", node.created_at),
        "Status:".to_owned(),
        format!(" State:\t\t\t{}", title(&node.status.state)),
    ]);
    if !node.status.message.is_empty() {
        lines.push(format!(" Message:              \t{}", node.status.message));
    }
    lines.extend([
        format!(" Availability:         \t{}", title(&node.spec.availability)),
        format!(" Address:\t\t{}", node.status.addr),
    ]);
    if let Some(manager) = &node.manager_status {
        lines.extend([
            "Manager Status:".to_owned(),
            format!(" Address:\t\t{}", manager.addr),
            format!(" Raft Status:\t\t{}", title(&manager.reachability)),
            format!(" Leader:\t\t{}", if manager.leader { "Yes" } else { "No" }),
        ]);
    }
    let resources = &node.description.resources;
    lines.extend([
        "Platform:".to_owned(),
        format!(" Operating System:\t{}", node.description.platform.os),
        format!(" Architecture:\t\t{}", node.description.platform.architecture),
        "Resources:".to_owned(),
        format!(" CPUs:\t\t\t{}", resources.nano_cpus / 1_000_000_000),
        format!(" Memory:\t\t{}", human_size(resources.memory_bytes.unsigned_abs())),
        format!("Engine Version:\t\t{}", node.description.engine.engine_version),
    ]);
    if let Some(tls) = &node.description.tls_info {
        lines.extend([
            "TLS Info:".to_owned(),
            " TrustRoot:".to_owned(),
            tls.trust_root.trim_end().to_owned(),
            format!(" Issuer Subject:\t{}", tls.cert_issuer_subject),
            format!(" Issuer Public Key:\t{}", tls.cert_issuer_public_key),
        ]);
    }
    lines.join("\n") + "\n"
}
