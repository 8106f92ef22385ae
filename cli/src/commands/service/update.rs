//! `meshctl service update`

use clap::Args;
use mesh_api::engine::service::{PlacementPreference, PortConfig, Replicated, ServiceSpec};

use super::converge;
use super::flags::{PolicyFlags, ProcessFlags, placement, preference};
use crate::client::Client;
use crate::commands::unsupported::ServiceFlags;
use crate::error::CliError;
use crate::output::Shell;
use crate::parse::{env, label, publish};

/// `meshctl service update`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  meshctl service update --replicas 5 web\n  meshctl service update --publish-add 8081:80 --label-add tier=front web\n  meshctl service update --publish-rm 80 web"
)]
#[expect(clippy::struct_excessive_bools, reason = "as many switches as docker has")]
pub struct UpdateArgs {
    /// The service
    service: String,
    /// Number of tasks
    #[arg(long, value_name = "NUMBER")]
    replicas: Option<u64>,
    /// Image
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Arguments of the command; words are separated by spaces
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    args: Option<String>,
    /// Replace the tasks even when nothing changes
    #[arg(long)]
    force: bool,
    /// Go back to the spec before the last change
    #[arg(long)]
    rollback: bool,
    /// Add or change a label of the service
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label_add: Vec<(String, String)>,
    /// Remove a label of the service
    #[arg(long, value_name = "KEY")]
    label_rm: Vec<String>,
    /// Add or change an environment variable
    #[arg(long, value_name = "KEY=VALUE")]
    env_add: Vec<String>,
    /// Remove an environment variable
    #[arg(long, value_name = "KEY")]
    env_rm: Vec<String>,
    /// Add a constraint
    #[arg(long, value_name = "CONSTRAINT")]
    constraint_add: Vec<String>,
    /// Remove a constraint
    #[arg(long, value_name = "CONSTRAINT")]
    constraint_rm: Vec<String>,
    /// Add a placement preference
    #[arg(long, value_name = "PREFERENCE", value_parser = preference)]
    placement_pref_add: Vec<PlacementPreference>,
    /// Remove a placement preference
    #[arg(long, value_name = "PREFERENCE", value_parser = preference)]
    placement_pref_rm: Vec<PlacementPreference>,
    /// Publish a port
    #[arg(long, value_name = "PORT", value_parser = publish::publish)]
    publish_add: Vec<Vec<PortConfig>>,
    /// Publish a target port no more
    #[arg(long, value_name = "TARGET", value_parser = clap::value_parser!(u32).range(1..=65_535))]
    publish_rm: Vec<u32>,
    /// vip or dnsrr
    #[arg(long, value_name = "MODE", value_parser = ["vip", "dnsrr"])]
    endpoint_mode: Option<String>,
    /// Do not wait until the tasks run
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true)]
    detach: bool,
    /// Do not show progress
    #[arg(short, long)]
    quiet: bool,
    /// Taken for docker's sake: nothing is resolved with a registry
    #[arg(long, hide = true)]
    no_resolve_image: bool,
    #[command(flatten)]
    process: ProcessFlags,
    #[command(flatten)]
    policies: PolicyFlags,
    #[command(flatten)]
    unsupported: ServiceFlags,
}

/// Changes it and waits until its tasks run.
pub async fn run(args: &UpdateArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    args.unsupported.check()?;
    let name = &args.service;
    let service = client.service(name).await.map_err(|error| error.named("service", name))?;
    let mut spec = service.spec;
    change(args, &mut spec)?;
    client.update_service(&service.id, service.version.index, &spec, args.rollback).await?;
    shell.line(name)?;
    if args.detach {
        return Ok(());
    }
    converge::wait(&service.id, name, args.quiet, client, shell).await
}

fn change(args: &UpdateArgs, spec: &mut ServiceSpec) -> Result<(), CliError> {
    if let Some(replicas) = args.replicas {
        let mode = spec.mode.as_mut().and_then(|mode| mode.replicated.as_mut());
        let only = || CliError::Usage("replicas can only be used with replicated mode".to_owned());
        *mode.ok_or_else(only)? = Replicated { replicas: Some(replicas) };
    }
    for key in &args.label_rm {
        spec.labels.remove(key);
    }
    spec.labels.extend(args.label_add.iter().cloned());
    spec.task_template.force_update += u64::from(args.force);
    change_process(args, spec)?;
    change_placement(args, spec);
    change_endpoint(args, spec);
    args.process.change(spec);
    args.policies.change(spec);
    Ok(())
}

