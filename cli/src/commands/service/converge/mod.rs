//! Waiting until a service has the tasks it wants, and every node knows of them. The daemon tells of each change
//! (`GET /mesh/v1/watch`), so the command returns the moment it holds; with `--monitor` it goes on to watch for as
//! long as an update watches its tasks.

mod picture;
mod seen;
mod update;

use std::time::Duration;

use mesh_api::engine::service::UpdateStatus;
use mesh_api::mesh::WatchEvent;
use tokio::time::timeout;

use self::picture::Goal;
use self::seen::Seen;
use super::flags::WaitFlags;
use super::settle::settle;
use crate::client::{Client, escape};
use crate::error::CliError;
use crate::follow::follow;
use crate::output::Shell;
use crate::output::progress::Progress;

/// How long tasks are watched when their service does not say.
const MONITOR: Duration = Duration::from_secs(5);

/// What is waited for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// The service.
    pub id: &'a str,
    /// As the user calls it; its id when empty.
    pub name: &'a str,
    /// How its last update stood before the command: that one is not the command's.
    pub before: Option<&'a UpdateStatus>,
    /// It is to go back to its previous spec.
    pub rollback: bool,
    /// Its tasks are to be spread anew.
    pub rebalance: bool,
}

impl<'a> Wanted<'a> {
    /// The service alone.
    pub fn of(id: &'a str, name: &'a str) -> Self {
        Self { id, name, ..Self::default() }
    }
}

/// Follows the service until its tasks run, unless told not to wait. Ctrl-C ends the waiting, not the work.
pub async fn wait(
    wanted: &Wanted<'_>,
    flags: WaitFlags,
    client: &Client,
    shell: &mut Shell,
) -> Result<(), CliError> {
    if flags.detach {
        return Ok(());
    }
    let interrupted = tokio::select! {
        done = reached(wanted, flags, client, shell) => return done,
        interrupted = tokio::signal::ctrl_c() => interrupted,
    };
    interrupted?;
    let service = if wanted.name.is_empty() { wanted.id } else { wanted.name };
    shell.note("Operation continuing in background.");
    shell.note(&format!("Use `meshctl service ps {service}` to check progress."));
    Ok(())
}

async fn reached(
    wanted: &Wanted<'_>,
    flags: WaitFlags,
    client: &Client,
    shell: &mut Shell,
) -> Result<(), CliError> {
    let mut progress = Progress::new(flags.quiet, shell.interactive);
    let outcome = loop {
        let goal = match converged(wanted, &mut progress, client, shell).await {
            Ok(goal) => goal,
            Err(error) => break Err(error),
        };
        if let Err(error) = settle(client, shell).await {
            break Err(error);
        }
        match goal {
            Goal::Running { monitor } if flags.monitor => {
                let period = monitor.unwrap_or(MONITOR);
                progress.stage(
                    &format!(
                        "verify: Waiting {} seconds to verify that tasks are stable...",
                        period.as_secs().max(1)
                    ),
                    shell,
                );
                match timeout(period, unsettled(wanted, client)).await {
                    Err(_) => break Ok(goal),
                    Ok(Ok(())) => progress.stage("verify: Detected task failure", shell),
                    Ok(Err(error)) => break Err(error),
                }
            }
            _ => break Ok(goal),
        }
    };
    progress.end(shell);
    let said = match outcome? {
        Goal::Running { .. } => "verify: Service converged",
        Goal::JobComplete => "job complete",
    };
    if !flags.quiet {
        shell.note(said);
    }
    Ok(())
}

/// Follows the service until it has what it wants.
async fn converged(
    wanted: &Wanted<'_>,
    progress: &mut Progress,
    client: &Client,
    shell: &mut Shell,
) -> Result<Goal, CliError> {
    let mut seen = Seen::default();
    follow(client, &path(wanted), |event| {
        let Some(service) = learn(&mut seen, event, wanted)? else { return Ok(None) };
        let status = update::judge(service.update_status.as_ref(), wanted)?;
        let Some(picture) = seen.picture(&status, wanted.rebalance) else { return Ok(None) };
        progress.show(&picture.shown, shell);
        match (picture.goal, status.went_back) {
            (Some(_), Some(reason)) => Err(CliError::Refused(format!("service rolled back: {reason}"))),
            (goal, _) => Ok(goal),
        }
    })
    .await
}

/// Follows the service until it no longer has what it wants.
async fn unsettled(wanted: &Wanted<'_>, client: &Client) -> Result<(), CliError> {
    let mut seen = Seen::default();
    follow(client, &path(wanted), |event| {
        let Some(service) = learn(&mut seen, event, wanted)? else { return Ok(None) };
        let status = update::judge(service.update_status.as_ref(), wanted)?;
        let Some(picture) = seen.picture(&status, wanted.rebalance) else { return Ok(None) };
        Ok(picture.goal.is_none().then_some(()))
    })
    .await
}

fn learn<'a>(
    seen: &'a mut Seen,
    event: WatchEvent,
    wanted: &Wanted<'_>,
) -> Result<Option<&'a mesh_api::engine::service::Service>, CliError> {
    seen.learn(event);
    if seen.is_removed() {
        let name = if wanted.name.is_empty() { wanted.id } else { wanted.name };
        return Err(CliError::NoSuch { kind: "service", name: name.to_owned() });
    }
    Ok(seen.service())
}

fn path(wanted: &Wanted<'_>) -> String {
    format!("/mesh/v1/watch?kinds=service,task&service={}", escape(wanted.id))
}
