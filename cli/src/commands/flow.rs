//! `meshctl flow`: who talks to whom, as the asked node's dataplane sees it.

use clap::{Args, Subcommand};
use mesh_api::engine::filter::Filters;
use mesh_api::mesh::Flow;

use crate::client::Client;
use crate::error::CliError;
use crate::output::Shell;
use crate::output::list::{ListArgs, Listing, Row};
use crate::output::template::Template;
use crate::output::words::go_duration;

/// `meshctl flow …`
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the flows that are remembered now
    #[command(
        alias = "list",
        after_help = "Examples:\n  meshctl flow ls\n  meshctl --node n2 flow ls --filter service=web"
    )]
    Ls(ListArgs),
    /// Tell flows as they begin and end, until Ctrl-C
    #[command(
        after_help = "Examples:\n  meshctl flow watch\n  meshctl flow watch --filter service=web --format json"
    )]
    Watch(WatchArgs),
}

/// `meshctl flow watch`
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// `json`, or a Go template such as '{{.Event}} {{.Client}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    #[command(flatten)]
    list: FilterArgs,
}

/// Filters of `flow watch`.
#[derive(Debug, Args)]
pub struct FilterArgs {
    /// Tell only what matches: service=, kind=, protocol=
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    filters: Vec<String>,
}

const FIELDS: &[(&str, &str)] = &[
    ("Client", "CLIENT"),
    ("Protocol", "PROTO"),
    ("Kind", "KIND"),
    ("Frontend", "FRONTEND"),
    ("Backend", "BACKEND"),
    ("Service", "SERVICE"),
    ("State", "STATE"),
    ("Idle", "IDLE"),
    ("Task", "TASK"),
    ("IngressNode", "INGRESS NODE"),
    ("VNI", "VNI"),
];

const COLUMNS: &[&str] = &["Protocol", "Client", "Frontend", "Backend", "Service", "Kind", "State", "Idle"];

const FILTERS: [&str; 4] = ["service", "kind", "protocol", "state"];

/// Does it.
pub async fn run(verb: Verb, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    match verb {
        Verb::Ls(args) => list(&args, client, shell).await,
        Verb::Watch(args) => watch(&args, client, shell).await,
    }
}

async fn list(args: &ListArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    let filters = args.filters();
    check(&filters)?;
    let mut lines = client.http().lines("/mesh/v1/flows").await?;
    let mut rows = Vec::new();
    while let Some(flow) = lines.next::<Flow>().await? {
        if matches(&flow, &filters) {
            rows.push(row(flow));
        }
    }
    Listing { fields: FIELDS, columns: COLUMNS, rows }.show(args, shell)
}

fn check(filters: &Filters) -> Result<(), CliError> {
    filters.check(&FILTERS).map_err(|error| CliError::Usage(error.to_string()))
}

fn matches(flow: &Flow, filters: &Filters) -> bool {
    filters.any("service", |service| *service == flow.service)
        && filters.any("kind", |kind| *kind == flow.kind)
        && filters.any("protocol", |protocol| *protocol == flow.protocol)
        && filters.any("state", |state| *state == flow.state)
}

fn row(flow: Flow) -> Row {
    let seconds = i64::try_from(flow.idle / 1_000_000_000 * 1_000_000_000).unwrap_or(i64::MAX);
    let cells = [
        flow.client,
        flow.protocol,
        flow.kind,
        flow.frontend,
        flow.backend,
        flow.service,
        flow.state,
        go_duration(seconds),
        flow.task,
        flow.ingress_node,
        flow.vni.to_string(),
    ];
    Row::new(FIELDS, cells)
}

async fn watch(args: &WatchArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    let mut filters = Filters::default();
    for text in &args.list.filters {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| CliError::Usage(format!("invalid filter {text:?}: KEY=VALUE is expected")))?;
        filters.add(key, value);
    }
    check(&filters)?;
    let template =
        args.format.as_deref().filter(|format| *format != "json").map(Template::parse).transpose()?;
    let mut lines = client.http().lines("/mesh/v1/flows?follow=1").await?;
    while let Some(flow) = lines.next::<Flow>().await? {
        if matches(&flow, &filters) {
            shell.raw(&told(&flow, args.format.is_some(), template.as_ref())?)?;
        }
    }
    Ok(())
}

fn told(flow: &Flow, as_data: bool, template: Option<&Template>) -> Result<String, CliError> {
    let value = serde_json::to_value(flow).map_err(|error| CliError::Output(error.into()))?;
    Ok(match (template, as_data) {
        (Some(template), _) => format!("{}\n", template.fill(&value)?),
        (None, true) => format!("{value}\n"),
        (None, false) => {
            let service =
                if flow.service.is_empty() { String::new() } else { format!(" ({})", flow.service) };
            format!(
                "{} {:<6} {} {} -> {} -> {}{service}\n",
                flow.time, flow.event, flow.protocol, flow.client, flow.frontend, flow.backend
            )
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> Flow {
        Flow {
            time: "2026-01-01T00:00:00Z".to_owned(),
            event: "new".to_owned(),
            protocol: "tcp".to_owned(),
            client: "192.0.2.200:40000".to_owned(),
            frontend: "192.0.2.11:8080".to_owned(),
            backend: "10.0.0.3:80".to_owned(),
            service: "web".to_owned(),
            kind: "published".to_owned(),
            ..Flow::default()
        }
    }

    #[test]
    fn a_flow_in_one_line() {
        assert_eq!(
            told(&flow(), false, None).unwrap(),
            "2026-01-01T00:00:00Z new    tcp 192.0.2.200:40000 -> 192.0.2.11:8080 -> 10.0.0.3:80 (web)\n"
        );
        let template = Template::parse("{{.Event}} {{.Service}}").unwrap();
        assert_eq!(told(&flow(), true, Some(&template)).unwrap(), "new web\n");
    }

    #[test]
    fn flows_are_filtered() {
        let mut filters = Filters::default();
        filters.add("service", "web");
        assert!(matches(&flow(), &filters));
        filters.add("kind", "vip");
        assert!(!matches(&flow(), &filters));
        filters.add("colour", "red");
        assert_eq!(check(&filters).unwrap_err().exit(), 64);
    }
}
