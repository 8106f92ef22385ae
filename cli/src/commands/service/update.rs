//! `meshctl service update`

use clap::Args;
use mesh_api::engine::filter::Filters;
use mesh_api::engine::service::ServiceSpec;

use super::converge::{self, Wanted};
use super::flags::contents::ContentChanges;
use super::flags::lists::{Added, Networks, Removals};
use super::flags::{SpecFlags, WaitFlags};
use super::rollback;
use crate::client::Client;
use crate::commands::count::next;
use crate::commands::unsupported::RefusedChanges;
use crate::error::CliError;
use crate::output::Shell;
use crate::parse::words::Words;

/// `meshctl service update`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  meshctl service update --replicas 5 web\n  meshctl service update --image mesh/whoami:2 --update-order start-first web\n  meshctl service update --publish-add 8081:80 --label-add tier=front web\n  meshctl service update --publish-rm 80 web"
)]
pub struct UpdateArgs {
    /// The service
    service: String,
    /// Image
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Arguments of the command, quoted as for a shell
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    args: Option<Words>,
    /// Replace the tasks even when nothing changes; run a job again
    #[arg(long)]
    force: bool,
    /// Go back to the spec before the last change
    #[arg(long)]
    rollback: bool,
    #[command(flatten)]
    added: Added,
    #[command(flatten)]
    removed: Removals,
    #[command(flatten)]
    contents: ContentChanges,
    #[command(flatten)]
    wait: WaitFlags,
    #[command(flatten)]
    spec: SpecFlags,
    #[command(flatten)]
    unsupported: RefusedChanges,
}

/// Changes it and waits until its tasks run.
pub async fn run(args: &UpdateArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    let name = &args.service;
    let service = client.service(name).await.map_err(|error| error.named("service", name))?;
    let mut spec = service.spec.clone();
    change(args, &mut spec, &networks(args, client).await?)?;
    args.contents.change(&mut spec, client).await?;
    if args.rollback {
        return if spec == service.spec {
            rollback::roll_back(&service, name, args.wait, client, shell).await
        } else {
            Err(CliError::Usage("other flags may not be combined with --rollback".to_owned()))
        };
    }
    client.update_service(&service.id, service.version.index, &spec, false).await?;
    shell.line(name)?;
    let before = service.update_status.as_ref();
    converge::wait(&Wanted { before, ..Wanted::of(&service.id, name) }, args.wait, client, shell).await
}

/// Networks by name, where names of networks were given.
async fn networks(args: &UpdateArgs, client: &Client) -> Result<Networks, CliError> {
    if !args.added.names_networks() && !args.removed.names_networks() {
        return Ok(Networks::new());
    }
    let networks = client.networks(&Filters::default()).await?;
    Ok(networks.into_iter().map(|network| (network.name, network.id)).collect())
}

fn change(args: &UpdateArgs, spec: &mut ServiceSpec, networks: &Networks) -> Result<(), CliError> {
    args.unsupported.check()?;
    if args.force {
        spec.task_template.force_update = next("ForceUpdate", spec.task_template.force_update)?;
    }
    let process = spec.task_template.container_spec.get_or_insert_default();
    if let Some(image) = &args.image {
        process.image.clone_from(image);
    }
    if let Some(Words(words)) = &args.args {
        process.args.clone_from(words);
    }
    args.spec.change(spec)?;
    args.removed.change(spec, networks);
    args.added.change(spec, networks)
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
        try_changed(words).unwrap()
    }

    fn try_changed(words: &str) -> Result<ServiceSpec, String> {
        let spec = r#"{"Name":"web","Labels":{"a":"1","b":"2"},"TaskTemplate":{"ContainerSpec":{"Image":"x:1","Env":["A=1",
            "B=2"]},"Placement":{"Constraints":["node.role==worker"],
            "Preferences":[{"Spread":{"SpreadDescriptor":"node.labels.a"}}]},"Networks":[{"Target":"n1id"}]},"Mode":{"Replicated":{"Replicas":1}},
            "EndpointSpec":{"Mode":"vip","Ports":[{"TargetPort":80,"PublishedPort":8080,"Protocol":"tcp",
            "PublishMode":"ingress"}]}}"#;
        let mut spec = decode(spec.as_bytes()).unwrap();
        let words = ["update"].into_iter().chain(words.split_whitespace()).chain(["web"]);
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        let networks =
            [("back", "n1id"), ("front", "n2id")].map(|(name, id)| (name.to_owned(), id.to_owned()));
        change(&line.args, &mut spec, &networks.into()).map_err(|error| error.to_string())?;
        Ok(spec)
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

    #[test]
    fn lists_lose_what_is_removed_and_get_what_is_added() {
        let spec = changed(
            "--container-label-add x=1 --constraint-add node.hostname!=n3 --constraint-add node.role==worker \
             --placement-pref-rm spread=node.labels.a --placement-pref-add spread=node.labels.b --network-rm back \
             --network-add name=front,alias=web --publish-rm 80 --publish-add 53:53/udp",
        );
        let ports: Vec<_> = spec.endpoint_spec.unwrap().ports.iter().map(|port| port.target_port).collect();
        assert_eq!(ports, [53]);
        let task = spec.task_template;
        assert_eq!(task.container_spec.unwrap().labels["x"], "1");
        let placement = task.placement.unwrap();
        assert_eq!(placement.constraints, ["node.role==worker", "node.hostname!=n3"]);
        let labels: Vec<_> = placement.preferences.iter().flat_map(|one| &one.spread).collect();
        assert_eq!(labels.len(), 1);
        assert_eq!(labels[0].spread_descriptor, "node.labels.b");
        let networks: Vec<_> = task.networks.unwrap().into_iter().map(|one| one.target).collect();
        assert_eq!(networks, ["front"]);
        assert_eq!(changed("--publish-rm 80/udp").endpoint_spec, changed("").endpoint_spec);
        assert_eq!(changed("--container-label-rm none --env-rm none"), changed(""));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (words, reason) in [
            ("--network-add back", "service is already attached to network back"),
            ("--max-concurrent 2", "max-concurrent can only be used with replicated-job mode"),
            ("--publish-rm 0", "invalid port"),
            ("--env x=1", "unexpected argument '--env'"),
            ("-l x=1", "unexpected argument '-l'"),
            ("--env-add =x", "invalid environment variable"),
            ("--mount type=bind,source=/a,target=/b", "--mount is not supported"),
            ("--mount-add type=bind,source=/a,target=/b", "--mount-add is not supported"),
        ] {
            let message = try_changed(words).expect_err(words);
            assert!(message.contains(reason), "{words}: {message}");
        }
    }

    #[test]
    fn what_cannot_be_counted_up_is_refused() {
        let line = Line::try_parse_from(["update", "--force", "web"]).unwrap();
        let mut spec = ServiceSpec::default();
        spec.task_template.force_update = u64::MAX - 1;
        change(&line.args, &mut spec, &Networks::new()).unwrap();
        let refused = change(&line.args, &mut spec, &Networks::new()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "ForceUpdate is 18446744073709551615, the largest there is: set a lower one through the API"
        );
    }

    #[test]
    fn switches_can_be_taken_back_and_words_are_quoted() {
        let process = |words: &str| changed(words).task_template.container_spec.unwrap();
        assert!(process("--read-only").read_only);
        assert!(!process("--read-only=false").read_only);
        assert_eq!(process("--args=--start-delay=5s").args, ["--start-delay=5s"]);
    }
}
