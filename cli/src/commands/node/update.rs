//! `meshctl node update`

use clap::Args;
use mesh_api::engine::node::NodeSpec;

use super::role::{self, Role};
use super::{change, resolve};
use crate::client::Client;
use crate::error::CliError;
use crate::output::Shell;
use crate::parse::label;

/// `meshctl node update`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  meshctl node update --availability drain n2\n  meshctl node update --label-add zone=a n2\n  meshctl node update --role manager n2"
)]
pub struct UpdateArgs {
    /// The node; `self` is the asked one
    node: String,
    /// Whether it takes tasks
    #[arg(long, value_name = "WORD", value_parser = ["active", "pause", "drain"])]
    availability: Option<String>,
    /// Role that it should have
    #[arg(long, value_name = "WORD", value_parser = ["worker", "manager"])]
    role: Option<String>,
    /// Add or change a label
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label_add: Vec<(String, String)>,
    /// Remove a label
    #[arg(long, value_name = "KEY")]
    label_rm: Vec<String>,
    /// With --role: do not wait until it is so
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true)]
    detach: bool,
}

/// Changes a node.
pub async fn run(args: &UpdateArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    let id = resolve(&args.node, client).await?;
    let before = client.node(&id).await.map_err(|error| error.named("node", &args.node))?;
    change(&before.id, client, |spec| write(args, spec)).await?;
    match &args.role {
        Some(wanted) if *wanted != before.spec.role && !args.detach => {
            role::wait(&before, &args.node, Role::of(wanted), client, shell).await?;
        }
        _ => {}
    }
    Ok(shell.line(&args.node)?)
}

fn write(args: &UpdateArgs, spec: &mut NodeSpec) -> Result<(), CliError> {
    if let Some(availability) = &args.availability {
        spec.availability.clone_from(availability);
    }
    if let Some(role) = &args.role {
        spec.role.clone_from(role);
    }
    for key in &args.label_rm {
        if spec.labels.remove(key).is_none() {
            return Err(CliError::Usage(format!("key {key} doesn't exist in node's labels")));
        }
    }
    spec.labels.extend(args.label_add.iter().cloned());
    Ok(())
}
