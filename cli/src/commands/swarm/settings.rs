//! Settings of the cluster, as `init` gives them first and `update` changes them.

use clap::{Args, ValueEnum};
use mesh_api::engine::Map;
use mesh_api::engine::swarm::SwarmSpec;

use crate::error::CliError;
use crate::parse::units;

/// Flags of the cluster's settings.
#[derive(Debug, Default, PartialEq, Args)]
pub struct SettingFlags {
    /// Seal every manager's keys: a manager that starts waits for `swarm unlock`
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    autolock: Option<bool>,
    /// How long a node's certificate is valid [default of a new cluster: 2160h]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    cert_expiry: Option<i64>,
    /// How often nodes report in; after three times this silence a node is down [default of a new cluster: 1s]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    dispatcher_heartbeat: Option<i64>,
    /// Old snapshots to keep: 0, for a snapshot takes the place of the one before it
    #[arg(long, value_name = "NUMBER")]
    max_snapshots: Option<u64>,
    /// Log entries from one snapshot to the next [default of a new cluster: 10000]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    snapshot_interval: Option<u64>,
    /// Tasks kept for each slot, the current one counted [default of a new cluster: 5]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    task_history_limit: Option<i64>,
    /// How replies of published ports travel: through the node that was asked, or direct
    #[arg(long, value_enum)]
    ingress_reply: Option<IngressReply>,
    /// Docker's; refused with the reason
    #[arg(long, hide = true, value_name = "VALUE", allow_hyphen_values = true)]
    external_ca: Option<String>,
}

impl SettingFlags {
    /// Refuses what the mesh does not do, by the flag's name.
    pub fn check(&self) -> Result<(), CliError> {
        refuse_external_ca(self.external_ca.as_deref())?;
        match self.max_snapshots {
            None | Some(0) => Ok(()),
            Some(other) => Err(CliError::Usage(format!(
                "invalid --max-snapshots {other}: only 0 is possible, for a snapshot takes the place of the one \
                 before it"
            ))),
        }
    }

    /// Whether nothing was given.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether managers are to be locked, when that was said.
    pub fn autolock(&self) -> Option<bool> {
        self.autolock
    }

    /// Writes what was given into the spec; the rest stays as it is there.
    pub fn write(&self, spec: &mut SwarmSpec) {
        if self.autolock.is_some() {
            spec.encryption_config.auto_lock_managers = self.autolock;
        }
        if let Some(expiry) = self.cert_expiry {
            spec.ca_config.node_cert_expiry = expiry;
        }
        if let Some(interval) = self.snapshot_interval {
            spec.raft.snapshot_interval = interval;
        }
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

/// Refuses `--external-ca` with the reason.
pub fn refuse_external_ca(given: Option<&str>) -> Result<(), CliError> {
    match given {
        None => Ok(()),
        Some(_) => Err(CliError::Usage(
            "--external-ca is not supported: the managers sign the nodes' certificates themselves; leave it out"
                .to_owned(),
        )),
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        settings: SettingFlags,
    }

    fn settings(words: &[&str]) -> SettingFlags {
        Line::try_parse_from(std::iter::once("x").chain(words.iter().copied())).unwrap().settings
    }

    #[test]
    fn what_is_given_is_written_and_the_rest_stays() {
        let mut spec = SwarmSpec::default();
        spec.orchestration.task_history_retention_limit = Some(7);
        settings(&[]).write(&mut spec);
        assert_eq!(spec.encryption_config.auto_lock_managers, None);
        let all = settings(&[
            "--autolock",
            "--cert-expiry=48h",
            "--dispatcher-heartbeat",
            "2s",
            "--max-snapshots=0",
            "--snapshot-interval=200",
        ]);
        all.check().unwrap();
        all.write(&mut spec);
        assert_eq!(spec.encryption_config.auto_lock_managers, Some(true));
        assert_eq!(spec.ca_config.node_cert_expiry, 48 * 3_600_000_000_000);
        assert_eq!(spec.dispatcher.heartbeat_period, 2_000_000_000);
        assert_eq!(spec.raft.snapshot_interval, 200);
        assert_eq!(spec.orchestration.task_history_retention_limit, Some(7));
        settings(&["--autolock=false"]).write(&mut spec);
        assert_eq!(spec.encryption_config.auto_lock_managers, Some(false));
    }

    #[test]
    fn refusals_name_the_flag() {
        for (words, flag) in
            [(["--max-snapshots=2"], "--max-snapshots"), (["--external-ca=protocol=cfssl"], "--external-ca")]
        {
            let refused = settings(&words).check().unwrap_err();
            assert_eq!((refused.exit(), refused.to_string().contains(flag)), (64, true), "{refused}");
        }
        for word in
            ["--cert-expiry=soon", "--snapshot-interval=0", "--task-history-limit=x", "--autolock=maybe"]
        {
            let refused = Line::try_parse_from(["x", word]).unwrap_err().to_string();
            assert!(refused.contains(word.split_once('=').unwrap().0), "{refused}");
        }
    }
}
