//! `meshctl service create`

use clap::Args;
use mesh_api::engine::service::{EndpointSpec, ServiceSpec};

use super::converge::{self, Wanted};
use super::flags::contents::ContentFlags;
use super::flags::lists::{Additions, Networks};
use super::flags::scale::Mode;
use super::flags::{SpecFlags, WaitFlags};
use crate::client::Client;
use crate::error::CliError;
use crate::output::Shell;

/// `meshctl service create`
#[derive(Debug, Args)]
#[command(
    override_usage = "meshctl service create [OPTIONS] IMAGE [COMMAND] [ARG...]",
    after_help = "Examples:\n  meshctl service create --name web --replicas 3 -p 8080:80 mesh/whoami:1\n  meshctl service create --name api --network name=back,alias=db -e KEY=value mesh/whoami:1\n  meshctl service create --name agent --mode global --constraint node.role==worker mesh/whoami:1"
)]
pub struct CreateArgs {
    /// Name; a random one when none is given
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    name: String,
    /// What decides how many tasks there are
    #[arg(long, value_name = "MODE", default_value = "replicated")]
    mode: Mode,
    #[command(flatten)]
    lists: Additions,
    #[command(flatten)]
    contents: ContentFlags,
    #[command(flatten)]
    wait: WaitFlags,
    #[command(flatten)]
    spec: SpecFlags,
    /// Image, then what it is to run
    #[arg(
        value_name = "IMAGE [COMMAND] [ARG...]",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    image: Vec<String>,
}

/// Makes it, tells its id, and waits until its tasks run.
pub async fn run(args: &CreateArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    let mut spec = spec(args)?;
    args.contents.change(&mut spec, client).await?;
    let id = client.create_service(&spec).await?;
    shell.line(&id)?;
    let wanted = Wanted::of(&id, &spec.name);
    converge::wait(&wanted, args.wait, client, shell).await
}

fn spec(args: &CreateArgs) -> Result<ServiceSpec, CliError> {
    let (image, words) =
        args.image.split_first().map_or(("", &[][..]), |(image, words)| (image.as_str(), words));
    if image.starts_with('-') {
        return Err(CliError::Usage(format!(
            "unexpected argument '{image}': see meshctl service create --help"
        )));
    }
    let mut spec = ServiceSpec {
        name: args.name.clone(),
        mode: Some(args.mode.bare()),
        endpoint_spec: Some(EndpointSpec { mode: "vip".to_owned(), ports: Vec::new() }),
        ..ServiceSpec::default()
    };
    let process = spec.task_template.container_spec.get_or_insert_default();
    image.clone_into(&mut process.image);
    process.args = words.to_vec();
    args.spec.change(&mut spec)?;
    args.lists.change(&mut spec, &Networks::new())?;
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use mesh_api::decode::decode;
    use mesh_api::engine::says_nothing;
    use serde_json::Value;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: CreateArgs,
    }

    fn made(words: &str) -> Result<ServiceSpec, String> {
        let words = ["create"].into_iter().chain(words.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        spec(&line.args).map_err(|error| error.to_string())
    }

    /// The value without what says nothing, which the API reads as its defaults.
    fn said(value: Value) -> Value {
        match value {
            Value::Object(fields) => Value::Object(
                fields
                    .into_iter()
                    .filter(|(key, value)| key.starts_with("Global") || !says_nothing(value))
                    .map(|(key, value)| (key, said(value)))
                    .collect(),
            ),
            Value::Array(items) => Value::Array(items.into_iter().map(said).collect()),
            other => other,
        }
    }

    /// The same command line gives the body that docker's own command line sends.
    #[test]
    fn the_body_is_dockers() {
        for (file, words) in [
            ("service-create-1", "--name web --replicas 3 -p 8080:80 mesh/whoami:1"),
            (
                "service-create-2",
                "--name full --mode global -l a=b --container-label c=d -e X=1 -e Y=2 --constraint \
                 node.role==worker --constraint node.labels.zone!=a --placement-pref spread=node.labels.zone \
                 --limit-cpu 0.5 --limit-memory 64m --limit-pids 100 --reserve-cpu 0.25 --reserve-memory 32m \
                 --restart-condition on-failure --restart-delay 2s --restart-max-attempts 3 --restart-window 1m \
                 --update-parallelism 2 --update-delay 3s --update-order start-first --update-failure-action \
                 rollback --update-monitor 6s --update-max-failure-ratio 0.2 --rollback-parallelism 3 --network \
                 net1aaaaaaaaaaaaaaaaaaaaa --network name=net1aaaaaaaaaaaaaaaaaaaaa,alias=api --endpoint-mode dnsrr \
                 -p mode=host,target=80,published=8081,protocol=udp --hostname h --user 1:1 --workdir /w \
                 --stop-signal SIGINT --stop-grace-period 7s --read-only --entrypoint /bin/x mesh/whoami:1 a b",
            ),
        ] {
            let path = format!("{}/../control/api/tests/captured/{file}.json", env!("CARGO_MANIFEST_DIR"));
            let sent: ServiceSpec = decode(&std::fs::read(&path).expect(&path)).unwrap();
            let mut ours = made(words).unwrap();
            if let (Some(ours), Some(sent)) = (&mut ours.rollback_config, &sent.rollback_config) {
                // Docker's command line writes its defaults out; left out, they mean the same.
                ours.failure_action.clone_from(&sent.failure_action);
                ours.order.clone_from(&sent.order);
                ours.monitor = sent.monitor;
            }
            let value = |spec: &ServiceSpec| said(serde_json::to_value(spec).unwrap());
            assert_eq!(value(&ours), value(&sent), "{file}");
        }
    }

    #[test]
    fn wrong_flags_are_refused() {
        for (words, reason) in [
            ("", "required"),
            ("--replicas x img", "invalid value 'x' for '--replicas"),
            ("--replicas -1 img", "invalid value '-1' for '--replicas"),
            (
                "--mode global --replicas 2 img",
                "replicas can only be used with replicated or replicated-job mode",
            ),
            (
                "--mode replicated-job --update-delay 1s img",
                "update and rollback configuration is not supported for jobs",
            ),
            ("--mode job img", "invalid value 'job' for '--mode"),
            ("--max-concurrent 2 img", "max-concurrent can only be used with replicated-job mode"),
            ("--entrypoint 'a img", "a quote is not closed"),
            ("-p 70000:80 img", "invalid port"),
            ("--limit-memory lots img", "invalid size"),
            ("--restart-delay soon img", "invalid duration"),
            ("--placement-pref node.labels.a img", "invalid placement preference"),
            ("--mount type=bind,source=/a,target=/b img", "--mount is not supported"),
            ("--secret target=s img", "source is required"),
            ("--no-healthcheck --health-cmd true img", "--no-healthcheck conflicts"),
            ("--cap-add NET_ADMIN img", "--cap-add is not supported"),
            ("--nonsense img", "unexpected argument '--nonsense'"),
            ("-e =x img", "invalid environment variable"),
            ("--label =x img", "invalid label"),
        ] {
            let message = made(words).expect_err(words);
            assert!(message.contains(reason), "{words}: {message}");
        }
    }

    #[test]
    fn what_follows_the_image_is_the_tasks() {
        let spec = made("--name web mesh/whoami:1 --start-delay 5s -v").unwrap();
        assert_eq!(spec.task_template.container_spec.unwrap().args, ["--start-delay", "5s", "-v"]);
    }
}
