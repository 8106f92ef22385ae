//! Keeps the node's network as the newest view says: applies each view, and tries again when that fails.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::seam::{NetworkError, NodeNetwork, View};
use super::ways::Event;
use crate::stop::{Stop, raised};

/// Waits between tries: the first, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A view with its number.
#[derive(Debug, Clone, Default)]
pub struct Numbered {
    /// Counts up with every view.
    pub generation: u64,
    /// `None` before the first.
    pub view: Option<View>,
}

/// Applies views until `stop` says so. What is under way then is finished.
pub async fn run<N: NodeNetwork>(
    network: N,
    mut views: watch::Receiver<Numbered>,
    events: mpsc::UnboundedSender<Event>,
    mut stop: Stop,
) {
    let mut retry = RETRY.0;
    let mut told = (0, BTreeSet::new(), true);
    let mut trouble = None;
    let mut failed_before = false;
    loop {
        let Numbered { generation, view } = views.borrow_and_update().clone();
        let applied = match &view {
            Some(view) => network.apply(view).await,
            None => Ok(()),
        };
        let wait = match &applied {
            Ok(()) => {
                retry = RETRY.0;
                None
            }
            Err(error) => {
                tracing::warn!(%error, "the node's network is not as it should be; trying again");
                retry = (retry * 2).min(RETRY.1);
                Some(retry)
            }
        };
        let whole = applied.is_ok();
        // Tasks leave without what cannot be made: what fails only once does not count.
        let reason = applied.as_ref().err().filter(|_| failed_before);
        let reason = reason.map(|error| (generation, error.to_string()));
        failed_before = !whole;
        if let Some(failed) = done(applied)
            && told != (generation, failed.clone(), whole)
        {
            told = (generation, failed.clone(), whole);
            // The agent may have ended.
            let _ = events.send(Event::Applied { generation, failed, whole });
        }
        if let Some((generation, reason)) = reason.clone().filter(|reason| trouble.as_ref() != Some(reason)) {
            let _ = events.send(Event::Unmade { generation, reason });
        }
        trouble = reason;
        tokio::select! {
            () = raised(&mut stop) => return,
            changed = views.changed() => if changed.is_err() { return },
            () = pause(wait) => {}
        }
    }
}

/// The endpoints that are missing; `None` when nothing can be relied on.
fn done(applied: Result<(), NetworkError>) -> Option<BTreeSet<u32>> {
    match applied {
        Ok(()) => Some(BTreeSet::new()),
        Err(error) => error.endpoints,
    }
}

async fn pause(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}
