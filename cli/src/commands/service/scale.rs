//! `meshctl service scale`

use clap::Args;
use mesh_api::engine::service::Service;

use super::converge::{self, Wanted};
use super::flags::WaitFlags;
use super::flags::scale::set_replicas;
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
    #[command(flatten)]
    wait: WaitFlags,
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

/// Scales services, then waits for all of them. What fails is told; the others are scaled.
pub async fn run(args: &ScaleArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    let mut scaled = Vec::new();
    let mut failed = false;
    for (name, replicas) in &args.targets {
        match scale(name, *replicas, client).await {
            Ok(service) => {
                shell.line(&format!("{name} scaled to {replicas}"))?;
                scaled.push((service, name));
            }
            Err(error) => failed |= told(name, error, shell)?,
        }
    }
    for (service, name) in scaled {
        let before = service.update_status.as_ref();
        let wanted = Wanted { before, ..Wanted::of(&service.id, name) };
        if let Err(error) = converge::wait(&wanted, args.wait, client, shell).await {
            failed |= told(name, error, shell)?;
        }
    }
    if failed { Err(CliError::Told) } else { Ok(()) }
}

/// Tells why one service failed, unless it is the daemon that is not there.
fn told(name: &str, error: CliError, shell: &mut Shell) -> Result<bool, CliError> {
    if matches!(error, CliError::Unreachable { .. } | CliError::Broken { .. }) {
        return Err(error);
    }
    shell.note(&format!("{name}: {error}"));
    Ok(true)
}

/// Scales one service; it as it was before.
async fn scale(name: &str, replicas: u64, client: &Client) -> Result<Service, CliError> {
    let service = client.service(name).await.map_err(|error| error.named("service", name))?;
    let mut spec = service.spec.clone();
    set_replicas(spec.mode.get_or_insert_default(), replicas, "scale")?;
    client.update_service(&service.id, service.version.index, &spec, false).await?;
    Ok(service)
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
