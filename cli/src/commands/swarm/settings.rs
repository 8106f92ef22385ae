//! Settings of the cluster, as `init` gives them first and `update` changes them.

use clap::{Args, ValueEnum};
use mesh_api::engine::Map;
use mesh_api::engine::swarm::SwarmSpec;

use crate::parse::units;

/// Flags of the cluster's settings.
#[derive(Debug, Args)]
pub struct SettingFlags {
    /// Tasks kept for each slot, the current one counted
    #[arg(long, value_name = "NUMBER")]
    task_history_limit: Option<i64>,
    /// How often nodes report in
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    dispatcher_heartbeat: Option<i64>,
    /// How replies of published ports travel: through the node that was asked, or direct
    #[arg(long, value_enum)]
    ingress_reply: Option<IngressReply>,
}

impl SettingFlags {
    /// Writes what was given into the spec; the rest stays as it is there.
    pub fn write(&self, spec: &mut SwarmSpec) {
        if self.task_history_limit.is_some() {
            spec.orchestration.task_history_retention_limit = self.task_history_limit;
        }
        if let Some(heartbeat) = self.dispatcher_heartbeat {
            spec.dispatcher.heartbeat_period = heartbeat;
        }
        if let Some(reply) = self.ingress_reply {
            reply.write(&mut spec.labels);
        }
    }
}

/// How replies of published ports travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum IngressReply {
    /// Through the node that received the request.
    Through,
    /// Straight from the task's node.
    Direct,
}

impl IngressReply {
    /// Writes the label that the API carries it as.
    fn write(self, labels: &mut Map) {
        let word = match self {
            Self::Through => "through",
            Self::Direct => "direct",
        };
        labels.insert(mesh_api::mesh::INGRESS_REPLY_LABEL.to_owned(), word.to_owned());
    }
}
