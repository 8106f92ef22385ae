//! `meshctl node inspect`

use std::collections::BTreeMap;

use clap::Args;
use mesh_api::engine::node::{EngineDescription, Node};

use super::resolve;
use crate::client::Client;
use crate::commands::inspect;
use crate::error::CliError;
use crate::output::Shell;
use crate::output::words::{go_time, human_size, title};

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
    if !node.spec.name.is_empty() {
        lines.push(format!("Name:\t\t\t{}", node.spec.name));
    }
    if !node.spec.labels.is_empty() {
        lines.push("Labels:".to_owned());
        lines.extend(node.spec.labels.iter().map(|(key, value)| format!(" - {key}={value}")));
    }
    lines.extend([
        format!("Hostname:              \t{}", node.description.hostname),
        format!("Joined at:             \t{}", go_time(&node.created_at)),
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
    ]);
    let engine = &node.description.engine;
    if !engine.plugins.is_empty() {
        lines.push("Plugins:".to_owned());
        lines.extend(
            plugins(engine).into_iter().map(|(kind, names)| format!(" {kind}:\t\t{}", names.join(", "))),
        );
    }
    lines.push(format!("Engine Version:\t\t{}", engine.engine_version));
    if !engine.labels.is_empty() {
        lines.push("Engine Labels:".to_owned());
        lines.extend(engine.labels.iter().map(|(key, value)| format!(" - {key}={value}")));
    }
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

/// Names of plugins by their kind.
fn plugins(engine: &EngineDescription) -> BTreeMap<&str, Vec<&str>> {
    let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for plugin in &engine.plugins {
        kinds.entry(&plugin.kind).or_default().push(&plugin.name);
    }
    kinds
}

#[cfg(test)]
mod tests {
    use mesh_api::decode::decode;

    use super::*;

    #[test]
    fn a_node_on_a_page() {
        let node = r#"{"ID":"n1id","CreatedAt":"2026-01-01T00:00:05.5Z","Spec":{"Labels":{"zone":"a"},"Availability":
            "drain"},"Description":{"Hostname":"n1","Platform":{"OS":"linux","Architecture":"x86_64"},"Resources":
            {"NanoCPUs":2000000000,"MemoryBytes":8321499136},"Engine":{"EngineVersion":"0.1.0","Labels":{"ssd":"1"},
            "Plugins":[{"Type":"Network","Name":"overlay"}]}},"Status":{"State":"down","Message":"heartbeat failure",
            "Addr":"192.0.2.11"},"ManagerStatus":{"Leader":true,"Reachability":"reachable","Addr":"192.0.2.11:2377"}}"#;
        let node: Node = decode(node.as_bytes()).unwrap();
        assert_eq!(
            pretty(&node),
            "ID:\t\t\tn1id\nLabels:\n - zone=a\nHostname:              \tn1\nJoined at:             \t2026-01-01 \
             00:00:05.5 +0000 utc\nStatus:\n State:\t\t\tDown\n Message:              \theartbeat failure\n \
             Availability:         \tDrain\n Address:\t\t192.0.2.11\nManager Status:\n \
             Address:\t\t192.0.2.11:2377\n Raft Status:\t\tReachable\n Leader:\t\tYes\nPlatform:\n Operating \
             System:\tlinux\n Architecture:\t\tx86_64\nResources:\n CPUs:\t\t\t2\n Memory:\t\t7.75GiB\nPlugins:\n \
             Network:\t\toverlay\nEngine Version:\t\t0.1.0\nEngine Labels:\n - ssd=1\n"
        );
    }
}