fn change_process(args: &UpdateArgs, spec: &mut ServiceSpec) -> Result<(), CliError> {
    let process = spec.task_template.container_spec.get_or_insert_default();
    if let Some(image) = &args.image {
        process.image.clone_from(image);
    }
    if let Some(words) = &args.args {
        process.args = words.split_whitespace().map(str::to_owned).collect();
    }
    let key_of = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    process.env.retain(|known| !args.env_rm.contains(&key_of(known)));
    if !args.env_add.is_empty() {
        let all: Vec<_> = process.env.iter().chain(&args.env_add).cloned().collect();
        process.env = env::environment(&all, &[])?;
    }
    Ok(())
}

fn change_placement(args: &UpdateArgs, spec: &mut ServiceSpec) {
    let bare = |text: &str| text.replace(' ', "");
    let placement = placement(spec);
    placement.constraints.retain(|known| !args.constraint_rm.iter().any(|gone| bare(gone) == bare(known)));
    placement.constraints.extend(args.constraint_add.iter().cloned());
    placement.preferences.retain(|known| !args.placement_pref_rm.contains(known));
    placement.preferences.extend(args.placement_pref_add.iter().cloned());
}

fn change_endpoint(args: &UpdateArgs, spec: &mut ServiceSpec) {
    let endpoint = spec.endpoint_spec.get_or_insert_default();
    if let Some(mode) = &args.endpoint_mode {
        endpoint.mode.clone_from(mode);
    }
    endpoint.ports.retain(|known| !args.publish_rm.contains(&known.target_port));
    let added = args.publish_add.concat();
    endpoint.ports.retain(|known| !added.contains(known));
    endpoint.ports.extend(added);
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use mesh_api::decode::decode;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: UpdateArgs,
    }

    fn changed(words: &str) -> ServiceSpec {
        let spec = r#"{"Name":"web","Labels":{"a":"1","b":"2"},"TaskTemplate":{"ContainerSpec":{"Image":"x:1","Env":["A=1",
            "B=2"]},"Placement":{"Constraints":["node.role==worker"]}},"Mode":{"Replicated":{"Replicas":1}},
            "EndpointSpec":{"Mode":"vip","Ports":[{"TargetPort":80,"PublishedPort":8080,"Protocol":"tcp",
            "PublishMode":"ingress"}]}}"#;
        let mut spec = decode(spec.as_bytes()).unwrap();
        let words = ["update"].into_iter().chain(words.split_whitespace()).chain(["web"]);
        change(&Line::try_parse_from(words).unwrap().args, &mut spec).unwrap();
        spec
    }

    #[test]
    fn nothing_given_is_no_change() {
        assert_eq!(changed(""), changed("--detach"));
        assert_eq!(changed("").task_template.force_update, 0);
    }

    #[test]
    fn what_is_given_changes() {
        let spec = changed(
            "--replicas 5 --label-rm a --label-add c=3 --env-rm A --env-add B=9 --publish-rm 80 --publish-add 81:81 \
             --constraint-rm node.role==worker --force --limit-memory 64m --image y",
        );
        assert_eq!(spec.mode.unwrap().replicated.unwrap().replicas, Some(5));
        assert_eq!(
            spec.labels.into_iter().collect::<Vec<_>>(),
            [("b".into(), "2".into()), ("c".into(), "3".into())]
        );
        let task = spec.task_template;
        let process = task.container_spec.unwrap();
        assert_eq!((process.image.as_str(), process.env), ("y", vec!["B=9".to_owned()]));
        assert_eq!(task.force_update, 1);
        assert!(task.placement.unwrap().constraints.is_empty());
        assert_eq!(task.resources.unwrap().limits.unwrap().memory_bytes, 64 << 20);
        let ports: Vec<_> =
            spec.endpoint_spec.unwrap().ports.iter().map(|port| port.published_port).collect();
        assert_eq!(ports, [81]);
    }
}
