//! `meshctl service scale`

use clap::Args;
use mesh_api::engine::service::Replicated;

use super::converge;
use crate::client::Client;
use crate::error::CliError;
use crate::output::Shell;

/// `meshctl service scale`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  meshctl service scale web=5\n  meshctl service scale web=5 api=2")]
pub struct ScaleArgs {
    /// Services with their numbers of tasks
    #[arg(required = true, value_name = "SERVICE=REPLICAS", value_parser = target)]
    targets: Vec<(String, u64)>,
    /// Do not wait until the tasks run
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true)]
    detach: bool,
}

fn target(text: &str) -> Result<(String, u64), String> {
    let (name, number) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| format!("invalid scale specifier '{text}': SERVICE=REPLICAS is expected"))?;
    let number =
        number.parse().map_err(|_| format!("invalid replicas value {number}: a number is expected"))?;
    Ok((name.to_owned(), number))
}

/// Scales services, then waits for all of them.
pub async fn run(args: &ScaleArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    let mut scaled = Vec::new();
    let mut failed = false;
    for (name, replicas) in &args.targets {
        match scale(name, *replicas, client).await {
            Ok(id) => {
                shell.line(&format!("{name} scaled to {replicas}"))?;
                scaled.push((id, name));
            }
            Err(error @ (CliError::Unreachable { .. } | CliError::Broken { .. })) => return Err(error),
            Err(error) => {
                shell.note(&format!("{name}: {error}"));
                failed = true;
            }
        }
    }
    if !args.detach {
        for (id, name) in scaled {
            converge::wait(&id, name, false, client, shell).await?;
        }
    }
    if failed { Err(CliError::Told) } else { Ok(()) }
}

async fn scale(name: &str, replicas: u64, client: &Client) -> Result<String, CliError> {
    let service = client.service(name).await.map_err(|error| error.named("service", name))?;
    let mut spec = service.spec;
    let mode = spec.mode.as_mut().and_then(|mode| mode.replicated.as_mut());
    let Some(mode) = mode else {
        return Err(CliError::Usage("scale can only be used with replicated mode".to_owned()));
    };
    *mode = Replicated { replicas: Some(replicas) };
    client.update_service(&service.id, service.version.index, &spec, false).await?;
    Ok(service.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_names_and_numbers() {
        assert_eq!(target("web=5"), Ok(("web".to_owned(), 5)));
        for bad in ["web", "=5", "web=", "web=x", "web=-1"] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }
}
