//! `meshctl swarm ca`

use std::time::Duration;

use clap::Args;
use mesh_api::engine::filter::Filters;
use mesh_api::engine::node::Node;
use mesh_api::engine::swarm::Swarm;

use super::settings::refuse_external_ca;
use crate::client::{Client, Rotate};
use crate::commands::count::next;
use crate::error::CliError;
use crate::output::Shell;
use crate::parse::units;

/// How often a change of the root is looked at.
const INTERVAL: Duration = Duration::from_millis(250);

/// `meshctl swarm ca`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  meshctl swarm ca\n  meshctl swarm ca --rotate\n  meshctl swarm ca --rotate --detach --cert-expiry 720h"
)]
pub struct CaArgs {
    /// Make a new root; every node gets a new certificate, and nothing is interrupted
    #[arg(long)]
    rotate: bool,
    /// With --rotate: how long a node's certificate is valid from now on
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    cert_expiry: Option<i64>,
    /// With --rotate: do not wait until every node has its new certificate
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true)]
    detach: bool,
    /// Do not tell progress
    #[arg(short, long)]
    quiet: bool,
    /// Docker's; refused with the reason
    #[arg(long, hide = true, value_name = "FILE")]
    ca_cert: Option<String>,
    /// Docker's; refused with the reason
    #[arg(long, hide = true, value_name = "FILE")]
    ca_key: Option<String>,
    /// Docker's; refused with the reason
    #[arg(long, hide = true, value_name = "VALUE")]
    external_ca: Option<String>,
}

impl CaArgs {
    fn check(&self) -> Result<(), CliError> {
        refuse_external_ca(self.external_ca.as_deref())?;
        for (flag, given) in [("ca-cert", &self.ca_cert), ("ca-key", &self.ca_key)] {
            if given.is_some() {
                return Err(CliError::Usage(format!(
                    "--{flag} is not supported: the managers make the root certificate and its key themselves; \
                     --rotate alone makes a new one"
                )));
            }
        }
        if self.cert_expiry.is_some() && !self.rotate {
            return Err(CliError::Usage(
                "`--cert-expiry` flag requires the `--rotate` flag to update the CA (`meshctl swarm update \
                 --cert-expiry` changes it alone)"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

/// Shows the root, or changes it and shows the new one.
pub async fn run(args: &CaArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    args.check()?;
    let before = client.swarm().await?;
    if !args.rotate {
        return show(&before, shell);
    }
    let mut spec = before.spec.clone();
    spec.ca_config.force_rotate = next("ForceRotate", spec.ca_config.force_rotate)?;
    if let Some(expiry) = args.cert_expiry {
        spec.ca_config.node_cert_expiry = expiry;
    }
    client.update_swarm(before.version.index, &spec, Rotate::default()).await?;
    if args.detach {
        return Ok(());
    }
    let after = tokio::select! {
        after = follow(&before, args.quiet, client, shell) => after?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            shell.note("Operation continuing in background.");
            shell.note("Use `meshctl swarm inspect --format '{{.RootRotationInProgress}}'` to check progress.");
            return Ok(());
        }
    };
    show(&after, shell)
}

fn show(swarm: &Swarm, shell: &mut Shell) -> Result<(), CliError> {
    match swarm.tls_info.trust_root.trim() {
        "" => Err(CliError::Refused("no CA information available".to_owned())),
        root => Ok(shell.line(root)?),
    }
}

/// Looks again and again until the new root is the only one.
async fn follow(before: &Swarm, quiet: bool, client: &Client, shell: &mut Shell) -> Result<Swarm, CliError> {
    let mut told = String::new();
    loop {
        let swarm = client.swarm().await?;
        let changed = swarm.tls_info.cert_issuer_public_key != before.tls_info.cert_issuer_public_key;
        if changed && !quiet {
            let nodes = client.nodes_in_full(&Filters::default()).await?;
            let line = progress(&swarm.tls_info.cert_issuer_public_key, &nodes);
            if line != told {
                shell.note(&line);
                told = line;
            }
        }
        if changed && !swarm.root_rotation_in_progress {
            return Ok(swarm);
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// How many nodes have a certificate of the new root, and which that have none are away.
fn progress(key: &str, nodes: &[Node]) -> String {
    let is_behind =
        |node: &&Node| node.description.tls_info.as_ref().is_none_or(|tls| tls.cert_issuer_public_key != key);
    let behind: Vec<_> = nodes.iter().filter(is_behind).collect();
    let line = format!("rotated TLS certificates: {}/{} nodes", nodes.len() - behind.len(), nodes.len());
    let away = behind.iter().filter(|node| node.status.state != "ready");
    let away: Vec<_> = away.map(|node| node.description.hostname.as_str()).collect();
    match away.as_slice() {
        [] => line,
        away => format!(
            "{line} (waiting for {}, not reachable: start it, or remove it with `meshctl node rm --force`)",
            away.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::decode::decode;

    use super::*;

    #[test]
    fn progress_names_those_that_are_away() {
        let node = |name: &str, state: &str, key: &str| {
            let text = format!(
                r#"{{"Description":{{"Hostname":"{name}","TLSInfo":{{"CertIssuerPublicKey":"{key}"}}}},
                "Status":{{"State":"{state}"}}}}"#
            );
            decode::<Node>(text.as_bytes()).unwrap()
        };
        let mut nodes = vec![node("n1", "ready", "new"), node("n2", "ready", "old")];
        assert_eq!(progress("new", &nodes), "rotated TLS certificates: 1/2 nodes");
        nodes.push(node("n3", "down", "old"));
        assert_eq!(
            progress("new", &nodes),
            "rotated TLS certificates: 1/3 nodes (waiting for n3, not reachable: start it, or remove it with \
             `meshctl node rm --force`)"
        );
    }
}
