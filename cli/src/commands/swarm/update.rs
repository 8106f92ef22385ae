//! `meshctl swarm update`

use clap::{Args, ValueEnum};
use mesh_api::engine::Map;
use mesh_api::engine::swarm::SwarmSpec;

use crate::client::Client;
use crate::commands::unsupported::SwarmFlags;
use crate::error::CliError;
use crate::output::Shell;
use crate::parse::units;

/// `meshctl swarm update`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  meshctl swarm update --task-history-limit 10\n  meshctl swarm update --ingress-reply direct"
)]
pub struct UpdateArgs {
    /// Tasks kept for each slot, the current one counted
    #[arg(long, value_name = "NUMBER")]
    task_history_limit: Option<i64>,
    /// How often nodes report in
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    dispatcher_heartbeat: Option<i64>,
    /// How replies of published ports travel: through the node that was asked, or direct
    #[arg(long, value_enum)]
    ingress_reply: Option<IngressReply>,
    #[command(flatten)]
    unsupported: SwarmFlags,
}

/// How replies of published ports travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum IngressReply {
    /// Through the node that received the request.
    Through,
    /// Straight from the task's node.
    Direct,
}

impl IngressReply {
    /// Writes the label that the API carries it as.
    pub fn write(self, labels: &mut Map) {
        let word = match self {
            Self::Through => "through",
            Self::Direct => "direct",
        };
        labels.insert(mesh_api::mesh::INGRESS_REPLY_LABEL.to_owned(), word.to_owned());
    }
}

/// Changes the settings.
pub async fn run(args: &UpdateArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    args.unsupported.check()?;
    let swarm = client.swarm().await?;
    let mut spec = swarm.spec.clone();
    change(args, &mut spec);
    client.update_swarm(swarm.version.index, &spec, false, false).await?;
    Ok(shell.line("Swarm updated.")?)
}

fn change(args: &UpdateArgs, spec: &mut SwarmSpec) {
    if args.task_history_limit.is_some() {
        spec.orchestration.task_history_retention_limit = args.task_history_limit;
    }
    if let Some(heartbeat) = args.dispatcher_heartbeat {
        spec.dispatcher.heartbeat_period = heartbeat;
    }
    if let Some(reply) = args.ingress_reply {
        reply.write(&mut spec.labels);
    }
}
