//! Following what the daemon tells (`GET /mesh/v1/watch`), over changes of the leader: then the manager that is
//! asked breaks the watch off, and soon another leads.

use std::time::Duration;

use mesh_api::mesh::WatchEvent;
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::error::CliError;

/// Pause before a watch that broke is opened again.
const PAUSE: Duration = Duration::from_millis(200);

/// How long nothing but refusals may come. A cluster that has a quorum has a leader within seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the socket may be dead: a meshd that is started again is back by then.
const ABSENCE: Duration = Duration::from_secs(3);

/// Opens the watch at `path` and hands each event to `learn` until that has what it wants. When the watch is
/// opened again everything is told anew.
pub async fn follow<T>(
    client: &Client,
    path: &str,
    mut learn: impl FnMut(WatchEvent) -> Result<Option<T>, CliError>,
) -> Result<T, CliError> {
    let mut heard = Instant::now();
    loop {
        let error = match read(client, path, &mut heard, &mut learn).await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => CliError::Broken {
                host: client.http().host().to_owned(),
                reason: "the watch ended".to_owned(),
            },
            Err(error) => error,
        };
        match patience(&error) {
            Some(patience) if heard.elapsed() < patience => sleep(PAUSE).await,
            _ => return Err(error),
        }
    }
}

/// Reads one watch; `None` at its end.
async fn read<T>(
    client: &Client,
    path: &str,
    heard: &mut Instant,
    learn: &mut impl FnMut(WatchEvent) -> Result<Option<T>, CliError>,
) -> Result<Option<T>, CliError> {
    let mut lines = client.http().lines(path).await?;
    while let Some(event) = lines.next::<WatchEvent>().await? {
        *heard = Instant::now();
        if let Some(found) = learn(event)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// How long an error is borne with; `None`: it will not go away by itself.
fn patience(error: &CliError) -> Option<Duration> {
    match error {
        CliError::Daemon { message, .. } if message.contains("is not a swarm manager") => None,
        CliError::Daemon { status: 503, .. } | CliError::Broken { .. } => Some(PATIENCE),
        CliError::Unreachable { .. } => Some(ABSENCE),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_away_by_itself_is_borne_with() {
        let daemon = |status, message: &str| CliError::Daemon { status, message: message.to_owned() };
        assert_eq!(patience(&daemon(503, "The swarm does not have a leader.")), Some(PATIENCE));
        assert_eq!(patience(&daemon(404, "service web not found")), None);
        let worker =
            "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state.";
        assert_eq!(patience(&daemon(503, worker)), None);
        assert_eq!(patience(&CliError::Interrupted), None);
    }
}
